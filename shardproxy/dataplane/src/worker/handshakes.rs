//! TLS handshakes under way. One takes longer than hundreds of requests, so that few are gone on with in a turn, and the
//! others wait for the next.

use std::collections::VecDeque;
use std::time::Duration;

use super::Worker;
use crate::clients::{Client, Clients, Flow};
use crate::dialect::{memcached, texts};
use crate::metrics::CloseReason;
use crate::net::tls::{Fault, Tls};
use crate::serve;
use crate::shared::{Access, Refusal};

/// A handshake may take so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes of clients under way at most; with more the oldest whose client keeps us waiting gives way.
const MOST: usize = 1024;
/// Steps of handshakes in one turn: of clients, and as many of nodes.
const STEPS: usize = 2;

/// The handshakes of one worker.
#[derive(Default)]
pub struct Handshakes {
    /// Clients whose handshake has begun, the oldest first, and some that are done with it.
    begun: VecDeque<(usize, u32)>,
    /// Clients that can go on; each once.
    clients: VecDeque<(usize, u32)>,
    /// Connections to nodes that can, by their places and attempts.
    links: VecDeque<(usize, u64)>,
}

impl Handshakes {
    /// Whether some can go on without a new event.
    pub fn can_go_on(&self) -> bool {
        !self.clients.is_empty() || !self.links.is_empty()
    }

    pub fn queue(&mut self, client: &mut Client) {
        if !client.can_shake {
            client.can_shake = true;
            self.clients.push_back(client.ticket());
        }
    }

    pub fn queue_link(&mut self, index: usize, attempt: u64) {
        if !self.links.contains(&(index, attempt)) {
            self.links.push_back((index, attempt));
        }
    }

    /// Note one more; who gives way to it, if there are too many.
    fn begin(&mut self, client: (usize, u32), clients: &mut Clients) -> Option<usize> {
        let mut gives_way = None;
        if self.begun.len() >= MOST {
            let mut is_under_way = |ticket: &(usize, u32)| clients.tagged(*ticket).is_some_and(|c| is_shaking(c));
            self.begun.retain(&mut is_under_way);
        }
        if self.begun.len() >= MOST {
            let keeps_waiting = |ticket: &(usize, u32)| clients.tagged(*ticket).is_some_and(|c| !c.can_shake);
            let place = self.begun.iter().position(keeps_waiting);
            gives_way = Some(place.and_then(|place| self.begun.remove(place)).map_or(client.0, |oldest| oldest.0));
        }
        self.begun.push_back(client);
        gives_way
    }
}

/// Whether a client's handshake is under way.
fn is_shaking(client: &Client) -> bool {
    matches!(client.flow, Flow::Entering { .. }) && client.stream.tls().is_some()
}

impl Worker {
    /// The client's next bytes are those of a handshake.
    pub(super) fn begin_handshake(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.flow = Flow::Entering { until: self.turn.now + PATIENCE };
        let ticket = client.ticket();
        if client.has_unread {
            self.handshakes.queue(client);
        }
        if let Some(oldest) = self.handshakes.begin(ticket, &mut self.clients) {
            self.refuse(oldest, Refusal::Handshakes, Access::HandshakeFailed, "too many handshakes are under way");
        }
    }

    /// Go on with some of the handshakes that can.
    pub(super) fn shake_hands(&mut self) {
        for _ in 0..STEPS {
            let Some(ticket) = self.handshakes.clients.pop_front() else { break };
            if self.clients.tagged(ticket).is_some_and(|client| is_shaking(client)) {
                self.client_shake(ticket.0);
            }
        }
        for _ in 0..STEPS {
            let Some((index, attempt)) = self.handshakes.links.pop_front() else { break };
            if self.turn.links.get(index).is_some_and(|link| link.attempt == attempt) {
                self.link_connected(index);
            }
        }
    }

    fn client_shake(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.can_shake = false;
        match client.stream.shake() {
            Ok(false) => {
                let is_there_more = |tls: &Tls| (tls.has_more() || client.is_half_closed) && !tls.is_blocked();
                client.has_unread = client.stream.tls().is_some_and(is_there_more);
                if client.has_unread {
                    self.handshakes.queue(client);
                }
            }
            Ok(true) => self.client_secured(index),
            Err(fault) => self.turn_away(index, &fault),
        }
    }

    /// The client may speak, and may have spoken already.
    fn client_secured(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let (Some(tls), Some(served)) = (client.stream.tls(), &self.turn.clusters[client.cluster]) else { return };
        if !served.cluster.has_asked(tls) {
            return self.refuse_handshake(index, "what TLS is spoken with has changed meanwhile");
        }
        served.metrics.handshakes[usize::from(tls.is_resumed())].increment();
        let named_by = served.cluster.spec.tls.as_ref().and_then(|tls| tls.user);
        let name = named_by.and_then(|by| by.name_in(tls.peer_certificate()?));
        client.certificate_name = name.map(|name| name.into_bytes().into());
        serve::login::by_certificate(&mut self.turn, client);
        client.last_active = self.turn.now;
        client.flow = Flow::Open;
        client.has_unread = true;
        self.client_again(index);
    }

    /// There will be no session with it.
    fn turn_away(&mut self, index: usize, fault: &Fault) {
        let client = &self.clients[index];
        let Some(tls) = client.stream.tls() else { return };
        if fault.is_plain {
            let is_memcached = client.memcache.is_spoken;
            tls.say_plainly(if is_memcached { memcached::texts::SPEAKS_TLS } else { texts::SPEAKS_TLS });
            return self.refuse_handshake(index, "a client without TLS where TLS is spoken");
        }
        if tls.has_begun() {
            return self.refuse_handshake(index, &fault.why);
        }
        self.close_now(index, CloseReason::Client); // as a bare TCP health check does
    }

    pub(super) fn refuse_handshake(&mut self, index: usize, why: &str) {
        self.refuse(index, Refusal::Handshake, Access::HandshakeFailed, why);
    }
}
