//! Shard channels whose slot is on its way from one engine in cluster mode to another: nobody hears them until the one that
//! has it is asked. They are asked for anew with every tick; whoever waits for one waits no longer than what is parked.

use std::sync::Arc;

use super::carriers::subscribe;
use super::live::{home, settle};
use crate::dialect::resp::redirect::Redirect;
use crate::dialect::texts;
use crate::hash::slot;
use crate::links::{State, Way};
use crate::model::Kind;
use crate::shared::{Loss, NodeLost};
use crate::turn::Turn;

/// The node of this connection does not serve the channel, or not any more; perhaps it says who does.
#[cold]
pub(super) fn stray(turn: &mut Turn, index: usize, name: &Arc<[u8]>, redirect: Option<&Redirect>) {
    let Way { cluster, shard, node, .. } = turn.links[index].way;
    let now = turn.now;
    let topics = turn.pubsub.of(cluster);
    let Some(id) = topics.find(Kind::Shard, name) else { return };
    topics.stray(shard, id, now);
    let Some(described) = turn.cluster(cluster).filter(|described| described.shard_of(slot(name)) == shard) else {
        return; // it is known who has it
    };
    let label = turn.node_label(cluster, node);
    let address = redirect.map_or_else(|| label.into(), |redirect| redirect.address_by(label));
    let (cluster, why) = (described.spec.name.clone(), format!("slot {} has moved", slot(name)));
    turn.shared.events.lose(NodeLost { cluster, address: address.into(), kind: Loss::Moved, why });
}

pub(super) fn tick(turn: &mut Turn, cluster: usize) {
    let Some(park) = turn.cluster(cluster).map(|described| described.spec.timeouts.park) else { return };
    let now = turn.now;
    for (id, since) in turn.pubsub.of(cluster).strays() {
        let topics = turn.pubsub.of(cluster);
        let Some(entry) = topics.get(id) else { continue };
        let (name, waits) = (entry.name.clone(), !entry.waiting.is_empty());
        let Some(shard) = home(turn, cluster, Kind::Shard, &name) else { continue };
        if waits && now.duration_since(since) > park {
            let text = texts::failing_over(&turn.label(cluster, shard));
            turn.pubsub.of(cluster).refuse(shard, id, &text);
            settle(turn, cluster, id);
            continue;
        }
        let topics = turn.pubsub.of(cluster);
        let Some(link) = topics.link(shard).filter(|_| topics.is_silent(shard, id)) else { continue };
        if turn.links[link].state == State::Ready {
            subscribe(turn, cluster, (shard, link), id);
        }
    }
}
