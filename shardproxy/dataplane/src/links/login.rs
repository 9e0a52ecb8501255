//! What a connection has logged in with, and when: a node may end what logged in too long ago.

use std::time::Instant;

use crate::dialect::resp::write;
use crate::model::NodeAuth;

pub struct Login {
    /// When it was said last.
    pub since: Instant,
    /// It has to be said anew before more leaves.
    pub is_due: bool,
}

impl Login {
    pub const fn at(now: Instant) -> Self {
        Self { since: now, is_due: false }
    }

    /// Whether it is due from now on, and was not.
    pub fn ages(&mut self, auth: &NodeAuth, now: Instant) -> bool {
        let is_old = auth.renew.is_some_and(|renew| now.duration_since(self.since) >= renew);
        is_old && !std::mem::replace(&mut self.is_due, true)
    }
}

/// Log in, and how many replies that brings.
pub fn say(bytes: &mut Vec<u8>, auth: &NodeAuth) -> u8 {
    let Some(password) = &auth.password else { return 0 };
    let mut words: Vec<&[u8]> = vec![b"AUTH"];
    words.extend(auth.username.as_ref().map(String::as_bytes));
    words.push(password.as_bytes());
    write::command(bytes, &words);
    1
}
