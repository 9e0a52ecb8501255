//! Which connection a request leaves on: the primary's, a replica's, one of its client's own, or the parking lot of a shard
//! without a primary. Sends nothing.

mod door;
mod lease;
mod lots;
mod primary;
mod reader;
mod recent;
mod room;
pub mod scripts;

pub use door::pass;
pub use lease::{give_back, is_in_wait, is_left, lease, next_queued, rest, Lease};
pub use lots::{count_parked, find_lot, lot};
pub use primary::{is_primary, link, link_beside, primary, NO_CLUSTER};
pub use reader::{least_busy, reader};
pub use recent::need;
pub use room::{room, stop_passing};

use crate::clients::Client;
use crate::dialect::texts;
use crate::model::{EndpointKind, Lane, NO_SLOT};
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

/// Why a request does not leave.
#[derive(Debug)]
pub enum Unplaced {
    /// This connection, or lot, has as much to send as it may: whoever asks waits until there is room.
    Full(usize),
    /// An error says why.
    Refused(Vec<u8>),
    /// Its client's earlier requests may be under way elsewhere: it goes once these are answered.
    Behind,
    /// This shard holds it.
    Closed(u16),
}

impl From<Vec<u8>> for Unplaced {
    fn from(text: Vec<u8>) -> Self {
        Self::Refused(text)
    }
}

impl Unplaced {
    /// What was taken already is sent all the same: it takes no more memory there than here.
    pub fn or_in(self) -> Result<usize, Vec<u8>> {
        match self {
            Self::Full(link) => Ok(link),
            Self::Refused(text) => Err(text),
            Self::Behind | Self::Closed(_) => Err(texts::CLUSTERDOWN.to_vec()), // only who places for a client hears that
        }
    }
}

/// The connection on which a request for a shard, of one of its slots or none, leaves, or why it does not.
#[inline]
pub fn place(turn: &mut Turn, client: &Client, (shard, slot): (u16, u16), need: Need) -> Result<usize, Unplaced> {
    let Some(served) = &turn.clusters[client.cluster] else { return Err(NO_CLUSTER.to_vec().into()) };
    if served.is_guarded {
        pass(turn, client, (shard, slot), need != Need::Write)?;
        // a read of a client that waits for nothing overtakes nobody
        let waits = served.cluster.spec.clustered && slot != NO_SLOT && need == Need::Write;
        if let Some(lot) = served.lot(shard, slot, client.speech()).filter(|_| waits) {
            return lots::with_room(turn, lot);
        }
    }
    if client.db != 0 && client.db >= served.databases {
        return Err(texts::NOT_A_DATABASE.to_vec().into());
    }
    if need == Need::Write {
        if let Some(text) = served.why_read_only(shard) {
            return Err(text.into());
        }
    }
    if client.endpoint != EndpointKind::Primary
        && client.tracking.is_none() // only primaries tell what changes
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
fn place_spread(turn: &mut Turn, client: &Client, shard: u16, need: Need) -> Result<usize, Unplaced> {
    let speech = client.speech();
    match need {
        Need::Read => {
            let only_replicas = client.endpoint == EndpointKind::Reader;
            reader(turn, client.cluster, shard, speech, only_replicas, None)
        }
        Need::Write if client.endpoint == EndpointKind::Reader => Err(texts::READONLY.to_vec().into()),
        Need::FreshRead => {
            if let Some(served) = turn.served(client.cluster) {
                served.metrics.fresh_reads.increment();
            }
            primary(turn, client.cluster, shard, speech)
        }
        Need::Write => primary(turn, client.cluster, shard, speech),
    }
}
