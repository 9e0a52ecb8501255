//! A look at one request that has its answer: whether it is told of, and to whom.

use std::sync::Arc;

use super::budget::Budget;
use super::came::place;
use super::describe::describe;
use super::record::bounded;
use super::untaken::Untaken;
use super::watch::Timing;
use super::{Seen, Trace};
use crate::clients::{Client, Clients};
use crate::exchange::Owed;
use crate::metrics::Class;
use crate::model::Cluster;

impl Timing {
    /// A request has its answer, and was due for a look. `is_sampled`: it stands for others in spans.
    #[cold]
    pub fn look(&mut self, clients: &mut Clients, spec: &Cluster, seen: &Seen, is_sampled: bool) {
        let client = clients.owed(&seen.request.owed);
        self.see(client.as_deref(), spec, seen, is_sampled);
    }

    /// The same of one whose client is at hand.
    #[cold]
    pub fn see(&mut self, client: Option<&Client>, spec: &Cluster, seen: &Seen, is_sampled: bool) {
        let &Seen { request, cluster, .. } = seen;
        if request.is_nobodys() || request.is_attempt() {
            return;
        }
        let (owed, ready) = (request.owed, self.wide(seen.now));
        let taken = ready.saturating_sub(seen.took());
        let earlier = self.arrivals.take(&owed);
        let came = earlier.map_or(taken, |earlier| earlier.at);
        let took = ready.saturating_sub(came);
        // what waits for keys is meant to take long; of one in parts the last is the slowest, and alone told as slow
        let other_part = self.other_part(&owed);
        let is_last = other_part.is_none_or(|part| self.untaken[part].ready != ready);
        let slow = slow_of(spec).filter(|_| request.class != Class::Block && is_last);
        let is_slow = slow.is_some_and(|(from, _)| took >= u64::from(from));
        let waits = slow.is_some() && client.is_some_and(|client| client.blocked_since.is_some());
        let is_told = (is_slow || waits) && self.may_describe(cluster, &owed, is_slow && other_part.is_none());
        let (traces, key) = if self.is_tracing(cluster) { self.traced(spec, seen) } else { (Vec::new(), None) };
        if !(is_told || is_sampled || !traces.is_empty()) {
            return;
        }
        let mut record = describe(&self.table, spec, seen, client, took);
        if let Some(earlier) = earlier {
            let more = bounded(taken.saturating_sub(earlier.at));
            let phase = if earlier.is_parked { &mut record.phases.parked } else { &mut record.phases.waited };
            *phase = Some(phase.unwrap_or(0).saturating_add(more));
        }
        record.key = key.or(record.key);
        if let Some(part) = other_part.filter(|_| slow.is_some()) {
            self.untaken[part].slow = None;
            if !self.untaken[part].is_wanted() {
                self.untaken.swap_remove(part);
            }
        }
        self.untaken.push(Untaken { record, owed, traces, is_sampled, slow, came, ready, out: None });
    }

    /// Another part of the same request that would be told as slow.
    fn other_part(&self, owed: &Owed) -> Option<usize> {
        let is_it = |one: &Untaken| one.slow.is_some() && place(&one.owed) == place(owed);
        if owed.is_whole() {
            None
        } else {
            self.untaken.iter().position(is_it)
        }
    }

    /// The traces that a request is about, and the key that the last of them is about.
    fn traced(&mut self, spec: &Cluster, seen: &Seen) -> (Vec<Arc<Trace>>, Option<Vec<u8>>) {
        let (mut about, mut key) = (Vec::new(), None);
        let Self { traces, keys, table, .. } = self;
        for trace in traces.iter().filter(|trace| trace.cluster == seen.cluster && !trace.is_over()) {
            let found = keys.find(table, seen.bytes, seen.about(spec), |key| trace.is_about(key));
            if found.is_some() || trace.is_about_all() {
                about.push(trace.clone());
                key = found.or(key);
            }
        }
        (about, key)
    }

    /// As `Budget::take`.
    pub(super) fn may_describe(&mut self, cluster: usize, owed: &Owed, counts: bool) -> bool {
        Budget::take(&mut self.budget, cluster, place(owed), counts)
    }
}

/// From when on a request is slow, and how many of them are kept.
pub fn slow_of(cluster: &Cluster) -> Option<(u32, usize)> {
    let log = cluster.spec.slow_log;
    Some((log.from?, log.entries))
}
