//! Which connection a request leaves on: the primary's, a replica's, or the parking lot of a shard without a primary.

use std::time::Duration;

use super::core::{no_cluster, refusal, Core, Link, Writes, NO_LINK};
use super::parking::Origin;
use crate::client::Client;
use crate::protocol::texts;
use crate::recent::{mark_of, Mark, NO_MARK};
use crate::topology::{EndpointKind, EngineKind};
use crate::upstream::{State, Upstream};

/// A node that is down is tried again within this once its back-off is over, as long as somebody wants it.
const STALE: Duration = Duration::from_secs(1);

/// Which node a command needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Any that is fresh enough.
    Read,
    /// The primary: the key was written a moment ago.
    FreshRead,
    /// The primary.
    Write,
}

impl Core {
    /// The connection on which a request for a shard leaves, or the error that says why it cannot.
    #[inline]
    pub fn place(&mut self, client: &Client, shard: u16, need: Need) -> Result<usize, Vec<u8>> {
        let Some(served) = &self.clusters[client.cluster] else { return Err(no_cluster()) };
        if client.endpoint != EndpointKind::Primary
            && (client.prefers_replicas || client.endpoint == EndpointKind::Reader || served.spreads_reads)
        {
            return self.place_spread(client, shard, need);
        }
        let cached = served.primaries[usize::from(shard)][usize::from(client.resp == 3)];
        if cached != NO_LINK && client.db == 0 {
            let upstream = &self.upstreams[cached as usize];
            if upstream.state == State::Ready && upstream.window.len() < served.cluster.spec.limits.shard_queue {
                return Ok(cached as usize);
            }
        }
        // a read of a client that waits for nothing overtakes nobody's order but that of strangers
        let may_pass = need != Need::Write && client.replies.is_empty();
        self.primary_past(client.cluster, shard, client.resp, client.db, may_pass)
    }

    /// Reads go to the replica with the least under way; writes to the primary, unless this endpoint only reads.
    fn place_spread(&mut self, client: &Client, shard: u16, need: Need) -> Result<usize, Vec<u8>> {
        match need {
            Need::Read => {
                let only_replicas = client.endpoint == EndpointKind::Reader;
                self.reader(client.cluster, shard, client.resp, client.db, only_replicas, None)
            }
            Need::Write if client.endpoint == EndpointKind::Reader => Err(texts::READONLY.to_vec()),
            Need::FreshRead => {
                if let Some(served) = &self.clusters[client.cluster] {
                    served.metrics.fresh_reads.increment();
                }
                self.primary(client.cluster, shard, client.resp, client.db)
            }
            Need::Write => self.primary(client.cluster, shard, client.resp, client.db),
        }
    }

    /// What a command on these keys needs; a write's first key is remembered with it, to be marked again when it is done.
    #[inline]
    pub fn need<'k>(&self, cluster: usize, is_read: bool, keys: impl Iterator<Item = &'k [u8]>) -> (Need, Mark) {
        let plain = if is_read { Need::Read } else { Need::Write };
        match self.clusters[cluster].as_ref().and_then(|served| served.writes.as_ref()) {
            Some(writes) => self.need_tracked(writes, is_read, keys),
            None => (plain, NO_MARK),
        }
    }

    #[cold]
    fn need_tracked<'k>(
        &self,
        writes: &Writes,
        is_read: bool,
        mut keys: impl Iterator<Item = &'k [u8]>,
    ) -> (Need, Mark) {
        let Writes { recent, window } = writes;
        if is_read {
            let is_fresh = keys.any(|key| recent.is_recent(mark_of(key), self.millis, *window));
            return (if is_fresh { Need::FreshRead } else { Need::Read }, NO_MARK);
        }
        let mut first = NO_MARK;
        for mark in keys.map(mark_of) {
            recent.begin_write(mark, self.millis, *window);
            first = if first == NO_MARK { mark } else { first };
        }
        (Need::Write, first)
    }

    /// The connection to a replica to read from, `but` excepted; to the primary when no replica is up.
    pub fn reader(
        &mut self,
        cluster: usize,
        shard: u16,
        resp: u8,
        db: u32,
        only_replicas: bool,
        but: Option<u16>,
    ) -> Result<usize, Vec<u8>> {
        match self.least_busy(cluster, shard, resp, db, only_replicas, but) {
            Some(node) => self.link(cluster, node, resp, db),
            None => self.primary(cluster, shard, resp, db),
        }
    }

    /// A replica that is up, `but` excepted: with reads from the nearest one in the proxy's zone if there is such, and of
    /// these the one with the least under way, in turn where several have as little. Nearest may be the primary, unless
    /// `only_replicas`.
    pub(super) fn least_busy(
        &mut self,
        cluster: usize,
        shard: u16,
        resp: u8,
        db: u32,
        only_replicas: bool,
        but: Option<u16>,
    ) -> Option<u16> {
        self.turn = self.turn.wrapping_add(1);
        let served = self.clusters[cluster].as_ref()?;
        let owner = &served.cluster.shards[usize::from(shard)];
        let zone = served.cluster.spec.zone.as_ref().filter(|_| served.reads_nearest);
        let (later, sooner) = owner.nodes.split_at(self.turn % owner.nodes.len().max(1));
        let mut best: Option<((bool, usize), u16)> = None;
        let mut down = None;
        for &node in sooner.iter().chain(later) {
            let is_primary = owner.primary == Some(node);
            let described = &served.cluster.nodes[usize::from(node)];
            if !is_primary && !described.is_readable {
                continue;
            }
            if Some(node) == but || is_primary && (only_replicas || !served.reads_nearest) {
                continue;
            }
            let place = &served.nodes[usize::from(node)];
            if place.rests_until > self.now {
                continue;
            }
            let link = place.link(resp, db);
            let load = match link.map(|index| &self.upstreams[index]) {
                Some(upstream) if upstream.down_since.is_some() || upstream.rests_until > self.now => {
                    down = link;
                    continue;
                }
                Some(upstream) => upstream.pending.len(),
                None => 0,
            };
            let rank = (zone.is_some_and(|zone| described.zone.as_ref() != Some(zone)), load);
            if best.is_none_or(|(least, _)| rank < least) {
                best = Some((rank, node));
            }
        }
        if let Some(down) = down {
            self.upstreams[down].wanted = self.now; // so that it is tried, and reads come back to it
        }
        best.map(|(_, node)| node)
    }

    /// The shared connection to the shard's primary; its parking lot while that is unknown or others wait already.
    pub fn primary(&mut self, cluster: usize, shard: u16, resp: u8, db: u32) -> Result<usize, Vec<u8>> {
        self.primary_past(cluster, shard, resp, db, false)
    }

    /// As `primary`; `may_pass`: what waits in the lot is no reason to wait, if there is a primary.
    fn primary_past(
        &mut self,
        cluster: usize,
        shard: u16,
        resp: u8,
        db: u32,
        may_pass: bool,
    ) -> Result<usize, Vec<u8>> {
        let Some(served) = &self.clusters[cluster] else { return Err(no_cluster()) };
        let limit = served.cluster.spec.limits.shard_queue;
        let primary = served.cluster.shards[usize::from(shard)].primary;
        let lot = served.lots.get(&(shard, resp, db)).copied();
        if lot.is_some_and(|lot| self.upstreams[lot].window.len() >= limit) {
            return Err(refusal(&self.label(cluster, shard), "", "too much waits for it already (limits.shard_queue)"));
        }
        let Some(node) = primary.filter(|_| lot.is_none() || may_pass) else {
            let lot = self.lot(Origin { cluster, shard, node: u16::MAX, resp, db });
            return self.with_room(lot);
        };
        let index = self.link(cluster, node, resp, db)?;
        if let Some(served) = self.clusters[cluster].as_mut().filter(|_| db == 0 && lot.is_none()) {
            served.primaries[usize::from(shard)][usize::from(resp == 3)] = index as u32;
        }
        Ok(index)
    }

    /// The shared connection to a node, opened when first wanted.
    #[cold]
    fn link(&mut self, cluster: usize, node: u16, resp: u8, db: u32) -> Result<usize, Vec<u8>> {
        let Some(served) = &mut self.clusters[cluster] else { return Err(no_cluster()) };
        let place = &mut served.nodes[usize::from(node)];
        let shard = served.cluster.nodes[usize::from(node)].shard;
        let index = place.link(resp, db).unwrap_or_else(|| {
            let metrics = place.metrics.clone();
            let mut upstream = Upstream::new(cluster, shard, node, resp, db, self.now, metrics);
            upstream.is_memcached = served.cluster.spec.engine == EngineKind::Memcached;
            let upstream = self.upstreams.insert(upstream);
            place.links.push(Link { resp, db, upstream });
            upstream
        });
        let upstream = &mut self.upstreams[index];
        upstream.wanted = self.now;
        if upstream.state == State::Down && upstream.down_since.is_some() && self.now > upstream.retry_at + STALE {
            upstream.down_since = Some(self.now); // nobody has looked since: the request waits as after a new loss
        }
        let label = &served.cluster.nodes[usize::from(node)].label;
        let shard = &served.cluster.shards[usize::from(shard)].label;
        if upstream.window.len() >= served.cluster.spec.limits.shard_queue {
            return Err(refusal(shard, label, "its queue is full (limits.shard_queue)"));
        }
        let park = served.cluster.spec.timeouts.park;
        match upstream.down_since {
            Some(since) if upstream.state != State::Ready && self.now.duration_since(since) > park => {
                if !upstream.is_dirty {
                    upstream.is_dirty = true; // so that it is tried again
                    self.dirty.push(index);
                }
                Err(refusal(shard, label, &upstream.why_down))
            }
            _ => Ok(index),
        }
    }

    /// Whether the shard's primary has no room for more requests, and may yet answer those it has.
    #[cold]
    pub fn is_full(&self, cluster: usize, shard: u16) -> bool {
        let Some(served) = &self.clusters[cluster] else { return false };
        let primary = served.cluster.shards.get(usize::from(shard)).and_then(|s| s.primary);
        let node = primary.and_then(|node| served.nodes.get(usize::from(node)));
        let limit = served.cluster.spec.limits.shard_queue;
        node.is_some_and(|n| n.links.iter().any(|link| self.upstreams[link.upstream].window.len() >= limit))
    }

    /// A shared connection to the node of a leased one, if that is a node of the present epoch.
    pub(super) fn link_beside(&mut self, leased: usize) -> Option<usize> {
        let upstream = &self.upstreams[leased];
        let (cluster, node) = (upstream.cluster, upstream.node);
        if upstream.is_retired {
            return None;
        }
        let links = &self.clusters[cluster].as_ref()?.nodes.get(usize::from(node))?.links;
        let ready = links.iter().map(|link| link.upstream).find(|&link| self.upstreams[link].state == State::Ready);
        ready.or_else(|| self.link(cluster, node, 2, 0).ok())
    }

    /// Whether the node is the shard's primary in the present epoch.
    pub fn is_primary(&self, origin: Origin) -> bool {
        let shard =
            self.clusters[origin.cluster].as_ref().and_then(|s| s.cluster.shards.get(usize::from(origin.shard)));
        shard.is_some_and(|s| s.primary == Some(origin.node))
    }

    pub fn find_lot(&self, cluster: usize, shard: u16, resp: u8, db: u32) -> Option<usize> {
        self.clusters[cluster].as_ref()?.lots.get(&(shard, resp, db)).copied()
    }
}
