//! What comes before a client's first request: a balancer says whose connection it is. Nothing is answered meanwhile, and
//! not a byte is read that is not part of that.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use crate::clients::{Client, Flow, Passage, Seat};
use crate::dialect::proxy_protocol::{self, MAX_HEADER};
use crate::metrics::CloseReason;
use crate::model::EndpointKind;
use crate::net::Stream;
use crate::shared::{Access, AccessEvent, Refusal};

/// A balancer says it at once; it is looked at once a second whether it did.
const ENTRY: Duration = Duration::from_secs(5);

/// Somebody who connected.
pub struct Arrived {
    pub stream: Stream,
    pub id: u64,
    pub cluster: usize,
    pub endpoint: EndpointKind,
    /// The endpoint's, as it is configured.
    pub address: Arc<str>,
    /// The endpoint is for balancers, who say first where their clients are; and TLS is spoken there.
    pub is_balanced: bool,
    pub speaks_tls: bool,
    pub seat: Seat,
    /// It was served by another process until now.
    pub passage: Option<Box<Passage>>,
}

impl Client {
    /// Its balancer has not yet said whose connection it is.
    fn awaits_header(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.source.is_none())
    }

    /// It comes by way of a balancer, to an endpoint for these.
    pub(super) fn enter_behind_balancer(&mut self, now: Instant) {
        self.origin = Some(Box::default());
        self.flow = Flow::Entering { until: now + ENTRY };
    }
}

impl Worker {
    /// Let a client in, if it has said all that comes before.
    pub(super) fn client_enter(&mut self, index: usize) {
        let Self { clients, turn, scratch, .. } = self;
        let client = &mut clients[index];
        if client.closing.is_some() || !client.has_unread {
            return;
        }
        if !client.awaits_header() {
            return self.handshakes.queue(client);
        }
        let header = &mut scratch[..MAX_HEADER];
        let shown = match client.stream.peek(header) {
            Ok(shown) => shown,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                client.has_unread = false;
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return clients.look_again(index),
            Err(_) => return self.close_now(index, CloseReason::Error),
        };
        match proxy_protocol::parse(&header[..shown]) {
            Ok(Some((source, length))) => {
                if !matches!(client.stream.read(&mut header[..length]), Ok(read) if read == length) {
                    return self.close_now(index, CloseReason::Error); // it was there a moment ago
                }
                if let Some(origin) = &mut client.origin {
                    origin.source = Some(source);
                }
                client.last_active = turn.now;
                if let Some(served) = &turn.clusters[client.cluster] {
                    served.metrics.bytes_in.add(length as u64);
                }
                self.client_admit(index);
            }
            Ok(None) if shown == 0 => self.close_now(index, CloseReason::Client), // as a bare TCP health check does
            Ok(None) if client.is_half_closed => self.refuse_header(index, "a header that ends early"),
            Ok(None) => client.has_unread = false, // what is missing raises a new event
            Err(error) => self.refuse_header(index, &error.to_string()),
        }
    }

    /// It is known where the client is.
    fn client_admit(&mut self, index: usize) {
        let client = &self.clients[index];
        if self.turn.cluster(client.cluster).is_some_and(|cluster| client.is_admitted(&cluster.inbound)) {
            if client.stream.tls().is_some() {
                return self.begin_handshake(index);
            }
            self.clients[index].flow = Flow::Open;
            return self.client_again(index);
        }
        self.refuse(index, Refusal::SecurityGroup, Access::ConnectionRefused, Refusal::SecurityGroup.name());
    }

    fn refuse_header(&mut self, index: usize, why: &str) {
        self.refuse(index, Refusal::Header, Access::HeaderRefused, why);
    }

    /// Its time to say what comes before is over.
    pub(super) fn is_late_to_enter(client: &Client, now: Instant) -> bool {
        matches!(client.flow, Flow::Entering { until } if now >= until)
    }

    pub(super) fn refuse_late(&mut self, index: usize) {
        if self.clients[index].awaits_header() {
            self.refuse_header(index, "no PROXY protocol header in time");
        } else {
            self.refuse_handshake(index, "not done in time");
        }
    }

    /// Close it without a word, and count it.
    pub(super) fn refuse(&mut self, index: usize, why: Refusal, kind: Access, words: &str) {
        let client = &self.clients[index];
        let event = AccessEvent { kind, why: words.to_owned(), ..about(client) };
        self.turn.shared.refuse((client.cluster, client.endpoint), why, event);
        let reason = match why {
            Refusal::Header => CloseReason::Header,
            Refusal::Handshake | Refusal::Handshakes => CloseReason::Handshake,
            Refusal::Limit | Refusal::SecurityGroup | Refusal::NoBalancer => CloseReason::SecurityGroup,
        };
        self.close_now(index, reason);
    }

    /// Close the client in that place if the rules of the cluster admit it no more; whether they did.
    pub(super) fn review(&mut self, cluster: usize, place: usize) -> bool {
        let (Some(client), Some(served)) = (self.clients.get(place), self.turn.cluster(cluster)) else { return false };
        if client.cluster != cluster || client.closing.is_some() || client.is_admitted(&served.inbound) {
            return false;
        }
        let mut event =
            AccessEvent { kind: Access::RulesChanged, why: Refusal::SecurityGroup.name().to_owned(), ..about(client) };
        event.cluster.clone_from(&served.spec.name);
        event.endpoint = client.endpoint.name();
        self.turn.shared.events.tell_access(event);
        self.close_now(place, CloseReason::SecurityGroup);
        true
    }
}

fn about(client: &Client) -> AccessEvent {
    AccessEvent { client_id: client.id, address: client.address(), ..AccessEvent::default() }
}
