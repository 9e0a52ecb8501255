//! What a worker knows beside its clients: topologies, upstream connections, offloads, and the clock of the turn.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use mio::Registry;
use slab::Slab;

use super::lease::Woken;
use crate::buffer::BufferPool;
use crate::command::Command;
use crate::metrics::{ClusterMetrics, NodeMetrics};
use crate::offload::Ticket;
use crate::pause::Paused;
use crate::plane::{Hint, HintKind, Shared};
use crate::protocol::resp::write;
use crate::pubsub::{self, PubSub};
use crate::recent::{Mark, Recent, Window, NO_MARK};
use crate::request::Request;
use crate::scripts::{digest_of, Scripts};
use crate::topology::{Cluster, EndpointKind, EngineKind, Limits, Node, Reads};
use crate::upstream::Upstream;

/// Unread replies of one client while memory is short.
const UNREAD_UNDER_PRESSURE: usize = 1024 * 1024;

pub(super) const NO_LINK: u32 = u32::MAX;

pub struct Core {
    pub number: usize,
    pub registry: Registry,
    pub shared: Arc<Shared>,
    pub upstreams: Slab<Upstream>,
    pub clusters: Vec<Option<Served>>,
    pub pool: BufferPool,
    /// Upstreams with something to send.
    pub dirty: Vec<usize>,
    /// Upstreams that had more to read than one turn gives them.
    pub unread: Vec<usize>,
    /// Upstreams whose connection was lost: a turn waits no longer than until the first may be opened again.
    pub(super) retrying: Vec<usize>,
    pub woken: Woken,
    /// Connections to nodes that this epoch made primaries no longer.
    pub fenced: Vec<usize>,
    /// Clients whose command finds no primary to wait at; the next epoch and the tick look at them again.
    pub unplaced: Vec<(usize, u32)>,
    /// Clients whose next request CLIENT PAUSE holds; the tick looks at them again.
    pub stopped: Vec<(usize, u32)>,
    pub pubsub: PubSub,
    pub offloaded: HashMap<u64, Offloaded>,
    /// When this turn began, and the same as microseconds on a clock that wraps.
    pub now: Instant,
    pub micros: u32,
    /// The same as milliseconds on the plane's clock.
    pub millis: u64,
    started: Instant,
    /// Scratch for key positions and their shards, reused by every request.
    pub keys: Vec<u32>,
    pub order: Vec<u16>,
    /// Bytes of buffers of this worker.
    pub held: usize,
    /// With this many bytes held the pressure is measured anew, without waiting for the tick.
    measure_at: usize,
    /// All workers' buffers are near, or at, their cap.
    pub pressure: Pressure,
    /// What CLIENT PAUSE holds, by cluster; empty while it holds nothing.
    pub paused: Vec<Paused>,
    /// Bytes of requests that wait in this worker's lots.
    pub(super) parked: usize,
    random: u32,
    /// Counts reads that any replica may answer, so that each has its turn.
    pub(super) turn: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Pressure {
    None,
    /// Clients that hold much are not read.
    High,
    /// New requests are refused.
    Full,
}

/// A command Python answers, and who waits for it.
pub struct Offloaded {
    pub client: usize,
    pub tag: u32,
    pub sequence: u32,
    pub ticket: Ticket,
    pub raw: Vec<u8>,
    pub command: u16,
    pub since: u32,
    /// All it does is to wait: it ends when its client goes.
    pub waits: bool,
    pub effect: Effect,
}

/// What the answer means to the data plane itself.
pub enum Effect {
    None,
    /// All nodes have this script now.
    KeepScript(Box<[u8]>),
    ForgetScripts,
}

impl Effect {
    pub fn of(command: Option<&Command>, request: &Request) -> Self {
        match command.map(|command| &*command.name) {
            Some("script|load") => Self::KeepScript(request.argument(2).into()),
            Some("script|flush") => Self::ForgetScripts,
            _ => Self::None,
        }
    }

    /// The command was answered so.
    pub fn take(self, scripts: &Scripts, cluster: usize, reply: &[u8]) {
        match self {
            Self::None => {}
            Self::KeepScript(body) => {
                let digest = reply.strip_prefix(b"$40\r\n").and_then(|rest| digest_of(rest.strip_suffix(b"\r\n")?));
                if let Some(digest) = digest {
                    scripts.keep(cluster, digest, &body);
                }
            }
            Self::ForgetScripts => scripts.forget(cluster),
        }
    }
}

/// A cluster as this worker serves it.
pub struct Served {
    pub cluster: Arc<Cluster>,
    pub metrics: Arc<ClusterMetrics>,
    pub(super) nodes: Vec<ServedNode>,
    /// The connection to each shard's primary for db 0, by RESP version: the lookup of almost every request.
    pub(super) primaries: Vec<[u32; 2]>,
    /// Shards whose requests wait, and the lots they wait in.
    pub(super) lots: HashMap<(u16, u8, u32), usize>,
    /// What is remembered of written keys, where some endpoint reads from replicas.
    pub(super) writes: Option<Writes>,
    /// Reads may leave the primary; and the primary is as good as a replica for them.
    pub(super) spreads_reads: bool,
    pub(super) reads_nearest: bool,
    /// Part number of each shard within one scatter-gathered command; scratch.
    pub parts: Vec<u16>,
}

/// Writes to a cluster that replicas may not have yet.
pub(super) struct Writes {
    pub(super) recent: Arc<Recent>,
    pub(super) window: Window,
}

pub(super) struct ServedNode {
    pub(super) metrics: Arc<NodeMetrics>,
    pub(super) links: Vec<Link>,
    /// Connections of this node's pool: how many there are, the free ones, and the clients that wait for one.
    pub(super) dedicated: usize,
    pub(super) idle: Vec<usize>,
    pub(super) queue: VecDeque<(usize, u32)>,
    /// Its pool could not connect a moment ago.
    pub(super) rests_until: Instant,
}

impl Served {
    pub fn open_lot(&mut self, shard: u16, resp: u8, db: u32, lot: usize) {
        self.lots.insert((shard, resp, db), lot);
        if let Some(links) = self.primaries.get_mut(usize::from(shard)) {
            links[usize::from(resp == 3)] = NO_LINK; // so that every request looks for the lot
        }
    }

    /// A write was executed by now.
    #[inline]
    pub(super) fn note_written(&self, mark: Mark, now: u64) {
        if let Some(writes) = self.writes.as_ref().filter(|_| mark != NO_MARK) {
            writes.recent.write(mark, now);
        }
    }

    pub fn close_lot(&mut self, shard: u16, resp: u8, db: u32) {
        self.lots.remove(&(shard, resp, db));
    }
}

impl ServedNode {
    #[inline]
    pub(super) fn link(&self, resp: u8, db: u32) -> Option<usize> {
        self.links.iter().find(|l| l.resp == resp && l.db == db).map(|l| l.upstream)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Link {
    pub(super) resp: u8,
    pub(super) db: u32,
    pub(super) upstream: usize,
}

impl Core {
    pub fn new(number: usize, registry: Registry, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        shared.workers[number].parked.set(0); // what a worker before it had parked went with it
        Self {
            number,
            registry,
            shared,
            upstreams: Slab::new(),
            clusters: Vec::new(),
            pool: BufferPool::default(),
            dirty: Vec::new(),
            unread: Vec::new(),
            retrying: Vec::new(),
            woken: Woken::default(),
            fenced: Vec::new(),
            unplaced: Vec::new(),
            stopped: Vec::new(),
            pubsub: PubSub::default(),
            offloaded: HashMap::new(),
            now,
            micros: 0,
            millis: 0,
            started: now,
            keys: Vec::new(),
            order: Vec::new(),
            held: 0,
            measure_at: 0,
            pressure: Pressure::None,
            paused: Vec::new(),
            parked: 0,
            random: 0x9e37_79b9 ^ number as u32,
            turn: number,
        }
    }

    pub fn turn_begins(&mut self) {
        self.now = Instant::now();
        self.micros = self.now.duration_since(self.started).as_micros() as u32;
        let metrics = &self.shared.workers[self.number];
        metrics.turns.increment();
        let millis = self.shared.millis(self.now);
        metrics.turned_at.set(millis);
        self.millis = millis;
        self.shared.pauses.at(millis, &mut self.paused);
    }

    pub fn paused(&self, cluster: usize) -> Paused {
        self.paused.get(cluster).copied().unwrap_or_default()
    }

    /// xorshift32: jitter needs no more.
    pub fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    /// Serve this epoch of a cluster from now on. Connections to nodes that stay are kept.
    pub fn apply(&mut self, index: usize, cluster: Option<Arc<Cluster>>) {
        if self.clusters.len() <= index {
            self.clusters.resize_with(index + 1, || None);
        }
        let mut old = self.clusters[index].take();
        let Some(cluster) = cluster else {
            for node in old.iter().flat_map(|o| &o.nodes) {
                node.links.iter().for_each(|link| self.upstreams[link.upstream].is_retired = true);
            }
            for &lot in old.iter().flat_map(|o| o.lots.values()) {
                self.upstreams[lot].is_retired = true;
            }
            self.retire_dedicated(index, old.as_ref(), &HashMap::new());
            pubsub::refresh(self, index);
            return;
        };
        self.fence_deposed(index, old.as_ref(), &cluster);
        let renamed = old.as_ref().map_or_else(Vec::new, |old| renamed(&old.cluster, &cluster));
        let name = cluster.spec.name.clone();
        let mut nodes = Vec::with_capacity(cluster.nodes.len());
        let mut pools = HashMap::new(); // the numbers of nodes that stay what they are, old to new
        for (number, node) in cluster.nodes.iter().enumerate() {
            let metrics = self.shared.metrics.node(&name, &node.label, self.number);
            let mut served = ServedNode {
                metrics,
                links: Vec::new(),
                dedicated: 0,
                idle: Vec::new(),
                queue: VecDeque::new(),
                rests_until: self.now,
            };
            let is_same = |n: &Node| n.address == node.address && n.shard == node.shard;
            if let Some((old, place)) =
                old.as_mut().and_then(|o| o.cluster.nodes.iter().position(is_same).map(|p| (o, p)))
            {
                served.links = std::mem::take(&mut old.nodes[place].links);
                let is_primary = |of: &Cluster, n: usize| of.shards[usize::from(node.shard)].primary == Some(n as u16);
                if is_primary(&old.cluster, place) == is_primary(&cluster, number) {
                    let pool = &mut old.nodes[place];
                    served.dedicated = pool.dedicated;
                    served.idle = std::mem::take(&mut pool.idle);
                    served.queue = std::mem::take(&mut pool.queue);
                    pools.insert(place as u16, number as u16);
                }
            }
            for link in &served.links {
                self.upstreams[link.upstream].node = number as u16;
            }
            nodes.push(served);
        }
        for node in old.iter().flat_map(|o| &o.nodes) {
            node.links.iter().for_each(|link| self.upstreams[link.upstream].is_retired = true);
        }
        self.retire_dedicated(index, old.as_ref(), &pools);
        let metrics = self.shared.metrics.cluster(&name, self.number);
        let shards = cluster.shards.len();
        let reads = cluster.spec.reads;
        let has_reader = cluster.spec.endpoints.iter().any(|e| e.kind == EndpointKind::Reader);
        let recent = self.shared.recents.of(index, reads != Reads::Primary || has_reader);
        let timeouts = cluster.spec.timeouts;
        let under_way = timeouts.park + timeouts.reply.unwrap_or_default();
        let window = Window { staleness: cluster.spec.max_staleness, under_way };
        let lots = old.map(|o| o.lots).unwrap_or_default();
        let served = Served {
            cluster,
            metrics,
            nodes,
            primaries: vec![[NO_LINK; 2]; shards],
            lots,
            writes: recent.map(|recent| Writes { recent, window }),
            spreads_reads: reads != Reads::Primary,
            reads_nearest: reads == Reads::Nearest,
            parts: vec![u16::MAX; shards],
        };
        self.clusters[index] = Some(served);
        self.recognise(index, &renamed);
        pubsub::refresh(self, index);
    }

    /// Connections to a primary that is none in the new epoch.
    fn fence_deposed(&mut self, cluster: usize, old: Option<&Served>, new: &Cluster) {
        let Some(old) = old.filter(|o| o.cluster.spec.engine == EngineKind::Redis) else { return };
        for (number, shard) in old.cluster.shards.iter().enumerate() {
            let Some(node) = shard.primary else { continue };
            let address = &old.cluster.nodes[usize::from(node)].address;
            let is_same = new
                .shards
                .get(number)
                .is_some_and(|s| s.primary.is_some_and(|p| new.nodes[usize::from(p)].address == *address));
            if !is_same {
                self.fenced.extend(old.nodes[usize::from(node)].links.iter().map(|link| link.upstream));
                let leased = self.upstreams.iter().filter(|(_, u)| u.cluster == cluster && u.shard == number as u16);
                let leased = leased.filter(|(_, u)| u.is_dedicated && u.owner.is_some() && u.node == node);
                self.fenced.extend(leased.map(|(index, _)| index));
            }
        }
    }

    /// What the shard is called.
    pub fn label(&self, cluster: usize, shard: u16) -> String {
        let served = self.clusters.get(cluster).and_then(Option::as_ref);
        let shard_of = |s: &Served| s.cluster.shards.get(usize::from(shard)).map(|shard| shard.label.clone());
        served.and_then(shard_of).unwrap_or_else(|| shard.to_string())
    }

    /// Tell the control plane where to look.
    pub fn give_hint(&self, index: usize, kind: HintKind) {
        let upstream = &self.upstreams[index];
        let Some(served) = &self.clusters[upstream.cluster] else { return };
        let Some(node) = served.cluster.nodes.get(usize::from(upstream.node)) else { return };
        let (cluster, address) = (served.cluster.spec.name.clone(), node.label.clone());
        self.shared.hint(Hint { cluster, address, kind, why: upstream.why_down.clone() });
    }

    /// An upstream is gone: no lookup may find it.
    pub fn unlink(&mut self, index: usize) {
        let was_dedicated = self.upstreams[index].is_dedicated && !self.upstreams[index].is_retired;
        let (cluster, number) = (self.upstreams[index].cluster, usize::from(self.upstreams[index].node));
        if let Some(place) = self.clusters[cluster].as_mut().and_then(|s| s.nodes.get_mut(number)) {
            if was_dedicated {
                place.dedicated = place.dedicated.saturating_sub(1);
                self.woken.pools.push((cluster, number));
            }
        }
        for served in self.clusters.iter_mut().flatten() {
            for node in &mut served.nodes {
                node.links.retain(|link| link.upstream != index);
                node.idle.retain(|&idle| idle != index);
            }
            for link in served.primaries.iter_mut().flatten() {
                if *link == index as u32 {
                    *link = NO_LINK;
                }
            }
        }
    }

    #[inline]
    pub fn mark_dirty(&mut self, index: usize) {
        let upstream = &mut self.upstreams[index];
        if !upstream.is_dirty {
            upstream.is_dirty = true;
            self.dirty.push(index);
        }
    }

    pub fn mark_dirty_if_present(&mut self, index: usize) {
        if self.upstreams.get(index).is_some_and(|u| !u.window.unsent().is_empty()) {
            self.mark_dirty(index);
        }
    }

    /// A client with more unread replies than this is not read until it has taken some. Many applications write a whole
    /// pipeline before they read: as long as there is memory they get half of what they may be owed, and what is still
    /// under way when reading stops has the other half.
    #[inline]
    pub fn unread_at_most(&self, limits: &Limits) -> usize {
        let half = limits.client_output / 2;
        if self.pressure == Pressure::None {
            half
        } else {
            half.min(UNREAD_UNDER_PRESSURE)
        }
    }

    /// Measure the pressure if much was taken since it was last done.
    #[inline]
    pub fn measure_if_due(&mut self) {
        if self.held >= self.measure_at {
            self.measure();
        }
    }

    /// Compare all workers' buffers with their cap.
    pub fn measure(&mut self) {
        self.shared.workers[self.number].buffers.set((self.held + self.pool.bytes()) as u64);
        let (total, cap) = self.shared.buffers();
        (self.pressure, self.measure_at) = match cap {
            0 => (Pressure::None, usize::MAX),
            _ if total >= cap => (Pressure::Full, self.held + cap / 32),
            _ if total >= cap / 4 * 3 => (Pressure::High, self.held + cap / 32),
            _ => (Pressure::None, self.held + cap / 32),
        };
    }

    /// Count a holder's buffers anew; `accounted` is what it was counted with.
    #[inline]
    pub fn settle(held: &mut usize, accounted: &mut usize, now: usize) {
        if *accounted != now {
            *held = *held + now - *accounted;
            *accounted = now;
        }
    }
}

/// Shards whose primary is another process than before.
fn renamed(old: &Cluster, new: &Cluster) -> Vec<u16> {
    let named = |cluster: &Cluster, shard: u16| {
        let primary = cluster.shards.get(usize::from(shard)).and_then(|s| s.primary)?;
        cluster.run_id_of(shard, primary).map(str::to_owned)
    };
    (0..new.shards.len() as u16).filter(|&shard| named(old, shard) != named(new, shard)).collect()
}

pub(super) fn no_cluster() -> Vec<u8> {
    b"-ERR this cluster is no longer served, command not executed\r\n".to_vec()
}

/// Nothing was sent: the client may try again.
pub fn refusal(shard: &str, node: &str, why: &str) -> Vec<u8> {
    let mut text = Vec::new();
    let place = if node.is_empty() { String::new() } else { format!(" ({node})") };
    write::error(
        &mut text,
        &format!("TRYAGAIN shard {shard}{place} cannot take the command: {why}; command not executed"),
    );
    text
}
