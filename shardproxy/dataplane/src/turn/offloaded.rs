//! Commands that the control plane is answering.

use std::sync::Arc;

use crate::command::{Act, Command};
use crate::dialect::resp::Request;
use crate::exchange::Owed;
use crate::model::digest_of;
use crate::shared::{Scripts, Shared};

/// A command Python answers, and who waits for it.
pub struct Offloaded {
    pub owed: Owed,
    pub ticket: Ticket,
    pub raw: Vec<u8>,
    pub command: u16,
    pub since: u32,
    /// All it does is to wait: it ends when its client goes.
    pub waits: bool,
    pub effect: Effect,
}

/// The answer to an offloaded command is still wanted. When this goes before the answer comes, with its client or with a
/// worker that panics, the control plane is told.
pub struct Ticket {
    token: u64,
    shared: Arc<Shared>,
    is_answered: bool,
}

impl Ticket {
    pub const fn new(token: u64, shared: Arc<Shared>) -> Self {
        Self { token, shared, is_answered: false }
    }

    /// The answer has come.
    pub const fn redeem(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_answered {
            self.shared.events.abandon(self.token);
        }
    }
}

/// What the answer means to the data plane itself.
pub enum Effect {
    None,
    /// All nodes have this script now.
    KeepScript(Box<[u8]>),
    ForgetScripts,
}

impl Effect {
    pub fn of(command: Option<&Command>, request: &Request) -> Self {
        match command.map(|command| command.act) {
            Some(Act::ScriptLoad) => Self::KeepScript(request.argument(2).into()),
            Some(Act::ScriptFlush) => Self::ForgetScripts,
            _ => Self::None,
        }
    }

    /// The command was answered so.
    pub fn take(self, scripts: &Scripts, cluster: usize, reply: &[u8]) {
        match self {
            Self::None => {}
            Self::KeepScript(body) => {
                let digest = reply.strip_prefix(b"$40\r\n").and_then(|rest| digest_of(rest.strip_suffix(b"\r\n")?));
                if let Some(digest) = digest {
                    scripts.keep(cluster, digest, &body);
                }
            }
            Self::ForgetScripts => scripts.forget(cluster),
        }
    }
}
