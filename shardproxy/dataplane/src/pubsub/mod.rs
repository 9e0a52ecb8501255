//! Publish and subscribe over shards that share no bus.
//!
//! ```text
//!   client A ─ SUBSCRIBE news ─┐                       ┌─> shard 0   one connection per worker and shard,
//!   client B ─ SUBSCRIBE news ─┴─> topic "news" ───────┼─> shard 1   one subscription per topic on it
//!        ^ confirmed when every reachable shard is     └─> shard 2
//!        └──────────── message ── fanned out here <────────── from whichever shard it was published on
//! ```
//!
//! A channel is subscribed on *every* shard, because scripts and transactions publish on the shard they run on, and
//! keyspace events come from all. A shard channel (SSUBSCRIBE) lives on the shard of its slot.

mod clients;
mod links;

pub use clients::{confirm, forget, frame};
pub use links::{connected, join_topic, leave_topic, lost, open_links, ping, receive_all, refresh, settle_all, tick};
