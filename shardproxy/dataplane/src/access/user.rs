//! One user, and what it may do.

use std::time::Duration;

use super::UserSpec;
use crate::command::{Command, CommandTable};
use crate::dialect::resp::Request;
use crate::model::Kind;

/// What a request was refused for, the argument with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    Command,
    Key(u32),
    Channel(u32),
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
}

impl User {
    pub(super) fn compile(spec: &UserSpec, _table: &CommandTable) -> Result<Self, String> {
        Ok(Self {
            name: spec.name.as_str().into(),
            is_enabled: spec.enabled,
            is_nopass: spec.nopass,
            is_verified: spec.verified,
            session: (!spec.session.is_zero()).then_some(spec.session),
        })
    }

    /// Whether it may do everything there is, and will be: nothing need be checked.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        true
    }

    /// Whether the password is one of its own. Takes as long whichever it is.
    pub fn takes(&self, _password: &[u8]) -> bool {
        self.is_enabled && self.is_nopass && !self.is_verified
    }

    /// Whether it may do this: the command, then its keys, then its channels.
    pub fn check(&self, _command: &Command, _request: &Request) -> Result<(), Denied> {
        Ok(())
    }

    /// Whether it may subscribe to a channel or pattern.
    pub fn may_hear(&self, _kind: Kind, _topic: &[u8]) -> bool {
        true
    }
}
