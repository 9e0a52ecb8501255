//! The shared connection to a node, above all to the primary of a shard.

use std::time::Duration;

use super::lots::{lot, with_room};
use super::Unplaced;
use crate::links::{Link, Role, State, Way, NO_NODE};
use crate::model::{Lane, Speech, NO_SLOT};
use crate::turn::{refusal, Known, Turn};

/// A node that is down is tried again within this once its back-off is over, as long as somebody wants it.
const STALE: Duration = Duration::from_secs(1);

pub const NO_CLUSTER: &[u8] = b"-ERR this cluster is no longer served, command not executed\r\n";

/// The shared connection to the shard's primary; its parking lot while that is unknown or others wait already.
pub fn primary(turn: &mut Turn, cluster: usize, shard: u16, speech: Speech) -> Result<usize, Unplaced> {
    primary_past(turn, cluster, shard, speech, false)
}

/// As `primary`; `may_pass`: what waits in the lot is no reason to wait, if there is a primary.
pub fn primary_past(
    turn: &mut Turn,
    cluster: usize,
    shard: u16,
    speech: Speech,
    may_pass: bool,
) -> Result<usize, Unplaced> {
    let Some(served) = &turn.clusters[cluster] else { return Err(NO_CLUSTER.to_vec().into()) };
    let primary = served.cluster.shards[usize::from(shard)].primary;
    let parked = served.lot(shard, NO_SLOT, speech);
    let Some(node) = primary.filter(|_| parked.is_none() || may_pass) else {
        if let Some(text) = served.why_refused(shard) {
            return Err(text.into());
        }
        let Speech { resp, db, lane } = speech;
        let lot = lot(turn, Way { cluster, shard, node: NO_NODE, resp, db, lane, slot: NO_SLOT });
        return with_room(turn, lot);
    };
    let index = link(turn, cluster, node, speech)?;
    // while somebody waits for room nobody comes by unseen
    let is_usual = speech.db == 0 && speech.lane == Lane::Usual && !turn.held.waits_for(index);
    if let Some(served) = turn.clusters[cluster].as_mut().filter(|_| is_usual && parked.is_none()) {
        served.primaries[usize::from(shard)][usize::from(speech.resp == 3)] = index as u32;
    }
    Ok(index)
}

/// The shared connection to a node, opened when first wanted.
#[cold]
pub fn link(turn: &mut Turn, cluster: usize, node: u16, speech: Speech) -> Result<usize, Unplaced> {
    let Some(served) = &mut turn.clusters[cluster] else { return Err(NO_CLUSTER.to_vec().into()) };
    let place = &mut served.nodes[usize::from(node)];
    let shard = served.cluster.nodes[usize::from(node)].shard;
    let index = place.link(speech).unwrap_or_else(|| {
        let Speech { resp, db, lane } = speech;
        let way = Way { cluster, shard, node, resp, db, lane, slot: NO_SLOT };
        let engine = served.cluster.spec.engine;
        let link = turn.links.insert(Link::new(way, Role::Shared, engine, turn.now, place.metrics.clone()));
        place.links.push(Known { speech, link });
        link
    });
    let link = &mut turn.links[index];
    link.wanted = turn.now;
    let trouble = &mut link.trouble;
    if link.state == State::Down && trouble.down_since.is_some() && turn.now > trouble.retry_at + STALE {
        trouble.down_since = Some(turn.now); // nobody has looked since: the request waits as after a new loss
    }
    let label = &served.cluster.nodes[usize::from(node)].label;
    let shard = &served.cluster.shards[usize::from(shard)].label;
    let is_full = link.exchange.bytes() >= served.cluster.spec.limits.shard_queue;
    let park = served.cluster.spec.timeouts.park;
    match trouble.down_since {
        Some(since) if link.state != State::Ready && turn.now.duration_since(since) > park => {
            let text = refusal(shard, label, &trouble.why_down);
            turn.links.mark(index); // so that it is tried again
            Err(text.into())
        }
        _ if is_full || turn.held.is_behind(index) => Err(Unplaced::Full(index)),
        _ => Ok(index),
    }
}

/// A shared connection to the node of a leased one, if that is a node of the present epoch.
pub fn link_beside(turn: &mut Turn, leased: usize) -> Option<usize> {
    let Way { cluster, node, .. } = turn.links[leased].way;
    if turn.links[leased].is_retired {
        return None;
    }
    let known = &turn.served(cluster)?.nodes.get(usize::from(node))?.links;
    let ready = known.iter().map(|known| known.link).find(|&link| turn.links[link].state == State::Ready);
    ready.or_else(|| link(turn, cluster, node, Speech { resp: 2, db: 0, lane: Lane::Usual }).ok())
}

/// Whether the node is the shard's primary in the present epoch.
pub fn is_primary(turn: &Turn, way: &Way) -> bool {
    let shard = turn.cluster(way.cluster).and_then(|c| c.shards.get(usize::from(way.shard)));
    shard.is_some_and(|s| s.primary == Some(way.node))
}
