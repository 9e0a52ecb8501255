//! Connections of a client's own, while it is blocked or watches: from a bounded pool per node, with a queue beyond it.

use std::collections::HashMap;
use std::time::Duration;

use super::core::{no_cluster, Core, Served};
use crate::client::{Client, Flow};
use crate::metrics::Class;
use crate::protocol::{resp::write, texts};
use crate::upstream::{Pending, State, Upstream};

/// Clients that wait for a connection of one pool: more than a worker has of them, unless something is wrong.
const QUEUED: usize = 4096;
/// A node whose pool could not connect is not tried again for so long.
const REST: Duration = Duration::from_millis(100);

/// What a request for a connection of its own comes to.
pub enum Lease {
    Held(usize),
    /// The pool is used up: the client is queued for the next free one.
    Wait,
    /// There is no primary, or none that can be reached.
    Later,
    Refused(Vec<u8>),
}

/// What the turn has yet to do about leases.
#[derive(Default)]
pub struct Woken {
    pub clients: Vec<(usize, u32)>,
    /// A pool, by cluster and node, has room for one more.
    pub pools: Vec<(usize, usize)>,
    pub retire: Vec<usize>,
}

impl Core {
    /// A new epoch ends the leases of primaries that are none any more: free connections at once, the others when their
    /// client is done with them. `pools` gives the new numbers of those that stay.
    pub(super) fn retire_dedicated(&mut self, cluster: usize, old: Option<&Served>, pools: &HashMap<u16, u16>) {
        for (index, upstream) in &mut self.upstreams {
            if upstream.cluster == cluster && upstream.is_dedicated && !upstream.is_retired {
                if let Some(&number) = pools.get(&upstream.node) {
                    upstream.node = number;
                    continue;
                }
                upstream.is_retired = true;
                upstream.node = u16::MAX; // none of this epoch's
                if upstream.owner.is_none() {
                    self.woken.retire.push(index);
                }
            }
        }
        self.woken.clients.extend(old.iter().flat_map(|o| &o.nodes).flat_map(|node| node.queue.iter().copied()));
    }

    /// A connection of a client's own to the primary of a shard, or to a replica, from the node's bounded pool.
    pub fn lease(&mut self, client: &mut Client, index: usize, shard: u16, on_replica: bool) -> Lease {
        if let Some(held) = client.lease {
            return Lease::Held(held as usize);
        }
        let replica =
            if on_replica { self.least_busy(client.cluster, shard, client.resp, client.db, true, None) } else { None };
        let Some(served) = &mut self.clusters[client.cluster] else { return Lease::Refused(no_cluster()) };
        let Some(node) = replica.or(served.cluster.shards[usize::from(shard)].primary) else { return Lease::Later };
        let place = &mut served.nodes[usize::from(node)];
        if place.rests_until > self.now {
            return Lease::Later;
        }
        let idle = place.idle.iter().position(|&i| {
            let upstream = &self.upstreams[i];
            upstream.resp == client.resp && upstream.db == client.db
        });
        let leased = match idle {
            Some(at) => place.idle.swap_remove(at),
            None if place.dedicated < served.cluster.spec.limits.dedicated => {
                place.dedicated += 1;
                let metrics = place.metrics.clone();
                let (resp, db) = (client.resp, client.db);
                let mut upstream = Upstream::new(client.cluster, shard, node, resp, db, self.now, metrics);
                upstream.is_dedicated = true;
                self.upstreams.insert(upstream)
            }
            None => {
                if let Some(other) = place.idle.pop() {
                    self.woken.retire.push(other); // of another RESP version or database: it makes room
                }
                if place.queue.len() >= QUEUED {
                    return Lease::Refused(texts::TOO_MANY_QUEUED.to_vec());
                }
                place.queue.push_back((index, client.tag()));
                return Lease::Wait;
            }
        };
        self.upstreams[leased].owner = Some((index, client.tag()));
        client.lease = Some(leased as u32);
        Lease::Held(leased)
    }

    /// Its node cannot be connected to: nobody tries for a moment.
    pub fn rest(&mut self, index: usize) {
        let upstream = &self.upstreams[index];
        let served = self.clusters[upstream.cluster].as_mut();
        if let Some(place) = served.and_then(|s| s.nodes.get_mut(usize::from(upstream.node))) {
            place.rests_until = self.now + REST;
        }
    }

    /// The client speaks another RESP version from now on: so does the connection on which it watches.
    pub fn alter_lease(&mut self, client: &Client) {
        let Some(leased) = client.lease.map(|leased| leased as usize) else { return };
        let upstream = &mut self.upstreams[leased];
        upstream.is_altered = true;
        let sink = upstream.window.sink();
        let start = sink.len();
        write::command(sink, &[b"HELLO", client.resp.to_string().as_bytes()]);
        let length = sink.len() - start;
        upstream.pending.push_back(Pending::nobody(length, self.micros));
        self.mark_dirty(leased);
    }

    /// Whether the client has gone while it waits at an engine, or for a connection to do so, or in WAIT. An engine
    /// forgets such a client; so do we.
    pub fn is_left(&self, client: &Client) -> bool {
        let waits = |leased: u32| self.upstreams[leased as usize].pending.iter().any(|r| r.class == Class::Block);
        client.is_half_closed
            && match client.flow {
                Flow::Queued => true,
                Flow::Offloaded(_) => self.is_in_wait(client),
                _ => client.lease.is_some_and(waits),
            }
    }

    /// Whether a command of the control plane's does nothing for it but wait.
    pub fn is_in_wait(&self, client: &Client) -> bool {
        matches!(client.flow, Flow::Offloaded(token) if self.offloaded.get(&token).is_some_and(|o| o.waits))
    }

    /// A leased connection is free again: keep it for the next client that wants one.
    pub fn give_back(&mut self, index: usize) {
        let upstream = &mut self.upstreams[index];
        upstream.owner = None;
        upstream.waiting = None;
        let (cluster, node) = (upstream.cluster, usize::from(upstream.node));
        let is_fit = !upstream.is_retired && !upstream.is_altered;
        let is_good = upstream.state == State::Ready && upstream.pending.is_empty() && is_fit;
        upstream.wanted = self.now;
        if !is_good {
            return self.woken.retire.push(index);
        }
        if let Some(place) = self.clusters[cluster].as_mut().and_then(|s| s.nodes.get_mut(node)) {
            place.idle.push(index);
            self.woken.pools.push((cluster, node));
        }
    }

    /// Who waits longest for a connection of that pool; it may be gone.
    pub fn next_queued(&mut self, (cluster, node): (usize, usize)) -> Option<(usize, u32)> {
        self.clusters[cluster].as_mut()?.nodes.get_mut(node)?.queue.pop_front()
    }
}
