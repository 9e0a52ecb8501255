//! The side of the nodes: one subscribing connection to each shard, and what is said and heard on it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::clients::confirm;
use crate::clients::Clients;
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::{resp::write, texts};
use crate::hash::slot;
use crate::links::{Link, Role, State, Subscriber, Way};
use crate::model::{EngineKind, Kind, Lane, Topic};
use crate::turn::Turn;

/// Make the topic known and subscribed upstream; whether it is live already.
pub fn join_topic(turn: &mut Turn, cluster: usize, kind: Kind, name: &[u8]) -> bool {
    let topic = Topic { cluster, kind, name: name.into() };
    let Turn { pubsub, links, clusters, .. } = turn;
    let is_new = !pubsub.topics.contains_key(&topic);
    let entry = pubsub.topics.entry(topic.clone()).or_default();
    let Some(served) = &clusters[cluster] else { return true };
    let mut asked = Vec::new();
    for (&(of, shard), &link) in &pubsub.links {
        let upstream = &mut links[link];
        if of != cluster
            || !concerns(&topic, shard, |slot| served.cluster.shard_of(slot))
            || upstream.state != State::Ready
        {
            continue;
        }
        let is_asked =
            || upstream.subscriber().is_some_and(|s| s.said.iter().any(|(of, known)| *of == kind && **known == *name));
        // a node that refused it before may not now
        if is_new || !entry.confirmed.contains(&shard) && !is_asked() {
            say(upstream, kind, kind.words().0, name);
            asked.push(link);
        }
    }
    for link in asked {
        turn.links.mark(link);
        ping(turn, link);
    }
    is_live(turn, &topic)
}

fn concerns(topic: &Topic, shard: u16, shard_of: impl Fn(u16) -> u16) -> bool {
    topic.kind != Kind::Shard || shard_of(slot(&topic.name)) == shard
}

/// Subscribed on every shard that can be reached. One that cannot does not hold up the others: it is subscribed when it
/// is back. One without a known primary does for as long as requests for it are parked: what is published meanwhile is.
fn is_live(turn: &Turn, topic: &Topic) -> bool {
    let (Some(entry), Some(served)) = (turn.pubsub.topics.get(topic), &turn.clusters[topic.cluster]) else {
        return true;
    };
    let park = Duration::from_secs_f64(served.cluster.spec.timeouts.park);
    let is_missed = turn.pubsub.missing.iter().any(|(&(cluster, shard), &since)| {
        cluster == topic.cluster
            && concerns(topic, shard, |slot| served.cluster.shard_of(slot))
            && turn.now < since + park
    });
    !is_missed
        && turn.pubsub.links.iter().all(|(&(cluster, shard), &link)| {
            cluster != topic.cluster
                || !concerns(topic, shard, |slot| served.cluster.shard_of(slot))
                || entry.confirmed.contains(&shard)
                || turn.links[link].trouble.down_since.is_some()
        })
}

fn say(upstream: &mut Link, kind: Kind, word: &[u8], name: &[u8]) {
    let Role::Subscriber(subscriber) = &mut upstream.role else { return };
    subscriber.said.push_back((kind, name.into()));
    write::command(upstream.exchange.say(), &[word, name]);
}

/// Ask whether the node is still there, unless that is asked already: the answer comes behind what was said before.
pub fn ping(turn: &mut Turn, index: usize) {
    let upstream = &mut turn.links[index];
    let Some(subscriber) = upstream.subscriber_mut().filter(|s| s.pinged.is_none()) else { return };
    subscriber.pinged = Some(turn.now);
    write::command(upstream.exchange.say(), &[b"PING"]);
    turn.links.mark(index);
}

/// One connection per shard for the subscriptions of a cluster.
pub fn open_links(turn: &mut Turn, cluster: usize) {
    let Some(served) = &turn.clusters[cluster] else { return };
    let described = served.cluster.clone();
    for (number, shard) in described.shards.iter().enumerate() {
        let key = (cluster, number as u16);
        let Some(node) = shard.primary else { continue };
        if turn.pubsub.links.contains_key(&key) {
            continue;
        }
        let metrics =
            turn.shared.metrics.node(&described.spec.name, &described.nodes[usize::from(node)].label, turn.number);
        let way = Way { cluster, shard: number as u16, node, resp: 2, db: 0, lane: Lane::Usual };
        let label = described.nodes[usize::from(node)].label.clone();
        let role = Role::Subscriber(Box::new(Subscriber { label, ..Subscriber::default() }));
        let link = turn.links.insert(Link::new(way, role, EngineKind::Redis, turn.now, metrics));
        turn.pubsub.links.insert(key, link);
        turn.links.mark(link);
    }
}

/// A subscribing connection is up: subscribe it to all it should hear.
pub fn connected(turn: &mut Turn, index: usize) {
    let Turn { pubsub, links, clusters, .. } = turn;
    let upstream = &mut links[index];
    let Some(served) = &clusters[upstream.way.cluster] else { return };
    for (topic, entry) in &mut pubsub.topics {
        if topic.cluster == upstream.way.cluster
            && concerns(topic, upstream.way.shard, |slot| served.cluster.shard_of(slot))
        {
            entry.confirmed.remove(&upstream.way.shard);
            say(upstream, topic.kind, topic.kind.words().0, &topic.name);
        }
    }
    turn.links.mark(index);
    ping(turn, index);
}

/// A subscribing connection is lost: what is published there until it is back is not heard. Clients that wait for it wait
/// no more.
pub fn lost(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let upstream = &mut turn.links[index];
    upstream.exchange.take();
    let (cluster, shard) = (upstream.way.cluster, upstream.way.shard);
    count_gap(turn, cluster, shard);
    settle_all(turn, clients, cluster);
}

/// Nobody hears this shard until it is subscribed anew.
fn count_gap(turn: &mut Turn, cluster: usize, shard: u16) {
    let mut is_gap = false;
    for (topic, entry) in &mut turn.pubsub.topics {
        if topic.cluster == cluster {
            is_gap |= entry.confirmed.remove(&shard);
        }
    }
    if let Some(served) = turn.clusters[cluster].as_ref().filter(|_| is_gap) {
        served.metrics.subscription_gaps.increment();
    }
}

/// The topology changed: connections to what is no primary any more are retired, so that nothing is heard twice; new
/// shards are subscribed.
pub fn refresh(turn: &mut Turn, cluster: usize) {
    let primaries: Vec<Option<(u16, String)>> = turn.clusters[cluster].as_ref().map_or_else(Vec::new, |served| {
        let known = |node: u16| (node, served.cluster.nodes[usize::from(node)].label.clone());
        served.cluster.shards.iter().map(|shard| shard.primary.map(known)).collect()
    });
    let mut deposed = Vec::new();
    let Turn { pubsub, links, .. } = turn;
    pubsub.links.retain(|&(of, shard), &mut link| {
        if of != cluster {
            return true;
        }
        let upstream = &mut links[link];
        match primaries.get(usize::from(shard)) {
            Some(Some((node, label))) if upstream.subscriber().is_some_and(|s| s.label == *label) => {
                upstream.way.node = *node; // nodes are numbered anew in every epoch
                true
            }
            _ => {
                upstream.is_retired = true;
                deposed.push(shard);
                false
            }
        }
    });
    pubsub.missing.retain(|&(of, shard), _| of != cluster || primaries.get(usize::from(shard)) == Some(&None));
    for (shard, _) in primaries.iter().enumerate().filter(|(_, primary)| primary.is_none()) {
        pubsub.missing.entry((cluster, shard as u16)).or_insert(turn.now);
    }
    for shard in deposed {
        count_gap(turn, cluster, shard);
    }
    if turn.clusters[cluster].is_none() {
        turn.pubsub.topics.retain(|topic, _| topic.cluster != cluster);
    } else if turn.pubsub.topics.keys().any(|topic| topic.cluster == cluster) {
        open_links(turn, cluster);
    }
}

/// Confirm the SUBSCRIBEs that wait for nothing any more: a shard they waited for was lost, or left the topology.
pub fn settle_all(turn: &mut Turn, clients: &mut Clients, cluster: usize) {
    let topics = turn.pubsub.topics.iter();
    let waiting = topics.filter(|(t, e)| t.cluster == cluster && !e.waiting.is_empty()).map(|(t, _)| t.clone());
    for topic in waiting.collect::<Vec<_>>() {
        settle(turn, clients, &topic);
    }
}

/// Who waits for a shard without a primary waits no longer than what is parked.
pub fn tick(turn: &mut Turn, clients: &mut Clients) {
    let clusters: BTreeSet<usize> = turn.pubsub.missing.keys().map(|&(cluster, _)| cluster).collect();
    for cluster in clusters {
        settle_all(turn, clients, cluster);
    }
}

/// If the topic is live now, confirm the SUBSCRIBEs that waited for it.
fn settle(turn: &mut Turn, clients: &mut Clients, topic: &Topic) {
    if !is_live(turn, topic) {
        return;
    }
    let Some(entry) = turn.pubsub.topics.get_mut(topic) else { return };
    for (index, tag) in std::mem::take(&mut entry.waiting) {
        let Some(client) = clients.tagged((index, tag)) else { continue };
        let Some(pending) = client.subscriptions.as_mut().and_then(|s| s.pending.as_mut()) else { continue };
        pending.missing = pending.missing.saturating_sub(1);
        if pending.missing == 0 {
            confirm(turn, client);
            clients.mark(index);
        }
    }
}

/// One subscriber fewer; with the last the topic is given up upstream.
pub fn leave_topic(turn: &mut Turn, topic: &Topic, index: usize) {
    let Some(entry) = turn.pubsub.topics.get_mut(topic) else { return };
    entry.subscribers.retain(|&(subscriber, _)| subscriber != index);
    entry.waiting.retain(|&(subscriber, _)| subscriber != index);
    turn.shared.census.set(topic, turn.number, entry.subscribers.len());
    drop_unwanted(turn, topic);
}

fn drop_unwanted(turn: &mut Turn, topic: &Topic) {
    let Some(entry) = turn.pubsub.topics.get(topic) else { return };
    if !entry.subscribers.is_empty() || !entry.waiting.is_empty() {
        return;
    }
    turn.pubsub.topics.remove(topic);
    let links: Vec<(u16, usize)> =
        turn.pubsub.links.iter().filter(|(key, _)| key.0 == topic.cluster).map(|(key, &link)| (key.1, link)).collect();
    for (shard, link) in links {
        let Some(served) = &turn.clusters[topic.cluster] else { return };
        let upstream = &mut turn.links[link];
        if upstream.state == State::Ready && concerns(topic, shard, |slot| served.cluster.shard_of(slot)) {
            say(upstream, topic.kind, topic.kind.words().1, &topic.name);
            turn.links.mark(link);
        }
    }
}

/// A node refused a topic, as one where it may not be read: those that wait for it are told, and nobody else is concerned.
/// Who subscribed before, when it was not refused, still hears the other shards.
fn refused(turn: &mut Turn, clients: &mut Clients, topic: &Topic, error: &[u8]) {
    let Some(entry) = turn.pubsub.topics.get_mut(topic) else { return };
    for (index, tag) in std::mem::take(&mut entry.waiting) {
        let Some(client) = clients.tagged((index, tag)) else { continue };
        let Some(failed) = client.subscriptions.as_mut().and_then(|s| s.pending.take()) else { continue };
        client.replies.deliver(failed.sequence, error, &mut client.output, &mut turn.pool);
        clients.mark(index);
        for name in failed.names {
            let topic = Topic { cluster: topic.cluster, kind: failed.kind, name };
            if let Some(entry) = turn.pubsub.topics.get_mut(&topic) {
                entry.waiting.retain(|&(waiting, _)| waiting != index);
            }
            drop_unwanted(turn, &topic);
        }
    }
    drop_unwanted(turn, topic);
}

fn pinged_back(turn: &mut Turn, index: usize) {
    if let Some(subscriber) = turn.links[index].subscriber_mut() {
        subscriber.pinged = None; // it has no subscription now
    }
}

/// Messages of subscriptions: how many bytes were taken.
pub fn receive_all(turn: &mut Turn, clients: &mut Clients, index: usize, data: &[u8]) -> Result<usize, String> {
    let mut taken = 0;
    while taken < data.len() {
        let scan =
            ReplyFramer::new().scan(&data[taken..]).map_err(|e| format!("the node sent no valid message: {e}"))?;
        if !scan.complete {
            break;
        }
        receive(turn, clients, index, &data[taken..taken + scan.consumed])?;
        taken += scan.consumed;
    }
    Ok(taken)
}

/// A frame of a subscribing connection: a message to fan out, or the confirmation of a subscription.
fn receive(turn: &mut Turn, clients: &mut Clients, index: usize, raw: &[u8]) -> Result<(), String> {
    let (cluster, shard) = (turn.links[index].way.cluster, turn.links[index].way.shard);
    if raw == texts::PONG {
        pinged_back(turn, index);
        return Ok(());
    }
    let Role::Subscriber(subscriber) = &mut turn.links[index].role else { return Ok(()) };
    let said = &mut subscriber.said;
    if raw.first() == Some(&b'-') {
        if let Some((kind, name)) = said.pop_front() {
            refused(turn, clients, &Topic { cluster, kind, name }, raw);
            return Ok(());
        }
    }
    let Some([word, name]) = first_two(raw) else {
        let text = String::from_utf8_lossy(&raw[..raw.len().min(200)]).trim().to_owned();
        return Err(format!("not a message of a subscription: {text}"));
    };
    let is_reply = said.front().is_some_and(|(kind, known)| {
        let (joined, left) = kind.words();
        **known == *name && (word == joined || word == left)
    });
    if is_reply {
        said.pop_front();
    }
    let (kind, is_message) = match word {
        b"message" => (Kind::Channel, true),
        b"pmessage" => (Kind::Pattern, true),
        b"smessage" => (Kind::Shard, true),
        b"subscribe" => (Kind::Channel, false),
        b"psubscribe" => (Kind::Pattern, false),
        b"ssubscribe" => (Kind::Shard, false),
        b"pong" => {
            pinged_back(turn, index);
            return Ok(());
        }
        _ => return Ok(()), // a topic was given up
    };
    let topic = Topic { cluster, kind, name: name.into() };
    let Some(entry) = turn.pubsub.topics.get_mut(&topic) else { return Ok(()) };
    if !is_message {
        entry.confirmed.insert(shard);
        settle(turn, clients, &topic);
        return Ok(());
    }
    if let Some(served) = &turn.clusters[cluster] {
        served.metrics.deliveries.add(entry.subscribers.len() as u64);
    }
    for &(subscriber, tag) in &entry.subscribers {
        let Some(client) = clients.tagged((subscriber, tag)) else { continue };
        client.push(&mut turn.pool, raw);
        clients.mark(subscriber);
    }
    Ok(())
}

/// The first two elements of an array of bulk strings.
fn first_two(raw: &[u8]) -> Option<[&[u8]; 2]> {
    let header = memchr::memchr(b'\n', raw)? + 1;
    let mut at = header;
    let mut found: [&[u8]; 2] = [b"", b""];
    for element in &mut found {
        let scan = ReplyFramer::new().scan(raw.get(at..)?).ok()?;
        let whole = raw.get(at..at + scan.consumed)?;
        let start = memchr::memchr(b'\n', whole)? + 1;
        *element = whole.get(start..whole.len().checked_sub(2)?)?;
        at += scan.consumed;
    }
    (raw.first() == Some(&b'*')).then_some(found)
}
