//! What a worker looks for in requests now, and what it has found until their clients have taken the replies.

use std::collections::HashSet;
use std::sync::Arc;

use super::budget::Budget;
use super::came::Arrivals;
use super::keys::Keys;
use super::untaken::{Untaken, UNTAKEN};
use super::{Timings, Trace};
use crate::clients::{Came, Clients};
use crate::command::CommandTable;
use crate::exchange::{Entry, Owed};

pub struct Timing {
    pub(super) table: Arc<CommandTable>,
    /// As of when the traces and the share are known.
    version: u64,
    pub(super) traces: Vec<Arc<Trace>>,
    /// One request of so many is sampled, about; 0 = none.
    interval: u32,
    /// When the last tick was: microseconds on the worker's clock, if that did not wrap.
    clock: u64,
    /// What a cluster's threshold counts: all of it, or nothing while every request is looked at.
    pub(super) mask: u32,
    /// Of requests that were not taken when they came, and are under way.
    pub(super) arrivals: Arrivals,
    /// Clients that do not read.
    pub(super) unread: HashSet<(usize, u32)>,
    pub(super) untaken: Vec<Untaken>,
    pub(super) budget: Budget,
    pub(super) keys: Keys,
}

impl Timing {
    pub fn new(table: Arc<CommandTable>) -> Self {
        Self {
            table,
            version: 0,
            traces: Vec::new(),
            interval: 0,
            clock: 0,
            mask: u32::MAX,
            arrivals: Arrivals::default(),
            unread: HashSet::new(),
            untaken: Vec::new(),
            budget: Budget::new(),
            keys: Keys::default(),
        }
    }

    pub fn learn(&mut self, table: &Arc<CommandTable>) {
        self.table = table.clone();
    }

    /// See what is asked for by now; whether that may be something else than before.
    #[inline]
    pub fn begin(&mut self, timings: &Timings) -> bool {
        let is_new = timings.version() != self.version;
        if is_new {
            self.follow(timings);
        }
        is_new
    }

    #[cold]
    fn follow(&mut self, timings: &Timings) {
        self.version = timings.version();
        self.traces = timings.traces();
        let share = timings.share();
        self.interval = if share > 0.0 { (1.0 / share).clamp(1.0, f64::from(u32::MAX / 4)) as u32 } else { 0 };
        self.see_what_counts();
    }

    /// One request of so many is sampled for spans; 0 = none.
    pub const fn interval(&self) -> u32 {
        self.interval
    }

    fn see_what_counts(&mut self) {
        let is_tracing = self.traces.iter().any(|trace| !trace.is_over());
        let looks_at_all = is_tracing || !self.arrivals.is_empty() || !self.unread.is_empty();
        self.mask = if looks_at_all { 0 } else { u32::MAX };
    }

    /// What of a threshold counts: all of it, or nothing while every request is looked at.
    #[inline]
    pub const fn mask(&self) -> u32 {
        self.mask
    }

    /// Whether requests of the cluster are traced.
    #[inline]
    pub fn is_tracing(&self, cluster: usize) -> bool {
        !self.traces.is_empty() && self.traces.iter().any(|trace| trace.cluster == cluster && !trace.is_over())
    }

    /// A moment of the worker's clock on one that does not wrap.
    pub const fn wide(&self, at: u32) -> u64 {
        self.clock.saturating_add_signed(at.wrapping_sub(self.clock as u32) as i32 as i64)
    }

    /// A request that was not taken when it came is under way now.
    #[cold]
    pub fn waited(&mut self, ticket: (usize, u32), came: &Came) {
        self.arrivals.add(ticket, came);
        self.mask = 0;
    }

    /// A request was lost with its connection, and is on its way to wait for another one.
    #[cold]
    pub fn sent_again(&mut self, request: &Entry) {
        let Entry { owed, since, .. } = *request;
        let came = Came::again(self.wide(since), owed.sequence);
        self.waited((owed.client as usize, owed.tag), &came);
    }

    /// Whether a request was looked at, and its client has not taken the reply.
    pub fn has(&self, owed: &Owed) -> bool {
        self.untaken.iter().any(|one| one.owed == *owed)
    }

    /// Whether there is something to settle.
    #[inline]
    pub const fn is_watching(&self) -> bool {
        !self.untaken.is_empty() || self.mask == 0
    }

    /// At the end of a turn: tell of what was taken.
    #[cold]
    pub fn settle(&mut self, timings: &Timings, clients: &mut Clients, now: u32) {
        let now = self.wide(now);
        let mut kept = Vec::new();
        for mut one in std::mem::take(&mut self.untaken) {
            let client = clients.owed(&one.owed);
            if one.is_taken(client, now) || kept.len() >= UNTAKEN {
                one.end(timings, now);
            } else {
                kept.push(one);
            }
        }
        self.untaken = kept;
        self.see_what_counts();
    }

    /// Now and then: which clients still do not read, and which requests are still under way.
    pub fn tick(&mut self, timings: &Timings, clients: &mut Clients, now: u32) {
        self.clock = self.wide(now);
        self.arrivals.forget_ended(clients);
        for (cluster, count) in self.budget.renew() {
            timings.count_slow(cluster, count);
        }
        self.unread.retain(|&ticket| clients.tagged(ticket).is_some_and(|client| client.blocked_since.is_some()));
        self.see_what_counts();
    }
}
