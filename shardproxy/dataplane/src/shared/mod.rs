//! What all threads share. Nothing here takes a lock per request.

mod census;
mod events;
mod lease;
mod letters;
mod of_clusters;
mod pause;
mod recent;
mod refusals;
mod rights;
mod scripts;
mod slow;

pub use census::Census;
pub use events::{
    worker_of, Access, AccessEvent, CacheAged, ClientDid, Event, Events, Loss, NodeDown, NodeLost, Offload, Spent,
    STRANGER,
};
pub use lease::Lease;
pub use letters::{Answer, Changed, Claim, Entrant, Letter, Seek, Sender, Told};
pub use pause::{Paused, Pauses};
pub use recent::{mark_of, Recent, Window};
pub use refusals::{Refusal, Refusals};
pub use rights::{Rights, Ruled};
pub use scripts::{Scripts, REMEMBERED};
pub use slow::SlowCommands;

use lease::Leases;
use letters::Post;
use of_clusters::OfClusters;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mio::Waker;

use crate::clients::Taps;
use crate::command::CommandTable;
use crate::metrics::{Registry, WorkerMetrics};
use crate::model::{Cluster, EndpointKind};
use crate::near::Changes;
use crate::net::{Budget, Resolver};
use crate::sync::lock;
use crate::timing::Timings;

/// Bytes of buffers of all workers.
pub struct Buffers {
    pub held: usize,
    /// Those of them that nobody needs, and that are being freed.
    pub spent: usize,
    /// What each worker would hold of the rest if all held the same.
    pub fair_share: usize,
    /// The most there may be; 0 = any number.
    pub cap: usize,
}

pub struct Shared {
    posts: Box<[Post]>,
    pub workers: Vec<WorkerMetrics>,
    pub metrics: Registry,
    pub events: Events,
    pub refusals: Refusals,
    pub resolver: Resolver,
    pub census: Census,
    pub recents: OfClusters<Recent>,
    /// Keys that may have changed, where replies are kept.
    pub changes: OfClusters<Changes>,
    pub leases: Leases,
    pub scripts: Scripts,
    pub pauses: Pauses,
    pub slow: SlowCommands,
    pub taps: Arc<Taps>,
    pub timings: Timings,
    /// Connections of clients' own that all workers together may have.
    pub dedicated: Arc<Budget>,
    /// What could not be opened for want of a file descriptor.
    pub lacking: AtomicU64,
    /// Other nodes are down than the control plane was told.
    is_down_news: AtomicBool,
    pub clusters: Mutex<Vec<(String, Option<Ruled>)>>,
    next_rights: AtomicU32,
    table: Mutex<Arc<CommandTable>>,
    /// The cap on all buffers; 0 = none.
    buffers: usize,
    started: Instant,
    pub next_client: AtomicU64,
    /// Numbers connects, of all workers: one that starts anew must not take an answer to the one before it for its own.
    pub next_attempt: AtomicU64,
    /// What workers were told last. One that panics may have heard it, and the one in its place has not.
    pub is_draining: AtomicBool,
    pub is_stopping: AtomicBool,
}

impl Shared {
    pub fn new(workers: usize, table: Arc<CommandTable>, buffers: usize, resolver: Resolver) -> io::Result<Self> {
        Ok(Self {
            posts: (0..workers).map(|_| Post::default()).collect(),
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            metrics: Registry::default(),
            events: Events::new()?,
            refusals: Refusals::default(),
            resolver,
            census: Census::default(),
            recents: OfClusters::default(),
            changes: OfClusters::default(),
            leases: Leases::default(),
            scripts: Scripts::default(),
            pauses: Pauses::default(),
            slow: SlowCommands::default(),
            taps: Arc::default(),
            timings: Timings::default(),
            dedicated: Arc::default(),
            lacking: AtomicU64::new(0),
            is_down_news: AtomicBool::new(false),
            clusters: Mutex::default(),
            next_rights: AtomicU32::new(1),
            table: Mutex::new(table),
            buffers,
            started: Instant::now(),
            next_client: AtomicU64::new(1),
            next_attempt: AtomicU64::new(1),
            is_draining: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// This could not be opened for want of a file descriptor.
    pub fn lack(&self, what: String) {
        self.lacking.fetch_add(1, Relaxed);
        self.events.lack(what);
    }

    /// A connection to an endpoint is refused: count it, and tell of it unless many were a moment ago.
    pub fn refuse(&self, (cluster, endpoint): (usize, EndpointKind), why: Refusal, event: AccessEvent) {
        let name = self.cluster(cluster).map_or_else(String::new, |served| served.spec.name.clone());
        let event = AccessEvent { cluster: name, endpoint: endpoint.name(), ..event };
        if self.refusals.count(cluster, why, self.millis(Instant::now())) {
            self.events.tell_access(event);
        } else {
            self.events.leave_untold(event.cluster, event.kind, &event.why, 1);
        }
    }

    /// Letters for the worker wake it from now on.
    pub fn attach(&self, worker: usize, waker: Arc<Waker>) {
        self.posts[worker].attach(waker);
    }

    pub fn post(&self, worker: usize, letter: Letter) {
        self.posts[worker].send(letter);
    }

    /// The letters that came for the worker.
    pub fn letters(&self, worker: usize) -> VecDeque<Letter> {
        self.posts[worker].take()
    }

    /// A worker counts a node as down, or as up again.
    pub fn tell_down(&self) {
        self.is_down_news.store(true, SeqCst);
        self.events.wakeup.raise();
    }

    pub fn table(&self) -> Arc<CommandTable> {
        lock(&self.table).clone()
    }

    pub fn clusters(&self) -> Vec<Option<Ruled>> {
        lock(&self.clusters).iter().map(|(_, ruled)| ruled.clone()).collect()
    }

    /// The number of the cluster of that name, and what is served of it.
    pub fn find(&self, name: &str) -> Option<(usize, Arc<Cluster>)> {
        let clusters = lock(&self.clusters);
        let index = clusters.iter().position(|(known, _)| known == name)?;
        Some((index, clusters[index].1.as_ref()?.cluster.clone()))
    }

    /// The cluster of that name, if it is served.
    pub fn named(&self, name: &str) -> Option<Ruled> {
        lock(&self.clusters).iter().find(|(known, _)| known == name)?.1.clone()
    }

    pub fn cluster(&self, index: usize) -> Option<Arc<Cluster>> {
        lock(&self.clusters).get(index).and_then(|(_, ruled)| Some(ruled.as_ref()?.cluster.clone()))
    }

    /// Who may do what in the cluster by this table: as `known`, where that is still so.
    pub fn rights_in(
        &self,
        cluster: &Cluster,
        table: &Arc<CommandTable>,
        known: Option<&Arc<Rights>>,
    ) -> Result<Arc<Rights>, String> {
        let spec = cluster.spec.access.as_ref();
        if let Some(known) = known.filter(|known| known.are_of(spec, table)) {
            return Ok(known.clone());
        }
        let number = self.next_rights.fetch_add(1, Relaxed);
        Ok(Arc::new(Rights::compile(number, spec, table)?))
    }

    /// The same for a worker that started anew: what it was told may be older than what it knows. Who was admitted before and
    /// cannot be told now is nobody.
    pub fn rights_by(&self, cluster: &Cluster, table: &Arc<CommandTable>, known: &Arc<Rights>) -> Arc<Rights> {
        if known.are_by(table) {
            return known.clone();
        }
        let nobody = || Arc::new(Rights::nobodys(self.next_rights.fetch_add(1, Relaxed), cluster, table));
        self.rights_in(cluster, table, None).unwrap_or_else(|_| nobody())
    }

    pub fn millis(&self, now: Instant) -> u64 {
        now.duration_since(self.started).as_millis() as u64
    }

    /// Bytes of buffers of all workers as they last measured them.
    pub fn buffers(&self) -> Buffers {
        let of_workers: usize = self.workers.iter().map(|w| w.buffers.get() as usize).sum();
        let spent: usize = self.workers.iter().map(|w| w.spent.get() as usize).sum();
        Buffers {
            held: of_workers + self.census.held() + self.events.held() + self.taps.held(),
            spent,
            fair_share: of_workers.saturating_sub(spent) / self.workers.len(),
            cap: self.buffers,
        }
    }

    /// Bytes of requests that wait for their shard in all workers.
    pub fn parked(&self) -> usize {
        self.workers.iter().map(|w| w.parked.get() as usize).sum()
    }

    /// Commands are as in this table from now on; the rights in each cluster by it.
    pub fn learn(&self, table: &Arc<CommandTable>) -> Result<Vec<Option<Arc<Rights>>>, String> {
        let mut clusters = self.clusters();
        for ruled in clusters.iter_mut().flatten() {
            ruled.rights = self.rights_in(&ruled.cluster, table, Some(&ruled.rights))?;
        }
        for ((_, known), ruled) in lock(&self.clusters).iter_mut().zip(&clusters) {
            known.clone_from(ruled);
        }
        *lock(&self.table) = table.clone();
        Ok(clusters.into_iter().map(|ruled| Some(ruled?.rights)).collect())
    }

    /// What the control plane was not told yet.
    pub fn take_events(&self) -> Vec<Event> {
        let mut events = self.events.take();
        if self.is_down_news.swap(false, SeqCst) {
            events.append(&mut self.events.news_of(self.metrics.down()));
        }
        events
    }
}
