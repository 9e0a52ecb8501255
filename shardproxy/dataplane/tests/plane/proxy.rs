//! A data plane that serves one cluster of fake engines.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use shardproxy_dataplane::{Cluster, Event, NodeLost, Offload, Plane};

use crate::client::Client;
use crate::engine::Engine;

pub const TABLE: &[u8] = include_bytes!("../../../commands/table.json");

/// The desired state of the cluster. Slots are split evenly; each shard is a list of its nodes and which of them is primary.
pub struct Spec<'a> {
    pub shards: Vec<(Vec<&'a Engine>, Option<usize>)>,
    pub limits: Value,
    pub timeouts: Value,
    pub reads: &'a str,
    pub pubsub: &'a str,
    /// How old what replicas answer may be, seconds.
    pub max_staleness: f64,
    /// So many replicas must have a write before it is acknowledged.
    pub wait: u32,
    /// The replicas that may vouch for it.
    pub voters: Option<Vec<&'a str>>,
    /// What every shard is called.
    pub label: Option<&'a str>,
    /// The run id every primary must have.
    pub run_id: Option<&'a str>,
    /// What else is said of every shard.
    pub more: Value,
    /// What nodes are logged in to with.
    pub node_auth: Value,
    /// Who may log in; nothing: nobody has to.
    pub access: Value,
    pub version: &'a str,
    /// The engines are in cluster mode.
    pub clustered: bool,
    /// The first slot of each shard; nothing: they are split evenly.
    pub firsts: Vec<usize>,
    /// What the first shard holds.
    pub hold: Value,
    pub caching: Value,
}

impl<'a> Spec<'a> {
    /// One shard with one node per engine.
    pub fn shard(nodes: &[&'a Engine], primary: Option<usize>) -> Self {
        let shards = vec![(nodes.to_vec(), primary)];
        Self {
            shards,
            limits: json!({}),
            timeouts: json!({}),
            reads: "primary",
            pubsub: "ordered",
            max_staleness: 1.0,
            wait: 0,
            voters: None,
            label: None,
            run_id: None,
            more: json!({}),
            node_auth: json!({}),
            access: Value::Null,
            version: "7.0.15",
            clustered: false,
            firsts: Vec::new(),
            hold: Value::Null,
            caching: json!({"rules": []}),
        }
    }

    /// As many shards, with a primary each.
    pub fn shards(primaries: &'a [Engine]) -> Self {
        let shards = primaries.iter().map(|engine| (vec![engine], Some(0))).collect();
        Self { shards, ..Self::shard(&[], None) }
    }

    pub fn limits(self, limits: Value) -> Self {
        Self { limits, ..self }
    }

    pub fn timeouts(self, timeouts: Value) -> Self {
        Self { timeouts, ..self }
    }

    /// Users, each with its rules: `on >secret ~app:* +@all`.
    pub fn users(self, users: &[(&str, &str)]) -> Self {
        let users: Vec<Value> = users.iter().map(|(name, rules)| user(name, rules)).collect();
        Self { access: json!({"users": users}), ..self }
    }

    pub fn json(&self, name: &str, epoch: u64) -> String {
        let count = self.shards.len();
        let shards = self.shards.iter().enumerate().map(|(number, (nodes, primary))| {
            let first_of = |number: usize| self.firsts.get(number).copied().unwrap_or(number * 16384 / count);
            let (first, last) = (first_of(number), if number + 1 == count { 16384 } else { first_of(number + 1) } - 1);
            let nodes: Vec<Value> = nodes.iter().map(|engine| json!({"address": engine.address})).collect();
            let identity = self.run_id.map(|run_id| json!({"run_id": run_id}));
            let mut shard = json!({"slots": [[first, last]], "primary": primary, "nodes": nodes, "identity": identity,
                                   "label": self.label, "wait": self.wait, "voters": self.voters});
            let more = self.more.as_object().cloned().unwrap_or_default();
            shard.as_object_mut().unwrap().extend(more);
            if number == 0 {
                shard["hold"] = self.hold.clone();
            }
            shard
        });
        json!({
            "name": name, "engine": "redis", "epoch": epoch, "version": self.version, "access": self.access,
            "endpoints": [{"kind": "configuration", "addresses": ["127.0.0.1:0"]}],
            "reads": self.reads, "pubsub": self.pubsub, "max_staleness": self.max_staleness, "shards": shards.collect::<Vec<_>>(), "limits": self.limits, "timeouts": self.timeouts,
            "node_auth": self.node_auth, "clustered": self.clustered, "caching": self.caching,
        })
        .to_string()
    }
}

/// A user as the control plane describes it.
pub fn user(name: &str, rules: &str) -> Value {
    let is = |word: &str| rules.split(' ').any(|rule| rule == word);
    let rest: Vec<&str> =
        rules.split(' ').filter(|rule| !matches!(*rule, "on" | "off" | "nopass" | "verified")).collect();
    json!({"name": name, "enabled": is("on"), "nopass": is("nopass"), "passwords": [], "rules": rest.join(" "),
           "verified": is("verified"), "session": 0.0})
}

pub struct Proxy {
    pub plane: Plane,
    pub address: String,
    epoch: u64,
}

impl Proxy {
    pub fn start(spec: &Spec) -> Self {
        Self::with(1, 0, spec)
    }

    pub fn with(workers: usize, buffers: usize, spec: &Spec) -> Self {
        Self::over(Plane::start(workers, TABLE, buffers).unwrap(), spec)
    }

    /// A plane that serves nothing yet.
    pub fn planned(workers: usize) -> Plane {
        Plane::start(workers, TABLE, 0).unwrap()
    }

    pub fn over(plane: Plane, spec: &Spec) -> Self {
        let mut proxy = Self { plane, address: String::new(), epoch: 0 };
        proxy.apply(spec);
        proxy
    }

    /// Of a cluster of another kind than `Spec` describes.
    pub fn serving(workers: usize, cluster: &Value) -> Self {
        Self::holding(workers, 0, cluster)
    }

    /// The same, with a cap on buffers.
    pub fn holding(workers: usize, buffers: usize, cluster: &Value) -> Self {
        let plane = Plane::start(workers, TABLE, buffers).unwrap();
        let bound = plane.apply(Cluster::parse(cluster.to_string().as_bytes()).unwrap()).unwrap();
        Self { plane, address: bound[0].1.clone(), epoch: 1 }
    }

    /// The next epoch. It holds for whatever is sent afterwards.
    pub fn apply(&mut self, spec: &Spec) {
        self.address = self.apply_to("test", spec);
    }

    /// The same for the cluster of that name; the address it is served at.
    pub fn apply_to(&mut self, name: &str, spec: &Spec) -> String {
        self.epoch += 1;
        let bound = self.plane.apply(Cluster::parse(spec.json(name, self.epoch).as_bytes()).unwrap()).unwrap();
        self.plane.clients(); // every worker answers, and so has seen what it was told before
        bound[0].1.clone()
    }

    /// What is handed over next, once something is.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        until("something is handed over", || {
            events = self.plane.take();
            !events.is_empty()
        });
        events
    }

    /// The next command that is handed over; what else was until then is forgotten.
    pub fn offload(&self) -> Offload {
        loop {
            for event in self.events() {
                if let Event::Offloaded(offload) = event {
                    return offload;
                }
            }
        }
    }

    /// What was found of nodes by now; what else was handed over is forgotten.
    pub fn losses(&self) -> Vec<NodeLost> {
        let lost = |event| if let Event::NodeLost(lost) = event { Some(lost) } else { None };
        self.plane.take().into_iter().filter_map(lost).collect()
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Replies owed to all clients.
    pub fn pending(&self) -> usize {
        self.plane.clients().iter().map(|client| client.pending).sum()
    }

    /// What its only worker counts of itself.
    pub fn of_worker(&self, name: &str) -> u64 {
        self.plane.statistics()["workers"][0][name].as_u64().unwrap_or_else(|| panic!("no worker counts its {name}"))
    }

    pub fn statistic(&self, path: &str) -> u64 {
        let value = &self.plane.statistics()["clusters"]["test"];
        value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// How long anything may take: far more than it does, also unoptimized on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Wait for it, not for ever.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
