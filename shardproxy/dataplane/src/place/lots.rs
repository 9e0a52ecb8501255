//! Parking lots: where requests wait for a shard that has no primary. While a lot holds anything, every later request for
//! that primary goes behind it: order is kept. A lot is a link without a node: the same exchange, the same bounds.
//!
//! A slot has a lot of its own while engines in cluster mode do not agree whose it is: its shard need not wait for that.
//!
//! Each shared connection has a lot of its own, that for large values too: what waits leaves there, and a client's next
//! requests behind it.

use std::mem;

use super::{room, Unplaced};
use crate::links::{Link, Role, Way, NO_NODE};
use crate::model::{EngineKind, NO_SLOT};
use crate::turn::Turn;

/// Bytes of requests that may wait for their shards in all workers together.
const PARKED: usize = 64 * 1024 * 1024;
/// Slots of a cluster that have lots of their own: each is asked for anew ten times a second. Others wait with their shard.
const SLOTS_WAITING: usize = 256;

/// The parking lot of a shard, or of a slot, opened if there is none.
pub fn lot(turn: &mut Turn, way: Way) -> usize {
    if let Some(lot) = find_lot(turn, &way) {
        return lot;
    }
    if way.slot != NO_SLOT && turn.served(way.cluster).is_some_and(|served| served.slots_waiting() >= SLOTS_WAITING) {
        return lot(turn, Way { slot: NO_SLOT, ..way });
    }
    let name = turn.cluster(way.cluster).map_or_else(String::new, |c| c.spec.name.clone());
    let metrics = turn.shared.metrics.node(&name, "parked", turn.number);
    let way = Way { node: NO_NODE, ..way };
    let mut link = Link::new(way, Role::Lot { ahead: None }, EngineKind::Redis, turn.now, metrics);
    link.trouble.down_since = Some(turn.now);
    let lot = turn.links.insert(link);
    if let Some(served) = &mut turn.clusters[way.cluster] {
        served.open_lot(&way, lot);
    }
    lot
}

pub fn find_lot(turn: &Turn, way: &Way) -> Option<usize> {
    turn.served(way.cluster)?.lot(way.shard, way.slot, way.speech())
}

/// Count anew what waits in a lot.
pub fn count_parked(turn: &mut Turn, lot: usize) {
    let link = &mut turn.links[lot];
    let now = link.exchange.bytes();
    turn.accounts.parked = turn.accounts.parked + now - mem::replace(&mut link.parked, now);
    turn.settle_link(lot);
    turn.shared.workers[turn.number].parked.set(turn.accounts.parked as u64);
}

/// The lot, if it and the whole proxy may park more, and nobody waits for that already.
pub fn with_room(turn: &mut Turn, lot: usize) -> Result<usize, Unplaced> {
    count_parked(turn, lot);
    if room_to_park(turn) && room(turn, lot) > 0 && !turn.held.is_behind(lot) {
        Ok(lot)
    } else {
        Err(Unplaced::Full(lot))
    }
}

/// Whether the whole proxy may park more.
pub fn room_to_park(turn: &Turn) -> bool {
    turn.shared.parked() < PARKED
}
