//! memcached clusters: the sibling of the RESP path, from a client's bytes to a node and back.
//!
//! ```text
//!   client ─ bytes ─> frame ─> verb, key ─> placement ─> node is up? ─┬─> upstream ─> node
//!            (serve)  (wire)                            ├─> several, joined (scatter, gather)
//!                                                                    └─> miss, another node, or the gutter (route)
//!   client <─ bytes ─ reply queue in request order <─ frame (deliver) <──────── bytes ─ node
//! ```
//!
//! Every request that leaves has a reply, so that order, limits and failures are exact: `noreply` and the meta
//! protocol's `q` are taken off, and the reply nobody wants is dropped here. An `mn` is therefore answered when the
//! replies of all requests before it are in, on whatever nodes, and asks no node.

mod auth;
mod deliver;
mod discovery;
mod gather;
mod kind;
mod lost;
mod placement;
mod route;
mod scatter;
mod serve;
mod spec;
mod statistics;
mod ttl;
pub mod wire;

pub use deliver::deliver_all;
pub use gather::{Gather, Gathered};
pub use lost::{fail, greeting, lost, Before};
pub use placement::Placement;
pub use serve::serve;
pub use spec::MemcachedSpec;
pub use wire::reply::ReplyFramer;
pub use wire::texts::MAX_CLIENTS;

use wire::verb::VERBS;

/// What the data plane remembers of a client of a memcached cluster.
#[derive(Clone, Copy, Default, Debug)]
pub struct Session {
    /// It speaks memcached.
    pub is_spoken: bool,
    pub is_authenticated: bool,
    /// Bytes of its input that are known to hold no line end.
    pub scanned: u32,
    /// Bytes of a value that was refused, still to come.
    pub swallow: u64,
}

/// Commands are counted by the numbers of their verbs, behind those of the other engine.
const FIRST_ID: u16 = 960;

/// Numbers and names of the commands, for the metrics.
pub fn command_names() -> impl Iterator<Item = (u16, &'static str)> {
    VERBS.iter().map(|(verb, _, name)| (FIRST_ID + *verb as u16, *name))
}
