//! Whether a queue takes more.

use super::lots::room_to_park;
use crate::links::Way;
use crate::model::NO_SLOT;
use crate::turn::Turn;

/// Bytes for which there is room in what a connection, or a lot, has to send; all there can be, if it has
/// gone.
pub fn room(turn: &Turn, link: usize) -> usize {
    let Some(link) = turn.links.get(link) else { return usize::MAX };
    if link.is_retired {
        return usize::MAX; // nobody is placed there any more
    }
    let limit = turn.cluster(link.way.cluster).map_or(usize::MAX, |cluster| cluster.spec.limits.shard_queue);
    if link.is_lot() && !room_to_park(turn) {
        return 0;
    }
    limit.saturating_sub(if link.way.slot == NO_SLOT {
        link.exchange.bytes()
    } else {
        waits_for_slots(turn, &link.way)
    })
}

/// Bytes that wait for single slots of a shard: all together have as much room as what waits for the whole.
fn waits_for_slots(turn: &Turn, way: &Way) -> usize {
    let lots = turn.served(way.cluster).into_iter().flat_map(|served| served.lots.values());
    let lots = lots.filter_map(|&lot| turn.links.get(lot));
    let of_slots = lots.filter(|lot| lot.way.slot != NO_SLOT && lot.way.shard == way.shard);
    of_slots.map(|lot| lot.exchange.bytes()).sum()
}

/// Nobody takes the short way to a connection that somebody waits for.
pub fn stop_passing(turn: &mut Turn, link: usize) {
    let Some(cluster) = turn.links.get(link).map(|link| link.way.cluster) else { return };
    let Some(served) = &mut turn.clusters[cluster] else { return };
    served.hide(link);
}
