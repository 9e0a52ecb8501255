//! The side of the nodes: one subscribing connection to each shard, and what is said on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::live::{is_wanted_at, settle_all};
use crate::dialect::resp::write;
use crate::links::{Link, Role, State, Subscriber, Way, NO_NODE};
use crate::model::{EngineKind, Kind, Lane, NO_SLOT};
use crate::turn::{Announcement, Job, Turn};

fn say(link: &mut Link, kind: Kind, word: &[u8], name: &Arc<[u8]>) {
    let Role::Subscriber(subscriber) = &mut link.role else { return };
    subscriber.said.push_back((kind, name.clone()));
    write::command(link.exchange.say(), &[word, name]);
}

/// Ask whether the node is still there, unless that is asked already: the answer comes behind what was said before.
pub fn ping(turn: &mut Turn, index: usize) {
    let link = &mut turn.links[index];
    let Some(subscriber) = link.subscriber_mut().filter(|s| !s.is_pinged) else { return };
    subscriber.is_pinged = true;
    link.patience.begin(turn.now);
    write::command(link.exchange.say(), &[b"PING"]);
    turn.links.mark(index);
}

/// A PING is answered. What was asked for after that one left takes another.
pub(super) fn pinged(turn: &mut Turn, index: usize) {
    let Some(subscriber) = turn.links[index].subscriber_mut() else { return };
    subscriber.is_pinged = false;
    subscriber.sifted = subscriber.sifted.saturating_sub(1);
    if subscriber.sifted > 0 {
        ping(turn, index);
    }
}

/// Copies of other shards' keys were taken away, and nodes may not have told all of that yet: what they tell of keys is
/// sifted as before, up to the answer to a PING that leaves now.
pub fn sift_on(turn: &mut Turn, cluster: usize) {
    let carriers: Vec<(u16, usize)> = turn.pubsub.of(cluster).carriers().collect();
    for (_, index) in carriers {
        let link = &mut turn.links[index];
        if link.state != State::Ready {
            continue; // it hears nothing of what has been
        }
        if let Some(subscriber) = link.subscriber_mut() {
            subscriber.sifted = 1 + u8::from(subscriber.is_pinged);
            ping(turn, index);
        }
    }
}

/// One more SUBSCRIBE names the topic: it is known from now on, and every connection is asked that does not know it. A
/// node that refused it before may not now.
pub(super) fn join(turn: &mut Turn, cluster: usize, kind: Kind, name: &[u8]) -> u32 {
    let topics = turn.pubsub.of(cluster);
    let (id, moved) = topics.open(kind, name);
    topics.change(id, |entry| {
        entry.reserved += 1;
        entry.refusal = None;
    });
    let mut steps = 1 + moved;
    for (shard, index) in topics.strangers(id) {
        steps += 1;
        if turn.links[index].state != State::Ready || !is_wanted_at(turn, cluster, (kind, name), shard) {
            continue;
        }
        subscribe(turn, cluster, (shard, index), id);
        ping(turn, index);
    }
    turn.spend(steps);
    id
}

/// A topic nobody wants is given up.
pub(super) fn close(turn: &mut Turn, cluster: usize, id: u32) {
    let Some((entry, told, moved)) = turn.pubsub.of(cluster).close(id) else { return };
    turn.spend(moved + told.len());
    let now = turn.now;
    if told.is_empty() || !turn.pubsub.of(cluster).left.remember(entry.kind, &entry.name, now) {
        turn.shared.census.forget(cluster, entry.kind, &entry.name, turn.number);
    }
    for index in told {
        if turn.links[index].state == State::Ready {
            say(&mut turn.links[index], entry.kind, entry.kind.words().1, &entry.name);
            turn.links.mark(index);
        }
    }
}

/// One connection per shard for the subscriptions of a cluster.
pub fn open_links(turn: &mut Turn, cluster: usize) {
    let Some(served) = &turn.clusters[cluster] else { return };
    let described = served.cluster.clone();
    for (shard, node) in described.shards.iter().enumerate().filter_map(|(n, shard)| Some((n as u16, shard.primary?))) {
        if turn.pubsub.of(cluster).link(shard).is_some() {
            continue;
        }
        let label = described.nodes[usize::from(node)].label.clone();
        let metrics = turn.shared.metrics.node(&described.spec.name, &label, turn.number);
        let way = Way { cluster, shard, node, resp: 2, db: 0, lane: Lane::Usual, slot: NO_SLOT };
        let role = Role::Subscriber(Box::new(Subscriber { label, ..Subscriber::default() }));
        let link = turn.links.insert(Link::new(way, role, EngineKind::Redis, turn.now, metrics));
        turn.pubsub.of(cluster).carry(shard, link);
        turn.links.mark(link);
    }
}

/// A subscribing connection is up: it is told of all it should hear.
pub fn connected(turn: &mut Turn, index: usize) {
    let Way { cluster, shard, .. } = turn.links[index].way;
    let topics = turn.pubsub.of(cluster);
    if topics.link(shard) == Some(index) && topics.begin_announcing(shard) {
        turn.pubsub.jobs.push_back(Job::Announce { cluster, shard });
    }
}

/// Slots have moved, or are about to, and shard channels with them: every connection that is up is told anew of all it should hear.
pub fn announce_again(turn: &mut Turn, cluster: usize) {
    let carriers: Vec<(u16, usize)> = turn.pubsub.of(cluster).carriers().collect();
    for (_, index) in carriers {
        if turn.links[index].state == State::Ready {
            connected(turn, index);
        }
    }
}

/// Tell a connection of some more topics; whether that were all.
pub(super) fn announce(turn: &mut Turn, cluster: usize, shard: u16, mut steps: usize) -> bool {
    while steps > 0 {
        let topics = turn.pubsub.of(cluster);
        let Some(index) = topics.link(shard) else { return true };
        if turn.links[index].state != State::Ready {
            topics.stop_announcing(shard); // the next connection begins anew
            return true;
        }
        steps -= 1;
        match topics.next_to_announce(shard) {
            Announcement::Done => {
                ping(turn, index);
                settle_all(turn, cluster);
                return true;
            }
            Announcement::Gap => {}
            Announcement::Topic { id, is_known } => tell(turn, cluster, (shard, index), (id, is_known)),
        }
        turn.spend(1);
    }
    false
}

/// `is_known`: it was subscribed there before. Engines in cluster mode end what has moved by themselves.
fn tell(turn: &mut Turn, cluster: usize, (shard, index): (u16, usize), (id, is_known): (u32, bool)) {
    let Some(entry) = turn.pubsub.topics(cluster).and_then(|topics| topics.get(id)) else { return };
    let (kind, name) = (entry.kind, entry.name.clone());
    if is_wanted_at(turn, cluster, (kind, &name), shard) {
        subscribe(turn, cluster, (shard, index), id);
    } else if is_known && turn.cluster(cluster).is_some_and(|described| !described.spec.clustered) {
        say(&mut turn.links[index], kind, kind.words().1, &name);
        turn.links.mark(index);
    }
}

/// Ask for one topic on a connection.
pub(super) fn subscribe(turn: &mut Turn, cluster: usize, (shard, index): (u16, usize), id: u32) {
    let topics = turn.pubsub.of(cluster);
    topics.ask(shard, id);
    let Some(entry) = topics.get(id) else { return };
    say(&mut turn.links[index], entry.kind, entry.kind.words().0, &entry.name);
    turn.links.mark(index);
}

/// A subscribing connection is lost: what is published there until it is back is not heard. Clients that wait for it wait
/// no more.
pub fn lost(turn: &mut Turn, index: usize) {
    turn.links[index].exchange.take();
    let Way { cluster, shard, .. } = turn.links[index].way;
    let topics = turn.pubsub.of(cluster);
    if topics.link(shard) == Some(index) && topics.lose(shard) {
        count_gap(turn, cluster);
    }
    settle_all(turn, cluster);
}

/// Nobody hears a shard until it is subscribed anew.
fn count_gap(turn: &Turn, cluster: usize) {
    if let Some(served) = turn.served(cluster) {
        served.metrics.subscription_gaps.increment();
    }
}

/// The topology changed: connections to what is no primary any more are retired, so that nothing is heard twice; the others
/// go on, whatever number their shard has now; new shards are subscribed.
pub fn refresh(turn: &mut Turn, cluster: usize) {
    let primaries: Vec<Option<(u16, String)>> = turn.cluster(cluster).map_or_else(Vec::new, |served| {
        let known = |node: u16| (node, served.nodes[usize::from(node)].label.clone());
        served.shards.iter().map(|shard| shard.primary.map(known)).collect()
    });
    let carriers: Vec<(u16, usize)> = turn.pubsub.of(cluster).carriers().collect();
    let mut numbers = BTreeMap::new();
    for (shard, index) in carriers {
        let link = &mut turn.links[index];
        let label = link.subscriber().map(|subscriber| subscriber.label.as_str());
        let own =
            |shard: &usize| matches!(primaries.get(*shard), Some(Some((_, known))) if Some(known.as_str()) == label);
        // nodes, and at times shards, are numbered anew in every epoch
        match Some(usize::from(shard)).filter(own).or_else(|| (0..primaries.len()).find(own)) {
            Some(place) => {
                link.way.shard = place as u16;
                link.way.node = primaries[place].as_ref().map_or(NO_NODE, |(node, _)| *node);
                numbers.insert(shard, place as u16);
            }
            None => {
                link.is_retired = true;
                if turn.pubsub.of(cluster).uncarry(shard) {
                    count_gap(turn, cluster);
                }
            }
        }
    }
    if numbers.iter().any(|(old, new)| old != new) {
        turn.pubsub.renumber(cluster, &numbers);
    }
    let now = turn.now;
    let topics = turn.pubsub.of(cluster);
    topics.missing.retain(|&shard, _| primaries.get(usize::from(shard)) == Some(&None));
    for (shard, _) in primaries.iter().enumerate().filter(|(_, primary)| primary.is_none()) {
        topics.missing.entry(shard as u16).or_insert(now);
    }
    if !topics.is_empty() {
        open_links(turn, cluster);
    }
}
