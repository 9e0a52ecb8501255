//! A user's definition as Redis keeps it: flags, passwords, selectors; and how modifiers change it (`ACLSetUser`).

use super::fault::Wrong;
use super::words::{merge, modifiers_of};
use super::{Fault, Hash, Selector, Vocabulary};
use crate::dialect::resp::inline;

/// What RESTORE does with what it is given. The proxy passes it on; it is kept for those who look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sanitize {
    Untold,
    Yes,
    No,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub is_enabled: bool,
    /// Any password is right.
    pub is_nopass: bool,
    pub sanitize: Sanitize,
    pub passwords: Vec<Hash>,
    /// The first is the one outside of parentheses.
    pub selectors: Vec<Selector>,
}

impl Rules {
    /// Those of a new user: disabled, and allowed nothing.
    pub fn new(known: Vocabulary) -> Self {
        Self {
            is_enabled: false,
            is_nopass: false,
            sanitize: Sanitize::Untold,
            passwords: Vec::new(),
            selectors: vec![Selector::new(known)],
        }
    }

    /// Carry out what a line of rules says.
    pub fn apply_line(&mut self, line: &str, known: Vocabulary) -> Result<(), Fault> {
        modifiers_of(line)?.into_iter().try_for_each(|modifier| self.apply_one(modifier, known))
    }

    /// Carry out the arguments of an ACL SETUSER.
    pub fn apply_words<'a>(&mut self, words: impl Iterator<Item = &'a [u8]>, known: Vocabulary) -> Result<(), Fault> {
        merge(words)?.into_iter().try_for_each(|modifier| self.apply_one(modifier, known))
    }

    fn apply_one(&mut self, modifier: Vec<u8>, known: Vocabulary) -> Result<(), Fault> {
        self.apply(&modifier, known).map_err(|wrong| Fault::Modifier(modifier, wrong))
    }

    fn apply(&mut self, modifier: &[u8], known: Vocabulary) -> Result<(), Wrong> {
        match &*modifier.to_ascii_lowercase() {
            b"" => {}
            b"on" => self.is_enabled = true,
            b"off" => self.is_enabled = false,
            b"sanitize-payload" => self.sanitize = Sanitize::Yes,
            b"skip-sanitize-payload" => self.sanitize = Sanitize::No,
            b"nopass" => (self.is_nopass, self.passwords) = (true, Vec::new()),
            b"resetpass" => (self.is_nopass, self.passwords) = (false, Vec::new()),
            b"clearselectors" => self.selectors.truncate(1),
            b"reset" => *self = Self { sanitize: Sanitize::Yes, ..Self::new(known) },
            [b'>' | b'#', ..] => {
                let hash = hash_of(modifier)?;
                if !self.passwords.contains(&hash) {
                    self.passwords.push(hash);
                }
                self.is_nopass = false;
            }
            [b'<' | b'!', ..] => {
                let hash = hash_of(modifier)?;
                let at = self.passwords.iter().position(|known| *known == hash).ok_or(Wrong::NoSuchPassword)?;
                self.passwords.remove(at);
            }
            [b'(', .., b')'] => self.selectors.push(selector_of(modifier, known)?),
            _ => self.selectors[0].apply(modifier, known)?,
        }
        Ok(())
    }
}

fn hash_of(modifier: &[u8]) -> Result<Hash, Wrong> {
    match modifier[0] {
        b'>' | b'<' => Ok(Hash::of(&modifier[1..])),
        _ => Hash::parse(&modifier[1..]).ok_or(Wrong::NoHash),
    }
}

/// Within parentheses, words may be quoted as in an inline request.
fn selector_of(modifier: &[u8], known: Vocabulary) -> Result<Selector, Wrong> {
    let words = inline::split(&modifier[1..modifier.len() - 1]).ok_or(Wrong::Syntax)?;
    let mut selector = Selector::new(known);
    words.iter().try_for_each(|word| selector.apply(word, known))?;
    Ok(selector)
}
