//! Counters of one worker. One thread writes, the control plane reads at scrape.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use serde_json::{json, Map, Value};

use crate::sync::lock;

mod families;
mod histogram;
mod liberties;
mod rules;
mod slow;

pub use families::ByFamily;
pub use histogram::{Histogram, Latencies};
pub use liberties::{shape, Liberties};
pub use rules::{ByRule, RuleMetrics};
pub use slow::{Slow, Stance, Standing};

/// A number with one writer: a plain load and store, no locked instruction.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a command does to latency; one histogram each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Read = 0,
    Write = 1,
    Split = 2,
    Offload = 3,
    Block = 4,
    Publish = 5,
    /// The proxy's own WAIT behind a batch of writes.
    Wait = 6,
}

const CLASSES: [&str; 7] = ["read", "write", "split", "offload", "block", "publish", "wait"];
/// Families of keys of one cluster that have times of their own; those of the others are counted together.
const FAMILIES: usize = 32;
/// Commands with ids beyond this are counted together as the last.
const COMMANDS: usize = 1024;

/// Of one worker: no other writes to a line of its cache (two lines, for they are fetched in pairs).
#[repr(align(128))]
pub struct ClusterMetrics {
    pub clients: Counter,
    /// Those whose commands wait at a node, for a connection to do so, or until CLIENT PAUSE ends.
    pub blocked: Counter,
    pub accepted: Counter,
    pub closed: [Counter; CloseReason::ALL.len()],
    /// TLS handshakes of clients that were whole, and that went on from an earlier session.
    pub handshakes: [Counter; 2],
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub offloads: Counter,
    pub protocol_errors: Counter,
    /// Requests, and their bytes, that wait for a primary as of the last tick.
    pub parked: Counter,
    pub parked_bytes: Counter,
    /// Requests the proxy itself refused as not executed, and those it left in doubt; for each shard of a command.
    pub tryagain: Counter,
    pub indoubt: Counter,
    /// Messages of subscriptions handed to clients; and times a subscription had a gap.
    pub deliveries: Counter,
    pub subscription_gaps: Counter,
    /// Reads that went to primaries because their keys may have been written a moment ago.
    pub fresh_reads: Counter,
    /// Keys whose replies were kept near, and requests that met none; bytes and keys that are kept.
    pub near_hits: Counter,
    pub near_misses: Counter,
    pub near_bytes: Counter,
    pub near_keys: Counter,
    /// Requests whose clients were held until a queue had room.
    pub held: Counter,
    /// Clients that wait for keys now.
    pub waiting: Counter,
    /// Clients that track keys, the keys they have read, how often, and prefixes.
    pub tracking: Counter,
    pub tracked_keys: Counter,
    pub tracked_items: Counter,
    pub tracked_prefixes: Counter,
    /// What several shards would refuse.
    pub liberties: Liberties,
    /// By caching rule.
    pub rules: ByRule,
    /// The largest reply of the last minutes, bytes; 0 = none was large.
    pub big_reply: Counter,
    /// Times by family of keys, of the requests that were looked at, and of all that are of none of these.
    pub families: ByFamily,
    pub other_families: Histogram,
    /// Of what no shard has answered, and of shards that are gone.
    latency: Latencies,
    commands: Box<[[Counter; 2]]>,
}

/// Why a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    Client,
    Quit,
    Protocol,
    Binary,
    Idle,
    Output,
    Killed,
    Cut,
    Buffers,
    Drain,
    Error,
    SessionOver,
    Rules,
    /// No rule admits it any more, or from where it turned out to be.
    SecurityGroup,
    /// What a balancer said of it.
    Header,
    /// There was no TLS session with it.
    Handshake,
    /// Another process serves it from now on; it notices nothing.
    Passed,
}

impl CloseReason {
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::Client, "client"),
        (Self::Quit, "quit"),
        (Self::Protocol, "protocol_error"),
        (Self::Binary, "binary_protocol"),
        (Self::Idle, "idle"),
        (Self::Output, "output_limit"),
        (Self::Killed, "killed"),
        (Self::Cut, "reply_cut"),
        (Self::Buffers, "buffers"),
        (Self::Drain, "drain"),
        (Self::Error, "socket_error"),
        (Self::SessionOver, "session_over"),
        (Self::Rules, "rules_changed"),
        (Self::SecurityGroup, "security_group"),
        (Self::Header, "proxy_header"),
        (Self::Handshake, "handshake"),
        (Self::Passed, "passed_on"),
    ];
}

impl Default for ClusterMetrics {
    fn default() -> Self {
        Self {
            clients: Counter::default(),
            blocked: Counter::default(),
            accepted: Counter::default(),
            closed: Default::default(),
            handshakes: Default::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            offloads: Counter::default(),
            protocol_errors: Counter::default(),
            parked: Counter::default(),
            parked_bytes: Counter::default(),
            tryagain: Counter::default(),
            indoubt: Counter::default(),
            deliveries: Counter::default(),
            subscription_gaps: Counter::default(),
            waiting: Counter::default(),
            tracking: Counter::default(),
            tracked_keys: Counter::default(),
            tracked_items: Counter::default(),
            tracked_prefixes: Counter::default(),
            fresh_reads: Counter::default(),
            near_hits: Counter::default(),
            near_misses: Counter::default(),
            near_bytes: Counter::default(),
            near_keys: Counter::default(),
            held: Counter::default(),
            liberties: Liberties::default(),
            rules: ByRule::default(),
            big_reply: Counter::default(),
            families: ByFamily::default(),
            other_families: Histogram::default(),
            latency: Latencies::default(),
            commands: (0..COMMANDS).map(|_| Default::default()).collect(),
        }
    }
}

impl ClusterMetrics {
    #[inline]
    pub fn command(&self, id: u16, is_error: bool) {
        self.commands[usize::from(id).min(COMMANDS - 1)][usize::from(is_error)].increment();
    }

    /// An error of the proxy's own.
    pub fn refusal(&self, text: &[u8]) {
        if text.starts_with(b"-TRYAGAIN ") {
            self.tryagain.increment();
        } else if text.starts_with(b"-ERR INDOUBT ") {
            self.indoubt.increment();
        }
    }

    #[inline]
    pub fn latency(&self, class: Class, micros: u32) {
        self.latency.record(class, micros);
    }
}

/// Of one shard, of one worker.
#[derive(Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    pub latency: Latencies,
    /// Of the requests that were looked at lately: all, and those for the hottest key.
    pub sampled: Counter,
    pub hottest: Counter,
}

#[derive(Default)]
#[repr(align(128))]
pub struct NodeMetrics {
    pub connections: Counter,
    pub connects: Counter,
    pub connect_failures: Counter,
    pub requests: Counter,
    pub errors: Counter,
    pub lost: Counter,
    /// Connections closed because another process than the named primary answered.
    pub strangers: Counter,
    pub timeouts: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    pub queued: Counter,
    /// 1 while the worker counts the node as down, and why it does.
    pub down: Counter,
    pub why_down: Mutex<String>,
    pub stance: Stance,
}

#[derive(Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    pub turns: Counter,
    /// When the loop last turned, milliseconds on the plane's clock.
    pub turned_at: Counter,
    pub clients: Counter,
    pub buffers: Counter,
    /// Those of them that nobody needs, and that are being freed.
    pub spent: Counter,
    /// Bytes of requests that wait for their shard.
    pub parked: Counter,
    /// Units of work done in loops over what clients have many of; and most of them in one turn.
    pub steps: Counter,
    pub longest: Counter,
}

/// Every worker's counters of every cluster. Entries stay when a cluster goes, so that counters never go backwards.
#[derive(Default)]
pub struct Registry {
    clusters: Mutex<HashMap<(String, usize), Arc<ClusterMetrics>>>,
    nodes: Mutex<HashMap<(String, String, usize), Arc<NodeMetrics>>>,
    /// By the numbers of shards.
    shards: Mutex<HashMap<(String, u32, usize), Arc<ShardMetrics>>>,
    /// How often times of a shard became times of its cluster.
    moved: AtomicU64,
    /// Families of keys that have times of their own, by cluster.
    families: Mutex<HashMap<String, BTreeSet<Box<str>>>>,
    /// Nodes that are known to be only busy, and until when.
    spared: Mutex<HashMap<(String, String), u64>>,
}

impl Registry {
    pub fn cluster(&self, name: &str, worker: usize) -> Arc<ClusterMetrics> {
        lock(&self.clusters).entry((name.to_owned(), worker)).or_default().clone()
    }

    pub fn node(&self, cluster: &str, address: &str, worker: usize) -> Arc<NodeMetrics> {
        lock(&self.nodes).entry((cluster.to_owned(), address.to_owned(), worker)).or_default().clone()
    }

    pub fn shard(&self, cluster: &str, number: u32, worker: usize) -> Arc<ShardMetrics> {
        lock(&self.shards).entry((cluster.to_owned(), number, worker)).or_default().clone()
    }

    /// A worker serves only these shards of the cluster from now on. What it counted of others stays in the cluster's times,
    /// and nothing is told of them any more.
    pub fn keep_shards(&self, cluster: &str, worker: usize, numbers: &BTreeSet<u32>) {
        let own = self.cluster(cluster, worker);
        let mut shards = lock(&self.shards);
        shards.retain(|(name, number, owner), metrics| {
            let is_kept = name != cluster || *owner != worker || numbers.contains(number);
            if !is_kept {
                self.moved.fetch_add(1, SeqCst);
                own.latency.add(&metrics.latency);
            }
            is_kept
        });
    }

    /// Whether a family of keys has times of its own in that cluster: the first ones that are asked for often do.
    pub fn admit_family(&self, cluster: &str, family: &str) -> bool {
        let mut families = lock(&self.families);
        let known = families.entry(cluster.to_owned()).or_default();
        known.contains(family) || known.len() < FAMILIES && known.insert(family.into())
    }

    /// A worker starts anew: its clients and connections are gone.
    pub fn forget_worker(&self, worker: usize) {
        for (_, metrics) in lock(&self.clusters).iter().filter(|((_, owner), _)| *owner == worker) {
            metrics.clients.set(0);
            metrics.blocked.set(0);
            metrics.parked.set(0);
            metrics.parked_bytes.set(0);
            metrics.waiting.set(0);
            metrics.big_reply.set(0);
            metrics.tracking.set(0);
            metrics.tracked_keys.set(0);
            metrics.tracked_items.set(0);
            metrics.tracked_prefixes.set(0);
        }
        for (_, metrics) in lock(&self.shards).iter().filter(|((.., owner), _)| *owner == worker) {
            metrics.sampled.set(0);
            metrics.hottest.set(0);
        }
        for (_, metrics) in lock(&self.nodes).iter().filter(|((.., owner), _)| *owner == worker) {
            metrics.connections.set(0);
            metrics.queued.set(0);
            metrics.down.set(0);
            metrics.stance.owes(None);
        }
    }

    /// A node's counters of every worker.
    fn of_node(&self, cluster: &str, address: &str) -> Vec<Arc<NodeMetrics>> {
        let nodes = lock(&self.nodes);
        let is_it = |key: &(String, String, usize)| key.0 == cluster && key.1 == address;
        nodes.iter().filter(|(key, _)| is_it(key)).map(|(_, metrics)| metrics.clone()).collect()
    }

    /// Nodes that some worker counts as down: cluster, address and why.
    pub fn down(&self) -> BTreeMap<(String, String), String> {
        let mut found = BTreeMap::new();
        for ((cluster, address, _), metrics) in lock(&self.nodes).iter().filter(|(_, m)| m.down.get() > 0) {
            let why = || lock(&metrics.why_down).clone();
            found.entry((cluster.clone(), address.clone())).or_insert_with(why);
        }
        found
    }

    /// Of every worker, by the names of the clusters: of that one, or all.
    fn by_name(&self, wanted: Option<&str>) -> HashMap<String, Vec<Arc<ClusterMetrics>>> {
        let mut found: HashMap<String, Vec<Arc<ClusterMetrics>>> = HashMap::new();
        let clusters = lock(&self.clusters);
        for ((name, _), metrics) in clusters.iter().filter(|((name, _), _)| wanted.is_none_or(|one| one == name)) {
            found.entry(name.clone()).or_default().push(metrics.clone());
        }
        found
    }

    /// As `collect`, of that cluster or of all, without what there is of each shard and node, and without times.
    pub fn count(&self, wanted: Option<&str>, names: &HashMap<u16, String>) -> Map<String, Value> {
        self.by_name(wanted).into_iter().map(|(name, parts)| (name, collect_cluster(&parts, names))).collect()
    }

    /// The sums over workers, by cluster name; `names` of the commands.
    pub fn collect(&self, names: &HashMap<u16, String>) -> Map<String, Value> {
        loop {
            let moved = self.moved.load(SeqCst);
            let found = self.collect_once(names);
            if moved == self.moved.load(SeqCst) {
                return found;
            } // times were moved meanwhile: they might be in both places, or in none
        }
    }

    fn collect_once(&self, names: &HashMap<u16, String>) -> Map<String, Value> {
        let by_name = self.by_name(None);
        let mut nodes: HashMap<String, HashMap<String, Vec<Arc<NodeMetrics>>>> = HashMap::new();
        for ((cluster, address, _), metrics) in lock(&self.nodes).iter() {
            nodes.entry(cluster.clone()).or_default().entry(address.clone()).or_default().push(metrics.clone());
        }
        let mut shards: HashMap<String, BTreeMap<u32, Vec<Arc<ShardMetrics>>>> = HashMap::new();
        for ((cluster, number, _), metrics) in lock(&self.shards).iter() {
            shards.entry(cluster.clone()).or_default().entry(*number).or_default().push(metrics.clone());
        }
        let mut result = Map::new();
        for (name, parts) in by_name {
            let mut cluster = collect_cluster(&parts, names);
            let own: Vec<&Latencies> = parts.iter().map(|part| &part.latency).collect();
            let mut all = histogram::by_class(&own);
            let mut of_shards = Map::new();
            for (number, parts) in shards.remove(&name).unwrap_or_default() {
                let (times, mut told) = collect_shard(&parts);
                histogram::merge(&mut all, &times);
                told["latency"] = Value::Object(histogram::tell(&times, false));
                of_shards.insert(number.to_string(), told);
            }
            cluster["families"] = families::collect(&parts);
            cluster["shards"] = Value::Object(of_shards);
            cluster["latency"] = Value::Object(histogram::tell(&all, true));
            let of_nodes: Map<String, Value> =
                nodes.remove(&name).unwrap_or_default().iter().map(|(a, m)| (a.clone(), collect_node(m))).collect();
            cluster["nodes"] = Value::Object(of_nodes);
            result.insert(name, cluster);
        }
        result
    }
}

fn collect_cluster(parts: &[Arc<ClusterMetrics>], names: &HashMap<u16, String>) -> Value {
    let sum = |pick: fn(&ClusterMetrics) -> &Counter| parts.iter().map(|m| pick(m).get()).sum::<u64>();
    let mut commands = Map::new();
    for id in 0..COMMANDS {
        let [ok, error] = [0, 1].map(|o| parts.iter().map(|m| m.commands[id][o].get()).sum::<u64>());
        if ok + error > 0 {
            let name = names.get(&(id as u16)).map_or("other", String::as_str);
            commands.insert(name.to_owned(), json!({"ok": ok, "error": error}));
        }
    }
    let closed: Map<String, Value> = CloseReason::ALL
        .iter()
        .map(|&(reason, name)| {
            let total: u64 = parts.iter().map(|m| m.closed[reason as usize].get()).sum();
            (name.to_owned(), json!(total))
        })
        .collect();
    json!({
        "clients": sum(|m| &m.clients), "blocked": sum(|m| &m.blocked), "accepted": sum(|m| &m.accepted), "refused": {}, "closed": closed,
        "bytes_in": sum(|m| &m.bytes_in), "bytes_out": sum(|m| &m.bytes_out), "offloads": sum(|m| &m.offloads),
        "handshakes": {"full": sum(|m| &m.handshakes[0]), "resumed": sum(|m| &m.handshakes[1])},
        "protocol_errors": sum(|m| &m.protocol_errors),
        "parked": sum(|m| &m.parked), "parked_bytes": sum(|m| &m.parked_bytes),
        "tryagain": sum(|m| &m.tryagain), "indoubt": sum(|m| &m.indoubt),
        "tracking": sum(|m| &m.tracking), "tracked_keys": sum(|m| &m.tracked_keys),
        "tracked_items": sum(|m| &m.tracked_items), "tracked_prefixes": sum(|m| &m.tracked_prefixes),
        "waiting": sum(|m| &m.waiting), "deliveries": sum(|m| &m.deliveries),
        "subscription_gaps": sum(|m| &m.subscription_gaps),
        "fresh_reads": sum(|m| &m.fresh_reads), "held": sum(|m| &m.held),
        "near": {"hits": sum(|m| &m.near_hits), "misses": sum(|m| &m.near_misses),
                 "bytes": sum(|m| &m.near_bytes), "keys": sum(|m| &m.near_keys)},
        "relaxed": liberties::collect(&parts.iter().map(|m| &m.liberties).collect::<Vec<_>>(), names),
        "caching": rules::collect(parts),
        "big_reply": parts.iter().map(|m| m.big_reply.get()).max(),
        "commands": commands,
    })
}

/// Times by class, and what else there is to be told.
fn collect_shard(parts: &[Arc<ShardMetrics>]) -> (Vec<histogram::Sum>, Value) {
    let sum = |pick: fn(&ShardMetrics) -> &Counter| parts.iter().map(|m| pick(m).get()).sum::<u64>();
    let latencies: Vec<&Latencies> = parts.iter().map(|part| &part.latency).collect();
    let told = json!({"sampled": sum(|m| &m.sampled), "hottest": sum(|m| &m.hottest)});
    (histogram::by_class(&latencies), told)
}

fn collect_node(parts: &[Arc<NodeMetrics>]) -> Value {
    let sum = |pick: fn(&NodeMetrics) -> &Counter| parts.iter().map(|m| pick(m).get()).sum::<u64>();
    json!({
        "connections": sum(|m| &m.connections), "connects": sum(|m| &m.connects),
        "connect_failures": sum(|m| &m.connect_failures), "requests": sum(|m| &m.requests),
        "errors": sum(|m| &m.errors), "lost": sum(|m| &m.lost), "strangers": sum(|m| &m.strangers), "timeouts": sum(|m| &m.timeouts),
        "bytes_in": sum(|m| &m.bytes_in), "bytes_out": sum(|m| &m.bytes_out), "queued": sum(|m| &m.queued),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_as_fast_as_its_shards_together() {
        let registry = Registry::default();
        registry.cluster("main", 0).latency(Class::Read, 100);
        registry.shard("main", 3, 0).latency.record(Class::Read, 100);
        registry.shard("main", 3, 1).latency.record(Class::Read, 200);
        registry.shard("main", 4, 1).latency.record(Class::Write, 200);
        let told = Value::Object(registry.collect(&HashMap::new()));
        assert_eq!(told["main"]["latency"]["read"]["fine"], json!([[22, 2], [26, 1]]));
        assert_eq!(told["main"]["latency"]["write"]["fine"], json!([[26, 1]]));
        assert_eq!(told["main"]["shards"]["3"]["latency"]["read"]["fine"], json!([[22, 1], [26, 1]]));
        assert_eq!(told["main"]["shards"]["3"]["latency"].get("write"), None);
    }

    #[test]
    fn counts_are_of_one_cluster_or_all_and_leave_out_what_is_large() {
        let registry = Registry::default();
        registry.cluster("main", 0).clients.set(2);
        registry.cluster("main", 1).clients.set(3);
        registry.cluster("other", 1).clients.set(4);
        registry.shard("main", 3, 0).latency.record(Class::Read, 100);
        let told = registry.count(Some("main"), &HashMap::new());
        assert_eq!(told.keys().collect::<Vec<_>>(), ["main"]);
        assert_eq!(told["main"]["clients"], 5);
        assert!(["latency", "shards", "nodes", "families"].iter().all(|part| told["main"].get(part).is_none()));
        assert_eq!(registry.count(None, &HashMap::new()).len(), 2);
        assert!(registry.count(Some("none"), &HashMap::new()).is_empty());
    }

    #[test]
    fn of_a_shard_that_left_nothing_is_told_and_its_cluster_forgets_nothing() {
        let registry = Registry::default();
        registry.cluster("main", 0);
        for (number, worker) in [(3, 0), (3, 1), (4, 0), (4, 1)] {
            let shard = registry.shard("main", number, worker);
            shard.latency.record(Class::Read, 100);
            shard.hottest.set(5);
        }
        registry.shard("other", 4, 0);
        let whole = registry.collect(&HashMap::new())["main"]["latency"].clone();
        assert_eq!(whole["read"]["fine"], json!([[22, 4]]));
        registry.cluster("main", 1).latency(Class::Read, 100);
        registry.keep_shards("main", 0, &BTreeSet::from([3]));
        registry.keep_shards("main", 1, &BTreeSet::new());
        let told = Value::Object(registry.collect(&HashMap::new()));
        assert_eq!(told["main"]["shards"].as_object().unwrap().keys().collect::<Vec<_>>(), ["3"]);
        assert_eq!(told["main"]["shards"]["3"]["latency"]["read"]["fine"], json!([[22, 1]]));
        assert_eq!(told["main"]["latency"]["read"]["fine"], json!([[22, 5]]));
        assert_eq!(told["other"]["shards"].as_object().map(Map::len), None, "no worker serves it");
        assert_eq!(registry.shards.lock().unwrap().len(), 2);
    }

    #[test]
    fn families_with_times_are_few() {
        let registry = Registry::default();
        assert!((0..FAMILIES).all(|n| registry.admit_family("main", &n.to_string())));
        assert!(registry.admit_family("main", "0") && !registry.admit_family("main", "one more"));
        assert!(registry.admit_family("other", "one more"));
    }
}
