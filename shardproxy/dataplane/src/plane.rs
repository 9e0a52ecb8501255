//! The data plane as a whole: its threads, what they share, and the operations of the control plane.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::acceptor::{Acceptor, EndpointKey};
use crate::census::Census;
use crate::client::ClientInfo;
use crate::command::CommandTable;
use crate::glob::{self, TooCostly};
use crate::mailbox::{Mailbox, Message};
use crate::metrics::{lock, Registry, WorkerMetrics};
use crate::net::Resolver;
use crate::offload::{worker_of, Offload, OffloadQueue};
use crate::pause::{Paused, Pauses};
use crate::pubsub::Kind;
use crate::recent::Recents;
use crate::scripts::Scripts;
use crate::topology::Cluster;
use crate::worker::Worker;

#[cfg(test)]
mod tests;

/// How long `clients` and `kill` wait for the workers.
const ASK: Duration = Duration::from_secs(1);
pub const MAX_WORKERS: usize = 255;

/// What all threads share. Nothing here is touched per request.
pub struct Shared {
    pub workers: Vec<WorkerMetrics>,
    pub mailboxes: Vec<Arc<Mailbox>>,
    pub metrics: Registry,
    pub offloads: OffloadQueue,
    pub resolver: Resolver,
    pub census: Census,
    pub recents: Recents,
    pub scripts: Scripts,
    hints: Mutex<Vec<Hint>>,
    /// Other nodes are down than the control plane was told.
    is_down_news: AtomicBool,
    pub pauses: Pauses,
    restarts: Vec<AtomicU64>,
    /// What workers were told last. One that panics may have heard it, and the one in its place has not.
    pub is_draining: AtomicBool,
    pub is_stopping: AtomicBool,
    /// Connected clients by cluster and by worker, as dealt out; the acceptor and the workers count.
    clients: Mutex<Vec<usize>>,
    /// Clients of all clusters together that there are descriptors for; 0 = no limit.
    most_clients: AtomicUsize,
    dealt: Vec<AtomicUsize>,
    clusters: Mutex<Vec<(String, Option<Arc<Cluster>>)>>,
    table: Mutex<Arc<CommandTable>>,
    buffers: usize,
    started: Instant,
    pub next_client: AtomicU64,
    /// Numbers connects, of all workers: one that starts anew must not take an answer to the one before it for its own.
    pub next_attempt: AtomicU64,
}

/// What a worker found of a node. It says where to look, not what to think.
#[derive(Debug, PartialEq, Eq)]
pub struct Hint {
    pub cluster: String,
    pub address: String,
    pub kind: HintKind,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintKind {
    /// It was lost, or could not be reached.
    Lost,
    /// It is not the primary that is named.
    Stranger,
}

impl HintKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stranger => "stranger",
        }
    }
}

/// A memcached node that is down: cluster, address, why.
pub type Down = (String, String, String);

/// Hints that wait at most; more say nothing new.
const HINTS: usize = 1024;

impl Shared {
    pub fn hint(&self, hint: Hint) {
        let mut hints = lock(&self.hints);
        if hints.len() < HINTS {
            hints.push(hint);
            self.offloads.wakeup.raise();
        }
    }

    /// A worker counts a node as down, or as up again.
    pub fn tell_down(&self) {
        self.is_down_news.store(true, SeqCst);
        self.offloads.wakeup.raise();
    }

    /// No more clients come: workers let those go that they have.
    pub fn drain(&self) {
        self.is_draining.store(true, SeqCst);
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::Drain));
    }

    fn stop(&self) {
        self.is_stopping.store(true, SeqCst);
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::Stop));
    }

    pub fn table(&self) -> Arc<CommandTable> {
        lock(&self.table).clone()
    }

    pub fn clusters(&self) -> Vec<Option<Arc<Cluster>>> {
        lock(&self.clusters).iter().map(|(_, cluster)| cluster.clone()).collect()
    }

    pub fn cluster(&self, index: usize) -> Option<Arc<Cluster>> {
        lock(&self.clusters).get(index).and_then(|(_, cluster)| cluster.clone())
    }

    pub fn millis(&self, now: Instant) -> u64 {
        now.duration_since(self.started).as_millis() as u64
    }

    /// Bytes of buffers of all workers as of their last ticks, and their cap (0 = none).
    pub fn buffers(&self) -> (usize, usize) {
        (self.workers.iter().map(|w| w.buffers.get() as usize).sum(), self.buffers)
    }

    /// Bytes of requests that wait for their shard in all workers.
    pub fn parked(&self) -> usize {
        self.workers.iter().map(|w| w.parked.get() as usize).sum()
    }

    /// Count one more client of a cluster and choose its worker; none when the cluster or the process has as many as it may.
    pub fn deal(self: &Arc<Self>, cluster: usize, limit: usize) -> Option<Seat> {
        let mut clients = lock(&self.clients);
        if clients.len() <= cluster {
            clients.resize(cluster + 1, 0);
        }
        let most = self.most_clients.load(Relaxed);
        if limit > 0 && clients[cluster] >= limit || most > 0 && clients.iter().sum::<usize>() >= most {
            return None;
        }
        clients[cluster] += 1;
        let worker = (0..self.dealt.len()).min_by_key(|&w| self.dealt[w].load(Relaxed))?;
        self.dealt[worker].fetch_add(1, Relaxed);
        Some(Seat { shared: Arc::downgrade(self), cluster, worker })
    }
}

/// A client's place in the counts of its cluster and its worker, given up however the client ends: in a panic, too.
pub struct Seat {
    shared: Weak<Shared>,
    cluster: usize,
    pub worker: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        if let Some(count) = lock(&shared.clients).get_mut(self.cluster) {
            *count = count.saturating_sub(1);
        }
        shared.dealt[self.worker].fetch_sub(1, Relaxed);
    }
}

pub struct Plane {
    shared: Arc<Shared>,
    acceptor: Acceptor,
    threads: Mutex<Vec<JoinHandle<()>>>,
    applying: Mutex<()>,
}

impl Plane {
    pub fn start(workers: usize, table: &[u8], buffers: usize) -> Result<Self, String> {
        let resolver = Resolver::start().map_err(|e| format!("cannot start a thread: {e}"))?;
        Self::with(workers, table, buffers, resolver)
    }

    fn with(workers: usize, table: &[u8], buffers: usize, resolver: Resolver) -> Result<Self, String> {
        if workers == 0 || workers > MAX_WORKERS {
            return Err(format!("1-{MAX_WORKERS} workers are possible, not {workers}"));
        }
        let table = CommandTable::from_json(table)?;
        let shared = Arc::new(Shared {
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            mailboxes: (0..workers).map(|_| Arc::default()).collect(),
            metrics: Registry::default(),
            offloads: OffloadQueue::new().map_err(|e| format!("eventfd: {e}"))?,
            resolver,
            census: Census::default(),
            recents: Recents::default(),
            scripts: Scripts::default(),
            hints: Mutex::default(),
            is_down_news: AtomicBool::new(false),
            pauses: Pauses::default(),
            restarts: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            is_draining: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            clients: Mutex::default(),
            most_clients: AtomicUsize::default(),
            dealt: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            clusters: Mutex::default(),
            table: Mutex::new(Arc::new(table)),
            buffers,
            started: Instant::now(),
            next_client: AtomicU64::new(1),
            next_attempt: AtomicU64::new(1),
        });
        let acceptor = Acceptor::start(shared.clone()).map_err(|e| format!("cannot start a thread: {e}"))?;
        let mut threads = Vec::new();
        for number in 0..workers {
            let (shared, name) = (shared.clone(), format!("shardproxy-{number}"));
            let thread = thread::Builder::new().name(name).spawn(move || run_worker(number, &shared));
            threads.push(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        Ok(Self { shared, acceptor, threads: Mutex::new(threads), applying: Mutex::new(()) })
    }

    /// Serve a cluster as described. All or nothing: if an endpoint cannot listen, nothing changes.
    pub fn apply(&self, cluster: Cluster) -> Result<Vec<(String, String)>, ApplyError> {
        let _one_at_a_time = lock(&self.applying);
        let name = cluster.spec.name.clone();
        let cluster = Arc::new(cluster);
        let index = {
            let mut clusters = lock(&self.shared.clusters);
            match clusters.iter().position(|(known, _)| *known == name) {
                Some(index) => {
                    if let Some(old) = &clusters[index].1 {
                        if cluster.spec.epoch < old.spec.epoch {
                            let (new, old) = (cluster.spec.epoch, old.spec.epoch);
                            return Err(ApplyError::Invalid(format!("epoch {new} of {name} is older than {old}")));
                        }
                    }
                    index
                }
                None => {
                    clusters.push((name, None));
                    clusters.len() - 1
                }
            }
        };
        let mut wanted = Vec::new();
        for endpoint in &cluster.spec.endpoints {
            for address in &endpoint.addresses {
                let parsed = crate::net::Address::parse(address).map_err(ApplyError::Invalid)?;
                wanted.push((EndpointKey { cluster: index, kind: endpoint.kind, address: address.clone() }, parsed));
            }
        }
        let prepared = self.acceptor.prepare(index, &wanted).map_err(|(address, e)| ApplyError::Listen(address, e))?;
        lock(&self.shared.clusters)[index].1 = Some(cluster.clone());
        let (applied, acks) = sync_channel(self.shared.mailboxes.len());
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Message::Apply { index, cluster: Some(cluster.clone()), applied: applied.clone() });
        }
        drop(applied);
        let bound = self.acceptor.commit(prepared);
        let deadline = Instant::now() + ASK;
        for _ in &self.shared.mailboxes {
            if acks.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                return Err(ApplyError::Late);
            }
        }
        Ok(bound)
    }

    pub fn remove(&self, name: &str) {
        let _one_at_a_time = lock(&self.applying);
        let index = {
            let mut clusters = lock(&self.shared.clusters);
            let Some(index) = clusters.iter().position(|(known, _)| known == name) else { return };
            clusters[index].1 = None;
            index
        };
        self.acceptor.close(index);
        let (applied, _nobody_waits) = sync_channel(self.shared.mailboxes.len());
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Message::Apply { index, cluster: None, applied: applied.clone() });
        }
    }

    /// The slot of a key in that cluster; none when it is not served.
    pub fn slot_of(&self, cluster: &str, key: &[u8]) -> Option<u16> {
        let clusters = lock(&self.shared.clusters);
        let (_, served) = clusters.iter().find(|(name, _)| name == cluster)?;
        Some(served.as_ref()?.slot_of(key))
    }

    /// Refuse clients beyond so many of all clusters together; 0 = no limit. Those that are there stay.
    pub fn limit_clients(&self, most: usize) {
        self.shared.most_clients.store(most, Relaxed);
    }

    pub fn learn(&self, table: &[u8]) -> Result<(), String> {
        let table = Arc::new(CommandTable::from_json(table)?);
        *lock(&self.shared.table) = table.clone();
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Message::Learn(table.clone()));
        }
        Ok(())
    }

    pub fn wakeup_fd(&self) -> i32 {
        self.shared.offloads.wakeup.fd()
    }

    pub fn take(&self) -> Vec<Offload> {
        self.shared.offloads.take()
    }

    pub fn answer(&self, token: u64, reply: Vec<u8>) {
        if let Some(mailbox) = self.shared.mailboxes.get(worker_of(token)) {
            mailbox.send(Message::Answer { token, reply });
        }
    }

    pub fn retry(&self, token: u64) {
        if let Some(mailbox) = self.shared.mailboxes.get(worker_of(token)) {
            mailbox.send(Message::Retry { token });
        }
    }

    pub fn statistics(&self) -> Value {
        let shared = &self.shared;
        let now = shared.millis(Instant::now());
        let workers: Vec<Value> = shared
            .workers
            .iter()
            .zip(&shared.restarts)
            .map(|(worker, restarts)| {
                #[allow(clippy::cast_precision_loss)]
                let age = now.saturating_sub(worker.turned_at.get()) as f64 / 1e3;
                json!({
                    "turns": worker.turns.get(), "age": age, "clients": worker.clients.get(),
                    "buffers": worker.buffers.get(), "restarts": restarts.load(Relaxed),
                })
            })
            .collect();
        let mut clusters = shared.metrics.collect(&shared.table());
        let mut epochs = serde_json::Map::new();
        for (name, cluster) in lock(&shared.clusters).iter() {
            if let Some(cluster) = cluster {
                epochs.insert(name.clone(), json!(cluster.spec.epoch));
            }
        }
        self.acceptor.count_refused(&mut clusters);
        json!({"workers": workers, "clusters": clusters, "buffers": shared.buffers().0, "epoch": epochs})
    }

    pub fn clients(&self) -> Vec<ClientInfo> {
        let (sender, answers) = sync_channel(self.shared.mailboxes.len());
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Message::List(sender.clone()));
        }
        drop(sender);
        let deadline = Instant::now() + ASK;
        let mut all = Vec::new();
        while let Ok(some) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            all.extend(some);
        }
        all.sort_by_key(|client: &ClientInfo| client.id);
        all
    }

    pub fn kill(&self, ids: Vec<u64>) -> usize {
        let (killed, answers) = sync_channel(self.shared.mailboxes.len());
        let ids = Arc::new(ids);
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Message::Kill { ids: ids.clone(), killed: killed.clone() });
        }
        drop(killed);
        let deadline = Instant::now() + ASK;
        let mut count = 0;
        while let Ok(some) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            count += some;
        }
        count
    }

    /// What workers found of nodes since the last call.
    pub fn hints(&self) -> Vec<Hint> {
        std::mem::take(&mut *lock(&self.shared.hints))
    }

    /// memcached nodes that are down, and why; none if that is as it was at the last call.
    pub fn down(&self) -> Option<Vec<Down>> {
        self.shared.is_down_news.swap(false, SeqCst).then(|| self.shared.metrics.down())
    }

    /// The names that match of what clients of the cluster are subscribed to, sorted. Without a pattern all of them.
    pub fn topics(&self, cluster: &str, kind: Kind, pattern: Option<&[u8]>) -> Result<Vec<Vec<u8>>, TooCostly> {
        let topics = self.subscriptions(cluster, kind);
        let mut names: Vec<Vec<u8>> = topics.into_iter().map(|(name, _)| name).collect();
        if let Some(pattern) = pattern {
            glob::check_cost(pattern, names.iter().map(Vec::as_slice))?;
            names.retain(|name| glob::matches(pattern, name));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// How many clients of the cluster are subscribed to each of these.
    pub fn subscribers(&self, cluster: &str, kind: Kind, names: Vec<Vec<u8>>) -> Vec<usize> {
        let counts: HashMap<Vec<u8>, usize> = self.subscriptions(cluster, kind).into_iter().collect();
        names.into_iter().map(|name| counts.get(&name).copied().unwrap_or(0)).collect()
    }

    fn subscriptions(&self, cluster: &str, kind: Kind) -> Vec<(Vec<u8>, usize)> {
        let index = lock(&self.shared.clusters).iter().position(|(name, _)| name == cluster);
        let topics = index.map_or_else(Vec::new, |index| self.shared.census.list(index));
        topics.into_iter().filter(|&(its, ..)| its == kind).map(|(_, name, clients)| (name, clients)).collect()
    }

    /// Hold requests of a cluster's clients for so many seconds: only writes, or all. 0 ends it.
    pub fn pause(&self, cluster: &str, seconds: f64, only_writes: bool) {
        let Some(index) = lock(&self.shared.clusters).iter().position(|(name, _)| name == cluster) else { return };
        let until = self.shared.millis(Instant::now()).saturating_add((seconds * 1e3) as u64);
        let what = if only_writes { Paused::Writes } else { Paused::All };
        self.shared.pauses.set(index, if seconds > 0.0 { until } else { 0 }, what);
    }

    /// End a client's wait for a blocking command as a timeout would, or with an error; whether it was waiting.
    pub fn unblock(&self, client: u64, with_error: bool) -> bool {
        let (sender, answers) = sync_channel(self.shared.mailboxes.len());
        for mailbox in &self.shared.mailboxes {
            mailbox.send(Message::Unblock { client, with_error, unblocked: sender.clone() });
        }
        drop(sender);
        let deadline = Instant::now() + ASK;
        let mut found = false;
        while let Ok(one) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            found |= one;
        }
        found
    }

    /// The name of a command id, for CLIENT LIST.
    pub fn command_name(&self, id: u16) -> String {
        let table = self.shared.table();
        let found = table.commands().iter().find_map(|command| {
            if command.id == id {
                return Some(command.name.to_string());
            }
            command.subcommands.iter().find(|sub| sub.id == id).map(|sub| sub.name.to_string())
        });
        found.unwrap_or_else(|| "NULL".into())
    }

    pub fn drain(&self) {
        self.acceptor.drain();
    }

    pub fn stop(&self) {
        self.acceptor.stop();
        self.shared.stop();
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join(); // a panic was reported where it happened
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
pub enum ApplyError {
    Invalid(String),
    Listen(String, io::Error),
    /// Not every worker has taken it within a second; they will.
    Late,
}

/// A worker that panics loses its clients, not the process: it is started anew.
fn run_worker(number: usize, shared: &Arc<Shared>) {
    loop {
        let mailbox = shared.mailboxes[number].clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Worker::new(number, shared, mailbox).and_then(|mut worker| worker.run())
        }));
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => eprintln!("shardproxy: worker {number} failed and starts anew: {error}"),
            Err(_) => eprintln!("shardproxy: worker {number} panicked and starts anew"),
        }
        shared.restarts[number].fetch_add(1, Relaxed);
        shared.workers[number].clients.set(0);
        shared.workers[number].buffers.set(0);
        shared.census.forget_worker(number);
        shared.metrics.forget_worker(number);
        shared.tell_down();
        thread::sleep(Duration::from_millis(10)); // a worker that cannot start must not spin
    }
}
