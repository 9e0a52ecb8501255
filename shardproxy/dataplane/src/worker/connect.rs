//! Connections to nodes: dialled when first wanted, greeted, and sent what is queued once per turn.

use std::io;
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mio::event::Event;

use super::core::Core;
use super::{upstream_token, Worker};
use crate::durable;
use crate::identity::{self, Doubt};
use crate::mailbox::Message;
use crate::net::{Address, Stream};
use crate::protocol::resp::reply::integer;
use crate::topology::Cluster;
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
            return self.core.count_parked(index);
        }
        match upstream.state {
            State::Down => return self.upstream_connect(index),
            State::Ready => {}
            State::Resolving | State::Connecting | State::Greeting(_) => return,
        }
        if let Some(served) = &self.core.clusters[upstream.cluster] {
            if let Some(terms) = served.cluster.terms_of(upstream.shard).filter(|_| !upstream.is_pubsub) {
                durable::close_batch(upstream, &terms, self.core.micros);
            }
        }
        if upstream.is_unproven && !upstream.is_full {
            return self.upstream_ask(index);
        }
        let Some(stream) = &upstream.stream else { return };
        if upstream.window.in_flight() == 0 {
            upstream.patience.begin(self.core.now);
        }
        while !upstream.window.unsent().is_empty() {
            match stream.write(upstream.window.unsent()) {
                Ok(n) => {
                    if upstream.is_sending_oldest() {
                        upstream.patience.credit(n, self.core.now); // the node takes a large request, if slowly
                    }
                    upstream.window.mark_sent(n);
                    upstream.is_full = false;
                    if upstream.is_pubsub {
                        upstream.window.forget(n); // no reply answers it alone
                    }
                    upstream.metrics.bytes_out.add(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    upstream.is_full = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let attempt = upstream.attempt;
                    self.upstream_read(index); // what the node said before it closed
                    if self.core.upstreams.get(index).is_some_and(|u| u.attempt == attempt && u.state == State::Ready) {
                        self.upstream_lost(index, &error.to_string());
                    }
                    return;
                }
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
        upstream.patience.begin(core.now);
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
        upstream.patience.begin(core.now);
        let auth = &served.cluster.spec.node_auth;
        upstream.is_asking =
            is_identified(upstream) && served.cluster.run_id_of(upstream.shard, upstream.node).is_some();
        let (bytes, replies) = if upstream.is_memcached {
            crate::memcache::greeting(auth)
        } else {
            upstream.greeting(auth, upstream.is_asking)
        };
        if replies == 0 {
            upstream.state = State::Ready;
            upstream.recovered();
            if upstream.is_pubsub {
                crate::pubsub::connected(core, index);
            }
            return core.mark_dirty(index);
        }
        upstream.state = State::Greeting(replies);
        self.say(index, &bytes);
    }

    /// Who a primary is was told to us after this connection was opened: it says so once it owes no other reply.
    fn upstream_ask(&mut self, index: usize) {
        let upstream = &mut self.core.upstreams[index];
        if upstream.window.in_flight() > 0 {
            return; // what it reads then marks it
        }
        let mut bytes = Vec::new();
        identity::ask(&mut bytes);
        upstream.is_unproven = false;
        upstream.is_asking = true;
        upstream.state = State::Greeting(identity::QUESTIONS);
        upstream.patience.begin(self.core.now);
        self.say(index, &bytes);
    }

    /// An idle socket takes these few bytes at once.
    fn say(&mut self, index: usize, bytes: &[u8]) {
        let sent = self.core.upstreams[index].stream.as_ref().map_or(Ok(0), |s| s.write(bytes));
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
        self.core.parked -= upstream.parked;
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

/// Connections whose node must be who the topology says: those that requests leave on.
fn is_identified(upstream: &Upstream) -> bool {
    !upstream.is_pubsub && !upstream.is_memcached
}

pub(super) fn greeted(upstream: &mut Upstream, cluster: &Cluster, left: u8, reply: &[u8]) -> Result<(), String> {
    if upstream.is_asking && left <= identity::QUESTIONS {
        return told(upstream, cluster, left, reply);
    }
    if upstream.is_turned_away(&cluster.spec.node_auth, reply) {
        let text = String::from_utf8_lossy(&reply[1..reply.len() - 2]);
        return Err(format!("the node refused the proxy's greeting: {text}"));
    }
    let after = if upstream.is_asking { identity::QUESTIONS } else { 0 };
    if upstream.is_dedicated && left == after + 1 {
        upstream.engine_id = integer(reply).and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
    }
    greeted_on(upstream, cluster, left);
    Ok(())
}

fn greeted_on(upstream: &mut Upstream, cluster: &Cluster, left: u8) {
    if left > 1 {
        upstream.state = State::Greeting(left - 1);
        return;
    }
    upstream.state = State::Ready;
    // it was named since the greeting was written
    let is_named = is_identified(upstream) && cluster.run_id_of(upstream.shard, upstream.node).is_some();
    upstream.is_unproven = is_named && upstream.run_id.is_none();
    upstream.recovered();
}

/// The node has said who it is. What counts is whom the topology names now, not when it was asked.
fn told(upstream: &mut Upstream, cluster: &Cluster, left: u8, reply: &[u8]) -> Result<(), String> {
    let expected = cluster.run_id_of(upstream.shard, upstream.node);
    let outcome = if left == identity::QUESTIONS {
        identity::run_id(reply).and_then(|run_id| {
            let run_id = String::from_utf8_lossy(run_id);
            upstream.run_id = Some(run_id.as_ref().into());
            expected.map_or(Ok(()), |expected| identity::check_run_id(&run_id, expected))
        })
    } else {
        identity::check_role(reply)
    };
    match outcome.or_else(|doubt| if expected.is_some() { Err(doubt) } else { Ok(()) }) {
        Ok(()) => {
            greeted_on(upstream, cluster, left);
            Ok(())
        }
        Err(Doubt::Stranger(why)) => {
            upstream.is_stranger = true;
            Err(why)
        }
        Err(Doubt::Later(why)) => Err(why),
    }
}

impl Core {
    /// After an epoch: connections to a primary that is another process now are fenced, those that never asked have to, and
    /// those that wait to connect to one that was renamed need not. The next flush sees to the rest.
    pub(super) fn recognise(&mut self, cluster: usize, renamed: &[u16]) {
        let Self { clusters, upstreams, fenced, woken, dirty, now, .. } = self;
        let Some(served) = &mut clusters[cluster] else { return };
        for (index, upstream) in upstreams.iter_mut() {
            if upstream.cluster != cluster || upstream.is_lot || upstream.is_retired || !is_identified(upstream) {
                continue;
            }
            let expected = served.cluster.run_id_of(upstream.shard, upstream.node);
            upstream.is_unproven = false;
            let is_other = match (upstream.state, expected, upstream.run_id.as_deref()) {
                (State::Ready, Some(_), None) => {
                    upstream.is_unproven = true;
                    false
                }
                (State::Ready | State::Greeting(_), Some(expected), Some(known)) => known != expected,
                _ => false,
            };
            if is_other && upstream.is_dedicated {
                let place = &mut served.nodes[usize::from(upstream.node)];
                place.dedicated = place.dedicated.saturating_sub(1);
                place.idle.retain(|&idle| idle != index);
                upstream.is_retired = true;
                upstream.node = u16::MAX; // none of this epoch's
                if upstream.owner.is_none() {
                    woken.retire.push(index);
                    continue;
                }
            }
            if is_other {
                fenced.push(index);
                continue;
            }
            let is_waiting = upstream.state == State::Down && renamed.contains(&upstream.shard) && expected.is_some();
            if is_waiting {
                upstream.retry_at = *now;
                upstream.failures = 0;
                upstream.down_since = Some(*now); // requests wait for it as after a new loss
            }
            // what is under way is acknowledged on the terms of now
            let awaits = !upstream.pending.is_empty() && served.cluster.terms_of(upstream.shard).is_some();
            if (is_waiting || upstream.is_unproven || awaits) && !upstream.is_dirty {
                upstream.is_dirty = true;
                dirty.push(index);
            }
        }
    }
}
