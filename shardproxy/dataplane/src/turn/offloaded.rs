//! Commands that the control plane is answering.

use std::collections::HashMap;
use std::sync::Arc;

use crate::command::{Act, Command};
use crate::dialect::resp::Request;
use crate::exchange::{Body, Entry, Head, Owed};
use crate::links::Way;
use crate::model::digest_of;
use crate::shared::{Scripts, Shared};

/// Commands of caching rules that the control plane has of one worker at once: each may be a query.
const RULED: usize = 8192;

/// All of them, by their tokens.
#[derive(Default)]
pub struct Answering {
    commands: HashMap<u64, Offloaded>,
    held: usize,
    /// How many of them a caching rule made the control plane's.
    ruled: usize,
}

impl Answering {
    pub fn insert(&mut self, token: u64, command: Offloaded) {
        self.held += command.held();
        self.ruled += usize::from(command.again.is_some());
        self.commands.insert(token, command);
    }

    pub fn get(&self, token: u64) -> Option<&Offloaded> {
        self.commands.get(&token)
    }

    /// Whether one of them may change keys of the cluster.
    pub fn may_change(&self, cluster: usize) -> bool {
        self.commands.values().any(|command| command.may_change == Some(cluster))
    }

    pub fn remove(&mut self, token: u64) -> Option<Offloaded> {
        let command = self.commands.remove(&token)?;
        self.held -= command.held();
        self.ruled -= usize::from(command.again.is_some());
        if self.commands.is_empty() {
            self.commands = HashMap::new();
        }
        Some(command)
    }

    /// Whether the control plane takes more that caching rules make its own.
    pub const fn takes_ruled(&self) -> bool {
        self.ruled < RULED
    }

    /// The same as `remove` of one that a caching rule made the control plane's.
    pub fn remove_ruled(&mut self, token: u64) -> Option<Offloaded> {
        self.commands.get(&token)?.again.as_ref()?;
        self.remove(token)
    }

    /// Bytes of all, the control plane's copies included.
    pub const fn held(&self) -> usize {
        self.held
    }
}

/// A command Python answers, and who waits for it.
pub struct Offloaded {
    pub owed: Owed,
    pub ticket: Ticket,
    pub raw: Vec<u8>,
    /// What is told of it, if `again` does not have it.
    pub told: Head,
    pub command: u16,
    pub since: u32,
    /// All it does is to wait: it ends when its client goes.
    pub waits: bool,
    /// It may change keys of this cluster.
    pub may_change: Option<usize>,
    pub effect: Effect,
    /// A caching rule makes it the control plane's, which may pass it on.
    pub again: Option<Box<Again>>,
}

/// What is sent if a command is passed on.
pub struct Again {
    pub entry: Entry,
    pub bytes: Body,
    /// Where it came from, or was to go.
    pub way: Way,
}

impl Offloaded {
    fn held(&self) -> usize {
        let effect = match &self.effect {
            Effect::KeepScript(body) => body.len(),
            Effect::LogIn(login) => {
                let greeting = login.1.as_ref().and_then(|greeting| Some(greeting.name.as_ref()?.len()));
                login.0.len() + greeting.unwrap_or_default()
            }
            Effect::None | Effect::ForgetScripts => 0,
        };
        let again = self.again.as_deref().map_or(0, |again| size_of::<Again>() + again.bytes.len());
        size_of::<(u64, Self)>() + self.ticket.bytes + self.raw.capacity() + self.told.bytes().len() + effect + again
    }
}

/// The answer to an offloaded command is still wanted. When this goes before the answer comes, with its client or with a
/// worker that panics, the control plane is told.
pub struct Ticket {
    token: u64,
    shared: Arc<Shared>,
    /// Of the command, as the control plane has it.
    bytes: usize,
    is_answered: bool,
}

impl Ticket {
    pub const fn new(token: u64, shared: Arc<Shared>, bytes: usize) -> Self {
        Self { token, shared, bytes, is_answered: false }
    }

    /// The answer has come.
    pub const fn redeem(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_answered {
            self.shared.events.abandon(self.token, self.bytes);
        }
    }
}

/// What the answer means to the data plane itself.
pub enum Effect {
    None,
    /// All nodes have this script now.
    KeepScript(Box<[u8]>),
    ForgetScripts,
    /// Its client is the user of that name; and what it asked for in the same breath, HELLO's.
    LogIn(Box<(Box<[u8]>, Option<Greeting>)>),
}

/// What HELLO asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub resp: u8,
    pub name: Option<Vec<u8>>,
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
            Self::None | Self::LogIn(_) => {}
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
