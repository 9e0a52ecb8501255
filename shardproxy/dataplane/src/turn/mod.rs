//! What a turn of a worker works on, beside its clients: clusters, connections to nodes, the clock, the accounts.

mod access;
mod accounts;
mod door;
mod feeds;
mod gate;
mod held;
mod left;
mod look;
mod members;
mod names;
mod offloaded;
mod pubsub;
mod reign;
mod scripts;
mod served;
mod shards;
mod slow;
mod tapping;
mod topics;
mod tracked;
mod waits;

pub use access::{Accesses, Did};
pub use accounts::{Accounts, Pressure};
pub use door::Door;
pub use feeds::{Feed, Feeds, Hearer};
pub use gate::{Drawn, Gate};
pub use held::{Held, Waiter};
pub use look::{Looks, Told};
pub use members::Tagged;
pub use offloaded::{Again, Answering, Effect, Greeting, Offloaded, Ticket};
pub use pubsub::{Gone, Job, PubSub, STEPS};
pub use reign::Reign;
pub use scripts::RunScripts;
pub use served::{Known, Queued, Served, ServedNode, Writes};
pub use tapping::Tapping;
pub use topics::{Announcement, Topics};
pub use tracked::{tickets, Pending, Tracked};
pub use waits::{Attempt, Ending, Outcome, Waits, Watch, Watcher, Wish};

use std::sync::mpsc::SyncSender;
use std::sync::Arc;
use std::time::Instant;

use mio::Registry;

use crate::caching::Ages;
use crate::clients::Client;
use crate::dialect::resp::refusals::concerns_reads;
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::exchange::BufferPool;
use crate::insight::{Insight, Memory, Report};
use crate::links::{Link, Links, Way};
use crate::model::Cluster;
use crate::shared::{Loss, NodeLost, Paused, Shared};
use crate::timing::Timing;

pub struct Turn {
    /// Which worker this is.
    pub number: usize,
    /// Requests served since links were last written to.
    pub batch: u32,
    pub registry: Registry,
    pub shared: Arc<Shared>,
    pub clusters: Vec<Option<Served>>,
    pub links: Links,
    pub pool: BufferPool,
    pub accounts: Accounts,
    pub scratch: Scratch,
    /// The large request that is being served, if it is alone in its buffer: whoever sends it takes that, not a copy.
    pub large: Option<Arc<Vec<u8>>>,
    pub later: Later,
    pub held: Held,
    pub door: Door,
    /// Who is to be told that nothing is under way that is held.
    pub settling: Vec<Settling>,
    pub pubsub: PubSub,
    pub waits: Waits,
    pub feeds: Feeds,
    pub tracked: Tracked,
    pub offloaded: Answering,
    pub ages: Ages,
    /// Who looks at requests that have their answers.
    pub looks: Looks,
    pub run_scripts: RunScripts,
    /// When this turn began, and the same as microseconds on a clock that wraps.
    pub now: Instant,
    pub micros: u32,
    /// The same as milliseconds on the plane's clock.
    pub millis: u64,
    started: Instant,
    /// What CLIENT PAUSE holds, by cluster; empty while it holds nothing.
    pub paused: Vec<Paused>,
    /// Who monitors, and what these are to hear.
    pub tapping: Tapping,
    /// Nothing is paused, nobody monitors, and all clients have the rights of now: an ordinary request needs no look at that.
    pub is_quiet: bool,
    /// Clients are being given other rights.
    is_following: bool,
    /// A request was answered by an error of the proxy's own since this was last cleared.
    pub is_refused: bool,
    pub accesses: Accesses,
    random: u32,
    /// Counts reads that any replica may answer, so that each has its turn.
    pub rotation: usize,
}

/// Key positions of a request and the parts they belong to, reused by every one.
#[derive(Default)]
pub struct Scratch {
    pub keys: Vec<u32>,
    pub order: Vec<u16>,
    pub parts: Vec<Part>,
}

/// One shard's share of a scatter-gathered command, or one slot's.
#[derive(Clone, Copy)]
pub struct Part {
    pub shard: u16,
    /// `NO_SLOT`: it has keys of several.
    pub slot: u16,
    /// Its shard has others for other slots.
    pub is_of_slot: bool,
    pub keys: usize,
    pub link: usize,
}

/// Places that the scratch may keep though nobody needs them.
const SCRATCH: usize = 16 * 1024;

impl Scratch {
    /// Give back what an unusual request took.
    pub fn trim(&mut self) {
        if self.keys.capacity() > SCRATCH {
            self.keys = Vec::new();
        }
        if self.order.capacity() > SCRATCH {
            self.order = Vec::new();
        }
        if self.parts.capacity() > SCRATCH {
            self.parts = Vec::new();
        }
    }

    pub fn held(&self) -> usize {
        let parts = self.parts.capacity() * size_of::<Part>();
        self.keys.capacity() * size_of::<u32>() + self.order.capacity() * size_of::<u16>() + parts
    }
}

/// Somebody waits until nothing is under way that a cluster holds; no longer than until then.
pub struct Settling {
    pub cluster: usize,
    pub until: Instant,
    pub settled: SyncSender<()>,
}

/// Who and what is to be looked at again, and not yet.
#[derive(Default)]
pub struct Later {
    /// Clients that may go on.
    pub clients: Vec<(usize, u32)>,
    /// A pool, by cluster and node, has room for one more.
    pub pools: Vec<(usize, usize)>,
    /// Leased connections that nobody needs.
    pub retire: Vec<usize>,
    /// Connections to nodes that this epoch made primaries no longer.
    pub fenced: Vec<usize>,
    /// Clients whose command finds no primary to wait at; the next epoch and the tick look at them again.
    pub unplaced: Vec<(usize, u32)>,
    /// Clients whose next request CLIENT PAUSE holds; the tick looks at them again.
    pub stopped: Vec<(usize, u32)>,
}

impl Turn {
    pub fn new(number: usize, registry: Registry, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let memory = Memory::new((shared.buffers().cap, shared.workers.len()));
        let looks = Looks { timing: Timing::new(shared.table()), insight: Insight::new(shared.table(), memory) };
        shared.workers[number].parked.set(0); // what a worker before it had parked went with it
        Self {
            number,
            batch: 0,
            registry,
            shared,
            clusters: Vec::new(),
            links: Links::default(),
            pool: BufferPool::default(),
            accounts: Accounts::default(),
            scratch: Scratch::default(),
            large: None,
            later: Later::default(),
            held: Held::default(),
            door: Door::default(),
            settling: Vec::new(),
            pubsub: PubSub::default(),
            waits: Waits::default(),
            feeds: Feeds::default(),
            tracked: Tracked::default(),
            offloaded: Answering::default(),
            ages: Ages::default(),
            looks,
            run_scripts: RunScripts::default(),
            now,
            micros: 0,
            millis: 0,
            started: now,
            paused: Vec::new(),
            tapping: Tapping::default(),
            is_quiet: true,
            is_following: false,
            is_refused: false,
            accesses: Accesses::default(),
            random: 0x9e37_79b9 ^ number as u32,
            rotation: number,
        }
    }

    pub fn begin(&mut self, now: Instant) {
        self.now = now;
        self.micros = now.duration_since(self.started).as_micros() as u32;
        let metrics = &self.shared.workers[self.number];
        metrics.turns.increment();
        let millis = self.shared.millis(now);
        metrics.turned_at.set(millis);
        self.millis = millis;
        self.shared.pauses.at(millis, &mut self.paused);
        self.tapping.begin(&self.shared.taps);
        if self.looks.timing.begin(&self.shared.timings) {
            self.sample();
        }
        self.see_whether_quiet();
        self.pubsub.left = STEPS;
    }

    /// Another share of requests may be sampled.
    #[cold]
    fn sample(&mut self) {
        for cluster in 0..self.clusters.len() {
            let (interval, seed) = (self.looks.timing.interval(), self.random());
            if let Some(served) = &mut self.clusters[cluster] {
                served.gate.sample(interval, seed);
            }
        }
    }

    fn see_whether_quiet(&mut self) {
        self.is_quiet = self.paused.is_empty() && !self.tapping.is_on() && !self.is_following;
    }

    /// Whether some clients may still have the rights of before.
    pub fn set_following(&mut self, is_following: bool) {
        self.is_following = is_following;
        self.see_whether_quiet();
    }

    /// So many units of work were done for things that clients have many of.
    #[inline]
    pub fn spend(&mut self, steps: usize) {
        self.pubsub.left = self.pubsub.left.saturating_sub(steps);
        self.pubsub.is_counted = false;
        self.shared.workers[self.number].steps.add(steps as u64);
    }

    /// When this turn began, microseconds on a clock that does not wrap.
    pub const fn long_micros(&self) -> u64 {
        self.looks.timing.wide(self.micros)
    }

    pub fn paused(&self, cluster: usize) -> Paused {
        self.paused.get(cluster).copied().unwrap_or_default()
    }

    /// xorshift32: jitter needs no more.
    pub const fn random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    #[inline]
    pub fn served(&self, cluster: usize) -> Option<&Served> {
        self.clusters.get(cluster).and_then(Option::as_ref)
    }

    /// The cluster in its present epoch.
    #[inline]
    pub fn cluster(&self, cluster: usize) -> Option<&Cluster> {
        self.served(cluster).map(|served| &*served.cluster)
    }

    /// Whether the cluster's engines are of this version or a newer one.
    #[cold]
    pub fn is_engine_since(&self, cluster: usize, (major, minor): (u32, u32)) -> bool {
        self.cluster(cluster).is_some_and(|cluster| cluster.spec.is_since((major, minor)))
    }

    /// What is known of a shard's primary.
    pub fn reign(&mut self, way: &Way) -> Option<&mut Reign> {
        self.clusters.get_mut(way.cluster)?.as_mut()?.reigns.get_mut(usize::from(way.shard))
    }

    /// What the shard is called.
    pub fn label(&self, cluster: usize, shard: u16) -> String {
        let shard_of = |c: &Cluster| c.shards.get(usize::from(shard)).map(|shard| shard.label.clone());
        self.cluster(cluster).and_then(shard_of).unwrap_or_else(|| shard.to_string())
    }

    /// What the node is called; empty when it is none of this epoch's.
    pub fn node_label(&self, cluster: usize, node: u16) -> &str {
        self.cluster(cluster).and_then(|c| c.nodes.get(usize::from(node))).map_or("", |node| &node.label)
    }

    /// Tell the control plane where to look.
    pub fn tell_lost(&self, index: usize, kind: Loss) {
        let link = &self.links[index];
        let Some(cluster) = self.cluster(link.way.cluster) else { return };
        let Some(node) = cluster.nodes.get(usize::from(link.way.node)) else { return };
        let (cluster, address) = (cluster.spec.name.clone(), node.label.clone());
        self.shared.events.lose(NodeLost { cluster, address, kind, why: link.trouble.why_down.clone() });
    }

    /// Close a connection for good: no lookup finds it any more.
    pub fn remove_link(&mut self, index: usize) {
        let link = &self.links[index];
        let was_counted = link.is_leased() && !link.is_retired;
        let (cluster, number) = (link.way.cluster, usize::from(link.way.node));
        if let Some(place) = self.clusters[cluster].as_mut().and_then(|s| s.nodes.get_mut(number)) {
            if was_counted {
                place.dedicated = place.dedicated.saturating_sub(1);
                self.later.pools.push((cluster, number));
            }
        }
        self.forget(index);
        let mut link = self.links.remove(index);
        link.disconnect();
        if link.count_as_out(false) {
            self.shared.tell_down();
        }
        self.release(&mut link);
    }

    /// No lookup finds this connection any more.
    pub fn forget(&mut self, index: usize) {
        for served in self.clusters.iter_mut().flatten() {
            served.forget(index);
        }
    }

    /// What a connection held is free.
    pub fn release(&mut self, link: &mut Link) {
        link.count_queued(0);
        self.accounts.settle(&mut link.accounted, 0);
        self.accounts.parked -= std::mem::take(&mut link.parked);
        self.shared.workers[self.number].parked.set(self.accounts.parked as u64);
    }

    /// Count anew what a connection holds.
    #[inline]
    pub fn settle_link(&mut self, index: usize) {
        let link = &mut self.links[index];
        if link.exchange.has_spent() {
            link.exchange.take_spent().into_iter().for_each(|buffer| self.pool.discard_shared(buffer));
        }
        link.count_queued(link.exchange.bytes());
        let held = link.held();
        self.accounts.settle(&mut link.accounted, held);
    }

    /// Count anew what subscriptions take, if anything was done about them.
    pub fn settle_pubsub(&mut self) {
        if !std::mem::replace(&mut self.pubsub.is_counted, true) {
            let held = self.pubsub.held();
            self.accounts.settle(&mut self.pubsub.accounted, held);
            self.measure_if_due();
        }
    }

    /// Count anew what clients that wait take.
    pub fn settle_waits(&mut self) {
        let held = self.waits.held();
        if held != self.waits.accounted {
            self.accounts.settle(&mut self.waits.accounted, held);
            self.measure_if_due();
        }
    }

    /// Tell what is kept near.
    pub fn measure_near(&self) {
        for served in self.clusters.iter().flatten() {
            if let Some(near) = &served.near {
                served.metrics.near_bytes.set(near.held() as u64);
                served.metrics.near_keys.set(near.len() as u64);
            }
        }
    }

    /// What is hot and large in a cluster, by now.
    pub fn report(&self, cluster: usize) -> Report {
        self.served(cluster).map_or_else(Report::default, |served| served.watched.report(self.millis))
    }

    /// See to what is remembered of hot keys once a second.
    pub fn watch(&mut self) {
        let Self { clusters, looks, shared, millis, accounts, .. } = self;
        let insight = &mut looks.insight;
        if !insight.is_due(*millis) {
            return;
        }
        let is_short = accounts.pressure > Pressure::None;
        if is_short {
            insight.memory.rest(*millis);
        }
        let mut held = 0;
        for Served { cluster, metrics, shards, watched, .. } in clusters.iter_mut().flatten() {
            if is_short {
                watched.forget(shards);
            }
            watched.tick(*millis, &cluster.spec.name, (metrics, &shared.metrics), shards);
            held += watched.held();
        }
        insight.memory.measure(held);
    }

    /// Where too many keys look written, more of them are told apart from now on.
    pub fn grow_recent(&self) {
        for writes in self.clusters.iter().flatten().filter_map(|served| served.writes.as_ref()) {
            writes.grow_if_crowded(self.millis);
        }
    }

    /// Count anew what a client holds, and whether it is blocked.
    #[inline]
    pub fn settle_client(&mut self, client: &mut Client) {
        let held = client.held();
        self.accounts.settle(&mut client.accounted, held);
        let is_blocked = client.is_blocked();
        if is_blocked != client.counts_as_blocked {
            self.count_blocked(client, is_blocked);
        }
    }

    #[cold]
    pub fn count_blocked(&self, client: &mut Client, is_blocked: bool) {
        if std::mem::replace(&mut client.counts_as_blocked, is_blocked) == is_blocked {
            return;
        }
        if let Some(served) = self.served(client.cluster) {
            let blocked = &served.metrics.blocked;
            blocked.set(if is_blocked { blocked.get() + 1 } else { blocked.get().saturating_sub(1) });
        }
    }

    /// Measure the pressure if much was taken since it was last done.
    #[inline]
    pub fn measure_if_due(&mut self) {
        if self.accounts.is_due() {
            self.measure();
        }
    }

    /// Compare all workers' buffers with their cap.
    pub fn measure(&mut self) {
        let waiting = self.offloaded.held() + self.held.held() + self.door.held();
        let remembered = self.ages.held() + self.looks.insight.memory.held();
        let own = self.pool.bytes() + self.scratch.held() + remembered + waiting;
        let (held, spent) = (self.accounts.held() + own, self.pool.spent());
        let gauges = &self.shared.workers[self.number];
        gauges.buffers.set(held as u64);
        gauges.spent.set(spent as u64);
        self.accounts.measure(&self.shared.buffers(), held - spent);
    }

    /// What to tell whoever waited for a shard in vain: what its primary said last, where there is one.
    #[cold]
    pub fn waited_in_vain(&self, cluster: usize, shard: u16, is_read: bool) -> Vec<u8> {
        let label = self.label(cluster, shard);
        let number = usize::from(shard);
        let Some((served, known)) = self.served(cluster).and_then(|s| Some((s, s.cluster.shards.get(number)?))) else {
            return refusal(&label, "", "the shard is no longer there");
        };
        match (known.primary, &known.why_not) {
            (None, None) => return texts::failing_over(&label),
            (None, Some(why)) => return refusal(&label, "", why),
            (Some(_), _) => {}
        }
        match served.reigns.get(number).and_then(|reign| reign.refusal(self.now)) {
            Some(said) if is_read && !concerns_reads(said) => {
                let said = String::from_utf8_lossy(&said[1..]);
                refusal(&label, "", &format!("it waited behind a write that was refused: {}", said.trim_end()))
            }
            Some(said) => said.to_vec(),
            None => refusal(&label, "", "its primary takes nothing (timeouts.park)"),
        }
    }

    /// Refuse a request because of its shard: nothing was sent, and its client may try again.
    pub fn refusal(&self, cluster: usize, shard: u16, why: &str) -> Vec<u8> {
        refusal(&self.label(cluster, shard), "", why)
    }
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
