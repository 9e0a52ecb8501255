//! Connections whose TLS handshake is under way: no clients yet. A handshake takes longer than a thousand requests, so
//! that few are gone on with in one turn, and the others wait for the next.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::{arrival_token, Worker};
use crate::clients::Seat;
use crate::dialect::{memcached, texts};
use crate::model::{EndpointKind, EngineKind};
use crate::net::tls::{Fault, ServerConfig};
use crate::net::Stream;
use crate::shared::{Access, AccessEvent};

/// A handshake may take so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes under way at most; with more the oldest whose client keeps us waiting gives way.
const MOST: usize = 1024;
/// Steps of handshakes in one turn: of clients, and as many of nodes.
const STEPS: usize = 2;

/// Somebody who connected.
pub struct Arrived {
    pub stream: Stream,
    pub id: u64,
    pub cluster: usize,
    pub endpoint: EndpointKind,
    pub seat: Seat,
}

struct Arrival {
    arrived: Arrived,
    since: Instant,
    /// It has something to go on with, and waits for its turn.
    is_queued: bool,
}

/// The handshakes of one worker.
#[derive(Default)]
pub struct Arrivals {
    slab: Slab<Arrival>,
    /// Those that can go on; each once.
    queue: VecDeque<usize>,
    /// Connections to nodes that can go on, by their places and attempts.
    links: VecDeque<(usize, u64)>,
    pub accounted: usize,
}

impl Arrivals {
    /// Whether some can go on without a new event.
    pub fn can_go_on(&self) -> bool {
        !self.queue.is_empty() || !self.links.is_empty()
    }

    pub fn held(&self) -> usize {
        let streams = self.slab.iter().map(|(_, arrival)| arrival.arrived.stream.held()).sum::<usize>();
        streams + self.slab.capacity() * size_of::<Arrival>()
    }

    fn queue(&mut self, index: usize) {
        if let Some(arrival) = self.slab.get_mut(index).filter(|arrival| !arrival.is_queued) {
            arrival.is_queued = true;
            self.queue.push_back(index);
        }
    }

    pub fn queue_link(&mut self, index: usize, attempt: u64) {
        if !self.links.contains(&(index, attempt)) {
            self.links.push_back((index, attempt));
        }
    }
}

impl Worker {
    /// Take somebody in: at once as a client, or after a handshake.
    pub(super) fn arrive(&mut self, mut arrived: Arrived, tls: Option<Arc<ServerConfig>>) {
        let Some(tls) = tls else { return self.adopt(arrived, false) };
        if self.turn.served(arrived.cluster).is_none() || self.is_draining {
            return;
        }
        if self.arrivals.slab.len() >= MOST && !self.make_room() {
            return self.refuse(&arrived, "too many handshakes are under way");
        }
        let Ok(stream) = arrived.stream.securing(tls) else { return };
        arrived.stream = stream;
        let index = self.arrivals.slab.vacant_key();
        if arrived.stream.register(&self.turn.registry, arrival_token(index)).is_ok() {
            self.arrivals.slab.insert(Arrival { arrived, since: self.turn.now, is_queued: false });
        }
    }

    /// Have the oldest whose client keeps us waiting give way; whether there is one.
    fn make_room(&mut self) -> bool {
        let waiting = self.arrivals.slab.iter().filter(|(_, arrival)| !arrival.is_queued);
        let Some((index, _)) = waiting.min_by_key(|(_, arrival)| arrival.since) else { return false };
        let arrival = self.arrivals.slab.remove(index);
        self.refuse(&arrival.arrived, "too many handshakes are under way");
        true
    }

    pub(super) fn arrival_ready(&mut self, index: usize) {
        self.arrivals.queue(index);
    }

    /// Go on with some of the handshakes that can.
    pub(super) fn shake_hands(&mut self) {
        for _ in 0..STEPS {
            let Some(index) = self.arrivals.queue.pop_front() else { break };
            self.arrival_shake(index);
        }
        for _ in 0..STEPS {
            let Some((index, attempt)) = self.arrivals.links.pop_front() else { break };
            if self.turn.links.get(index).is_some_and(|link| link.attempt == attempt) {
                self.link_connected(index);
            }
        }
    }

    fn arrival_shake(&mut self, index: usize) {
        let Some(arrival) = self.arrivals.slab.get_mut(index) else { return };
        arrival.is_queued = false;
        match arrival.arrived.stream.shake() {
            Ok(false) => {
                if arrival.arrived.stream.tls().is_some_and(|tls| tls.has_more()) {
                    self.arrivals.queue(index);
                }
            }
            Ok(true) => {
                let arrived = self.arrivals.slab.remove(index).arrived;
                self.adopt(arrived, true);
            }
            Err(fault) => {
                let arrival = self.arrivals.slab.remove(index);
                self.turn_away(&arrival.arrived, &fault);
            }
        }
    }

    /// There will be no session with it.
    fn turn_away(&mut self, arrived: &Arrived, fault: &Fault) {
        let Some(tls) = arrived.stream.tls() else { return };
        if fault.is_plain {
            let engine = self.turn.cluster(arrived.cluster).map(|cluster| cluster.spec.engine);
            let is_memcached = engine == Some(EngineKind::Memcached);
            tls.say_plainly(if is_memcached { memcached::texts::SPEAKS_TLS } else { texts::SPEAKS_TLS });
            return self.refuse(arrived, "a client without TLS on an endpoint that speaks TLS");
        }
        if tls.has_begun() {
            self.refuse(arrived, &fault.why); // who only looked whether somebody listens did no wrong
        }
    }

    fn refuse(&mut self, arrived: &Arrived, why: &str) {
        let Some(served) = &self.turn.clusters[arrived.cluster] else { return };
        served.metrics.handshakes_failed.increment();
        self.turn.shared.events.tell_access(AccessEvent {
            cluster: served.cluster.spec.name.clone(),
            endpoint: arrived.endpoint.name(),
            kind: Access::HandshakeFailed,
            address: arrived.stream.peer(),
            why: why.to_owned(),
            ..AccessEvent::default()
        });
    }

    /// Give up those that take too long, or that nobody serves any more.
    pub(super) fn tick_arrivals(&mut self) {
        let now = self.turn.now;
        let is_over = |arrival: &Arrival| {
            now.duration_since(arrival.since) > PATIENCE
                || self.is_draining
                || self.turn.served(arrival.arrived.cluster).is_none()
        };
        let over: Vec<usize> =
            self.arrivals.slab.iter().filter(|(_, arrival)| is_over(arrival)).map(|(index, _)| index).collect();
        for index in over {
            let arrival = self.arrivals.slab.remove(index);
            if now.duration_since(arrival.since) > PATIENCE {
                self.refuse(&arrival.arrived, "the handshake was not done in time");
            }
        }
        self.arrivals.queue.retain(|&index| self.arrivals.slab.contains(index));
        if self.arrivals.slab.is_empty() {
            self.arrivals.slab.shrink_to_fit();
        }
        let held = self.arrivals.held();
        self.turn.accounts.settle(&mut self.arrivals.accounted, held);
    }
}
