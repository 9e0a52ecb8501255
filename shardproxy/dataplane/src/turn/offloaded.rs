//! Commands that the control plane is answering.

use std::collections::HashMap;

use crate::command::{Act, Command};
use crate::dialect::resp::Request;
use crate::exchange::Owed;
use crate::model::digest_of;
use crate::shared::Scripts;

/// All of them, by their tokens.
#[derive(Default)]
pub struct Answering {
    commands: HashMap<u64, Offloaded>,
    held: usize,
}

impl Answering {
    pub fn insert(&mut self, token: u64, command: Offloaded) {
        self.held += command.held();
        self.commands.insert(token, command);
    }

    pub fn get(&self, token: u64) -> Option<&Offloaded> {
        self.commands.get(&token)
    }

    pub fn remove(&mut self, token: u64) -> Option<Offloaded> {
        let command = self.commands.remove(&token)?;
        self.held -= command.held();
        if self.commands.is_empty() {
            self.commands = HashMap::new();
        }
        Some(command)
    }

    /// Bytes of all, the control plane's copies included.
    pub const fn held(&self) -> usize {
        self.held
    }
}

/// A command Python answers, and who waits for it.
pub struct Offloaded {
    pub owed: Owed,
    /// Bytes of its arguments, as the control plane has them.
    pub handed: usize,
    pub raw: Vec<u8>,
    pub command: u16,
    pub since: u32,
    /// All it does is to wait: it ends when its client goes.
    pub waits: bool,
    pub effect: Effect,
}

impl Offloaded {
    fn held(&self) -> usize {
        let effect = if let Effect::KeepScript(body) = &self.effect { body.len() } else { 0 };
        size_of::<(u64, Self)>() + self.handed + self.raw.capacity() + effect
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
