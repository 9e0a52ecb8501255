//! What becomes of requests that were not executed: reads go to another node, the rest waits for its shard.
//!
//! ```text
//!   no primary (fenced) ──────────┐
//!   engine said READONLY, LOADING ├──> parking lot of the shard ── primary known, in order ──> its connection
//!   connection broke, not sent ───┘         └── waited too long ──> -TRYAGAIN, not executed
//! ```
//!
//! While a lot holds anything, every later request for that primary goes behind it: order is kept. A lot is an `Upstream`
//! without a node: the same window, the same bounds.

use std::mem;
use std::time::Duration;

use super::core::Core;
use super::Worker;
use crate::durations::wrapping_micros;
use crate::upstream::{Pending, State, Upstream};

/// A request that was not executed, with its bytes.
pub struct Unsettled {
    pub request: Pending,
    pub bytes: Vec<u8>,
}

/// A write that was executed although earlier requests of its client, sent with it, were refused.
pub struct Overtaker {
    client: u32,
    tag: u32,
    sequence: u32,
}

impl Overtaker {
    pub const fn of(request: &Pending) -> Self {
        Self { client: request.client, tag: request.tag, sequence: request.sequence }
    }

    const fn is_later_than(&self, request: &Pending) -> bool {
        let ahead = self.sequence.wrapping_sub(request.sequence) as i32;
        self.client == request.client && self.tag == request.tag && ahead > 0
    }
}

/// Where unsettled requests came from.
#[derive(Clone, Copy)]
pub struct Origin {
    pub cluster: usize,
    pub shard: u16,
    pub node: u16,
    pub resp: u8,
    pub db: u32,
}

impl Origin {
    pub const fn of(upstream: &Upstream) -> Self {
        Self {
            cluster: upstream.cluster,
            shard: upstream.shard,
            node: upstream.node,
            resp: upstream.resp,
            db: upstream.db,
        }
    }
}

impl Core {
    /// The shard's parking lot, opened if there is none.
    pub fn lot(&mut self, origin: Origin) -> usize {
        let Origin { cluster, shard, resp, db, .. } = origin;
        if let Some(lot) = self.find_lot(cluster, shard, resp, db) {
            return lot;
        }
        let metrics = self.shared.metrics.node(&self.cluster_name(cluster), "parked", self.number);
        let mut upstream = Upstream::new(cluster, shard, u16::MAX, resp, db, self.now, metrics);
        upstream.is_lot = true;
        upstream.down_since = Some(self.now);
        let lot = self.upstreams.insert(upstream);
        if let Some(served) = &mut self.clusters[cluster] {
            served.open_lot(shard, resp, db, lot);
        }
        lot
    }

    /// Count anew what waits in a lot.
    pub(super) fn count_parked(&mut self, lot: usize) {
        let upstream = &mut self.upstreams[lot];
        let now = upstream.window.len();
        self.parked = self.parked + now - mem::replace(&mut upstream.parked, now);
        let held = upstream.held();
        Self::settle(&mut self.held, &mut upstream.accounted, held);
        self.shared.workers[self.number].parked.set(self.parked as u64);
    }

    /// The lot, if the whole proxy may park more.
    pub(super) fn with_room(&mut self, lot: usize) -> Result<usize, Vec<u8>> {
        self.count_parked(lot);
        if self.shared.parked() < PARKED {
            Ok(lot)
        } else {
            Err(failing_over(&self.label(self.upstreams[lot].cluster, self.upstreams[lot].shard)))
        }
    }

    fn cluster_name(&self, cluster: usize) -> String {
        self.clusters[cluster].as_ref().map_or_else(String::new, |s| s.cluster.spec.name.clone())
    }
}

impl Worker {
    /// Find another way for requests that were not executed, in their order.
    pub(super) fn replace(&mut self, origin: Origin, requests: Vec<Unsettled>) {
        for Unsettled { mut request, bytes } in requests {
            let core = &mut self.core;
            let Some(served) = &core.clusters[origin.cluster] else { return };
            let shard = served.cluster.shards.get(usize::from(origin.shard));
            let was_replica = shard.is_some_and(|s| s.nodes.contains(&origin.node) && s.primary != Some(origin.node));
            let target = if shard.is_none() {
                Err(super::core::refusal(&origin.shard.to_string(), "", "the shard is no longer there"))
            } else if request.is_read && was_replica {
                request.is_retry = true;
                core.reader(origin.cluster, origin.shard, origin.resp, origin.db, false, Some(origin.node))
            } else {
                let lot = core.lot(origin);
                core.with_room(lot)
            };
            match target {
                Ok(target) => {
                    crate::scripts::precede_all(core, target, &bytes);
                    let upstream = &mut core.upstreams[target];
                    upstream.window.sink().extend_from_slice(&bytes);
                    upstream.pending.push_back(request);
                    core.mark_dirty(target);
                }
                Err(text) => self.fail_one(origin.cluster, &request, &text),
            }
        }
        self.drain_lots(origin.cluster);
    }

    /// Let out what waits for a primary that is known and up. Called after every epoch, and by the tick.
    pub(super) fn drain_lots(&mut self, cluster: usize) {
        let lots: Vec<usize> = self
            .core
            .upstreams
            .iter()
            .filter(|(_, u)| u.is_lot && u.cluster == cluster)
            .map(|(index, _)| index)
            .collect();
        for lot in lots {
            self.expire_lot(lot);
            let core = &mut self.core;
            let upstream = &core.upstreams[lot];
            let origin = Origin::of(upstream);
            if core.now < upstream.retry_at && !upstream.pending.is_empty() {
                continue; // the engine refused a moment ago
            }
            let Some(served) = &mut core.clusters[cluster] else { continue };
            let primary = served.cluster.shards.get(usize::from(origin.shard)).and_then(|s| s.primary);
            let link = primary.and_then(|node| served.nodes.get(usize::from(node))?.link(origin.resp, origin.db));
            let is_undecided = link.is_some_and(|link| core.upstreams[link].redo > 0);
            if (primary.is_none() || is_undecided) && !upstream.pending.is_empty() {
                continue; // or it has still to say whether it executed what was sent behind
            }
            served.close_lot(origin.shard, origin.resp, origin.db);
            let mut lot = core.upstreams.remove(lot);
            Core::settle(&mut core.held, &mut lot.accounted, 0);
            core.parked -= lot.parked;
            self.send_parked(origin, &mut lot);
        }
    }

    fn send_parked(&mut self, origin: Origin, lot: &mut Upstream) {
        if lot.pending.is_empty() {
            return;
        }
        match self.core.primary(origin.cluster, origin.shard, origin.resp, origin.db) {
            Ok(target) => {
                let (bytes, _) = lot.window.take();
                let upstream = &mut self.core.upstreams[target];
                upstream.window.sink().extend_from_slice(&bytes);
                upstream.pending.append(&mut lot.pending);
                self.core.mark_dirty(target);
            }
            Err(text) => {
                for request in mem::take(&mut lot.pending) {
                    self.fail_one(origin.cluster, &request, &text);
                }
            }
        }
    }

    /// Requests that have waited as long as they may get their answer.
    pub(super) fn expire_lot(&mut self, lot: usize) {
        let Some(served) = &self.core.clusters[self.core.upstreams[lot].cluster] else { return };
        let park = wrapping_micros(served.cluster.spec.timeouts.park);
        loop {
            let core = &mut self.core;
            let upstream = &mut core.upstreams[lot];
            let is_over = upstream.pending.front().is_some_and(|r| core.micros.wrapping_sub(r.since) > park);
            if !is_over {
                return;
            }
            let Some(request) = upstream.pending.pop_front() else { return };
            core.mark_dirty(lot); // it is counted anew
            let upstream = &mut core.upstreams[lot];
            let length = request.length as usize;
            upstream.window.mark_sent(length);
            upstream.window.forget(length);
            let (cluster, shard) = (upstream.cluster, upstream.shard);
            let text = failing_over(&core.label(cluster, shard));
            self.fail_one(cluster, &request, &text);
        }
    }

    /// A connection to a node that is not the shard's primary any more: its replies are of an older epoch and must not
    /// become acknowledgements. What was not sent, and reads, wait for the new primary.
    pub(super) fn fence(&mut self, index: usize) {
        if self.is_given_grace(index) {
            return;
        }
        self.core.upstreams[index].node = u16::MAX; // none of this epoch's: above all no replica to read around
        self.upstream_lost(index, "the primary is being replaced");
        if self.core.upstreams.contains(index) {
            self.upstream_remove(index);
        }
    }

    /// After an epoch: fence what is no primary any more, let out what waits for one that is, and whoever waits for what
    /// is gone.
    pub(super) fn epoch_applied(&mut self, cluster: usize) {
        let fenced = mem::take(&mut self.core.fenced);
        for index in fenced {
            if self.core.upstreams.contains(index) {
                self.fence(index);
            }
        }
        for (_, upstream) in &mut self.core.upstreams {
            if upstream.is_lot && upstream.cluster == cluster {
                upstream.retry_at = self.core.now;
            }
        }
        self.drain_lots(cluster);
        let Self { core, clients, dirty, .. } = self;
        core.woken.clients.append(&mut core.unplaced);
        crate::pubsub::settle_all(core, clients, dirty, cluster);
    }

    /// An engine refused requests unexecuted: they wait, and are tried again there or on the next primary.
    pub(super) fn park_refused(&mut self, index: usize, refused: Vec<Unsettled>) {
        let origin = Origin::of(&self.core.upstreams[index]);
        if !self.core.is_primary(origin) {
            self.core.upstreams[index].rests_until = self.core.now + REST; // it loads, or has lost its primary
        }
        let is_new = self.core.find_lot(origin.cluster, origin.shard, origin.resp, origin.db).is_none();
        let retry_at = self.core.now + RETRY;
        if is_new && self.core.is_primary(origin) {
            let lot = self.core.lot(origin);
            self.core.upstreams[lot].retry_at = retry_at;
        }
        self.replace(origin, refused);
    }

    /// To try these again would turn their client's order round: they are answered as not executed, be they among those just
    /// refused or in the lot already.
    pub(super) fn drop_overtaken(&mut self, index: usize, by: &[Overtaker], refused: &mut Vec<Unsettled>) {
        let is_overtaken = |request: &Pending| by.iter().any(|later| later.is_later_than(request));
        let origin = Origin::of(&self.core.upstreams[index]);
        let mut dropped = Vec::new();
        for unsettled in mem::take(refused) {
            if is_overtaken(&unsettled.request) {
                dropped.push(unsettled.request);
            } else {
                refused.push(unsettled);
            }
        }
        if let Some(lot) = self.core.find_lot(origin.cluster, origin.shard, origin.resp, origin.db) {
            self.core.mark_dirty(lot); // it is counted anew
            let lot = &mut self.core.upstreams[lot];
            let (bytes, _) = lot.window.take();
            let mut start = 0;
            for request in mem::take(&mut lot.pending) {
                let end = start + request.length as usize;
                if is_overtaken(&request) {
                    dropped.push(request);
                } else {
                    lot.window.sink().extend_from_slice(&bytes[start..end]);
                    lot.pending.push_back(request);
                }
                start = end;
            }
        }
        let text = overtaken(&self.core.label(origin.cluster, origin.shard));
        for request in dropped {
            self.fail_one(origin.cluster, &request, &text);
        }
    }

    pub(super) fn tick_lot(&mut self, index: usize) {
        let upstream = &self.core.upstreams[index];
        debug_assert_eq!(upstream.state, State::Down);
        let cluster = upstream.cluster;
        self.drain_lots(cluster);
    }
}

/// Bytes of requests that may wait for their shards in all workers together.
const PARKED: usize = 64 * 1024 * 1024;
/// How long a refused request waits before it asks the same primary again.
const RETRY: Duration = Duration::from_millis(100);
/// How long a replica that refused a read is not asked again.
const REST: Duration = Duration::from_millis(500);

fn overtaken(shard: &str) -> Vec<u8> {
    format!("-TRYAGAIN shard {shard} refused the command and took a later one, command not executed\r\n").into_bytes()
}

/// What nobody took in time.
pub fn failing_over(shard: &str) -> Vec<u8> {
    format!("-TRYAGAIN shard {shard} failing over, command not executed\r\n").into_bytes()
}
