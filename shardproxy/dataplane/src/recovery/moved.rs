//! Slots that an epoch gives to another shard. What was sent before a shard's slots leave has been answered, if their hold was
//! waited for (`door::settle`); what was not sent goes to who has them now, in its order. Should something be under way all
//! the same, a write of it acknowledges nothing: nobody may find it where the slot is now.

use std::collections::HashSet;

use super::lost::lost;
use super::{parking, waiting};
use crate::clients::Clients;
use crate::complete::{fail, Cure, Unsettled};
use crate::exchange::Entry;
use crate::links::Link;
use crate::metrics::Class;
use crate::model::{Cluster, NO_SHARD, NO_SLOT};
use crate::turn::Turn;

const MOVED: &str = "slots have moved to another shard";

/// See to all that is on its way to who had slots before.
pub fn send_on(turn: &mut Turn, clients: &mut Clients, index: usize, before: &Cluster) {
    let Some(now) = turn.served(index).map(|served| served.cluster.clone()) else { return };
    if now.spec.clustered || before.has_slots_of(&now) {
        return;
    }
    let losing = losing(before, &now);
    let is_theirs =
        |(_, link): &(usize, &Link)| link.way.cluster == index && !link.listens() && losing.contains(&link.way.shard);
    let links: Vec<usize> = turn.links.iter().filter(is_theirs).map(|(link, _)| link).collect();
    for link in links {
        if turn.links.contains(link) {
            leave(turn, clients, link, &now);
        }
    }
}

/// The shards that have lost some.
fn losing(before: &Cluster, now: &Cluster) -> HashSet<u16> {
    let slots = 0..crate::hash::SLOTS;
    let lost = slots.filter(|&slot| before.shard_of(slot) != now.shard_of(slot));
    lost.map(|slot| before.shard_of(slot)).filter(|&shard| shard != NO_SHARD).collect()
}

fn leave(turn: &mut Turn, clients: &mut Clients, index: usize, now: &Cluster) {
    let link = &mut turn.links[index];
    let way = link.way;
    let has_left = |entry: &Entry| entry.slot == NO_SLOT || now.moved_to(entry.slot, way.shard).is_some();
    let is_doubtful = |entry: &Entry| entry.is_durable() && has_left(entry) && entry.class != Class::Block;
    if link.is_leased() && link.is_waited_on() {
        if link.exchange.head().is_some_and(has_left) {
            waiting::is_given_grace(turn, index); // it is called back
        }
        return;
    }
    if link.exchange.has_begun(is_doubtful) || link.exchange.is_head_answered() {
        return lost(turn, clients, index, MOVED);
    }
    if link.is_leased() {
        return; // one that watches is given back when its client comes to it
    }
    let is_split = |entry: &Entry| entry.class == Class::Split && entry.slot == NO_SLOT;
    let goes = |entry: &Entry| is_split(entry) || now.moved_to(entry.slot, way.shard).is_some();
    let taken = link.exchange.take_unsent(goes);
    link.redo.left = link.redo.left.min(link.exchange.len());
    if taken.is_empty() {
        return;
    }
    turn.links.mark(index);
    let mut moved = Vec::new();
    for (request, bytes) in taken {
        if is_split(&request) {
            let text = turn.refusal(way.cluster, way.shard, MOVED);
            fail(turn, clients, way.cluster, &request, &text);
        } else {
            moved.push(Unsettled { request, bytes, cure: Cure::Shard });
        }
    }
    parking::replace(turn, clients, way, moved);
}
