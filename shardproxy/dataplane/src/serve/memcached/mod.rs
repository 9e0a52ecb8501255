//! memcached clusters: the sibling of the RESP path, from a client's bytes to a node and back.
//!
//! ```text
//!   client ─ bytes ─> frame ─> verb, key ─> placement ─> node is up? ─┬─> upstream ─> node
//!            (serve)  (dialect)                          ├─> several, joined (scatter, gather)
//!                                                                    └─> miss, another node, or the gutter (route)
//!   client <─ bytes ─ reply queue in request order <─ frame (complete) <──────── bytes ─ node
//! ```
//!
//! Every request that leaves has a reply, so that order, limits and failures are exact: `noreply` and the meta
//! protocol's `q` are taken off, and the reply nobody wants is dropped here. An `mn` is therefore answered when the
//! replies of all requests before it are in, on whatever nodes, and asks no node.

mod access;
mod auth;
mod caching;
mod discovery;
mod route;
mod scatter;
mod serve;
mod ttl;

pub use caching::pass_on;
pub use serve::serve;
