//! A command that may wait at an engine, on its way to a connection of its own, or there.

use std::time::{Duration, Instant};

/// What was taken for longer than this was no trouble: the next one begins then.
const SETTLED: Duration = Duration::from_secs(1);

/// A command on its way to a connection of its own, or waiting there.
#[derive(Clone, Copy)]
pub struct Waiting {
    /// Its place among those that wait for a connection: the lower came first.
    pub number: u64,
    /// When its own timeout ends it.
    pub ends: Option<Instant>,
    /// Since when no primary takes it.
    troubled: Option<Instant>,
    /// When it was last sent.
    pub sent: Instant,
    /// CLIENT UNBLOCK ended it, with an error or as its timeout would.
    pub unblocked: Option<bool>,
    /// Not of the kind that CLIENT UNBLOCK ends.
    pub is_watch: bool,
}

impl Waiting {
    pub fn new(now: Instant, number: u64, timeout: Option<Duration>) -> Self {
        let ends = timeout.and_then(|timeout| now.checked_add(timeout));
        Self { number, ends, troubled: None, sent: now, unblocked: None, is_watch: false }
    }

    /// There was nothing for it when it was asked for, and only its engine knows how long it waits.
    pub fn elsewhere(now: Instant, number: u64, ends: Option<Instant>) -> Self {
        Self { ends, ..Self::new(now, number, None) }
    }

    pub fn to_watch(now: Instant, number: u64, limit: Duration) -> Self {
        Self { is_watch: true, ..Self::new(now, number, Some(limit)) }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.unblocked.is_some() || self.ends.is_some_and(|ends| ends <= now)
    }

    /// Whether its engine should have ended it so long ago.
    pub fn is_overdue(&self, now: Instant, by: Duration) -> bool {
        self.ends.and_then(|ends| ends.checked_add(by)).is_some_and(|ends| ends < now)
    }

    pub fn has_trouble(&self) -> bool {
        self.troubled.is_some()
    }

    /// Whether no primary took it for longer than `limit`.
    pub fn is_troubled_for(&self, now: Instant, limit: Duration) -> bool {
        self.troubled.is_some_and(|since| now.duration_since(since) > limit)
    }

    /// No primary takes it now.
    pub fn begin_trouble(&mut self, now: Instant) {
        self.troubled.get_or_insert(now);
    }

    /// It comes back from an engine, unexecuted.
    pub fn returned(&mut self, now: Instant) {
        let is_new = now.duration_since(self.sent) > SETTLED;
        self.troubled = self.troubled.filter(|_| !is_new).or(Some(now));
    }
}
