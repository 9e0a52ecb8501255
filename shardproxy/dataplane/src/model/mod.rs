//! What a worker routes by, as the control plane described it. Frozen values.

mod access;
mod cluster;
mod durations;
mod families;
mod hold;
mod inbound;
mod memcached;
mod placement;
mod script;
mod slots;
mod speech;
mod terms;
mod tls;
mod topic;

pub use access::{AccessSpec, UserSpec, DEFAULT_USER};
pub use cluster::{
    Cluster, ClusterSpec, EndpointKind, EndpointSpec, EngineKind, Entrance, Limits, NodeAuth, Reads, ShardSpec,
    Timeouts, BUS, NO_SHARD, NO_SLOT,
};
pub use durations::wrapping_micros;
pub use families::{Families, FamilySpec};
pub use hold::{Hold, HoldSpec};
pub use inbound::{is_balancer, Inbound, InboundSpec};
pub use memcached::{Action, Discovery, MemcachedSpec};
pub use placement::Placement;
pub use script::{digest_of, digest_of_body, is_without_writes, Digest};
pub use slots::Slots;
pub use speech::{Lane, Speech};
pub use terms::{Terms, NONE as NO_TERMS};
pub use tls::{NodeTlsSpec, TlsSpec};
pub use topic::Kind;
