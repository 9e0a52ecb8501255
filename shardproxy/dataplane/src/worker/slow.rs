//! What nodes owe for long that may take long, told ten times a second; and who is not given up for it.

use std::sync::Arc;
use std::time::Duration;

use super::Worker;
use crate::links::{Link, State};
use crate::metrics::{NodeMetrics, Slow};
use crate::model::Timeouts;

/// What is owed for less than this explains nothing yet.
const LATE: Duration = Duration::from_millis(100);

impl Worker {
    /// Tell how each node stands with this worker.
    pub(super) fn tell_standing(&mut self) {
        for served in self.turn.clusters.iter_mut().flatten() {
            served.slow = self.turn.shared.slow.of(&served.cluster.spec.name);
        }
        let mut found: Vec<(Arc<NodeMetrics>, Slow)> = Vec::new();
        for index in self.turn.links.iter().map(|(index, _)| index).collect::<Vec<_>>() {
            let Some(slow) = self.slow_of(index) else { continue };
            let metrics = &self.turn.links[index].metrics;
            match found.iter_mut().find(|(known, _)| Arc::ptr_eq(known, metrics)) {
                Some((_, oldest)) if oldest.since <= slow.since => {}
                Some((_, oldest)) => *oldest = slow,
                None => found.push((metrics.clone(), slow)),
            }
        }
        for metrics in std::mem::take(&mut self.busy) {
            if !found.iter().any(|(known, _)| Arc::ptr_eq(known, &metrics)) {
                metrics.stance.owes(None);
            }
        }
        for (metrics, slow) in found {
            metrics.stance.owes(Some(slow));
            self.busy.push(metrics);
        }
    }

    /// The oldest request on a connection that may be why it is silent. A wait at the engine is none: it hears others.
    fn slow_of(&mut self, index: usize) -> Option<Slow> {
        let link = self.turn.links.get(index)?;
        if !link.exchange.is_in_flight() || link.is_waited_on() || !link.patience.is_over(self.turn.now, LATE) {
            return None;
        }
        let learned = self.turn.served(link.way.cluster).map(|served| served.slow.clone()).unwrap_or_default();
        let is_slow = |command: u16| learned.binary_search(&command).is_ok();
        let entry = *link.exchange.oldest_sent(|entry| entry.is_slow || is_slow(entry.command))?;
        let age = self.turn.micros.wrapping_sub(entry.since) / 1000;
        let client = self.clients.owed(&entry.owed);
        Some(Slow {
            command: entry.command,
            since: self.turn.millis.saturating_sub(u64::from(age)),
            client: client.as_ref().map_or(0, |client| client.id),
            address: client.as_ref().map(|client| client.address()).unwrap_or_default(),
            name: client.and_then(|client| client.details.as_ref()).map(|d| d.name.clone()).unwrap_or_default(),
        })
    }

    /// Whether the node of a connection that is overdue is only busy: some worker waits for what may take long, or the
    /// control plane knows. One that is not even reached is not.
    pub(super) fn is_spared(&self, link: &Link, timeouts: &Timeouts) -> bool {
        if !matches!(link.state, State::Ready | State::Greeting(_)) {
            return false;
        }
        let Some(cluster) = self.turn.cluster(link.way.cluster) else { return false };
        let label = self.turn.node_label(link.way.cluster, link.way.node);
        let is_patient = !link.patience.is_over(self.turn.now, timeouts.slow);
        let is_known = self.turn.shared.metrics.is_spared(&cluster.spec.name, label, self.turn.millis);
        is_known || is_patient && self.may_be_busy(link)
    }

    fn may_be_busy(&self, link: &Link) -> bool {
        let Some(cluster) = self.turn.cluster(link.way.cluster) else { return false };
        let label = self.turn.node_label(link.way.cluster, link.way.node);
        self.turn.shared.metrics.owes_slow(&cluster.spec.name, label)
    }

    /// What is said of a connection whose node has had all its time.
    pub(super) fn why_overdue(&self, link: &Link, timeouts: &Timeouts) -> String {
        let reply = timeouts.reply.unwrap_or_default();
        if timeouts.slow > reply && self.may_be_busy(link) {
            return format!("no reply for {} s (failover.slow_after)", timeouts.slow.as_secs_f64());
        }
        format!("no reply for {} s (timeouts.reply)", reply.as_secs_f64())
    }
}
