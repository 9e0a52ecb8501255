//! The side of the nodes: one subscribing connection to each shard, and what is said and heard on it.

use std::collections::BTreeSet;

use slab::Slab;

use super::clients::confirm;
use super::{Kind, Topic};
use crate::client::Client;
use crate::hash::slot;
use crate::protocol::resp::reply::ReplyFramer;
use crate::protocol::{resp::write, texts};
use crate::upstream::{State, Upstream};
use crate::worker::Core;

/// Make the topic known and subscribed upstream; whether it is live already.
pub(super) fn join_topic(core: &mut Core, cluster: usize, kind: Kind, name: &[u8]) -> bool {
    let topic = Topic { cluster, kind, name: name.into() };
    let Core { pubsub, upstreams, clusters, .. } = core;
    let is_new = !pubsub.topics.contains_key(&topic);
    let entry = pubsub.topics.entry(topic.clone()).or_default();
    let Some(served) = &clusters[cluster] else { return true };
    let mut asked = Vec::new();
    for (&(of, shard), &link) in &pubsub.links {
        let upstream = &mut upstreams[link];
        if of != cluster
            || !concerns(&topic, shard, |slot| served.cluster.shard_of(slot))
            || upstream.state != State::Ready
        {
            continue;
        }
        let is_asked = || upstream.said.iter().any(|(of, known)| *of == kind && **known == *name);
        // a node that refused it before may not now
        if is_new || !entry.confirmed.contains(&shard) && !is_asked() {
            say(upstream, kind, kind.words().0, name);
            asked.push(link);
        }
    }
    for link in asked {
        core.mark_dirty(link);
        ping(core, link);
    }
    is_live(core, &topic)
}

fn concerns(topic: &Topic, shard: u16, shard_of: impl Fn(u16) -> u16) -> bool {
    topic.kind != Kind::Shard || shard_of(slot(&topic.name)) == shard
}

/// Subscribed on every shard that can be reached. One that cannot does not hold up the others: it is subscribed when it
/// is back. One without a known primary does for as long as requests for it are parked: what is published meanwhile is.
fn is_live(core: &Core, topic: &Topic) -> bool {
    let (Some(entry), Some(served)) = (core.pubsub.topics.get(topic), &core.clusters[topic.cluster]) else {
        return true;
    };
    let park = served.cluster.spec.timeouts.park;
    let is_missed = core.pubsub.missing.iter().any(|(&(cluster, shard), &since)| {
        cluster == topic.cluster
            && concerns(topic, shard, |slot| served.cluster.shard_of(slot))
            && core.now.duration_since(since) < park
    });
    !is_missed
        && core.pubsub.links.iter().all(|(&(cluster, shard), &link)| {
            cluster != topic.cluster
                || !concerns(topic, shard, |slot| served.cluster.shard_of(slot))
                || entry.confirmed.contains(&shard)
                || core.upstreams[link].down_since.is_some()
        })
}

fn say(upstream: &mut Upstream, kind: Kind, word: &[u8], name: &[u8]) {
    write::command(upstream.window.sink(), &[word, name]);
    upstream.said.push_back((kind, name.into()));
}

/// Ask whether the node is still there, unless that is asked already: the answer comes behind what was said before.
pub fn ping(core: &mut Core, index: usize) {
    let upstream = &mut core.upstreams[index];
    if !upstream.is_pinged {
        upstream.is_pinged = true;
        upstream.patience.begin(core.now);
        write::command(upstream.window.sink(), &[b"PING"]);
        core.mark_dirty(index);
    }
}

/// One connection per shard for the subscriptions of a cluster.
pub(super) fn open_links(core: &mut Core, cluster: usize) {
    let Some(served) = &core.clusters[cluster] else { return };
    let described = served.cluster.clone();
    for (number, shard) in described.shards.iter().enumerate() {
        let key = (cluster, number as u16);
        let Some(node) = shard.primary else { continue };
        if core.pubsub.links.contains_key(&key) {
            continue;
        }
        let metrics =
            core.shared.metrics.node(&described.spec.name, &described.nodes[usize::from(node)].label, core.number);
        let mut upstream = Upstream::new(cluster, number as u16, node, 2, 0, core.now, metrics);
        upstream.is_pubsub = true;
        upstream.label.clone_from(&described.nodes[usize::from(node)].label);
        let link = core.upstreams.insert(upstream);
        core.pubsub.links.insert(key, link);
        core.mark_dirty(link);
    }
}

/// A subscribing connection is up: subscribe it to all it should hear.
pub fn connected(core: &mut Core, index: usize) {
    let Core { pubsub, upstreams, clusters, .. } = core;
    let upstream = &mut upstreams[index];
    let Some(served) = &clusters[upstream.cluster] else { return };
    for (topic, entry) in &mut pubsub.topics {
        if topic.cluster == upstream.cluster && concerns(topic, upstream.shard, |slot| served.cluster.shard_of(slot)) {
            entry.confirmed.remove(&upstream.shard);
            say(upstream, topic.kind, topic.kind.words().0, &topic.name);
        }
    }
    core.mark_dirty(index);
    ping(core, index);
}

/// A subscribing connection is lost: what is published there until it is back is not heard. Clients that wait for it wait
/// no more.
pub fn lost(core: &mut Core, clients: &mut Slab<Client>, dirty: &mut Vec<usize>, index: usize) {
    let upstream = &mut core.upstreams[index];
    upstream.window.take();
    let (cluster, shard) = (upstream.cluster, upstream.shard);
    count_gap(core, cluster, shard);
    settle_all(core, clients, dirty, cluster);
}

/// Nobody hears this shard until it is subscribed anew.
fn count_gap(core: &mut Core, cluster: usize, shard: u16) {
    let mut is_gap = false;
    for (topic, entry) in &mut core.pubsub.topics {
        if topic.cluster == cluster {
            is_gap |= entry.confirmed.remove(&shard);
        }
    }
    if let Some(served) = core.clusters[cluster].as_ref().filter(|_| is_gap) {
        served.metrics.subscription_gaps.increment();
    }
}

/// The topology changed: connections to what is no primary any more are retired, so that nothing is heard twice; new
/// shards are subscribed.
pub fn refresh(core: &mut Core, cluster: usize) {
    let primaries: Vec<Option<(u16, String)>> = core.clusters[cluster].as_ref().map_or_else(Vec::new, |served| {
        let known = |node: u16| (node, served.cluster.nodes[usize::from(node)].label.clone());
        served.cluster.shards.iter().map(|shard| shard.primary.map(known)).collect()
    });
    let mut deposed = Vec::new();
    let Core { pubsub, upstreams, .. } = core;
    pubsub.links.retain(|&(of, shard), &mut link| {
        if of != cluster {
            return true;
        }
        let upstream = &mut upstreams[link];
        match primaries.get(usize::from(shard)) {
            Some(Some((node, label))) if *label == upstream.label => {
                upstream.node = *node; // nodes are numbered anew in every epoch
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
        pubsub.missing.entry((cluster, shard as u16)).or_insert(core.now);
    }
    for shard in deposed {
        count_gap(core, cluster, shard);
    }
    if core.clusters[cluster].is_none() {
        core.pubsub.topics.retain(|topic, _| topic.cluster != cluster);
    } else if core.pubsub.topics.keys().any(|topic| topic.cluster == cluster) {
        open_links(core, cluster);
    }
}

/// Confirm the SUBSCRIBEs that wait for nothing any more: a shard they waited for was lost, or left the topology.
pub fn settle_all(core: &mut Core, clients: &mut Slab<Client>, dirty: &mut Vec<usize>, cluster: usize) {
    let topics = core.pubsub.topics.iter();
    let waiting = topics.filter(|(t, e)| t.cluster == cluster && !e.waiting.is_empty()).map(|(t, _)| t.clone());
    for topic in waiting.collect::<Vec<_>>() {
        settle(core, clients, dirty, &topic);
    }
}

/// Who waits for a shard without a primary waits no longer than what is parked.
pub fn tick(core: &mut Core, clients: &mut Slab<Client>, dirty: &mut Vec<usize>) {
    let clusters: BTreeSet<usize> = core.pubsub.missing.keys().map(|&(cluster, _)| cluster).collect();
    for cluster in clusters {
        settle_all(core, clients, dirty, cluster);
    }
}

/// If the topic is live now, confirm the SUBSCRIBEs that waited for it.
fn settle(core: &mut Core, clients: &mut Slab<Client>, dirty: &mut Vec<usize>, topic: &Topic) {
    if !is_live(core, topic) {
        return;
    }
    let Some(entry) = core.pubsub.topics.get_mut(topic) else { return };
    for (index, tag) in std::mem::take(&mut entry.waiting) {
        let Some(client) = clients.get_mut(index).filter(|c| c.tag() == tag) else { continue };
        let Some(pending) = client.subscriptions.as_mut().and_then(|s| s.pending.as_mut()) else { continue };
        pending.missing = pending.missing.saturating_sub(1);
        if pending.missing == 0 {
            confirm(core, client, index);
            if !client.is_dirty {
                client.is_dirty = true;
                dirty.push(index);
            }
        }
    }
}

/// One subscriber fewer; with the last the topic is given up upstream.
pub(super) fn leave_topic(core: &mut Core, topic: &Topic, index: usize) {
    let Some(entry) = core.pubsub.topics.get_mut(topic) else { return };
    entry.subscribers.retain(|&(subscriber, _)| subscriber != index);
    entry.waiting.retain(|&(subscriber, _)| subscriber != index);
    core.shared.census.set(topic, core.number, entry.subscribers.len());
    drop_unwanted(core, topic);
}

fn drop_unwanted(core: &mut Core, topic: &Topic) {
    let Some(entry) = core.pubsub.topics.get(topic) else { return };
    if !entry.subscribers.is_empty() || !entry.waiting.is_empty() {
        return;
    }
    core.pubsub.topics.remove(topic);
    let links: Vec<(u16, usize)> =
        core.pubsub.links.iter().filter(|(key, _)| key.0 == topic.cluster).map(|(key, &link)| (key.1, link)).collect();
    for (shard, link) in links {
        let Some(served) = &core.clusters[topic.cluster] else { return };
        let upstream = &mut core.upstreams[link];
        if upstream.state == State::Ready && concerns(topic, shard, |slot| served.cluster.shard_of(slot)) {
            say(upstream, topic.kind, topic.kind.words().1, &topic.name);
            core.mark_dirty(link);
        }
    }
}

/// A node refused a topic, as one where it may not be read: those that wait for it are told, and nobody else is concerned.
/// Who subscribed before, when it was not refused, still hears the other shards.
fn refused(core: &mut Core, clients: &mut Slab<Client>, dirty: &mut Vec<usize>, topic: &Topic, error: &[u8]) {
    let Some(entry) = core.pubsub.topics.get_mut(topic) else { return };
    for (index, tag) in std::mem::take(&mut entry.waiting) {
        let Some(client) = clients.get_mut(index).filter(|c| c.tag() == tag) else { continue };
        let Some(failed) = client.subscriptions.as_mut().and_then(|s| s.pending.take()) else { continue };
        client.replies.deliver(failed.sequence, error, &mut client.output, &mut core.pool);
        if !client.is_dirty {
            client.is_dirty = true;
            dirty.push(index);
        }
        for name in failed.names {
            let topic = Topic { cluster: topic.cluster, kind: failed.kind, name };
            if let Some(entry) = core.pubsub.topics.get_mut(&topic) {
                entry.waiting.retain(|&(waiting, _)| waiting != index);
            }
            drop_unwanted(core, &topic);
        }
    }
    drop_unwanted(core, topic);
}

/// A frame of a subscribing connection: a message to fan out, or the confirmation of a subscription.
pub fn receive(
    core: &mut Core,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    index: usize,
    raw: &[u8],
) -> Result<(), String> {
    let (cluster, shard) = (core.upstreams[index].cluster, core.upstreams[index].shard);
    if raw == texts::PONG {
        core.upstreams[index].is_pinged = false; // it has no subscription now
        return Ok(());
    }
    let said = &mut core.upstreams[index].said;
    if raw.first() == Some(&b'-') {
        if let Some((kind, name)) = said.pop_front() {
            refused(core, clients, dirty, &Topic { cluster, kind, name }, raw);
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
            core.upstreams[index].is_pinged = false;
            return Ok(());
        }
        _ => return Ok(()), // a topic was given up
    };
    let topic = Topic { cluster, kind, name: name.into() };
    let Some(entry) = core.pubsub.topics.get_mut(&topic) else { return Ok(()) };
    if !is_message {
        entry.confirmed.insert(shard);
        settle(core, clients, dirty, &topic);
        return Ok(());
    }
    if let Some(served) = &core.clusters[cluster] {
        served.metrics.deliveries.add(entry.subscribers.len() as u64);
    }
    for &(subscriber, tag) in &entry.subscribers {
        let Some(client) = clients.get_mut(subscriber).filter(|c| c.tag() == tag) else { continue };
        client.push(&mut core.pool, raw);
        if !client.is_dirty {
            client.is_dirty = true;
            dirty.push(subscriber);
        }
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
