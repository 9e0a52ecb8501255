//! Which keys have changed: what engines tell of that, and who hears it.
//!
//! ```text
//!   primary of a shard ─ CLIENT TRACKING ON BCAST ─ invalidate k ─> feed ─ tell ─┬─> clients that track keys
//!   (one connection per worker and primary, while somebody needs it)             └─> whoever else is named in `tell`
//! ```
//!
//! The feed, for whoever keeps what was read:
//!
//! - `need(turn, cluster, Hearer)` opens it, `spare` ends it with the last hearer. Both are idempotent.
//! - `turn.feeds.hearing(cluster, shard)`: which connection is heard now, none while none is. It is another one after every
//!   loss. What was asked while it was so, and answered while it is the same and no invalidation of the key or of the shard came
//!   in between, is as the primary has it, but for what is still on the feed's way. While it is none nothing may be kept.
//! - `tell` is the list of hearers, called within the turn that reads the feed, before anything else is done about what came.
//!   `Invalidation::Keys`: these have changed (or expired, or were evicted), written by whoever. `Invalidation::Lost(shard)`:
//!   whatever was kept of that shard may be old: its feed is lost, it has another primary, slots have come or gone, it was
//!   flushed, or its feed is back. The number is that of the epoch until now.
//! - When an epoch changes it is told before a request is sent to, or answered by, the next primary; and when the lease of the
//!   epoch is over the cluster has no primaries, so all of it is lost. A node that is silent is asked once a second
//!   whether it is there, and is lost after `timeouts.reply`.
//! - The feed and the connections for requests are different ones: a reply may be read before or after an invalidation that
//!   the engine wrote before it. Only "asked before, told after" is sure to be heard.

//!
//! What a client reads is kept in mind by its worker (`read`, turn/tracked.rs), and told behind its reply (`told`).

mod enter;
mod feed;
mod read;
mod told;

pub use enter::{begin, end, found, seek, work};
pub use feed::{connected, lost, need, receive_all, refresh, spare};
pub use read::{note, queue};
pub use told::{deliver, release, unheard};

use crate::clients::Clients;
use crate::dialect::resp::invalidation::Keys;
use crate::turn::Turn;

/// What is told of a cluster's keys.
pub enum Invalidation<'a> {
    Keys(Keys<'a>),
    /// All that was read of this shard. Clients know no shards.
    Lost(u16),
}

/// What is kept of replies.
fn near(turn: &mut Turn, cluster: usize, what: &Invalidation) {
    let Some(near) = turn.clusters[cluster].as_mut().and_then(|served| served.near.as_mut()) else { return };
    match what {
        Invalidation::Keys(keys) => keys.clone().for_each(|key| near.changed(key)),
        Invalidation::Lost(shard) => near.drop_shard(*shard),
    }
}

/// Everybody who hears of changed keys.
fn tell(turn: &mut Turn, clients: &mut Clients, cluster: usize, what: &Invalidation) {
    near(turn, cluster, what);
    told::hear(turn, clients, cluster, what);
}

/// What only time tells.
pub fn tick(turn: &mut Turn, clients: &mut Clients) {
    feed::tick(turn);
    enter::tick(turn, clients);
}
