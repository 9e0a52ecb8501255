//! Which replica answers a read.

use super::primary::{link, primary};
use super::Unplaced;
use crate::model::Speech;
use crate::turn::Turn;

/// The connection to a replica to read from, `but` excepted; to the primary when no replica is up.
pub fn reader(
    turn: &mut Turn,
    cluster: usize,
    shard: u16,
    speech: Speech,
    only_replicas: bool,
    but: Option<u16>,
) -> Result<usize, Unplaced> {
    match least_busy(turn, cluster, shard, speech, only_replicas, but) {
        Some(node) => link(turn, cluster, node, speech),
        None => primary(turn, cluster, shard, speech),
    }
}

/// A replica that is up, `but` excepted: with reads from the nearest one in the proxy's zone if there is such, and of
/// these the one with the least under way, in turn where several have as little. Nearest may be the primary, unless
/// `only_replicas`.
pub fn least_busy(
    turn: &mut Turn,
    cluster: usize,
    shard: u16,
    speech: Speech,
    only_replicas: bool,
    but: Option<u16>,
) -> Option<u16> {
    turn.rotation = turn.rotation.wrapping_add(1);
    let served = turn.clusters[cluster].as_ref()?;
    let owner = &served.cluster.shards[usize::from(shard)];
    let zone = served.cluster.spec.zone.as_ref().filter(|_| served.reads_nearest);
    let (later, sooner) = owner.nodes.split_at(turn.rotation % owner.nodes.len().max(1));
    let mut best: Option<((bool, usize), u16)> = None;
    let mut down = None;
    for &node in sooner.iter().chain(later) {
        let is_primary = owner.primary == Some(node);
        let described = &served.cluster.nodes[usize::from(node)];
        if !is_primary && !described.is_readable {
            continue;
        }
        if Some(node) == but || is_primary && (only_replicas || !served.reads_nearest) {
            continue;
        }
        let place = &served.nodes[usize::from(node)];
        if place.rests_until > turn.now {
            continue;
        }
        let known = place.link(speech);
        let load = match known.map(|index| &turn.links[index]) {
            Some(link) if link.trouble.down_since.is_some() || link.trouble.rests_until > turn.now => {
                down = known;
                continue;
            }
            Some(link) => link.exchange.len(),
            None => 0,
        };
        let rank = (zone.is_some_and(|zone| described.zone.as_ref() != Some(zone)), load);
        if best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, node));
        }
    }
    if let Some(down) = down {
        turn.links[down].wanted = turn.now; // so that it is tried, and reads come back to it
    }
    best.map(|(_, node)| node)
}
