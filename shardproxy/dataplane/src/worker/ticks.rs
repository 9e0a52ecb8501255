//! Deadlines, ten times a second: no timer per request, every limit checked within a tick of its time.

use std::time::Duration;

use super::Worker;
use crate::clients::{Client, Flow};
use crate::links::State;
use crate::metrics::CloseReason;
use crate::place::is_left;
use crate::turn::Turn;
use crate::{pubsub, recovery, tracking, waiting};

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

impl Worker {
    pub(super) fn tick(&mut self) {
        self.turn.tell_more_accesses();
        self.turn.looks.timing.tick(&self.turn.shared.timings, &mut self.clients, self.turn.micros);
        self.measure();
        self.go_on();
        recovery::tick(&mut self.turn, &mut self.clients);
        pubsub::tick(&mut self.turn);
        waiting::tick(&mut self.turn);
        tracking::tick(&mut self.turn, &mut self.clients);
        self.turn.pubsub.resume();
        self.turn.scratch.trim();
        self.turn.pool.trim();
        for index in std::mem::take(&mut self.late) {
            if let Some(client) = self.clients.get_mut(index) {
                client.is_late = false;
                self.client_flush(index);
            }
        }
        let links: Vec<usize> = self.turn.links.iter().map(|(index, _)| index).collect();
        self.tell_standing();
        for index in links {
            self.tick_link(index);
        }
        self.count_waiting();
        self.turn.grow_recent();
        self.turn.measure_near();
        self.turn.watch();
        self.sweep_clients();
        self.pass_idle();
        if self.leaves_at.is_some_and(|at| self.turn.now >= at) {
            self.leave();
        }
    }

    fn tick_link(&mut self, index: usize) {
        let now = self.turn.now;
        let Some(link) = self.turn.links.get_mut(index) else { return };
        if link.is_lot() {
            return; // all of a cluster are drained together
        }
        link.trim();
        link.forget_up(self.turn.micros);
        let way = link.way;
        self.turn.settle_link(index);
        let Some(timeouts) = self.turn.cluster(way.cluster).map(|cluster| cluster.spec.timeouts) else { return };
        let Some(link) = self.turn.links.get(index) else { return };
        if link.state == State::Resolving && link.patience.is_over(now, RESOLVED) {
            if let Some(address) = self.last_known(index) {
                return self.link_dial(index, &address);
            }
        }
        let Some(link) = self.turn.links.get(index) else { return };
        if link.deposed.is_some_and(|patience| patience < now) {
            return recovery::lost(&mut self.turn, &mut self.clients, index, "the primary is being replaced");
        }
        if link.is_overdue(now, &timeouts) && !self.is_spared(link, &timeouts) {
            link.metrics.timeouts.increment();
            let link = &self.turn.links[index];
            let why = if link.state == State::Ready {
                self.why_overdue(link, &timeouts)
            } else if link.stream.as_ref().is_some_and(|stream| stream.tls().is_some()) {
                format!("no TLS session within {} s (timeouts.connect)", timeouts.connect.as_secs_f64())
            } else {
                format!("not connected within {} s (timeouts.connect)", timeouts.connect.as_secs_f64())
            };
            recovery::lost(&mut self.turn, &mut self.clients, index, &why);
        }
        self.age_login(index);
        let Some(link) = self.turn.links.get(index) else { return };
        if link.is_subscriber() && link.state == State::Ready && now.duration_since(link.heard) > QUIET {
            pubsub::ping(&mut self.turn, index);
        }
        let Some(link) = self.turn.links.get(index) else { return };
        if link.is_watcher() && link.state == State::Ready && now.duration_since(link.heard) > QUIET {
            waiting::ping(&mut self.turn, index);
        }
        let Some(link) = self.turn.links.get(index) else { return };
        if !link.exchange.is_empty()
            && link.state != State::Ready
            && link.trouble.down_since.is_some_and(|since| now.duration_since(since) > timeouts.park)
        {
            recovery::give_up(&mut self.turn, &mut self.clients, index);
        }
        let Some(link) = self.turn.links.get(index) else { return };
        let is_spare = now > link.wanted + LEASE_IDLE || self.turn.shared.dedicated.room() == 0;
        if link.is_leased() && link.owner().is_none() && is_spare {
            return self.turn.remove_link(index);
        }
        let is_wanted =
            !link.exchange.is_empty() || link.listens() || link.trouble.is_out || now < link.wanted + INTEREST;
        if link.state == State::Down && is_wanted && !link.is_retired {
            self.link_connect(index);
        }
    }

    fn age_login(&mut self, index: usize) {
        let Turn { clusters, links, now, .. } = &mut self.turn;
        let Some(link) = links.get_mut(index).filter(|link| link.is_lasting() && link.state == State::Ready) else {
            return;
        };
        let Some(served) = &clusters[link.way.cluster] else { return };
        if link.login.ages(&served.cluster.spec.node_auth, *now) {
            links.mark(index);
        }
    }

    /// What waits for a primary: in the lots, and for one that is lost.
    fn count_waiting(&self) {
        let Turn { clusters, links, .. } = &self.turn;
        let mut counts = vec![(0, 0); clusters.len()];
        for (_, link) in links.iter().filter(|(_, u)| u.is_waiting()) {
            let (requests, bytes) = &mut counts[link.way.cluster];
            *requests += link.exchange.len() as u64;
            *bytes += link.exchange.bytes() as u64;
        }
        for (served, (requests, bytes)) in clusters.iter().zip(counts) {
            let Some(served) = served else { continue };
            served.metrics.parked.set(requests);
            served.metrics.parked_bytes.set(bytes);
        }
    }

    fn sweep_clients(&mut self) {
        self.sweep = (self.sweep + 1) % SWEEPS;
        let now = self.turn.now;
        let (mut idle, mut paused, mut over, mut late) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, client) in self.clients.iter_mut() {
            if index % SWEEPS != self.sweep {
                continue;
            }
            client.replies.trim();
            self.turn.settle_client(client);
            let Some(served) = &self.turn.clusters[client.cluster] else { continue };
            let limit = served.cluster.spec.timeouts.idle;
            let is_idle = limit.is_some_and(|limit| now.duration_since(client.last_active) > limit)
                && !matches!(client.flow, Flow::Queued | Flow::Stopped | Flow::Held)
                && client.replies.is_empty()
                && !client.listens();
            let is_over = Self::is_lingering_since(client, now) || Self::is_stuck(client, now);
            if is_idle || is_over || is_left(&self.turn, client) {
                idle.push(index);
            } else if client.login.ends.is_some_and(|ends| now >= ends) && client.closing.is_none() {
                over.push(index);
            } else if client.flow == Flow::Paused {
                paused.push(index);
            } else if Self::is_late_to_enter(client, now) {
                late.push(index);
            }
        }
        for index in over {
            self.end_session(index);
        }
        for index in paused {
            self.client_flush(index); // memory may be free again, and its own next flush never come
        }
        for index in late {
            self.refuse_late(index);
        }
        for index in idle {
            let client = &self.clients[index];
            let reason = match client.flow {
                _ if client.closing.is_some() => client.closing,
                _ => is_left(&self.turn, client).then_some(CloseReason::Client),
            };
            self.close_now(index, reason.unwrap_or(CloseReason::Idle));
        }
    }

    /// Clients that CLIENT PAUSE held try again.
    fn go_on(&mut self) {
        for ticket in std::mem::take(&mut self.turn.later.stopped) {
            if let Some(client) = self.clients.tagged(ticket).filter(|c| c.flow == Flow::Stopped) {
                client.flow = Flow::Open;
                self.client_again(ticket.0);
            }
        }
    }

    /// At the cap of all buffers the client that holds most is closed; far beyond it as many as it takes, at once.
    pub(super) fn relieve(&mut self, is_patient: bool) {
        while self.turn.accounts.is_to_give() && (is_patient || self.turn.accounts.is_over()) {
            if self.turn.pubsub.is_forgetting() {
                return; // somebody has gone whose memory is not free yet
            }
            let may_go = |client: &Client| !client.details.as_deref().is_some_and(|details| details.no_evict);
            let weights = self.clients.iter().map(|(index, client)| (may_go(client), client.weight(), index));
            // those that asked not to be (CLIENT NO-EVICT) only when there is nobody else
            let heaviest = weights.filter(|&(_, weight, _)| weight > super::READ_SIZE).max();
            let Some((_, _, index)) = heaviest else { return };
            self.close_now(index, CloseReason::Buffers);
            self.turn.pubsub.is_counted = false; // messages nobody else has are free
            self.turn.settle_pubsub();
            self.turn.measure();
            if is_patient {
                return;
            }
        }
    }

    fn measure(&mut self) {
        self.turn.pubsub.is_counted = false; // messages may have left
        self.turn.settle_pubsub();
        self.turn.measure();
        self.relieve(true);
        for (place, index) in std::mem::take(&mut self.throttled).into_iter().enumerate() {
            if let Some(client) = self.clients.get_mut(index) {
                client.has_pass = place < PASSES;
            }
            self.clients.push_again(index);
        }
    }
}
