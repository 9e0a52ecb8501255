//! What a worker routes by: one cluster as the control plane described it. Frozen; replaced as a whole by the next epoch.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::caching::{CachingSpec, Rules};
use super::durations::{seconds, time_limit, wrapping_micros};
use super::families::{Families, FamilySpec};
use super::{
    AccessSpec, Hold, HoldSpec, HotSpec, Inbound, InboundSpec, MemcachedSpec, NearKeys, NearSpec, NodeTlsSpec,
    Placement, SlowLogSpec, Terms, TlsSpec,
};
use crate::command::Overrides;
use crate::hash::{self, SLOTS};
use crate::net::tls::{ClientConfig, ServerConfig, ServerName, Tls};
use crate::net::{Address, Secure};

/// What engines take unless they are told otherwise: `proto-max-bulk-len` and `client-query-buffer-limit`.
const MAX_BULK: usize = 512 << 20;
const MAX_QUERY: usize = 1 << 30;
/// What an engine may have read of other requests when it has a large argument in its buffer.
const AROUND_BULK: usize = 64 * 1024;

/// No shard owns the slot.
pub const NO_SHARD: u16 = u16::MAX;
/// What has no key is in no slot.
pub const NO_SLOT: u16 = u16::MAX;
/// The shard on which channels live that engines in cluster mode have in common.
pub const BUS: u16 = 0;

/// One cluster in the JSON of the control plane. Sizes are bytes, times are seconds, 0 = no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    pub name: String,
    pub engine: EngineKind,
    pub epoch: u64,
    /// Of the engines, as HELLO and INFO tell it.
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub endpoints: Vec<EndpointSpec>,
    #[serde(default)]
    pub reads: Reads,
    /// Where the proxy runs: reads from the nearest node prefer its own zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// How long replicas have to confirm a write.
    #[serde(default = "one_second", deserialize_with = "seconds")]
    pub wait_timeout: Duration,
    /// How old what a replica answers may be; so long a written key is read from its primary.
    #[serde(default = "one_second", deserialize_with = "seconds")]
    pub max_staleness: Duration,
    #[serde(default)]
    pub pubsub: Publishing,
    #[serde(default)]
    pub hashing: String,
    #[serde(default)]
    pub key_families: Vec<FamilySpec>,
    #[serde(default)]
    pub caching: CachingSpec,
    #[serde(default)]
    pub commands: Overrides,
    pub shards: Vec<ShardSpec>,
    /// One shard refuses what several would, for it is to grow.
    #[serde(default)]
    pub strict: bool,
    /// The engines are in cluster mode: they know whose slots are whose, and refuse what is another's.
    #[serde(default)]
    pub clustered: bool,
    /// How many databases one shard has.
    #[serde(default = "sixteen")]
    pub databases: u32,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub timeouts: Timeouts,
    #[serde(default)]
    pub node_auth: NodeAuth,
    #[serde(default)]
    pub memcached: MemcachedSpec,
    /// How clients speak TLS where they do.
    #[serde(default)]
    pub tls: Option<TlsSpec>,
    /// How nodes are spoken to in TLS, if they are.
    #[serde(default)]
    pub node_tls: Option<NodeTlsSpec>,
    /// From where clients may connect; none = from everywhere.
    #[serde(default)]
    pub inbound: Option<Vec<InboundSpec>>,
    /// None: nobody has to say who it is.
    #[serde(default)]
    pub access: Option<AccessSpec>,
    /// Replies of hot keys are kept.
    #[serde(default)]
    pub near_cache: Option<NearSpec>,
    /// What is remembered of keys that are asked for often.
    #[serde(default)]
    pub hot_keys: HotSpec,
    #[serde(default)]
    pub slow_log: SlowLogSpec,
}

impl ClusterSpec {
    /// Whether the engines are of this version or a newer one.
    pub fn is_since(&self, version: (u32, u32)) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= version
    }
}

const fn one_second() -> Duration {
    Duration::from_secs(1)
}

const fn sixteen() -> u32 {
    16
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    Redis,
    Memcached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    Configuration,
    Primary,
    Reader,
}

impl EndpointKind {
    pub const ALL: [Self; 3] = [Self::Configuration, Self::Primary, Self::Reader];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Primary => "primary",
            Self::Reader => "reader",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    #[default]
    Primary,
    Replica,
    Nearest,
}

/// Where messages on channels are published; those on shard channels are by slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publishing {
    /// All on one shard, so that whoever publishes on several is heard in that order.
    #[default]
    Ordered,
    /// By the slot of the channel's name.
    Spread,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    pub kind: EndpointKind,
    pub addresses: Vec<String>,
    /// Clients speak TLS there.
    #[serde(default)]
    pub tls: bool,
    /// The networks of the balancers that say where their clients are, where it has such.
    #[serde(default)]
    pub proxy_protocol: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSpec {
    #[serde(default)]
    pub name: Option<String>,
    /// What clients and logs are told it is called; else its place.
    #[serde(default)]
    pub label: Option<String>,
    /// What it keeps wherever it stands among the others; else its place.
    #[serde(default)]
    pub number: Option<u32>,
    #[serde(default)]
    pub slots: Vec<(u16, u16)>,
    /// Index into `nodes`; none while no primary is known.
    pub primary: Option<usize>,
    pub nodes: Vec<NodeSpec>,
    #[serde(default)]
    pub weight: Option<u32>,
    /// Who its primary is; without it whoever answers at the address is.
    #[serde(default)]
    pub identity: Option<IdentitySpec>,
    /// How many replicas must have a write before it is acknowledged; 0 = none.
    #[serde(default)]
    pub wait: u32,
    /// The replicas that may vouch for a write, as their primary lists them in ROLE; without it all that are attached.
    #[serde(default)]
    pub voters: Option<Vec<String>>,
    /// The script that its primary has while its slots are as known here, and the one that it has once some may have left;
    /// without them nobody has to ask.
    #[serde(default)]
    pub seal: Option<[String; 2]>,
    /// A replica takes over where its primary cannot write.
    #[serde(default)]
    pub replaceable: bool,
    /// Why it has no primary, where that is no failover.
    #[serde(default)]
    pub why_not: Option<String>,
    /// Nobody serves it before that is mended: nobody need wait for it.
    #[serde(default)]
    pub refused: bool,
    /// Why its primary is only read from, where that is so.
    #[serde(default)]
    pub read_only: Option<String>,
    /// Requests of it that wait.
    #[serde(default)]
    pub hold: Option<HoldSpec>,
    /// Its nodes may have keys of slots that are another's: clients do not see these.
    #[serde(default)]
    pub mixed: bool,
    /// Bytes of one argument, and of all that a connection has sent and not yet had taken, that its nodes take; else as their
    /// defaults.
    #[serde(default)]
    pub max_bulk: Option<usize>,
    #[serde(default)]
    pub max_query: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySpec {
    pub run_id: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    pub address: String,
    #[serde(default)]
    pub zone: Option<String>,
    /// A replica that is in sync and fresh enough to read from.
    #[serde(default = "yes")]
    pub readable: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connected clients of the cluster.
    pub clients: usize,
    /// Bytes of one request.
    #[serde(deserialize_with = "limit")]
    pub request: usize,
    /// Bytes of replies one client has not read yet.
    #[serde(deserialize_with = "limit")]
    pub client_output: usize,
    /// Requests of one client without a reply; beyond it the client is not read.
    #[serde(deserialize_with = "limit")]
    pub in_flight: usize,
    /// Bytes of requests waiting at one worker for one node.
    #[serde(deserialize_with = "limit")]
    pub shard_queue: usize,
    /// Connections per worker and node for clients that need one of their own: watching, or waiting at it.
    pub dedicated: usize,
}

/// 0 stands for no limit.
fn limit<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    Ok(match usize::deserialize(deserializer)? {
        0 => usize::MAX,
        limit => limit,
    })
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 10_000,
            request: 512 << 20,
            client_output: 512 << 20,
            in_flight: 4096,
            shard_queue: 64 << 20,
            dedicated: 256,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    #[serde(deserialize_with = "seconds")]
    pub connect: Duration,
    #[serde(deserialize_with = "time_limit")]
    pub reply: Option<Duration>,
    #[serde(deserialize_with = "time_limit")]
    pub idle: Option<Duration>,
    /// How long requests that were not sent wait for their shard to come back.
    #[serde(deserialize_with = "seconds")]
    pub park: Duration,
    /// How long a node may be silent that was asked what may take long.
    #[serde(deserialize_with = "seconds")]
    pub slow: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(1), reply: Some(seconds(5)), idle: None, park: seconds(3), slow: seconds(10) }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeAuth {
    pub username: Option<String>,
    pub password: Option<String>,
    /// Log in again after so long, with what is current then.
    #[serde(deserialize_with = "time_limit")]
    pub renew: Option<Duration>,
}

impl std::fmt::Debug for NodeAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeAuth(..)") // a secret is never printed
    }
}

/// What is asked of whoever connects to an endpoint.
pub struct Entrance {
    /// What TLS is spoken with, if it is.
    pub tls: Option<Arc<ServerConfig>>,
    /// Only balancers connect, and say first where their clients are.
    pub is_balanced: bool,
}

impl Entrance {
    /// Whether as much is asked as by other rules.
    pub const fn is_as(&self, speaks_tls: bool, is_balanced: bool) -> bool {
        self.tls.is_some() == speaks_tls && self.is_balanced == is_balanced
    }
}

/// A node of the cluster; its index is its name within one epoch.
#[derive(Clone, Debug)]
pub struct Node {
    pub address: Address,
    pub label: String,
    pub zone: Option<String>,
    pub shard: u16,
    pub is_readable: bool,
    /// By which name its certificate has to call it, if it is spoken to in TLS.
    server_name: Option<ServerName<'static>>,
}

#[derive(Clone, Debug)]
pub struct Shard {
    pub label: String,
    pub number: u32,
    /// Index into `Cluster::nodes`.
    pub primary: Option<u16>,
    pub nodes: Vec<u16>,
    /// The run id of the process that is its primary.
    run_id: Option<String>,
    wait: u32,
    voters: Option<Vec<String>>,
    /// SHA1 of the scripts that tell whether its slots are still as known here.
    seal: Option<[String; 2]>,
    /// A replica takes over where its primary cannot write.
    pub is_replaceable: bool,
    /// Why it has no primary, where that is no failover.
    pub why_not: Option<String>,
    /// It is not served before that is mended.
    pub is_refused: bool,
    /// Why writes are refused unsent.
    pub read_only: Option<String>,
    /// What waits.
    pub hold: Option<Arc<Hold>>,
    /// Its nodes may have keys of slots that are another's.
    pub is_mixed: bool,
}

/// A `ClusterSpec` made ready to route by.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub spec: ClusterSpec,
    pub shards: Vec<Shard>,
    pub nodes: Vec<Node>,
    /// It is one engine to its clients: all that one does its only shard does, whatever slots the keys are in. Whoever
    /// wants to know whether something needs one shard asks this.
    pub is_relaxed: bool,
    /// That clients may select.
    pub databases: u32,
    /// Some shard holds requests.
    pub is_held: bool,
    slots: Box<[u16]>,
    /// The shard of the first slot that has one.
    first: u16,
    families: Option<Families>,
    /// Fields of hashes may expire by themselves.
    pub has_field_expiry: bool,
    /// Whose replies are kept near, where any are.
    pub near: Option<NearKeys>,
    /// Of caching.
    pub rules: Option<Rules>,
    pub placement: Placement,
    pub inbound: Inbound,
    /// Bytes that all nodes take: of one argument, and of a transaction. They close the connection over more.
    pub max_bulk: usize,
    pub max_query: usize,
    /// What TLS is spoken with, to clients and to nodes.
    tls: Option<Arc<ServerConfig>>,
    node_tls: Option<Arc<ClientConfig>>,
}

impl Cluster {
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let spec: ClusterSpec = serde_json::from_slice(json).map_err(|e| format!("not a cluster: {e}"))?;
        Self::new(spec)
    }

    pub fn new(spec: ClusterSpec) -> Result<Self, String> {
        if spec.shards.is_empty() || spec.shards.len() > 250 {
            return Err(format!("a cluster has 1-250 shards, not {}", spec.shards.len()));
        }
        let mut slots = vec![NO_SHARD; SLOTS as usize].into_boxed_slice();
        let mut shards = Vec::new();
        let mut nodes = Vec::new();
        for (index, shard) in spec.shards.iter().enumerate() {
            for &(first, last) in &shard.slots {
                let range = slots.get_mut(usize::from(first)..=usize::from(last));
                let range = range.ok_or_else(|| format!("shard {index}: no such slots {first}-{last}"))?;
                if range.iter().any(|&owner| owner != NO_SHARD) {
                    return Err(format!("shard {index}: slots {first}-{last} have two owners"));
                }
                range.fill(index as u16);
            }
            let start = nodes.len();
            for node in &shard.nodes {
                let address = Address::parse(&node.address)?;
                let zone = node.zone.clone();
                let (label, is_readable) = (address.to_string(), node.readable);
                let server_name = spec.node_tls.as_ref().map(|tls| tls.name_of(&address)).transpose()?;
                nodes.push(Node { label, address, zone, shard: index as u16, is_readable, server_name });
            }
            if shard.primary.is_some_and(|p| p >= shard.nodes.len()) {
                return Err(format!("shard {index}: its primary is not one of its nodes"));
            }
            let label = shard.label.clone().unwrap_or_else(|| index.to_string());
            if label.is_empty() || label.contains(char::is_control) {
                return Err(format!("shard {index}: {label:?} is no label"));
            }
            shards.push(Shard {
                label,
                number: shard.number.unwrap_or(index as u32),
                primary: shard.primary.map(|p| (start + p) as u16),
                nodes: (start..nodes.len()).map(|n| n as u16).collect(),
                run_id: shard.identity.as_ref().map(|identity| identity.run_id.clone()),
                wait: shard.wait,
                voters: shard.voters.as_ref().map(|voters| read_voters(voters)).transpose()?,
                seal: shard.seal.clone(),
                is_replaceable: shard.replaceable,
                why_not: shard.why_not.clone(),
                is_refused: shard.refused,
                read_only: shard.read_only.clone(),
                hold: shard.hold.as_ref().and_then(|hold| Hold::of(hold, &shard.slots)).map(Arc::new),
                is_mixed: shard.mixed,
            });
        }
        let families = Families::compile(&spec.key_families)?;
        let near = spec.near_cache.as_ref().map(NearKeys::compile).transpose()?;
        let rules = Rules::compile(&spec.caching)?;
        if rules.is_some() {
            hash::tag_of_slot(0); // made now, and not while clients wait
        }
        let placement = Placement::build(&spec)?;
        let inbound = Inbound::build(spec.inbound.as_deref(), &spec.endpoints)?;
        let first = slots.iter().copied().find(|&shard| shard != NO_SHARD).unwrap_or(NO_SHARD);
        if spec.clustered && !spec.key_families.is_empty() {
            return Err("engines in cluster mode know no key families".into());
        }
        let is_held = shards.iter().any(|shard| shard.hold.is_some());
        if spec.clustered && is_held {
            return Err("slots of engines in cluster mode are moved by these, and not held".into());
        }
        let is_relaxed = spec.engine == EngineKind::Redis && shards.len() == 1 && !spec.strict && !spec.clustered;
        let databases = if is_relaxed { spec.databases } else { 1 };
        let max_query = spec.shards.iter().filter_map(|shard| shard.max_query).min().unwrap_or(MAX_QUERY);
        let max_bulk = spec.shards.iter().filter_map(|shard| shard.max_bulk).min().unwrap_or(MAX_BULK);
        let max_bulk = max_bulk.min(max_query.saturating_sub(AROUND_BULK));
        let tls = spec.tls.as_ref().map(TlsSpec::build).transpose()?;
        if tls.is_none() && spec.endpoints.iter().any(|endpoint| endpoint.tls) {
            return Err("an endpoint is to speak TLS, and there is no certificate".into());
        }
        let node_tls = spec.node_tls.as_ref().map(NodeTlsSpec::build).transpose()?;
        let has_field_expiry = spec.is_since((7, 4));
        Ok(Self {
            spec,
            shards,
            nodes,
            is_relaxed,
            databases,
            is_held,
            slots,
            first,
            families,
            has_field_expiry,
            near,
            rules,
            placement,
            inbound,
            max_bulk,
            max_query,
            tls,
            node_tls,
        })
    }

    /// Take over what has not changed of TLS since another epoch: who has a ticket resumes a session by it.
    pub fn keep_tls(&mut self, other: &Self) {
        if self.spec.tls == other.spec.tls {
            self.tls.clone_from(&other.tls);
        }
        if self.spec.node_tls == other.spec.node_tls {
            self.node_tls.clone_from(&other.node_tls);
        }
    }

    /// What is asked of whoever connects to that address of an endpoint. None if the cluster has no such, any more or yet:
    /// then nobody is let in there.
    pub fn entrance(&self, kind: EndpointKind, address: &str) -> Option<Entrance> {
        let is_it = |endpoint: &&EndpointSpec| endpoint.kind == kind && endpoint.addresses.iter().any(|a| a == address);
        let endpoint = self.spec.endpoints.iter().find(is_it)?;
        let tls = self.tls.clone().filter(|_| endpoint.tls);
        Some(Entrance { tls, is_balanced: endpoint.proxy_protocol.is_some() })
    }

    /// Whether a client was asked in its handshake for what is asked for now. What that of an earlier epoch asked for is not
    /// known any more: where certificates are asked for, it will not do.
    pub fn has_asked(&self, session: &Tls) -> bool {
        let asks = self.spec.tls.as_ref().is_some_and(TlsSpec::asks_certificates);
        !asks || self.tls.as_ref().is_some_and(|tls| session.is_served_by(tls))
    }

    /// The same while nobody knows who the primaries are: what was one is no replica to read from.
    #[must_use]
    pub fn without_primaries(&self) -> Self {
        let mut cluster = self.clone();
        for primary in cluster.shards.iter_mut().filter_map(|shard| shard.primary.take()) {
            cluster.nodes[usize::from(primary)].is_readable = false;
        }
        cluster
    }

    /// How a node is spoken to in TLS, if it is.
    pub fn secure(&self, node: &Node) -> Option<Secure> {
        Some(Secure { config: self.node_tls.clone()?, name: node.server_name.clone()? })
    }

    /// The slot of a key: by the cluster's key families, else by its hash tag.
    #[inline]
    pub fn slot_of(&self, key: &[u8]) -> u16 {
        match &self.families {
            None => hash::slot(key),
            Some(families) => families.slot(key),
        }
    }

    /// The family of a key that is declared.
    pub fn family_of(&self, key: &[u8]) -> Option<&str> {
        self.families.as_ref()?.name_of(key)
    }

    /// The number of the shard in that place.
    pub fn number_of(&self, place: u16) -> Option<u32> {
        self.shards.get(usize::from(place)).map(|shard| shard.number)
    }

    /// The shard that owns the slot, or `NO_SHARD`.
    #[inline]
    pub fn shard_of(&self, slot: u16) -> u16 {
        self.slots[usize::from(slot)]
    }

    /// Where a message on the channel is published. In order that is where what has no key runs too: every proxy finds the
    /// same, whatever its config calls the shards. Engines in cluster mode tell each other, whichever is told: it is the
    /// first shard, whatever slots that has.
    pub fn shard_of_channel(&self, channel: &[u8]) -> u16 {
        match self.spec.pubsub {
            _ if self.spec.clustered => BUS,
            Publishing::Ordered => self.first,
            Publishing::Spread => self.shard_of(hash::slot(channel)),
        }
    }

    /// Whether the shard's nodes may have keys of slots that are another's.
    pub fn is_mixed(&self, shard: u16) -> bool {
        self.shards.get(usize::from(shard)).is_some_and(|shard| shard.is_mixed)
    }

    /// Whether the same shards are mixed in another epoch.
    pub fn is_mixed_as(&self, other: &Self) -> bool {
        self.shards.iter().map(|shard| shard.is_mixed).eq(other.shards.iter().map(|shard| shard.is_mixed))
    }

    /// What waits of a shard's requests.
    pub fn hold_of(&self, shard: u16) -> Option<&Hold> {
        self.shards.get(usize::from(shard))?.hold.as_deref()
    }

    /// Who has the slot instead of this shard: engines that are not in cluster mode do not say so.
    pub fn moved_to(&self, slot: u16, shard: u16) -> Option<u16> {
        if self.spec.clustered || slot == NO_SLOT {
            return None;
        }
        Some(self.shard_of(slot)).filter(|&owner| owner != shard && owner != NO_SHARD)
    }

    /// The node at an address, as another one names it.
    pub fn node_at(&self, address: &str) -> Option<u16> {
        let label = Address::parse(address).ok()?.to_string();
        self.nodes.iter().position(|node| node.label == label).map(|node| node as u16)
    }

    /// The address of the primary of a slot's shard, and which shard that is.
    pub fn seat_of(&self, slot: u16) -> Option<(u16, &str)> {
        let shard = self.shard_of(slot);
        let primary = self.shards.get(usize::from(shard))?.primary?;
        Some((shard, &self.nodes[usize::from(primary)].label))
    }

    /// Whether the node is the primary of its shard.
    pub fn is_primary(&self, shard: u16, node: u16) -> bool {
        self.shards.get(usize::from(shard)).is_some_and(|shard| shard.primary == Some(node))
    }

    /// Whether each shard has the slots that it has in another epoch.
    pub fn has_slots_of(&self, other: &Self) -> bool {
        self.slots == other.slots
    }

    /// The shards, by their numbers in either epoch, that have a slot in one that they have not in the other.
    pub fn shards_unlike(&self, other: &Self) -> Vec<u16> {
        let moved = self.slots.iter().zip(&other.slots).filter(|(before, now)| before != now);
        let mut shards: Vec<u16> = moved.flat_map(|(&before, &now)| [before, now]).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// Whether slots of some shard may have left it unseen.
    pub fn has_seals(&self) -> bool {
        self.shards.iter().any(|shard| shard.seal.is_some())
    }

    /// When writes to the shard are acknowledged, if not at once.
    #[inline]
    pub fn terms_of(&self, shard: u16) -> Option<Terms<'_>> {
        let shard = self.shards.get(usize::from(shard)).filter(|shard| shard.wait > 0 || shard.seal.is_some())?;
        let timeout = wrapping_micros(self.spec.wait_timeout);
        Some(Terms { wanted: shard.wait, voters: shard.voters.as_deref(), timeout, seal: shard.seal.as_ref() })
    }

    /// The run id the node must have before requests leave for it: that of its shard's primary, if it is the primary.
    pub fn run_id_of(&self, shard: u16, node: u16) -> Option<&str> {
        let shard = self.shards.get(usize::from(shard)).filter(|shard| shard.primary == Some(node))?;
        shard.run_id.as_deref()
    }
}

/// Each once, and written as it is compared.
fn read_voters(voters: &[String]) -> Result<Vec<String>, String> {
    let mut read = voters
        .iter()
        .map(|voter| Address::parse(voter).map(|address| address.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    read.sort_unstable();
    read.dedup();
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shards: &str) -> Vec<u8> {
        format!(r#"{{"name":"c","engine":"redis","epoch":1,"shards":{shards}}}"#).into_bytes()
    }

    #[test]
    fn slots_lead_to_shards_and_shards_to_nodes() {
        let cluster = Cluster::parse(&spec(
            r#"[{"slots":[[0,99]],"primary":0,"nodes":[{"address":"127.0.0.1:1"},{"address":"127.0.0.1:2"}]},
                {"slots":[[100,100],[200,300]],"primary":null,"nodes":[{"address":"unix:/x"}]}]"#,
        ))
        .unwrap();
        assert_eq!(cluster.shard_of(99), 0);
        assert_eq!(cluster.shard_of(100), 1);
        assert_eq!(cluster.shard_of(101), NO_SHARD);
        assert_eq!(cluster.shard_of(300), 1);
        assert_eq!(cluster.shards[0].primary, Some(0));
        assert_eq!(cluster.shards[1].primary, None);
        assert_eq!(cluster.nodes[2].shard, 1);
        assert_eq!([cluster.shard_of_channel(b"foo"), cluster.shard_of_channel(b"bar")], [0, 0]);
    }

    #[test]
    fn one_shard_is_as_one_engine_unless_it_is_to_grow() {
        let node = |port: u8| format!(r#""primary":0,"nodes":[{{"address":"127.0.0.1:{port}"}}]"#);
        let one = format!(r#"[{{"slots":[[0,16383]],{}}}]"#, node(1));
        let two = format!(r#"[{{"slots":[[0,99]],{}}},{{"slots":[[100,16383]],{}}}]"#, node(1), node(2));
        for (shards, more, expected) in [
            (&one, "", (true, 16)),
            (&one, r#","databases":4"#, (true, 4)),
            (&one, r#","strict":true"#, (false, 1)),
            (&two, "", (false, 1)),
            (&two, r#","databases":4"#, (false, 1)),
        ] {
            let cluster = Cluster::parse(&spec(&format!("{shards}{more}"))).unwrap();
            assert_eq!((cluster.is_relaxed, cluster.databases), expected, "{shards}{more}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            "[]",
            r#"[{"slots":[[0,5]],"primary":0,"nodes":[]}]"#,
            r#"[{"label":"","primary":null,"nodes":[]}]"#,
            r#"[{"label":"a\r\n+OK","primary":null,"nodes":[]}]"#,
            r#"[{"voters":["nowhere"],"primary":null,"nodes":[]}]"#,
            r#"[{"slots":[[0,16384]],"primary":null,"nodes":[]}]"#,
            r#"[{"slots":[[0,5]],"primary":null,"nodes":[]},{"slots":[[5,6]],"primary":null,"nodes":[]}]"#,
        ] {
            assert!(Cluster::parse(&spec(bad)).is_err(), "{bad}");
        }
    }
}
