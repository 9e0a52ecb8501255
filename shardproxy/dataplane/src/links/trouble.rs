//! What is wrong with a connection or its node, and when it is tried again.

use std::collections::HashMap;
use std::time::Instant;

pub struct Trouble {
    pub retry_at: Instant,
    pub failures: u32,
    /// Since when requests may be waiting for this node; none while it answers.
    pub down_since: Option<Instant>,
    pub why_down: String,
    /// What its node, busy with a script, said instead of greeting: whoever waits is told the same.
    pub busy: Option<Box<[u8]>>,
    /// The engine does not have the database it was to be for.
    pub lacks_database: bool,
    /// Of a memcached node: failures since it last answered a client's request, and how often it was back only to fail.
    pub strikes: u32,
    pub relapses: u32,
    /// A memcached node failed as often as it may: its keys are served otherwise until it answers a probe.
    pub is_out: bool,
    /// It was lost, and is connected again since a moment ago.
    pub was_down: bool,
    /// A replica that could not serve reads is not asked for any until then.
    pub rests_until: Instant,
}

impl Trouble {
    pub fn new(now: Instant) -> Self {
        Self {
            retry_at: now,
            failures: 0,
            down_since: None,
            was_down: false,
            why_down: String::new(),
            busy: None,
            lacks_database: false,
            strikes: 0,
            relapses: 0,
            is_out: false,
            rests_until: now,
        }
    }

    /// It is connected, and the node has answered if it was lost before: whatever was wrong is over.
    pub fn recovered(&mut self) {
        self.was_down |= self.down_since.is_some();
        self.down_since = None;
        self.failures = 0;
        self.why_down.clear();
        self.busy = None;
    }
}

/// Who the node at the other end says it is.
#[derive(Default)]
pub struct Identity {
    /// The greeting under way ends with the question who it is.
    pub is_asking: bool,
    pub run_id: Option<Box<str>>,
    /// Its node is named as a primary by who it is, and this connection has not asked: it does before more leaves.
    pub is_unproven: bool,
    /// It was closed because of who it is.
    pub is_stranger: bool,
}

/// What an engine refused, and what was sent behind that.
#[derive(Default)]
pub struct Redo {
    /// Replies still to come to what was sent before an engine refused, and whom it refused: their reads are asked again,
    /// so that none overtakes its client's write. By client, its tag, and where only that counts, the slot; and whether only
    /// that slot is waited for.
    pub left: usize,
    pub refused: HashMap<(u32, u32, u16), bool>,
    /// How many of the first request's inner replies came, and the first of them that was an error.
    pub inner_seen: u32,
    pub inner_error: Option<Box<[u8]>>,
}

impl Redo {
    /// One more of the replies that are looked at has come.
    pub fn count_down(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.refused.clear();
        }
    }
}
