//! One user, and what it may do.

use std::time::Duration;

use super::{Hash, Rules, Selector, UserSpec, Vocabulary};
use crate::command::{Command, CommandTable, Keys};
use crate::dialect::resp::Request;
use crate::model::Kind;

/// What a request was refused for, and the place of that argument. Where selectors differ, the greatest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    Command,
    Key(u32),
    Channel(u32),
    /// BY or GET of a SORT, which read keys that only the engine will know. Redis answers
    /// `-ERR BY option of SORT denied due to insufficient ACL permissions.`, when it carries the SORT out.
    Lookup(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub name: Box<str>,
    pub is_enabled: bool,
    /// Any password is right.
    pub is_nopass: bool,
    /// Its password is judged by somebody else: here, none is right.
    pub is_verified: bool,
    /// How long after logging in it is to do so again; none: never.
    pub session: Option<Duration>,
    passwords: Box<[Hash]>,
    selectors: Box<[Selector]>,
}

impl User {
    pub(super) fn compile(spec: &UserSpec, table: &CommandTable) -> Result<Self, String> {
        let known = Vocabulary::keeping_unknown(table);
        let mut rules = Rules::new(known);
        rules.is_enabled = spec.enabled;
        rules.apply_line(&spec.rules, known).map_err(|fault| fault.to_string())?;
        for digits in &spec.passwords {
            let modifier = format!("#{digits}");
            rules.apply_words([modifier.as_bytes()].into_iter(), known).map_err(|fault| fault.to_string())?;
        }
        Ok(Self {
            name: spec.name.as_str().into(),
            is_enabled: rules.is_enabled,
            is_nopass: rules.is_nopass || spec.nopass,
            is_verified: spec.verified,
            session: (!spec.session.is_zero()).then_some(spec.session),
            passwords: rules.passwords.into(),
            selectors: rules.selectors.into(),
        })
    }

    /// One that may do what the rules say, and cannot log in.
    pub fn with_rules(rules: Rules) -> Self {
        Self {
            name: "".into(),
            is_enabled: rules.is_enabled,
            is_nopass: rules.is_nopass,
            is_verified: false,
            session: None,
            passwords: rules.passwords.into(),
            selectors: rules.selectors.into(),
        }
    }

    /// Whether it may do everything there is, and will be: nothing need be checked.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.selectors.iter().any(Selector::is_unrestricted)
    }

    /// Whether the password is one of its own. Takes as long whichever it is.
    pub fn takes(&self, password: &[u8]) -> bool {
        let given = Hash::of(password);
        let is_known = self.passwords.iter().fold(false, |is_known, hash| hash.is_same(&given) | is_known);
        self.is_enabled && !self.is_verified && (self.is_nopass || is_known)
    }

    /// Whether it may do this: the command, then its keys, then its channels, all by one of its selectors.
    pub fn check(&self, command: &Command, request: &Request) -> Result<(), Denied> {
        let mut most = Denied::Command;
        for selector in &self.selectors {
            match selector.check(command, request) {
                Ok(()) if command.keys == Keys::Sort => return self.check_lookups(command, request),
                Ok(()) => return Ok(()),
                Err(denied) => most = most.max(denied),
            }
        }
        Err(most)
    }

    /// What Redis itself checks when it carries the request out, for ACL DRYRUN does not tell of it.
    fn check_lookups(&self, command: &Command, request: &Request) -> Result<(), Denied> {
        let Some(at) = lookup_of(request) else { return Ok(()) };
        let mut selectors = self.selectors.iter();
        let may_read_all =
            selectors.any(|selector| selector.may_read_all() && selector.check(command, request).is_ok());
        if may_read_all {
            Ok(())
        } else {
            Err(Denied::Lookup(at))
        }
    }

    /// Whether it may subscribe to a channel or pattern.
    pub fn may_hear(&self, kind: Kind, topic: &[u8]) -> bool {
        self.selectors.iter().any(|selector| selector.may_hear(kind, topic))
    }
}

/// The first BY or GET of a SORT that reads other keys than those it names.
fn lookup_of(request: &Request) -> Option<u32> {
    let is = |at: usize, word: &[u8]| request.argument(at).eq_ignore_ascii_case(word);
    let mut at = 2;
    while at + 1 < request.len() {
        at += match () {
            () if is(at, b"GET") => return Some(at as u32),
            () if is(at, b"BY") && request.argument(at + 1).contains(&b'*') => return Some(at as u32),
            () if is(at, b"BY") || is(at, b"STORE") => 2,
            () if is(at, b"LIMIT") => 3,
            () => 1,
        };
    }
    None
}
