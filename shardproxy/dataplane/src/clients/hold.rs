//! Since when a client is held.

use std::time::{Duration, Instant};

/// Its next request waits for room in a queue.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    since: Instant,
    /// In which order clients came to wait.
    pub number: u64,
    /// The place among the client's replies that the request would have: another request waits anew.
    sequence: u32,
}

impl Hold {
    pub const fn new(since: Instant, number: u64, sequence: u32) -> Self {
        Self { since, number, sequence }
    }

    pub const fn is_for(&self, sequence: u32) -> bool {
        self.sequence == sequence
    }

    pub fn has_lasted(&self, now: Instant, limit: Duration) -> bool {
        now.saturating_duration_since(self.since) > limit
    }
}
