//! Deadlines, ten times a second: no timer per request, every limit checked within a tick of its time.

use std::time::{Duration, Instant};

use super::core::{Core, Pressure};
use super::Worker;
use crate::buffer::trim;
use crate::client::Flow;
use crate::metrics::CloseReason;
use crate::topology::Timeouts;
use crate::upstream::{State, Upstream};

/// Clients looked at per tick: all of them within a second.
const SWEEPS: usize = 10;
/// A connection that nobody asked for is not kept open anew for longer than this.
const INTEREST: Duration = Duration::from_secs(10);

/// A subscribing connection that has said nothing for so long is asked whether it is alive.
const QUIET: Duration = Duration::from_secs(1);

/// A name that is not resolved by then leads where it led last; its servers may need many seconds to fail.
const RESOLVED: Duration = Duration::from_millis(200);

/// A pooled connection nobody used for so long is closed.
const LEASE_IDLE: Duration = Duration::from_secs(60);

/// Clients that are read per tick although memory is short: so some complete their requests, or are found gone, and
/// memory is freed; if none does, it fills up and the heaviest is closed.
const PASSES: usize = 8;

/// Whether a connection's node has had all the time for what it owes.
fn is_overdue(upstream: &Upstream, now: Instant, timeouts: &Timeouts) -> bool {
    let is_slow = |limit: Duration| upstream.patience.is_over(now, limit);
    match (upstream.state, timeouts.reply) {
        (State::Down, _) | (State::Ready, None) => false,
        (State::Resolving | State::Connecting | State::Greeting(_), _) => is_slow(timeouts.connect),
        (State::Ready, Some(limit)) if upstream.is_pubsub => upstream.is_pinged && is_slow(limit),
        (State::Ready, Some(limit)) if upstream.is_waited_on() => {
            // the wait is its own, the answer that ends it is none
            upstream.waiting.is_some_and(|waiting| waiting.is_overdue(now, limit))
                || upstream.is_within_reply() && is_slow(limit)
        }
        (State::Ready, Some(limit)) => upstream.window.in_flight() > 0 && is_slow(limit),
    }
}

impl Worker {
    pub(super) fn tick(&mut self) {
        self.measure();
        self.go_on();
        self.tick_waiting();
        let Self { core, clients, dirty, .. } = self;
        crate::pubsub::tick(core, clients, dirty);
        for index in std::mem::take(&mut self.late) {
            if let Some(client) = self.clients.get_mut(index) {
                client.is_late = false;
                self.client_flush(index);
            }
        }
        let upstreams: Vec<usize> = self.core.upstreams.iter().map(|(index, _)| index).collect();
        for index in upstreams {
            self.tick_upstream(index);
        }
        self.count_waiting();
        for writes in self.core.clusters.iter().flatten().filter_map(|served| served.writes.as_ref()) {
            writes.recent.grow_if_crowded(self.core.millis, writes.window);
        }
        self.sweep_clients();
    }

    fn tick_upstream(&mut self, index: usize) {
        let now = self.core.now;
        let Some(upstream) = self.core.upstreams.get_mut(index) else { return };
        if upstream.is_lot {
            return self.tick_lot(index);
        }
        trim(&mut upstream.pending);
        let held = upstream.held();
        Core::settle(&mut self.core.held, &mut upstream.accounted, held);
        let Some(served) = &self.core.clusters[upstream.cluster] else { return };
        let timeouts = served.cluster.spec.timeouts;
        if upstream.state == State::Resolving && upstream.patience.is_over(now, RESOLVED) {
            if let Some(address) = self.core.last_known(index) {
                return self.upstream_dial(index, &address);
            }
        }
        let Some(upstream) = self.core.upstreams.get(index) else { return };
        if upstream.deposed.is_some_and(|patience| patience < now) {
            return self.upstream_lost(index, "the primary is being replaced");
        }
        if is_overdue(upstream, now, &timeouts) {
            upstream.metrics.timeouts.increment();
            let why = if upstream.state == State::Ready {
                let limit = timeouts.reply.unwrap_or_default().as_secs_f64();
                format!("no reply for {limit} s (timeouts.reply)")
            } else {
                format!("not connected within {} s (timeouts.connect)", timeouts.connect.as_secs_f64())
            };
            self.upstream_lost(index, &why);
        }
        let Some(upstream) = self.core.upstreams.get(index) else { return };
        if upstream.is_pubsub && upstream.state == State::Ready && now.duration_since(upstream.heard) > QUIET {
            crate::pubsub::ping(&mut self.core, index);
        }
        let Some(upstream) = self.core.upstreams.get(index) else { return };
        if !upstream.pending.is_empty()
            && upstream.state != State::Ready
            && upstream.down_since.is_some_and(|since| now.duration_since(since) > timeouts.park)
        {
            self.upstream_give_up(index);
        }
        let Some(upstream) = self.core.upstreams.get(index) else { return };
        if upstream.is_dedicated && upstream.owner.is_none() && now > upstream.wanted + LEASE_IDLE {
            return self.upstream_remove(index);
        }
        let is_wanted =
            !upstream.pending.is_empty() || upstream.is_pubsub || upstream.is_out || now < upstream.wanted + INTEREST;
        if upstream.state == State::Down && is_wanted && !upstream.is_retired {
            self.upstream_connect(index);
        }
    }

    /// What waits for a primary: in the lots, and for one that is lost.
    fn count_waiting(&self) {
        let Core { clusters, upstreams, .. } = &self.core;
        let mut counts = vec![(0, 0); clusters.len()];
        for (_, upstream) in upstreams.iter().filter(|(_, u)| u.is_waiting()) {
            let (requests, bytes) = &mut counts[upstream.cluster];
            *requests += upstream.pending.len() as u64;
            *bytes += upstream.window.len() as u64;
        }
        for (served, (requests, bytes)) in clusters.iter().zip(counts) {
            let Some(served) = served else { continue };
            served.metrics.parked.set(requests);
            served.metrics.parked_bytes.set(bytes);
        }
    }

    fn sweep_clients(&mut self) {
        self.sweep = (self.sweep + 1) % SWEEPS;
        let now = self.core.now;
        let (mut idle, mut paused) = (Vec::new(), Vec::new());
        for (index, client) in &mut self.clients {
            if index % SWEEPS != self.sweep {
                continue;
            }
            client.replies.trim();
            let held = client.held();
            Core::settle(&mut self.core.held, &mut client.accounted, held);
            let Some(served) = &self.core.clusters[client.cluster] else { continue };
            let limit = served.cluster.spec.timeouts.idle;
            let is_idle = limit.is_some_and(|limit| now.duration_since(client.last_active) > limit)
                && !matches!(client.flow, Flow::Queued | Flow::Stopped)
                && client.replies.is_empty()
                && !client.listens();
            let is_over = Self::is_lingering_since(client, now) || Self::is_stuck(client, now);
            if is_idle || is_over || self.core.is_left(client) {
                idle.push(index);
            } else if client.flow == Flow::Paused {
                paused.push(index);
            }
        }
        for index in paused {
            self.client_flush(index); // memory may be free again, and its own next flush never come
        }
        for index in idle {
            let client = &self.clients[index];
            let reason = match client.flow {
                _ if client.closing.is_some() => client.closing,
                _ => self.core.is_left(client).then_some(CloseReason::Client),
            };
            self.close_now(index, reason.unwrap_or(CloseReason::Idle));
        }
    }

    /// Clients that CLIENT PAUSE held try again.
    fn go_on(&mut self) {
        for (index, tag) in std::mem::take(&mut self.core.stopped) {
            if let Some(client) = self.clients.get_mut(index).filter(|c| c.tag() == tag && c.flow == Flow::Stopped) {
                client.flow = Flow::Open;
                self.client_again(index);
            }
        }
    }

    /// At the cap of all buffers the client that holds most is closed.
    fn measure(&mut self) {
        self.core.measure();
        if self.core.pressure == Pressure::Full {
            let heaviest = self.clients.iter().max_by_key(|(_, c)| c.held()).map(|(index, c)| (index, c.held()));
            if let Some((index, held)) = heaviest {
                if held > super::READ_SIZE {
                    self.close_now(index, CloseReason::Buffers);
                }
            }
        }
        for (place, index) in std::mem::take(&mut self.throttled).into_iter().enumerate() {
            if let Some(client) = self.clients.get_mut(index) {
                client.has_pass = place < PASSES;
            }
            self.again.push(index);
        }
    }
}
