//! Connections to nodes: dialled when first wanted, greeted, and sent what is queued once per turn.

use std::io;
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mio::event::Event;

use super::core::Core;
use super::{upstream_token, Worker};
use crate::durable;
use crate::mailbox::Message;
use crate::net::{Address, Stream};
use crate::protocol::resp::reply::integer;
use crate::upstream::{State, Upstream};

impl Worker {
    pub(super) fn upstream_ready(&mut self, index: usize, event: &Event) {
        let Some(upstream) = self.core.upstreams.get_mut(index) else { return };
        if upstream.state == State::Connecting {
            let Some(stream) = &upstream.stream else { return };
            match stream.connected() {
                Ok(true) => self.upstream_greet(index),
                Ok(false) => return,
                Err(error) => return self.upstream_lost(index, &error.to_string()),
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            if let Some(upstream) = self.core.upstreams.get_mut(index).filter(|u| u.stream.is_some()) {
                upstream.is_half_closed |= event.is_read_closed() || event.is_error();
            }
            self.upstream_read(index);
        }
        if event.is_writable() {
            self.core.mark_dirty_if_present(index);
        }
    }

    /// Send what is queued; connect first where needed.
    pub(super) fn upstream_flush(&mut self, index: usize) {
        let Some(upstream) = self.core.upstreams.get_mut(index) else { return };
        upstream.is_dirty = false;
        if upstream.is_lot {
            let held = upstream.held(); // it sends nothing, but counts
            return Core::settle(&mut self.core.held, &mut upstream.accounted, held);
        }
        match upstream.state {
            State::Down => return self.upstream_connect(index),
            State::Ready => {}
            State::Resolving | State::Connecting | State::Greeting(_) => return,
        }
        if let Some(served) = self.core.clusters[upstream.cluster].as_ref().filter(|s| s.cluster.spec.wait > 0) {
            if !upstream.is_pubsub {
                durable::close_batch(upstream, &served.cluster.spec, self.core.micros);
            }
        }
        let Some(stream) = &upstream.stream else { return };
        if upstream.window.in_flight() == 0 {
            upstream.progress = self.core.now;
        }
        while !upstream.window.unsent().is_empty() {
            match stream.write(upstream.window.unsent()) {
                Ok(n) => {
                    upstream.window.mark_sent(n);
                    if upstream.is_pubsub {
                        upstream.window.forget(n); // no reply answers it alone
                    }
                    upstream.metrics.bytes_out.add(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.upstream_lost(index, &error.to_string()),
            }
        }
        upstream.metrics.queued.set(upstream.window.len() as u64);
        let held = upstream.held();
        Core::settle(&mut self.core.held, &mut upstream.accounted, held);
    }

    /// When something is to be done though nothing happens.
    pub(super) fn next_due(&self) -> Instant {
        let Core { retrying, upstreams, .. } = &self.core;
        let retries = retrying.iter().filter_map(|&index| upstreams.get(index)).map(|upstream| upstream.retry_at);
        retries.fold(self.next_tick, Instant::min)
    }

    /// Connect anew where requests wait and the pause after the last failure is over.
    pub(super) fn retry_due(&mut self) {
        if self.core.retrying.is_empty() {
            return;
        }
        for index in mem::take(&mut self.core.retrying) {
            let Some(upstream) = self.core.upstreams.get(index).filter(|u| u.state == State::Down) else { continue };
            if upstream.retry_at > self.core.now {
                self.core.retrying.push(index);
            } else if !upstream.pending.is_empty() || upstream.is_pubsub {
                self.upstream_connect(index);
            }
        }
    }

    pub(super) fn upstream_connect(&mut self, index: usize) {
        let Self { core, mailbox, .. } = self;
        let upstream = &mut core.upstreams[index];
        if core.now < upstream.retry_at || upstream.is_retired && upstream.pending.is_empty() {
            return; // the tick looks again
        }
        let Some(served) = &core.clusters[upstream.cluster] else { return };
        upstream.attempt = core.shared.next_attempt.fetch_add(1, Relaxed);
        upstream.progress = core.now;
        let Some(node) = served.cluster.nodes.get(usize::from(upstream.node)) else { return };
        if let Address::Name(host, port) = &node.address {
            upstream.state = State::Resolving;
            let (mailbox, attempt) = (mailbox.clone(), upstream.attempt);
            core.shared.resolver.resolve(
                host,
                *port,
                (core.number, index),
                upstream.failures as usize,
                Box::new(move |result| mailbox.send(Message::Resolved { upstream: index, attempt, result })),
            );
            return;
        }
        let address = node.address.clone();
        self.upstream_dial(index, &address);
    }

    pub(super) fn upstream_dial(&mut self, index: usize, address: &Address) {
        let core = &mut self.core;
        let upstream = &mut core.upstreams[index];
        let started = Stream::connect(address).and_then(|mut stream| {
            stream.register(&core.registry, upstream_token(index))?;
            Ok(stream)
        });
        match started {
            Ok(stream) => {
                upstream.stream = Some(stream);
                upstream.state = State::Connecting;
            }
            Err(error) => self.upstream_lost(index, &error.to_string()),
        }
    }

    fn upstream_greet(&mut self, index: usize) {
        let core = &mut self.core;
        let upstream = &mut core.upstreams[index];
        let Some(served) = &core.clusters[upstream.cluster] else { return };
        upstream.metrics.connects.increment();
        upstream.metrics.connections.add(1);
        upstream.progress = core.now;
        let auth = &served.cluster.spec.node_auth;
        let (bytes, replies) =
            if upstream.is_memcached { crate::memcache::greeting(auth) } else { upstream.greeting(auth) };
        if replies == 0 {
            upstream.state = State::Ready;
            upstream.recovered();
            if upstream.is_pubsub {
                crate::pubsub::connected(core, index);
            }
            return core.mark_dirty(index);
        }
        upstream.state = State::Greeting(replies);
        // a new socket takes these few bytes at once
        let sent = upstream.stream.as_ref().map_or(Ok(0), |s| s.write(&bytes));
        match sent {
            Ok(n) if n == bytes.len() => {}
            Ok(_) => self.upstream_lost(index, "the greeting was cut short"),
            Err(error) => self.upstream_lost(index, &error.to_string()),
        }
    }

    pub(super) fn upstream_remove(&mut self, index: usize) {
        self.core.unlink(index);
        let mut upstream = self.core.upstreams.remove(index);
        upstream.disconnect();
        if upstream.count_as_out(false) {
            self.core.shared.tell_down();
        }
        Core::settle(&mut self.core.held, &mut upstream.accounted, 0);
    }
}

impl Core {
    /// Where the node's name led when it was looked up last.
    pub(super) fn last_known(&self, index: usize) -> Option<Address> {
        let upstream = &self.upstreams[index];
        let node = self.clusters[upstream.cluster].as_ref()?.cluster.nodes.get(usize::from(upstream.node))?;
        let Address::Name(host, port) = &node.address else { return None };
        self.shared.resolver.last_known(host, *port, upstream.failures as usize).map(Address::Ip)
    }
}

pub(super) fn greeted(upstream: &mut Upstream, left: u8, reply: &[u8]) -> Result<(), String> {
    if reply[0] == b'-' {
        let text = String::from_utf8_lossy(&reply[1..reply.len() - 2]);
        return Err(format!("the node refused the proxy's greeting: {text}"));
    }
    if left > 1 {
        upstream.state = State::Greeting(left - 1);
    } else {
        if upstream.is_dedicated {
            upstream.engine_id = integer(reply).and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
        }
        upstream.state = State::Ready;
        upstream.recovered();
    }
    Ok(())
}
