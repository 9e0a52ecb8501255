//! The clusters a worker serves, and where its connections to their nodes are found.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::{refusal, Gate, Reign, Tagged};
use crate::caching::cancel;
use crate::dialect::resp::refusals::Refusal;
use crate::dialect::texts;
use crate::exchange::{Entry, Mark, MANY_MARKS, NO_MARK};
use crate::insight::Watched;
use crate::links::{Links, State, Way};
use crate::metrics::{Class, ClusterMetrics, NodeMetrics, RuleMetrics, ShardMetrics};
use crate::model::{Cluster, EndpointKind, Reads, Rules, Slots, Speech, NO_SLOT};
use crate::near::{Changes, Near};
use crate::shared::{Lease, Recent, Rights, Ruled, Shared, Window};

pub const NO_LINK: u32 = u32::MAX;

/// A cluster as this worker serves it.
pub struct Served {
    pub cluster: Arc<Cluster>,
    pub rights: Arc<Rights>,
    pub metrics: Arc<ClusterMetrics>,
    /// Of its shards, by their places.
    pub shards: Vec<Arc<ShardMetrics>>,
    /// Which requests are looked at.
    pub gate: Gate,
    /// Which keys are hot or large.
    pub watched: Watched,
    /// Of the caching rules, in their order.
    pub rules: Vec<Arc<RuleMetrics>>,
    pub nodes: Vec<ServedNode>,
    /// The connection to each shard's primary for db 0 and usual values, by RESP version: the lookup of almost every
    /// request.
    pub primaries: Vec<[u32; 2]>,
    /// Shards, and single slots, whose requests wait, and the lots they wait in.
    pub lots: HashMap<Spot, usize>,
    /// Slots of which a request may still be under way to who served them before.
    unsettled: Option<Slots>,
    /// When the control plane was last told, since this epoch began, that slots are somebody else's.
    pub told_moved: Option<Instant>,
    /// A request needs no look at written keys, at caching rules, at slots that are held, unsettled or waited for, or whether
    /// it may write: almost always.
    pub is_straight: bool,
    /// It needs that look at slots.
    pub is_guarded: bool,
    /// Of each shard.
    pub reigns: Vec<Reign>,
    /// Until when all this counts.
    pub lease: Arc<Lease>,
    /// What was applied, while that is over: `cluster` is then without its primaries.
    pub withheld: Option<Arc<Cluster>>,
    /// Who is told of written keys, where somebody is.
    pub writes: Option<Writes>,
    /// Replies that are kept, where some are.
    pub near: Option<Box<Near>>,
    /// Reads may leave the primary; and the primary is as good as a replica for them.
    pub spreads_reads: bool,
    pub reads_nearest: bool,
    /// `Limits::shard_queue`.
    pub shard_queue: usize,
    /// Commands that took long lately, by their ids.
    pub slow: Arc<[u16]>,
    /// That clients may select, and that the engine is not known to lack.
    pub databases: u32,
    /// Part number of each shard within one scatter-gathered command, and behind them of each slot, where that is told apart;
    /// scratch.
    pub parts: Vec<u16>,
}

/// Whose requests wait in a lot: a shard's, those of one of its slots where one is named, and what is spoken.
pub type Spot = (Option<u16>, u16, Speech);

/// Who is told of a cluster's written keys.
pub struct Writes {
    /// What replicas may not have yet, where some endpoint reads from them.
    recent: Option<Arc<Recent>>,
    window: Window,
    /// What may differ from what is kept near.
    changes: Option<Arc<Changes>>,
}

impl Writes {
    /// Of the cluster with this number, if any of its endpoints reads from replicas, or replies are kept.
    pub fn of(shared: &Shared, number: usize, cluster: &Cluster) -> Option<Self> {
        let spec = &cluster.spec;
        let has_reader = spec.endpoints.iter().any(|e| e.kind == EndpointKind::Reader);
        let recent = shared.recents.of(number, spec.reads != Reads::Primary || has_reader);
        let changes = shared.changes.of(number, cluster.near.is_some());
        if recent.is_none() && changes.is_none() {
            return None;
        }
        let under_way = spec.timeouts.park + spec.timeouts.reply.unwrap_or_default().max(spec.timeouts.slow);
        Some(Self { recent, window: Window { staleness: spec.max_staleness, under_way }, changes })
    }

    pub const fn changes(&self) -> Option<&Arc<Changes>> {
        self.changes.as_ref()
    }

    /// The key is written at any time from now on.
    #[inline]
    pub fn begin(&self, mark: Mark, now: u64) {
        if let Some(recent) = &self.recent {
            recent.begin_write(mark, now, self.window);
        }
    }

    /// It was written by now, and whoever wrote it has not been told.
    #[inline]
    pub fn done(&self, mark: Mark, now: u64) {
        if let Some(recent) = &self.recent {
            recent.write(mark, now);
        }
        if let Some(changes) = &self.changes {
            changes.note(mark);
        }
    }

    /// Any key may have been.
    pub fn all_done(&self, now: u64) {
        if let Some(recent) = &self.recent {
            recent.write_all(now);
        }
        if let Some(changes) = &self.changes {
            changes.note_all();
        }
    }

    /// Whether a replica may not have the key's last write yet.
    #[inline]
    pub fn is_recent(&self, mark: Mark, now: u64) -> bool {
        self.recent.as_ref().is_some_and(|recent| recent.is_recent(mark, now, self.window))
    }

    /// Where too many keys look written, more of them are told apart from now on.
    pub fn grow_if_crowded(&self, now: u64) {
        if let Some(recent) = &self.recent {
            recent.grow_if_crowded(now, self.window);
        }
    }
}

pub struct ServedNode {
    pub metrics: Arc<NodeMetrics>,
    pub links: Vec<Known>,
    /// Connections of this node's pool: how many there are, the free ones, and the clients that wait for one.
    pub dedicated: usize,
    pub idle: Vec<usize>,
    pub queue: VecDeque<Queued>,
    /// Its pool could not connect a moment ago.
    pub rests_until: Instant,
}

/// A client that waits for a connection of a pool, in the order of the numbers.
pub struct Queued {
    pub ticket: Tagged,
    pub number: u64,
}

/// A shared connection to a node.
#[derive(Clone, Copy)]
pub struct Known {
    pub speech: Speech,
    pub link: usize,
}

impl Served {
    pub fn new(
        ruled: Ruled,
        (metrics, shards): (Arc<ClusterMetrics>, Vec<Arc<ShardMetrics>>),
        nodes: Vec<ServedNode>,
        lots: HashMap<Spot, usize>,
        reigns: Vec<Reign>,
        (writes, near, watched, gate): (Option<Writes>, Option<Box<Near>>, Watched, Gate),
        lease: Arc<Lease>,
    ) -> Self {
        let Ruled { cluster, rights } = ruled;
        let count = cluster.shards.len();
        let reads = cluster.spec.reads;
        let shard_queue = cluster.spec.limits.shard_queue;
        let databases = cluster.databases;
        let mut served = Self {
            rules: of_rules(&cluster, &metrics),
            cluster,
            rights,
            metrics,
            shards,
            gate,
            watched,
            nodes,
            primaries: vec![[NO_LINK; 2]; count],
            lots,
            unsettled: None,
            told_moved: None,
            is_straight: false,
            is_guarded: false,
            reigns,
            lease,
            withheld: None,
            writes,
            near,
            spreads_reads: reads != Reads::Primary,
            reads_nearest: reads == Reads::Nearest,
            shard_queue,
            slow: Arc::default(),
            databases,
            parts: vec![u16::MAX; count],
        };
        served.see_whether_straight();
        served
    }

    fn see_whether_straight(&mut self) {
        let is_only_read = self.cluster.shards.iter().any(|shard| shard.read_only.is_some());
        self.is_straight = self.writes.is_none()
            && self.cluster.rules.is_none()
            && self.unsettled.is_none()
            && !is_only_read
            && !self.cluster.is_held
            && self.slots_waiting() == 0;
        let looks_at_slots = self.cluster.spec.clustered || self.unsettled.is_some() || self.cluster.is_held;
        self.is_guarded = !self.is_straight && looks_at_slots;
    }

    pub const fn unsettled(&self) -> Option<&Slots> {
        self.unsettled.as_ref()
    }

    pub fn set_unsettled(&mut self, slots: Option<Slots>) {
        self.unsettled = slots;
        self.see_whether_straight();
    }

    /// Whether of several keys on the shard each slot's go by themselves: engines in cluster mode take no others, and where some
    /// slots are held or unsettled the others go on.
    #[inline]
    pub fn tells_slots_apart(&self, shard: u16) -> bool {
        self.cluster.spec.clustered
            || self.unsettled.is_some()
            || self.cluster.is_held && self.cluster.hold_of(shard).is_some_and(|hold| hold.is_partial)
    }

    /// The connection to the primary of a shard, if that is all there is to choose: for database 0, up, and with room.
    #[inline]
    pub fn ready_primary(&self, links: &Links, shard: u16, resp: u8) -> Option<usize> {
        let known = *self.primaries.get(usize::from(shard))?.get(usize::from(resp == 3))?;
        if known == NO_LINK {
            return None;
        }
        let link = &links[known as usize];
        (link.state == State::Ready && link.exchange.bytes() < self.shard_queue).then_some(known as usize)
    }

    /// Append the deletion of these keys' leases, `count` of them, and count it.
    pub fn cancel<'k>(&self, sink: &mut Vec<u8>, count: usize, keys: impl Iterator<Item = &'k [u8]>) {
        cancel(sink, &self.cluster, count, keys, |rule| self.count_cancelled(rule));
    }

    /// A shard took so long for a request.
    #[inline]
    pub fn took(&self, shard: u16, class: Class, micros: u32) {
        match self.shards.get(usize::from(shard)) {
            Some(metrics) => metrics.latency.record(class, micros),
            None => self.metrics.latency(class, micros),
        }
    }

    /// A lease goes before a write.
    pub fn count_cancelled(&self, rule: u16) {
        if let Some(metrics) = self.rules.get(usize::from(rule)) {
            metrics.cancelled.increment();
        }
    }

    /// Whether a command took long lately.
    pub fn is_slow(&self, command: u16) -> bool {
        self.slow.binary_search(&command).is_ok()
    }

    /// Why nobody is served by the shard, or has to wait for it.
    #[cold]
    pub fn why_refused(&self, shard: u16) -> Option<Vec<u8>> {
        let shard = self.cluster.shards.get(usize::from(shard)).filter(|shard| shard.is_refused)?;
        let why = shard.why_not.as_deref().unwrap_or("its primary is not fit for it");
        Some(texts::not_served(&shard.label, why))
    }

    /// Why a write to the shard is refused unsent, while reads go on: its client may try again.
    #[inline]
    pub fn why_read_only(&self, shard: u16) -> Option<Vec<u8>> {
        let shard = self.cluster.shards.get(usize::from(shard))?;
        shard.read_only.as_deref().map(|why| refusal(&shard.label, "", why))
    }

    /// Whether what a node refused is tried again: where somebody else may take it, or the node itself before long. Else its
    /// client hears the reason at once, as from one engine.
    #[cold]
    pub fn may_be_cured(&self, way: &Way, refusal: Refusal, now: Instant) -> bool {
        let number = usize::from(way.shard);
        let (Some(shard), Some(reign)) = (self.cluster.shards.get(number), self.reigns.get(number)) else {
            return true;
        };
        if shard.primary != Some(way.node) {
            return true; // there is a primary, or there will be one
        }
        let has_others = shard.nodes.len() > 1;
        match refusal {
            Refusal::NotReady => true,
            Refusal::Demoted => has_others, // somebody is, or will be, primary in its place
            Refusal::Replicas => has_others && reign.is_young(now, self.cluster.spec.timeouts.park),
            Refusal::Disk => shard.is_replaceable,
        }
    }

    /// The request was executed by now. What writes and names no keys, as a script or SWAPDB may, may have written any.
    #[inline]
    pub fn note_written(&self, request: &Entry, now: u64) {
        let Some(writes) = &self.writes else { return };
        if request.mark < MANY_MARKS {
            writes.done(request.mark, now);
        } else if request.mark == NO_MARK && !request.is_read && request.may_write_unnamed() {
            writes.all_done(now);
        }
    }

    pub fn open_lot(&mut self, way: &Way, lot: usize) {
        self.lots.insert(spot(way.shard, way.slot, way.speech()), lot);
        if way.slot != NO_SLOT {
            return self.see_whether_straight();
        }
        if let Some(links) = self.primaries.get_mut(usize::from(way.shard)) {
            links[usize::from(way.resp == 3)] = NO_LINK; // so that every request looks for the lot
        }
    }

    pub fn close_lot(&mut self, way: &Way) {
        self.lots.remove(&spot(way.shard, way.slot, way.speech()));
        self.see_whether_straight();
    }

    /// Where the shard's requests wait, or those of a slot if that is one, whatever shard has it.
    pub fn lot(&self, shard: u16, slot: u16, speech: Speech) -> Option<usize> {
        if self.lots.is_empty() {
            return None;
        }
        self.lots.get(&spot(shard, slot, speech)).copied()
    }

    /// How many slots have a lot of their own.
    pub fn slots_waiting(&self) -> usize {
        self.lots.keys().filter(|(_, slot, _)| *slot != NO_SLOT).count()
    }

    /// No lookup may find this connection any more.
    pub fn forget(&mut self, link: usize) {
        for node in &mut self.nodes {
            node.links.retain(|known| known.link != link);
            node.idle.retain(|&idle| idle != link);
        }
        self.hide(link);
    }

    /// The usual lookup does not find it.
    pub fn hide(&mut self, link: usize) {
        for known in self.primaries.iter_mut().flatten() {
            if *known == link as u32 {
                *known = NO_LINK;
            }
        }
    }
}

fn of_rules(cluster: &Cluster, metrics: &ClusterMetrics) -> Vec<Arc<RuleMetrics>> {
    cluster.rules.iter().flat_map(Rules::all).map(|rule| metrics.rules.of(&rule.name)).collect()
}

fn spot(shard: u16, slot: u16, speech: Speech) -> Spot {
    ((slot == NO_SLOT).then_some(shard), slot, speech)
}

impl ServedNode {
    pub const fn new(metrics: Arc<NodeMetrics>, now: Instant) -> Self {
        Self { metrics, links: Vec::new(), dedicated: 0, idle: Vec::new(), queue: VecDeque::new(), rests_until: now }
    }

    #[inline]
    pub fn link(&self, speech: Speech) -> Option<usize> {
        self.links.iter().find(|known| known.speech == speech).map(|known| known.link)
    }
}
