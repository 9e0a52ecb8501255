//! What a client has queued since MULTI, and that it watches.

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
    /// The slot all its keys share, those it watches included.
    pub slot: Option<u16>,
    pub is_watching: bool,
    /// The connection that watched is gone, and with it what it saw: EXEC answers null.
    pub watch_lost: bool,
}

impl Transaction {
    /// Keep one more command. A large buffer grows by a quarter rather than to twice its size.
    pub fn queue(&mut self, request: &[u8]) {
        self.begin();
        let room = self.queued.capacity() - self.queued.len();
        if room < request.len() && self.queued.len() + request.len() > LARGE {
            self.queued.reserve_exact(request.len() + self.queued.len() / 4);
        }
        self.queued.extend_from_slice(request);
    }

    /// The engine is told where it begins.
    pub fn begin(&mut self) {
        if self.queued.is_empty() {
            self.queued.extend_from_slice(texts::MULTI_REQUEST);
        }
    }
}
