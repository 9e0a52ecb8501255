//! What a client has queued since MULTI, and that it watches.

use crate::command::Act;
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::exchange::LARGE;

/// MULTI and WATCH. Commands are kept here until EXEC; nothing is sent before.
#[derive(Default)]
pub struct Transaction {
    /// MULTI was said; otherwise only WATCH.
    pub is_open: bool,
    /// A command could not be queued: EXEC will refuse.
    pub is_broken: bool,
    /// MULTI and what came behind it; empty before the first command.
    pub queued: Vec<u8>,
    pub commands: u32,
    /// Some of them are scripts by their digests.
    pub calls_script: bool,
    /// Some of them are answered by what only the proxy knows right.
    pub is_corrected: bool,
    /// Some of them may take seconds.
    pub is_slow: bool,
    /// Those that its client's connection answers, not the engine's.
    pub own: Vec<Own>,
    own_held: usize,
    /// Some of them are judged when they are executed: it says anew who its client is, or looks up what only the engine will
    /// know.
    pub is_judged_again: bool,
    /// The rights by which its commands were judged.
    pub rights: u32,
    /// It selects a database.
    pub selects: bool,
    /// It does what needs a cluster of one shard; and the command that such things are counted for, MULTI.
    pub is_relaxed: bool,
    pub command: u16,
    /// The slot all its keys share, those it watches included; of a cluster of one shard, that of its first key.
    pub slot: Option<u16>,
    /// Leases that go before it, as arguments, and each one's rule; and the slots of its keys that have rules, as bits.
    pub leases: Vec<u8>,
    pub cancels: Vec<u16>,
    pub slots: u128,
    pub is_watching: bool,
    /// Nothing was watched before the WATCH that was sent last.
    pub is_first_watch: bool,
    /// The connection that watched is gone, and with it what it saw: EXEC answers null.
    pub watch_lost: bool,
}

/// A command of a transaction that concerns its client's connection: it is done when EXEC is answered. The engine has a PING
/// in its place.
pub struct Own {
    /// Which of the transaction's commands it is.
    pub at: u32,
    pub act: Act,
    pub request: Vec<u8>,
    /// Its answer, where that is known beforehand.
    pub foretold: Option<Foretold>,
}

/// What a command of a transaction is answered whatever the engine says, and as whom it logs its client in. Only the name is
/// kept: who that is, and whether it still is somebody, is told by the rights of when EXEC is answered.
pub struct Foretold {
    pub answer: Vec<u8>,
    pub user: Option<Box<[u8]>>,
}

/// An EXEC under way whose reply means something to its client's connection.
pub struct Executing {
    pub sequence: u32,
    pub own: Vec<Own>,
    /// Its last command leads the connection back to the database it has: nobody asked for that one.
    pub leads_back: bool,
    /// Bytes it takes.
    pub held: usize,
}

impl Transaction {
    /// Bytes of what it has queued.
    pub fn held(&self) -> usize {
        self.queued.capacity() + self.leases.capacity() + self.cancels.capacity() + self.own_held
    }

    /// The same, with so many more.
    pub fn held_with(&self, more: usize) -> usize {
        self.queued.len() + self.leases.len() + self.own_held + more
    }

    /// What its EXEC's reply has to be looked at for, if for anything. A transaction that selects a database ends by leading
    /// back to that of the connection, which others share: whether it is executed or not, sent again or lost.
    pub fn executing(&mut self, sequence: u32, db: u32) -> Option<Executing> {
        if self.selects {
            let mut select = Vec::new();
            write::command(&mut select, &[b"SELECT", db.to_string().as_bytes()]);
            self.queue(&select);
            self.commands += 1;
        }
        let own = std::mem::take(&mut self.own);
        let held = size_of::<Executing>() + std::mem::take(&mut self.own_held);
        (self.selects || !own.is_empty()).then_some(Executing { sequence, own, leads_back: self.selects, held })
    }

    /// Keep one that the client's connection answers.
    pub fn queue_own(&mut self, act: Act, request: &[u8]) {
        self.queue(texts::PING_REQUEST);
        self.own.push(Own { at: self.commands, act, request: request.to_vec(), foretold: None });
        self.own_held += size_of::<Own>() + request.len();
    }

    /// Keep one more command. A large buffer grows by a quarter rather than to twice its size.
    pub fn queue(&mut self, request: &[u8]) {
        self.begin();
        let room = self.queued.capacity() - self.queued.len();
        if room < request.len() && self.queued.len() + request.len() > LARGE {
            self.queued.reserve_exact(request.len() + self.queued.len() / 4);
        }
        self.queued.extend_from_slice(request);
    }

    /// What leaves as one: the leases' deletion, if there are any, and MULTI with what is behind it.
    pub fn prepend_leases(&mut self) {
        let mut whole = Vec::with_capacity(self.leases.len() + self.queued.len() + 32);
        write::array_header(&mut whole, 1 + self.cancels.len());
        write::bulk(&mut whole, b"DEL");
        whole.append(&mut self.leases);
        whole.append(&mut self.queued);
        self.queued = whole;
    }

    /// The engine is told where it begins.
    pub fn begin(&mut self) {
        if self.queued.is_empty() {
            self.queued.extend_from_slice(texts::MULTI_REQUEST);
        }
    }
}
