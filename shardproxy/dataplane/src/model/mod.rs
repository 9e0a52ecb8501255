//! What a worker routes by, as the control plane described it. Frozen values.

mod access;
mod caching;
mod cluster;
mod durations;
mod families;
mod hold;
mod hot;
mod inbound;
mod memcached;
mod near;
mod pattern;
mod placement;
mod script;
mod slots;
mod slow_log;
mod speech;
mod terms;
mod tls;
mod topic;

pub use access::{AccessSpec, UserSpec, DEFAULT_USER};
pub use caching::{Rule, Rules};
pub use cluster::{
    Cluster, ClusterSpec, EndpointKind, EndpointSpec, EngineKind, Entrance, Limits, NodeAuth, Reads, ShardSpec,
    Timeouts, BUS, NO_SHARD, NO_SLOT,
};
pub use durations::wrapping_micros;
pub use families::{Families, FamilySpec, RESERVED};
pub use hold::{Hold, HoldSpec};
pub use hot::HotSpec;
pub use inbound::{is_balancer, Inbound, InboundSpec};
pub use memcached::{Action, Discovery, MemcachedSpec};
pub use near::{NearKeys, NearSpec};
pub use placement::Placement;
pub use script::{digest_of, digest_of_body, is_without_writes, Digest};
pub use slots::Slots;
pub use slow_log::SlowLogSpec;
pub use speech::{Lane, Speech};
pub use terms::{Terms, NONE as NO_TERMS};
pub use tls::{NodeTlsSpec, TlsSpec};
pub use topic::Kind;
