//! What tests and the fuzzer see and steer of a worker: its clock, its turns and its accounts.

use std::io;
use std::time::{Duration, Instant};

use mio::Events;

use super::Worker;
use crate::clients::{Client, Flow};

/// Bytes of buffers as a worker accounts for them, and as they are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// In the worker's own sum.
    pub held: usize,
    /// The sum of what each client and connection is accounted with.
    pub accounted: usize,
    /// The sum of what each of them has now.
    pub actual: usize,
    /// Connections there are.
    pub links: usize,
    /// Requests under way or parked.
    pub pending: usize,
    /// Free buffers that wait to be used again.
    pub pooled: usize,
}

/// Of subscriptions some bytes may be counted in a later turn.
const SLACK: usize = 1024;

impl Sums {
    /// Whether all there is is accounted for, and no more.
    pub const fn is_exact(&self) -> bool {
        self.held == self.accounted && self.accounted.abs_diff(self.actual) < SLACK
    }
}

impl Worker {
    /// Take one turn at that time, and wait for nothing.
    pub fn turn_at(&mut self, events: &mut Events, now: Instant) -> io::Result<()> {
        self.poll(events, Duration::ZERO)?;
        self.turn(events, now);
        Ok(())
    }

    /// Whether the next turn has something to do though nothing happens.
    pub fn is_busy(&self) -> bool {
        self.wait() < Duration::from_millis(1)
    }

    /// Whether no client waits for anything, be it for a reply that it is not to hear.
    pub fn is_at_rest(&self) -> bool {
        let is_open = |client: &Client| matches!(client.flow, Flow::Open | Flow::Lingering { .. });
        self.clients.iter().all(|(_, client)| is_open(client) && client.replies.is_empty())
            && self.turn.links.iter().all(|(_, link)| link.exchange.is_empty())
    }

    pub fn client_count(&self) -> usize {
        self.clients.iter().count()
    }

    pub fn sums(&self) -> Sums {
        let clients = self.clients.iter().map(|(_, client)| (client.accounted, client.held()));
        let links = self.turn.links.iter().map(|(_, link)| (link.accounted, link.held()));
        let start = Sums {
            held: self.turn.accounts.held(),
            pooled: self.turn.pool.bytes(),
            accounted: self.turn.pubsub.accounted + self.turn.waits.accounted,
            actual: self.turn.pubsub.held() + self.turn.waits.held(),
            links: self.turn.links.iter().count(),
            pending: self.turn.links.iter().map(|(_, link)| link.exchange.len()).sum(),
        };
        clients.chain(links).fold(start, |sum, (accounted, actual)| Sums {
            accounted: sum.accounted + accounted,
            actual: sum.actual + actual,
            ..sum
        })
    }

    /// Why each client waits, for a report.
    pub fn describe(&self) -> String {
        let clients = self.clients.iter().map(|(_, client)| {
            let (flow, closing, lease) = (client.flow, client.closing, client.lease);
            let (owed, input, output) = (client.replies.len(), client.input.len(), client.output.len());
            format!(
                "client {} {flow:?} closing {closing:?} own {lease:?}: owed {owed}, input {input}, output {output}, \
                 accounted {} of {}\n",
                client.id,
                client.accounted,
                client.held()
            )
        });
        let links = self.turn.links.iter().map(|(index, link)| {
            let (state, pending) = (link.state, link.exchange.len());
            let (lot, own, pubsub) = (link.is_lot(), link.is_leased(), link.is_subscriber());
            let unsent = link.exchange.unsent().len();
            format!(
                "link {index} node {} {state:?} lot {lot} own {own} pubsub {pubsub}: pending {pending}, \
                 unsent {unsent}, accounted {} of {}, why {:?}\n",
                link.way.node,
                link.accounted,
                link.held(),
                link.trouble.why_down
            )
        });
        clients.chain(links).collect()
    }

    /// Have the sockets of nodes take few bytes at a time, so that large requests leave in parts.
    pub fn narrow_links(&self, bytes: usize) {
        for (_, link) in self.turn.links.iter() {
            if let Some(stream) = &link.stream {
                stream.narrow(bytes);
            }
        }
    }
}
