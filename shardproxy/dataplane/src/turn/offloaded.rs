//! Commands that the control plane is answering.

use crate::command::{Act, Command};
use crate::dialect::resp::Request;
use crate::exchange::Owed;
use crate::model::digest_of;
use crate::shared::Scripts;

/// A command Python answers, and who waits for it.
pub struct Offloaded {
    pub owed: Owed,
    pub raw: Vec<u8>,
    pub command: u16,
    pub since: u32,
    /// All it does is to wait: it ends when its client goes.
    pub waits: bool,
    pub effect: Effect,
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
