//! Counters of one worker. One thread writes, the control plane reads at scrape.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::{json, Map, Value};

use crate::sync::lock;

mod liberties;
mod slow;

pub use liberties::{shape, Liberties};
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
/// Upper bounds double from 32 us to 16.8 s, then infinity.
const BUCKETS: usize = 21;
const FIRST_BUCKET: u32 = 5;

#[derive(Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    micros: Counter,
}

impl Histogram {
    #[inline]
    pub fn record(&self, micros: u32) {
        let bits = u32::BITS - (micros >> FIRST_BUCKET).leading_zeros();
        self.buckets[(bits as usize).min(BUCKETS - 1)].increment();
        self.micros.add(u64::from(micros));
    }
}

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
    /// Requests whose clients were held until a queue had room.
    pub held: Counter,
    /// Clients that wait for keys now.
    pub waiting: Counter,
    /// What several shards would refuse.
    pub liberties: Liberties,
    latency: [Histogram; CLASSES.len()],
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
            fresh_reads: Counter::default(),
            held: Counter::default(),
            liberties: Liberties::default(),
            latency: Default::default(),
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
        self.latency[class as usize].record(micros);
    }
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

    /// A worker starts anew: its clients and connections are gone.
    pub fn forget_worker(&self, worker: usize) {
        for (_, metrics) in lock(&self.clusters).iter().filter(|((_, owner), _)| *owner == worker) {
            metrics.clients.set(0);
            metrics.blocked.set(0);
            metrics.parked.set(0);
            metrics.parked_bytes.set(0);
            metrics.waiting.set(0);
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

    /// The sums over workers, by cluster name; `names` of the commands.
    pub fn collect(&self, names: &HashMap<u16, String>) -> Map<String, Value> {
        let mut by_name: HashMap<String, Vec<Arc<ClusterMetrics>>> = HashMap::new();
        for ((name, _), metrics) in lock(&self.clusters).iter() {
            by_name.entry(name.clone()).or_default().push(metrics.clone());
        }
        let mut nodes: HashMap<String, HashMap<String, Vec<Arc<NodeMetrics>>>> = HashMap::new();
        for ((cluster, address, _), metrics) in lock(&self.nodes).iter() {
            nodes.entry(cluster.clone()).or_default().entry(address.clone()).or_default().push(metrics.clone());
        }
        let mut result = Map::new();
        for (name, parts) in by_name {
            let mut cluster = collect_cluster(&parts, names);
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
    let mut latency = Map::new();
    for (class, name) in CLASSES.iter().enumerate() {
        let mut count = 0;
        let mut buckets = Vec::new();
        for bucket in 0..BUCKETS {
            count += parts.iter().map(|m| m.latency[class].buckets[bucket].get()).sum::<u64>();
            if bucket < BUCKETS - 1 {
                let bound = f64::from(1u32 << (FIRST_BUCKET + bucket as u32)) / 1e6;
                buckets.push(json!([bound, count]));
            }
        }
        let micros: u64 = parts.iter().map(|m| m.latency[class].micros.get()).sum();
        #[allow(clippy::cast_precision_loss)]
        let seconds = micros as f64 / 1e6;
        latency.insert((*name).to_owned(), json!({"buckets": buckets, "sum": seconds, "count": count}));
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
        "waiting": sum(|m| &m.waiting), "deliveries": sum(|m| &m.deliveries),
        "subscription_gaps": sum(|m| &m.subscription_gaps),
        "fresh_reads": sum(|m| &m.fresh_reads), "held": sum(|m| &m.held),
        "relaxed": liberties::collect(&parts.iter().map(|m| &m.liberties).collect::<Vec<_>>(), names),
        "commands": commands, "latency": latency,
    })
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
    fn a_sample_falls_below_its_bound() {
        let histogram = Histogram::default();
        for micros in [0, 31, 32, 63, 64, u32::MAX] {
            histogram.record(micros);
        }
        let counts: Vec<u64> = histogram.buckets.iter().map(Counter::get).collect();
        assert_eq!(&counts[..3], &[2, 2, 1]);
        assert_eq!(counts[BUCKETS - 1], 1);
    }
}
