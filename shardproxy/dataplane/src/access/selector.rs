//! One selector: what one of a user's sets of rules allows. A request must be allowed whole by one of them.

use super::channels::channels_of;
use super::commands::Commands;
use super::fault::Wrong;
use super::pattern::Pattern;
use super::{Denied, Vocabulary};
use crate::command::{Command, Flags, KeyAccess};
use crate::dialect::resp::Request;
use crate::model::Kind;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    pub(super) has_all_keys: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) has_all_channels: bool,
    pub(super) channels: Vec<Pattern>,
    pub(super) commands: Commands,
}

#[derive(Clone, Debug, PartialEq)]
pub struct KeyPattern {
    pub pattern: Pattern,
    pub access: KeyAccess,
}

impl Selector {
    /// One that allows nothing.
    pub fn new(known: Vocabulary) -> Self {
        let mut selector = Self::default();
        selector.commands.set_all(false, known);
        selector
    }

    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.has_all_keys && self.has_all_channels && self.commands.has_all()
    }

    pub fn check(&self, command: &Command, request: &Request) -> Result<(), Denied> {
        if !self.commands.allow(command, request) && !command.flags.contains(Flags::NO_AUTH) {
            return Err(Denied::Command);
        }
        if !self.has_all_keys {
            let is_allowed = |key: &[u8], access| self.may_access(key, access);
            let denied = command.key_specs.find_denied(request.len(), |at| request.argument(at), is_allowed);
            if let Some(at) = denied {
                return Err(Denied::Key(at));
            }
        }
        if !self.has_all_channels {
            if let Some((kind, places)) = channels_of(command.act, request.len()) {
                if let Some(at) = places.into_iter().find(|&at| !self.may_hear(kind, request.argument(at as usize))) {
                    return Err(Denied::Channel(at));
                }
            }
        }
        Ok(())
    }

    fn may_access(&self, key: &[u8], access: KeyAccess) -> bool {
        self.keys.iter().any(|known| known.access.covers(access) && known.pattern.matches(key))
    }

    /// Whether it may read keys whose names nobody sees.
    pub fn may_read_all(&self) -> bool {
        self.has_all_keys
            || self.keys.iter().any(|known| known.access.covers(KeyAccess::READ) && known.pattern.text() == b"*")
    }

    /// A pattern must be one of those given: what it matches is not for us to tell.
    pub fn may_hear(&self, kind: Kind, topic: &[u8]) -> bool {
        let is_pattern = kind == Kind::Pattern;
        self.has_all_channels
            || self.channels.iter().any(|known| if is_pattern { known.text() == topic } else { known.matches(topic) })
    }

    /// Carry out one modifier.
    pub fn apply(&mut self, modifier: &[u8], known: Vocabulary) -> Result<(), Wrong> {
        let word = modifier.to_ascii_lowercase();
        match &*word {
            b"allkeys" | b"~*" => (self.has_all_keys, self.keys) = (true, Vec::new()),
            b"resetkeys" => (self.has_all_keys, self.keys) = (false, Vec::new()),
            b"allchannels" | b"&*" => (self.has_all_channels, self.channels) = (true, Vec::new()),
            b"resetchannels" => (self.has_all_channels, self.channels) = (false, Vec::new()),
            b"allcommands" | b"+@all" => self.commands.set_all(true, known),
            b"nocommands" | b"-@all" => self.commands.set_all(false, known),
            [b'~' | b'%', ..] => self.add_keys(modifier)?,
            [b'&', ..] => self.add_channels(&modifier[1..])?,
            [b'+' | b'-', ..] => self.commands.apply(modifier, known)?,
            _ => return Err(Wrong::Syntax),
        }
        Ok(())
    }

    fn add_keys(&mut self, modifier: &[u8]) -> Result<(), Wrong> {
        if self.has_all_keys {
            return Err(Wrong::KeyAfterAll);
        }
        let (access, text) = match modifier {
            [b'~', text @ ..] => (KeyAccess::BOTH, text),
            _ => take_access(&modifier[1..]).ok_or(Wrong::Syntax)?,
        };
        let pattern = Pattern::new(text).ok_or(Wrong::Syntax)?;
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => known.access = known.access | access,
            None => self.keys.push(KeyPattern { pattern, access }),
        }
        Ok(())
    }

    fn add_channels(&mut self, text: &[u8]) -> Result<(), Wrong> {
        if self.has_all_channels {
            return Err(Wrong::ChannelAfterAll);
        }
        let pattern = Pattern::new(text).ok_or(Wrong::Syntax)?;
        if !self.channels.contains(&pattern) {
            self.channels.push(pattern);
        }
        Ok(())
    }
}

/// `R~`, `W~` or `RW~`, and the pattern behind it.
fn take_access(mut rest: &[u8]) -> Option<(KeyAccess, &[u8])> {
    let mut access = KeyAccess::NONE;
    loop {
        let one = match rest.first()?.to_ascii_uppercase() {
            b'R' => KeyAccess::READ,
            b'W' => KeyAccess::WRITE,
            b'~' if access != KeyAccess::NONE => return Some((access, &rest[1..])),
            _ => return None,
        };
        if access.covers(one) {
            return None;
        }
        access = access | one;
        rest = &rest[1..];
    }
}
