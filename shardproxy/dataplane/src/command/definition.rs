//! One command: how it is called, where its keys are, who serves it.

use super::{Act, Categories, Flags, KeySpecs, Misses};

/// How the replies of several shards become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    Mget,
    Mset,
    Sum,
}

/// Who serves a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The data plane itself.
    Local,
    /// The shard of its keys.
    Shard,
    /// The shard of its keys, unless it concerns a database that several shards cannot serve.
    Database,
    /// Several shards, one part each.
    Split(Join),
    /// The control plane.
    Offload,
    /// Any shard.
    Any,
    /// The only shard: refused, for the reason in `Command::note`, where a cluster has more.
    Only,
    /// MULTI and its relatives.
    Transaction,
    PubSub,
    /// A connection of its own to the shard of its keys, where it may wait.
    Block,
    /// Nobody, for the reason in `Command::note`.
    Refused,
    Later,
    /// The command with this index, under which no client knows it (see overrides.rs).
    Renamed(u16),
}

/// What names the code that a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Body,
    Digest,
    Function,
}

/// How to find a command's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    None,
    /// `first`, `last` and `step` say it.
    Range,
    /// This argument counts the keys that follow it; a range may come before.
    NumKeys(u8),
    /// XREAD and XREADGROUP.
    Streams,
    Sort,
    GeoRadius,
    Migrate,
}

#[derive(Clone, Debug)]
pub struct Command {
    /// Dense over commands and subcommands: an index for counters.
    pub id: u16,
    /// Lower case; of a subcommand `container|subcommand`.
    pub name: Box<str>,
    /// How many arguments, the name included; negative: at least so many.
    pub arity: i32,
    pub flags: Flags,
    pub categories: Categories,
    /// The first and last argument that is a key (a negative last counts from the end), and the step between keys.
    pub first: i32,
    pub last: i32,
    pub step: i32,
    pub keys: Keys,
    /// What it does to which keys.
    pub key_specs: KeySpecs,
    pub route: Route,
    pub act: Act,
    pub note: Box<str>,
    /// Its engine may need seconds for it, and is silent meanwhile.
    pub may_be_slow: bool,
    /// It runs code that is not the engine's own, a script, a function or a module: its errors may say anything.
    pub is_program: bool,
    /// What its first argument is, of a command that runs code of the application's.
    pub runs: Option<Code>,
    /// What caching rules mean to it.
    pub misses: Misses,
    pub is_rules_write: bool,
    /// It writes, and leaves values as they are.
    pub keeps_values: bool,
    /// MONITOR shows it.
    pub is_monitored: bool,
    /// CLIENT PAUSE WRITE holds it.
    pub is_paused_as_write: bool,
    /// It concerns all shards: of a cluster of one, its engine.
    pub is_of_all_shards: bool,
    /// It goes to the shard of its keys, and has no subcommands; and its only key is its first argument.
    pub is_plain: bool,
    pub is_single: bool,
    /// Nothing is to be done about it but to send it to where that key is.
    pub is_straight: bool,
    /// Refused unless the config allows it.
    pub is_restricted: bool,
    /// An engine told of it; of its subcommands nothing may be known.
    pub is_learned: bool,
    pub subcommands: Vec<Command>,
}

impl Command {
    /// Whether it takes so many arguments, its name included.
    #[inline]
    pub const fn accepts(&self, count: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity >= 0 {
            count == arity
        } else {
            count >= arity
        }
    }

    /// Note what is asked of it for every request.
    pub(super) fn see_itself(&mut self) {
        self.is_plain = self.route == Route::Shard && self.subcommands.is_empty();
        self.is_single = self.first == 1 && self.last == 1 && !self.has_movable_keys();
        self.is_straight = self.is_single && self.runs.is_none();
        self.subcommands.iter_mut().for_each(Self::see_itself);
    }

    pub fn subcommand(&self, name: &[u8]) -> Option<&Self> {
        self.subcommands.iter().find(|sub| {
            let known = sub.name.rsplit_once('|').map_or(&*sub.name, |(_, known)| known);
            known.as_bytes().eq_ignore_ascii_case(name)
        })
    }

    /// Whether a replica may serve it: it changes nothing and does not wait.
    #[inline]
    pub const fn is_read(&self) -> bool {
        self.flags.contains(Flags::READONLY)
    }

    /// Whether the proxy knows how to ask what there is for it, should there be nothing yet.
    pub fn waits_for_keys(&self) -> bool {
        self.act.waits() || self.keys == Keys::Streams
    }

    /// Whether it may change data. Of a program that does not say that it only reads, nobody knows.
    #[inline]
    pub const fn may_write(&self) -> bool {
        self.flags.contains(Flags::WRITE) || self.is_program && !self.is_read()
    }

    #[inline]
    const fn has_movable_keys(&self) -> bool {
        !matches!(self.keys, Keys::Range | Keys::None)
    }
}
