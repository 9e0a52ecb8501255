//! One request on a connection to a node, until its reply is in; and who is owed that reply.

use crate::command::{Command, Misses};
use crate::dialect::memcached::kind::Kind;
use crate::metrics::Class;
use crate::model::NO_SLOT;

/// What is remembered of a written key: a hash.
pub type Mark = u32;

/// No key has this one.
pub const NO_MARK: Mark = u32::MAX;
/// Several keys are written: they are found in the request.
pub const MANY_MARKS: Mark = u32::MAX - 1;
/// Not a part of a scatter-gathered command.
pub const WHOLE: u16 = u16::MAX;
/// No client has these indexes.
const NOBODY: u32 = u32::MAX;
const ATTEMPT: u32 = u32::MAX - 1;
const NEAR: u32 = u32::MAX - 2;

/// A place in a client's queue of replies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owed {
    pub client: u32,
    /// `Client::tag` of that client: a later one in the same place gets nothing of this.
    pub tag: u32,
    pub sequence: u32,
    /// Which part of a scatter-gathered command, or `WHOLE`.
    pub part: u16,
}

impl Owed {
    pub const NOBODY: Self = Self { client: NOBODY, tag: 0, sequence: 0, part: WHOLE };
    /// Whether it is no part of a scatter-gathered command.
    pub const fn is_whole(&self) -> bool {
        self.part == WHOLE
    }

    /// Clients that wait are, all together.
    pub const ATTEMPT: Self = Self { client: ATTEMPT, ..Self::NOBODY };
    /// The near cache is.
    pub const NEAR: Self = Self { client: NEAR, ..Self::NOBODY };
}

/// A question of the near cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NearAsks {
    /// What is asked of the key.
    pub kind: u8,
    /// Only how long it lives.
    pub is_age: bool,
    /// Tells it from those before it about the same key.
    pub serial: u32,
}

/// What comes back for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// One reply of an engine that speaks RESP.
    Reply,
    /// A transaction's: so many replies that its client has seen already, as QUEUED, and then the one that counts.
    Exec(u32),
    /// Likewise, for clients that wait: what there is for each of them.
    Attempt(u32),
    /// One reply, of a command for keys that are loaded where they are missing.
    Loads(Loads),
    /// So many replies to what leaves before it, which are nobody's, and then the one that counts.
    After(u32),
    /// A memcached node's reply to such a request.
    Memcached(Kind),
    /// The same, of a request for keys that are loaded where they are missing.
    MemcachedLoads(Kind, Loads),
}

/// What a caching rule makes of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loads {
    pub misses: Misses,
    /// Of the first key that has one.
    pub rule: u16,
    /// Somebody is to look how old a key is.
    pub is_due: bool,
    /// How often the control plane has found a value, or loaded one, and passed the request on.
    pub looks: u8,
}

/// Whose reply comes next, and what to do with it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub owed: Owed,
    pub asked: Asked,
    /// When it was routed, microseconds on the worker's wrapping clock.
    pub since: u32,
    /// Of a write whose key's readers are to be told when it was executed.
    pub mark: Mark,
    pub command: u16,
    /// That all its keys are in, or `NO_SLOT`.
    pub slot: u16,
    pub class: Class,
    /// It may be sent again if no reply came: it changes nothing.
    pub is_read: bool,
    /// It may change data (`Command::may_write`).
    pub is_write: bool,
    /// Its errors are not only the engine's (`Command::is_program`).
    pub is_program: bool,
    /// Its engine may need seconds for it (`Command::may_be_slow`).
    pub is_slow: bool,
    /// It left once already, whole or in part, on a connection that broke.
    pub is_retry: bool,
    /// It has waited for a primary.
    pub is_parked: bool,
    /// Another node has sent it to the one it is on its way to.
    pub is_redirected: bool,
}

impl Entry {
    /// What a client is owed for a command.
    #[inline]
    pub fn of(owed: Owed, command: &Command, since: u32) -> Self {
        let is_read = command.is_read();
        Self {
            command: command.id,
            class: if is_read { Class::Read } else { Class::Write },
            is_read,
            is_write: command.may_write(),
            is_program: command.is_program,
            is_slow: command.may_be_slow,
            ..Self::plain(owed, since)
        }
    }

    /// What a client of a memcached cluster is owed.
    #[inline]
    pub fn memcached(owed: Owed, kind: Kind, command: u16, since: u32) -> Self {
        let is_read = kind.verb.is_read();
        Self {
            asked: Asked::Memcached(kind),
            command,
            class: if is_read { Class::Read } else { Class::Write },
            is_read,
            ..Self::plain(owed, since)
        }
    }

    /// A request of the proxy's own: its reply is dropped.
    pub const fn nobody(since: u32) -> Self {
        Self::plain(Owed::NOBODY, since)
    }

    /// One of the near cache: for what is asked of a key, or then how long the key lives.
    pub const fn near(asks: NearAsks, since: u32) -> Self {
        let NearAsks { kind, is_age, serial } = asks;
        let owed = Owed { part: kind as u16, tag: is_age as u32, sequence: serial, ..Owed::NEAR };
        Self { is_read: true, ..Self::plain(owed, since) }
    }

    const fn plain(owed: Owed, since: u32) -> Self {
        Self {
            owed,
            asked: Asked::Reply,
            since,
            mark: NO_MARK,
            command: u16::MAX,
            slot: NO_SLOT,
            class: Class::Offload,
            is_read: false,
            is_write: false,
            is_program: false,
            is_slow: false,
            is_retry: false,
            is_parked: false,
            is_redirected: false,
        }
    }

    /// Of a request to a memcached node.
    #[inline]
    pub const fn kind(&self) -> Option<Kind> {
        match self.asked {
            Asked::Memcached(kind) | Asked::MemcachedLoads(kind, _) => Some(kind),
            _ => None,
        }
    }

    /// Whether what is missing of what it asks for is loaded.
    #[inline]
    pub const fn may_load(&self) -> bool {
        matches!(self.asked, Asked::Loads(_) | Asked::MemcachedLoads(..))
    }

    /// Replies before the one that counts.
    #[inline]
    pub const fn inner(&self) -> u32 {
        match self.asked {
            Asked::Exec(inner) | Asked::Attempt(inner) | Asked::After(inner) => inner,
            Asked::Reply | Asked::Loads(_) | Asked::Memcached(_) | Asked::MemcachedLoads(..) => 0,
        }
    }

    /// Whether it is a transaction.
    #[inline]
    pub const fn is_exec(&self) -> bool {
        matches!(self.asked, Asked::Exec(_))
    }

    /// Whether it asks what there is for clients that wait.
    #[inline]
    pub const fn is_attempt(&self) -> bool {
        matches!(self.asked, Asked::Attempt(_))
    }

    /// Whether what it wrote is to be found in its bytes: long after it was routed, or several keys.
    #[inline]
    pub fn is_found_in_request(&self) -> bool {
        self.class == Class::Block || self.is_exec() || self.mark == MANY_MARKS
    }

    /// Whether it may write, and its keys are known nowhere: of a script, or SWAPDB.
    #[inline]
    pub fn may_write_unnamed(&self) -> bool {
        (self.is_write || self.is_program) && !self.is_found_in_request()
    }

    /// Whether it is a request of the proxy's own. It concerns the connection it was put on, and no other.
    pub const fn is_nobodys(&self) -> bool {
        matches!(self.owed.client, NOBODY | NEAR)
    }

    /// What the near cache asks, where it does.
    #[inline]
    pub const fn near_asks(&self) -> Option<NearAsks> {
        match self.owed {
            Owed { client: NEAR, part, tag, sequence } => {
                Some(NearAsks { kind: part as u8, is_age: tag != 0, serial: sequence })
            }
            _ => None,
        }
    }

    /// Whether replicas should have what it does before its client is answered: a write, or a transaction.
    #[inline]
    pub const fn is_durable(&self) -> bool {
        !self.is_read && (self.is_write || self.is_exec())
    }
}
