//! Publish and subscribe over shards that share no bus.
//!
//! ```text
//!   client A ─ SUBSCRIBE news ─┐                       ┌─> shard 0   one connection per worker and shard,
//!   client B ─ SUBSCRIBE news ─┴─> topic "news" ───────┼─> shard 1   one subscription per topic on it
//!        ^ confirmed when every reachable shard is     └─> shard 2
//!        └──────────── message ── fanned out here <────────── from whichever shard it was published on
//! ```
//!
//! What clients publish goes to one shard (`Cluster::shard_of_channel`), so that who subscribes to many channels hears each
//! publisher in its order. Yet a channel is subscribed on *every* shard, because scripts and transactions publish on the
//! shard they run on, and keyspace events come from all: each message from the one shard that has it. A shard channel
//! (SSUBSCRIBE) lives on the shard of its slot.
//!
//! Clients may name a million topics at once: what is to be done about each is an errand that goes on from turn to turn
//! (`errands`), as are a new connection that is told of all topics and a message to many (`work`). Each turn has so many
//! steps for all of them together (`turn::PubSub`).

mod carriers;
mod errands;
mod live;
mod receive;
mod strays;
mod work;

pub use carriers::{announce_again, connected, lost, ping, refresh, sift_on};
pub use errands::{begin, forget};
pub use live::{settle_all, tick};
pub use receive::{catch_up, receive_all};
pub use work::work;
