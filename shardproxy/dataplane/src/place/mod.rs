//! Which connection a request leaves on: the primary's, a replica's, one of its client's own, or the parking lot of a shard
//! without a primary. Sends nothing.

mod lease;
mod lots;
mod primary;
mod reader;
mod recent;
pub mod scripts;

pub use lease::{give_back, is_in_wait, is_left, lease, next_queued, rest, Lease};
pub use lots::{count_parked, find_lot, lot, with_room};
pub use primary::{is_full, is_primary, link_beside, primary, NO_CLUSTER};
pub use reader::{least_busy, reader};
pub use recent::need;

use crate::clients::Client;
use crate::dialect::texts;
use crate::model::{EndpointKind, Lane};
use crate::turn::Turn;

/// Which node a command needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Any that is fresh enough.
    Read,
    /// The primary: the key was written a moment ago.
    FreshRead,
    /// The primary.
    Write,
}

/// The connection on which a request for a shard leaves, or the error that says why it cannot.
#[inline]
pub fn place(turn: &mut Turn, client: &Client, shard: u16, need: Need) -> Result<usize, Vec<u8>> {
    let Some(served) = &turn.clusters[client.cluster] else { return Err(NO_CLUSTER.to_vec()) };
    if client.db != 0 && client.db >= served.databases {
        return Err(texts::NOT_A_DATABASE.to_vec());
    }
    if client.endpoint != EndpointKind::Primary
        && (client.prefers_replicas || client.endpoint == EndpointKind::Reader || served.spreads_reads)
    {
        return place_spread(turn, client, shard, need);
    }
    if client.db == 0 && client.lane == Lane::Usual {
        if let Some(link) = served.ready_primary(&turn.links, shard, client.resp) {
            return Ok(link);
        }
    }
    // a read of a client that waits for nothing overtakes nobody's order but that of strangers
    let may_pass = need != Need::Write && client.replies.is_empty();
    primary::primary_past(turn, client.cluster, shard, client.speech(), may_pass)
}

/// Reads go to the replica with the least under way; writes to the primary, unless this endpoint only reads.
fn place_spread(turn: &mut Turn, client: &Client, shard: u16, need: Need) -> Result<usize, Vec<u8>> {
    let speech = client.speech();
    match need {
        Need::Read => {
            let only_replicas = client.endpoint == EndpointKind::Reader;
            reader(turn, client.cluster, shard, speech, only_replicas, None)
        }
        Need::Write if client.endpoint == EndpointKind::Reader => Err(texts::READONLY.to_vec()),
        Need::FreshRead => {
            if let Some(served) = turn.served(client.cluster) {
                served.metrics.fresh_reads.increment();
            }
            primary(turn, client.cluster, shard, speech)
        }
        Need::Write => primary(turn, client.cluster, shard, speech),
    }
}
