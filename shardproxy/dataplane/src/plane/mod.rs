//! The data plane as a whole: its threads, what they share, and the operations of the control plane.

mod acceptor;
mod timings;

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{json, Map, Value};

use self::acceptor::{Acceptor, EndpointKey};
use crate::caching::digest_of_key;
use crate::clients::{ClientInfo, Seats};
use crate::command::{CommandTable, Flags};
use crate::dialect::memcached::verb::command_names;
use crate::glob::{self, TooCostly};
use crate::insight::{self, Report};
use crate::metrics::{Standing, WorkerMetrics};
use crate::model::{digest_of, Cluster, Kind};
use crate::net::{Address, Inherited, Passing, Resolver};
use crate::shared::{worker_of, Letter, Paused, Ruled, Shared};
use crate::sync::lock;
use crate::turn::Settling;
use crate::worker::{Chore, Mailbox, Message, Worker};

pub use crate::shared::{Access, AccessEvent, CacheAged, ClientDid, Event, Loss, NodeDown, NodeLost, Offload};

#[cfg(feature = "python")]
pub use timings::Tracing;

#[cfg(test)]
mod tests;

/// How long `clients` and `kill` wait for the workers.
const ASK: Duration = Duration::from_secs(1);
pub const MAX_WORKERS: usize = 255;

pub struct Plane {
    shared: Arc<Shared>,
    mailboxes: Mailboxes,
    seats: Arc<Seats>,
    restarts: Arc<[AtomicU64]>,
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
        let shared = Shared::new(workers, Arc::new(table), buffers, resolver).map_err(|e| format!("eventfd: {e}"))?;
        let shared = Arc::new(shared);
        let mailboxes: Mailboxes = (0..workers).map(|_| Arc::default()).collect();
        let restarts: Arc<[AtomicU64]> = (0..workers).map(|_| AtomicU64::new(0)).collect();
        let seats = Arc::new(Seats::new(workers));
        let acceptor = Acceptor::start(shared.clone(), mailboxes.clone(), seats.clone())
            .map_err(|e| format!("cannot start a thread: {e}"))?;
        let mut threads = Vec::new();
        for number in 0..workers {
            let (shared, mailbox, restarts) = (shared.clone(), mailboxes[number].clone(), restarts.clone());
            let name = format!("shardproxy-{number}");
            let run = move || run_worker(number, &shared, &mailbox, &restarts[number]);
            let thread = thread::Builder::new().name(name).spawn(run);
            threads.push(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        Ok(Self {
            shared,
            mailboxes,
            seats,
            restarts,
            acceptor,
            threads: Mutex::new(threads),
            applying: Mutex::new(()),
        })
    }

    /// Serve a cluster as described. All or nothing: if an endpoint cannot listen, nothing changes.
    pub fn apply(&self, mut cluster: Cluster) -> Result<Vec<(String, String)>, ApplyError> {
        let _one_at_a_time = lock(&self.applying);
        let name = cluster.spec.name.clone();
        let known = self.shared.named(&name).map(|ruled| ruled.rights);
        let index = self.place_for(&name);
        if let Some(old) = &lock(&self.shared.clusters)[index].1 {
            if cluster.spec.epoch < old.cluster.spec.epoch {
                let (new, old) = (cluster.spec.epoch, old.cluster.spec.epoch);
                return Err(ApplyError::Invalid(format!("epoch {new} of {name} is older than {old}")));
            }
            cluster.keep_tls(&old.cluster);
        }
        let cluster = Arc::new(cluster);
        let rights = self.shared.rights_in(&cluster, &self.shared.table(), known.as_ref());
        let rights = rights.map_err(ApplyError::Invalid)?;
        let mut wanted = Vec::new();
        for endpoint in &cluster.spec.endpoints {
            for address in &endpoint.addresses {
                let parsed = Address::parse(address).map_err(ApplyError::Invalid)?;
                wanted.push((
                    EndpointKey { cluster: index, kind: endpoint.kind, address: address.as_str().into() },
                    parsed,
                ));
            }
        }
        let prepared = self.acceptor.prepare(index, &wanted).map_err(|(address, e)| ApplyError::Listen(address, e))?;
        let ruled = Ruled { cluster, rights };
        lock(&self.shared.clusters)[index].1 = Some(ruled.clone());
        let acks = self.send_all(index, Some(&ruled));
        let bound = self.acceptor.commit(prepared);
        if self.await_all(&acks) {
            Ok(bound)
        } else {
            Err(ApplyError::Late)
        }
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
        if self.await_all(&self.send_all(index, None)) {
            self.shared.leases.of(index).set(None); // a worker that still serves it is bound by it
        }
    }

    /// Have every worker serve this epoch, or the cluster no more.
    fn send_all(&self, index: usize, ruled: Option<&Ruled>) -> Receiver<()> {
        let (applied, acks) = sync_channel(self.mailboxes.len());
        for mailbox in &*self.mailboxes {
            mailbox.send(Message::Apply { index, ruled: ruled.cloned(), applied: applied.clone() });
        }
        acks
    }

    /// Whether all do by now.
    fn await_all(&self, acks: &Receiver<()>) -> bool {
        let deadline = Instant::now() + ASK;
        let is_there = |_| acks.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok();
        self.mailboxes.iter().all(is_there)
    }

    /// Wait until nothing is under way that the cluster holds as it is applied now, in any worker; whether that is so within this
    /// time. Where nothing is held that is so at once.
    pub fn settle(&self, cluster: &str, within: Duration) -> bool {
        let Some(cluster) = self.place_of(cluster) else { return true };
        let until = Instant::now() + within;
        let (settled, answers) = sync_channel(self.mailboxes.len());
        for mailbox in &*self.mailboxes {
            mailbox.send(Message::Settle(Settling { cluster, until, settled: settled.clone() }));
        }
        let is_settled = |_| answers.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok();
        self.mailboxes.iter().all(is_settled)
    }

    /// What is known of the cluster's primaries counts until then, in seconds of the boot clock (`CLOCK_BOOTTIME`); without a
    /// deadline for ever. Past it workers cut the connections to primaries and let requests wait, whatever is applied, until
    /// there is a later one. Not kept when the cluster is removed.
    pub fn lease(&self, name: &str, deadline: Option<f64>) {
        let index = self.place_for(name);
        let until = deadline.map(|seconds| (seconds.max(0.0) * 1e9) as u64);
        if self.shared.leases.of(index).set(until) {
            self.mailboxes.iter().for_each(|mailbox| mailbox.wake()); // what waits goes on
        }
    }

    /// The slot of a key in that cluster; none when it is not served.
    pub fn slot_of(&self, cluster: &str, key: &[u8]) -> Option<u16> {
        let clusters = lock(&self.shared.clusters);
        let (_, served) = clusters.iter().find(|(name, _)| name == cluster)?;
        Some(served.as_ref()?.cluster.slot_of(key))
    }

    /// The address of the node that a key's requests go to now: not one that a worker counts as down. None when the cluster
    /// is not served; none within when no node has the key.
    pub fn node_of(&self, name: &str, key: &[u8]) -> Option<Option<String>> {
        let (_, cluster) = self.shared.find(name)?;
        let down = self.shared.metrics.down();
        let own = std::iter::once(cluster.placement.shard_of(&cluster, key));
        let shards = own.chain(cluster.placement.stand_ins(&cluster, key));
        let nodes = shards.filter_map(|shard| cluster.shards.get(usize::from(shard))?.primary);
        let nodes = nodes.map(|node| &cluster.nodes[usize::from(node)]);
        let mut up = nodes.filter(|node| !down.contains_key(&(name.to_owned(), node.label.clone())));
        Some(up.next().map(|node| node.address.to_string()))
    }

    /// Which of these keys are in one of these slots; none of a cluster that is not served.
    pub fn are_in(&self, cluster: &str, slots: &[(u16, u16)], keys: &[Vec<u8>]) -> Option<Vec<bool>> {
        let (_, cluster) = self.shared.find(cluster)?;
        let is_in = |slot: u16| slots.iter().any(|&(first, last)| (first..=last).contains(&slot));
        Some(keys.iter().map(|key| is_in(cluster.slot_of(key))).collect())
    }

    /// Refuse clients beyond so many of all clusters together, and open no more connections of clients' own than so many;
    /// 0 = no limit. Those that are there stay.
    pub fn limit(&self, clients: usize, dedicated: usize) {
        self.seats.limit(clients);
        self.shared.dedicated.limit(dedicated);
    }

    pub fn learn(&self, table: &[u8]) -> Result<(), String> {
        let _one_at_a_time = lock(&self.applying); // so that every worker has the rights by the table it has
        let table = Arc::new(CommandTable::from_json(table)?);
        let rights = self.shared.learn(&table)?;
        for mailbox in &*self.mailboxes {
            mailbox.send(Message::Learn { table: table.clone(), rights: rights.clone() });
        }
        Ok(())
    }

    pub fn wakeup_fd(&self) -> i32 {
        self.shared.events.wakeup.fd()
    }

    /// What the workers have to say since the last call, in its order.
    pub fn take(&self) -> Vec<Event> {
        self.shared.take_events()
    }

    pub fn answer(&self, token: u64, reply: Vec<u8>) {
        if let Some(mailbox) = self.mailboxes.get(worker_of(token)) {
            mailbox.send(Message::Answer { token, reply });
        }
    }

    pub fn retry(&self, token: u64) {
        if let Some(mailbox) = self.mailboxes.get(worker_of(token)) {
            mailbox.send(Message::Retry { token });
        }
    }

    /// Execute an offloaded command as if no caching rule were about it. With `absent`, a read that finds nothing of other keys
    /// than these is offloaded once more.
    pub fn pass_on(&self, token: u64, absent: Option<Vec<Vec<u8>>>) {
        if let Some(mailbox) = self.mailboxes.get(worker_of(token)) {
            mailbox.send(Message::PassOn { token, absent });
        }
    }

    /// Do not ask how old a key is for so long.
    pub fn fresh(&self, cluster: &str, key: &[u8], within: Duration) {
        let Some(cluster) = self.place_of(cluster) else { return };
        let until = self.shared.millis(Instant::now()).saturating_add(within.as_millis() as u64);
        let digest = digest_of_key(cluster, key);
        for mailbox in &*self.mailboxes {
            mailbox.send(Message::Fresh { digest, until });
        }
    }

    pub fn statistics(&self) -> Value {
        let shared = &self.shared;
        let mut clusters = shared.metrics.collect(&names_of(&shared.table()));
        let epochs = self.complete(&mut clusters);
        let accesses = shared.events.accesses();
        let accesses: Vec<_> =
            accesses.iter().map(|((cluster, kind, of), count)| json!([cluster, kind, of, count])).collect();
        json!({
            "workers": self.workers(), "clusters": clusters, "buffers": shared.buffers().held, "epoch": epochs,
            "access_untold": shared.events.untold(), "accesses": accesses,
            "dedicated": shared.dedicated.taken(), "lacking": shared.lacking.load(Relaxed),
        })
    }

    /// Of these the part that is cheap to tell, of one cluster or of all: nothing of each shard or node, and no times.
    pub fn counts(&self, cluster: Option<&str>) -> Value {
        let mut clusters = self.shared.metrics.count(cluster, &names_of(&self.shared.table()));
        self.complete(&mut clusters);
        Value::Object(clusters)
    }

    /// What of clusters is counted elsewhere; and the epochs of all.
    fn complete(&self, clusters: &mut Map<String, Value>) -> Map<String, Value> {
        let shared = &self.shared;
        let mut epochs = Map::new();
        for (index, (name, ruled)) in lock(&shared.clusters).iter().enumerate() {
            if let Some(ruled) = ruled {
                epochs.insert(name.clone(), json!(ruled.cluster.spec.epoch));
            }
            if let Some(entry) = clusters.get_mut(name) {
                entry["refused"] = shared.refusals.of(index);
                let (slow, trace_dropped) = shared.timings.counts(index);
                (entry["slow"], entry["trace_dropped"]) = (json!(slow), json!(trace_dropped));
            }
        }
        epochs
    }

    /// What each worker does, by its number.
    pub fn workers(&self) -> Vec<Value> {
        let now = self.shared.millis(Instant::now());
        let tell = |(worker, restarts): (&WorkerMetrics, &AtomicU64)| {
            #[allow(clippy::cast_precision_loss)]
            let age = now.saturating_sub(worker.turned_at.get()) as f64 / 1e3;
            json!({
                "turns": worker.turns.get(), "age": age, "clients": worker.clients.get(),
                "buffers": worker.buffers.get(), "restarts": restarts.load(Relaxed),
                "steps": worker.steps.get(), "longest": worker.longest.get(),
            })
        };
        self.shared.workers.iter().zip(&*self.restarts).map(tell).collect()
    }

    /// How often somebody came in or was kept out whom nobody was told of.
    pub fn access_untold(&self) -> u64 {
        self.shared.events.untold()
    }

    /// What is hot in a cluster as all workers know it; none when it is not served.
    pub fn hot(&self, cluster: &str) -> Option<Value> {
        let (reports, cluster) = self.reports(cluster)?;
        Some(insight::tell(&cluster, reports.into_iter().map(|report| report.hot).collect()))
    }

    /// The largest keys that requests and replies were about; none when the cluster is not served.
    pub fn big(&self, cluster: &str) -> Option<Value> {
        let (reports, cluster) = self.reports(cluster)?;
        let names = names_of(&self.shared.table());
        let name_of = |id: u16| names.get(&id).cloned().unwrap_or_default();
        Some(insight::tell_big(&cluster, reports.into_iter().flat_map(|report| report.big).collect(), name_of))
    }

    fn reports(&self, name: &str) -> Option<(Vec<Report>, Arc<Cluster>)> {
        let (cluster, served) = self.shared.find(name)?;
        Some((self.ask_all(|told| Message::Report { cluster, told }), served))
    }

    /// All clients, by their ids.
    pub fn clients(&self) -> Vec<ClientInfo> {
        in_order(self.ask_all(|described| Message::Chore(Chore::list(described))))
    }

    /// Those of the clients with these ids that are there, by their ids.
    pub fn find_clients(&self, ids: Vec<u64>) -> Vec<ClientInfo> {
        let ids = set_of(ids);
        in_order(self.ask_all(|described| Message::Chore(Chore::describe(ids.clone(), described))))
    }

    /// Close these clients; how many of them there were.
    pub fn kill(&self, ids: Vec<u64>) -> usize {
        let ids = set_of(ids);
        self.ask_all(|killed| Message::Chore(Chore::kill(ids.clone(), killed))).into_iter().sum()
    }

    /// What the workers answer within their time.
    fn ask_all<T>(&self, message: impl Fn(SyncSender<T>) -> Message) -> Vec<T> {
        let (sender, answers) = sync_channel(self.mailboxes.len());
        for mailbox in &*self.mailboxes {
            mailbox.send(message(sender.clone()));
        }
        drop(sender);
        let deadline = Instant::now() + ASK;
        let next = || answers.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
        std::iter::from_fn(next).collect()
    }

    /// The names that match of what clients of the cluster are subscribed to, sorted. Without a pattern all of them.
    pub fn topics(&self, cluster: &str, kind: Kind, pattern: Option<&[u8]>) -> Result<Vec<Vec<u8>>, TooCostly> {
        let listed = self.place_of(cluster).map_or_else(Vec::new, |index| self.shared.census.list(index, kind));
        let mut names: Vec<Vec<u8>> = listed.into_iter().map(|(name, _)| name.to_vec()).collect();
        if let Some(pattern) = pattern {
            glob::check_cost(pattern, names.iter().map(Vec::as_slice))?;
            names.retain(|name| glob::matches(pattern, name));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// How many clients of the cluster are subscribed to each of these.
    pub fn subscribers(&self, cluster: &str, kind: Kind, names: Vec<Vec<u8>>) -> Vec<usize> {
        let Some(index) = self.place_of(cluster) else { return vec![0; names.len()] };
        names.into_iter().map(|name| self.shared.census.clients(index, kind, &name)).collect()
    }

    /// How many channels, patterns and shard channels clients of the cluster are subscribed to.
    pub fn topic_counts(&self, cluster: &str) -> [usize; 3] {
        let kinds = [Kind::Channel, Kind::Pattern, Kind::Shard];
        self.place_of(cluster).map_or([0; 3], |index| kinds.map(|kind| self.shared.census.topics(index, kind)))
    }

    /// The number of the cluster of that name, be it served yet or not.
    fn place_for(&self, name: &str) -> usize {
        let mut clusters = lock(&self.shared.clusters);
        clusters.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            clusters.push((name.to_owned(), None));
            clusters.len() - 1
        })
    }

    fn place_of(&self, cluster: &str) -> Option<usize> {
        lock(&self.shared.clusters).iter().position(|(name, _)| name == cluster)
    }

    /// Hold requests of a cluster's clients for so many seconds: only writes, or all. 0 ends it. `functions`: whether those
    /// that there are say that they write nothing.
    pub fn pause(&self, cluster: &str, seconds: f64, only_writes: bool, functions: Vec<(Vec<u8>, bool)>) {
        let Some(index) = self.place_of(cluster) else { return };
        if seconds <= 0.0 {
            return self.shared.pauses.end(index);
        }
        let now = self.shared.millis(Instant::now());
        let until = now.saturating_add((seconds * 1e3) as u64);
        let what = if only_writes { Paused::Writes } else { Paused::All };
        self.shared.pauses.set(index, now, until, what, functions.into_iter().collect());
    }

    /// The script of the cluster's that has this digest, as far as it is remembered.
    pub fn script(&self, cluster: &str, digest: &[u8]) -> Option<Arc<[u8]>> {
        self.shared.scripts.get(self.place_of(cluster)?, digest_of(digest)?)
    }

    /// When a node last sent anything, and the oldest request that may be why it is silent: seconds ago.
    pub fn standing(&self, cluster: &str, address: &str) -> NodeStanding {
        let now = self.shared.millis(Instant::now());
        #[allow(clippy::cast_precision_loss)]
        let ago = |at: u64| now.saturating_sub(at) as f64 / 1e3;
        let Standing { heard, slow } = self.shared.metrics.standing(cluster, address);
        let slow = slow.map(|slow| SlowRequest {
            command: self.command_name(slow.command),
            age: ago(slow.since),
            client: slow.client,
            address: slow.address,
            name: slow.name,
        });
        NodeStanding { heard: heard.map(ago), slow }
    }

    /// A node is known to be only busy: no connection to it is given up for its silence for so many seconds.
    pub fn spare(&self, cluster: &str, address: &str, seconds: f64) {
        let until = self.shared.millis(Instant::now()).saturating_add((seconds * 1e3) as u64);
        self.shared.metrics.spare(cluster, address, until);
    }

    /// These commands took long lately in a cluster; no others did. One that is quick by its nature was held up.
    pub fn expect_slow(&self, cluster: &str, commands: Vec<String>) {
        let wanted: HashSet<String> = commands.into_iter().collect();
        let table = self.shared.table();
        let all = table.commands().iter().flat_map(|command| std::iter::once(command).chain(&command.subcommands));
        let all = all.filter(|command| !command.flags.contains(Flags::FAST));
        let ids = all.filter(|command| wanted.contains(&*command.name)).map(|c| c.id);
        self.shared.slow.set(cluster, ids.collect());
    }

    /// End a client's wait for a blocking command as a timeout would, or with an error; whether it was waiting.
    pub fn unblock(&self, client: u64, with_error: bool) -> bool {
        self.ask_all(|unblocked| Message::Unblock { client, with_error, unblocked }).contains(&true)
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

    /// Stop listening. Clients are closed once they have been answered; after `grace`, or at once, those that are idle too.
    pub fn drain(&self, grace: Duration) {
        self.acceptor.drain(grace);
    }

    /// Use this listening socket for an endpoint with that address; it is kept if it is to serve again after a config
    /// without it.
    pub fn inherit(&self, address: String, socket: OwnedFd, is_kept: bool) {
        self.acceptor.inherit(address, Inherited { socket, is_kept });
    }

    /// A copy of every socket that listens, by the address of its endpoint.
    pub fn sockets(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        Ok(self.acceptor.sockets()?.into_iter().map(|(key, socket)| (key.address.to_string(), socket)).collect())
    }

    /// Stop listening and leave endpoints to another process that has their sockets. Clients go there through this one, a
    /// unix stream, each as soon as nothing is owed to it; who waits, listens or speaks TLS stays until `drain`.
    pub fn pass_to(&self, socket: OwnedFd) -> io::Result<()> {
        self.acceptor.pass_to(Passing::new(socket)?);
        Ok(())
    }

    /// The other end of that.
    pub fn take_over(&self, socket: OwnedFd) -> io::Result<()> {
        self.acceptor.take_over(Passing::new(socket)?);
        Ok(())
    }

    pub fn stop(&self) {
        self.acceptor.stop();
        self.stop_workers();
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join(); // a panic was reported where it happened
        }
    }
}

impl Plane {
    fn stop_workers(&self) {
        self.shared.is_stopping.store(true, SeqCst);
        for mailbox in &*self.mailboxes {
            mailbox.send(Message::Stop);
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

fn in_order(described: Vec<Vec<ClientInfo>>) -> Vec<ClientInfo> {
    let mut all: Vec<ClientInfo> = described.into_iter().flatten().collect();
    all.sort_unstable_by_key(|client| client.id);
    all
}

/// How a node stands with all workers; times are seconds ago.
pub struct NodeStanding {
    pub heard: Option<f64>,
    pub slow: Option<SlowRequest>,
}

/// A request that may take long, and its client.
pub struct SlowRequest {
    pub command: String,
    pub age: f64,
    pub client: u64,
    pub address: String,
    pub name: Vec<u8>,
}

/// Each once.
fn set_of(mut ids: Vec<u64>) -> Arc<[u64]> {
    ids.sort_unstable();
    ids.dedup();
    ids.into()
}

#[derive(Debug)]
pub enum ApplyError {
    Invalid(String),
    Listen(String, io::Error),
    /// Not every worker has taken it within a second; they will.
    Late,
}

/// What commands are called, by their numbers.
fn names_of(table: &CommandTable) -> HashMap<u16, String> {
    let mut names: HashMap<u16, String> = command_names().map(|(id, name)| (id, name.to_owned())).collect();
    for command in table.commands() {
        names.insert(command.id, command.name.to_string());
        for sub in &command.subcommands {
            names.insert(sub.id, sub.name.to_string());
        }
    }
    names
}

type Mailboxes = Arc<[Arc<Mailbox>]>;

/// A worker that panics loses its clients, not the process: it is started anew.
fn run_worker(number: usize, shared: &Arc<Shared>, mailbox: &Arc<Mailbox>, restarts: &AtomicU64) {
    loop {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Worker::new(number, shared, mailbox.clone()).and_then(|mut worker| worker.run())
        }));
        match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => eprintln!("shardproxy: worker {number} failed and starts anew: {error}"),
            Err(_) => eprintln!("shardproxy: worker {number} panicked and starts anew"),
        }
        restarts.fetch_add(1, Relaxed);
        shared.workers[number].clients.set(0);
        shared.workers[number].buffers.set(0);
        shared.workers[number].spent.set(0);
        shared.census.forget_worker(number);
        shared.metrics.forget_worker(number);
        for other in (0..shared.workers.len()).filter(|&other| other != number) {
            shared.post(other, Letter::Gone { worker: number });
        }
        shared.tell_down();
        thread::sleep(Duration::from_millis(10)); // a worker that cannot start must not spin
    }
}
