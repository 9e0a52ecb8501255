//! Publish and subscribe over shards that share no bus.
//!
//! ```text
//!   client A ─ SUBSCRIBE news ─┐                       ┌─> shard 0   one connection per worker and shard,
//!   client B ─ SUBSCRIBE news ─┴─> topic "news" ───────┼─> shard 1   one subscription per topic on it
//!        ^ confirmed when every reachable shard is     └─> shard 2
//!        └──────────── message ── fanned out here <────────── from whichever shard it was published on
//! ```
//!
//! A channel is subscribed on *every* shard, because scripts and transactions publish on the shard they run on, and
//! keyspace events come from all. A shard channel (SSUBSCRIBE) lives on the shard of its slot.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::client::{Client, Flow};
use crate::command::Command;
use crate::hash::slot;
use crate::metrics::Class;
use crate::protocol::resp::reply::ReplyFramer;
use crate::protocol::{resp::write, texts};
use crate::request::Request;
use crate::route::{self, answer_error, Next};
use crate::topology::NO_SHARD;
use crate::upstream::{State, Upstream};
use crate::worker::Core;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Kind {
    Channel,
    Pattern,
    Shard,
}

impl Kind {
    const fn words(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Channel => (b"subscribe", b"unsubscribe"),
            Self::Pattern => (b"psubscribe", b"punsubscribe"),
            Self::Shard => (b"ssubscribe", b"sunsubscribe"),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Pattern => "pattern",
            Self::Shard => "shard",
        }
    }
}

/// What one client is subscribed to.
#[derive(Default)]
pub struct Subscriptions {
    topics: [BTreeSet<Box<[u8]>>; 3],
    /// A SUBSCRIBE whose topics are not live yet.
    pending: Option<Subscribing>,
}

struct Subscribing {
    sequence: u32,
    kind: Kind,
    names: Vec<Box<[u8]>>,
    /// Topics that are not live yet.
    missing: usize,
}

impl Subscriptions {
    /// What SUBSCRIBE and PSUBSCRIBE, or SSUBSCRIBE, report.
    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.topics[2].len(),
            _ => self.topics[0].len() + self.topics[1].len(),
        }
    }

    pub fn counts(&self) -> [usize; 3] {
        [self.topics[0].len(), self.topics[1].len(), self.topics[2].len()]
    }
}

impl Client {
    /// Whether RESP2 restricts it to the commands of a subscriber.
    pub fn is_subscriber(&self) -> bool {
        self.resp == 2 && self.subscriptions.as_deref().is_some_and(|s| s.topics.iter().any(|t| !t.is_empty()))
    }

    fn subscribed(&mut self, kind: Kind) -> &mut BTreeSet<Box<[u8]>> {
        &mut self.subscriptions.get_or_insert_default().topics[kind as usize]
    }
}

/// A worker's subscriptions.
#[derive(Default)]
pub struct PubSub {
    topics: HashMap<Topic, Entry>,
    /// The subscribing connection to each shard, by cluster and shard.
    links: HashMap<(usize, u16), usize>,
    /// Since when a shard has no known primary.
    missing: HashMap<(usize, u16), Instant>,
}

#[derive(PartialEq, Eq, Hash, Clone)]
pub struct Topic {
    pub cluster: usize,
    pub kind: Kind,
    pub name: Box<[u8]>,
}

#[derive(Default)]
struct Entry {
    subscribers: Vec<(usize, u32)>,
    /// Clients whose SUBSCRIBE waits for this topic to be live.
    waiting: Vec<(usize, u32)>,
    confirmed: HashSet<u16>,
}

/// Why a client that subscribes in RESP2 may not call the command.
pub fn why_not_while_subscribed(command: &Command) -> Option<String> {
    let name: &str = &command.name;
    let is_allowed = matches!(
        name,
        "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
            | "ping"
            | "quit"
            | "reset"
    );
    (!is_allowed).then(|| {
        format!("ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
    })
}

pub fn serve(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    match &*command.name {
        "subscribe" => subscribe(core, client, index, command, request, Kind::Channel),
        "psubscribe" => subscribe(core, client, index, command, request, Kind::Pattern),
        "ssubscribe" => subscribe(core, client, index, command, request, Kind::Shard),
        "unsubscribe" => unsubscribe(core, client, index, request, Kind::Channel),
        "punsubscribe" => unsubscribe(core, client, index, request, Kind::Pattern),
        "sunsubscribe" => unsubscribe(core, client, index, request, Kind::Shard),
        _ => publish(core, client, index, command, request),
    }
}

/// PUBLISH and SPUBLISH go to the shard of the channel's slot; any shard would do.
fn publish(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    let shard =
        core.clusters[client.cluster].as_ref().map_or(NO_SHARD, |s| s.cluster.shard_of(slot(request.argument(1))));
    if shard == NO_SHARD {
        return answer_error(core, client, command, texts::CLUSTERDOWN);
    }
    let upstream = match core.primary(client.cluster, shard, client.resp, client.db) {
        Ok(upstream) => upstream,
        Err(text) => return answer_error(core, client, command, &text),
    };
    route::send(core, client, index, command, request, upstream, |pending| {
        pending.class = Class::Publish;
        pending.is_read = false;
    });
    Next::Go
}

fn subscribe(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    command: &Command,
    request: &Request,
    kind: Kind,
) -> Next {
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    let names: Vec<Box<[u8]>> = request.arguments().skip(1).map(Box::from).collect();
    let mut slots = names.iter().map(|name| slot(name));
    let first = slots.next();
    if kind == Kind::Shard && slots.any(|slot| Some(slot) != first) {
        return answer_error(core, client, command, texts::CROSSSLOT);
    }
    let (cluster, tag) = (client.cluster, client.tag());
    open_links(core, cluster);
    let mut missing = 0;
    let unique: BTreeSet<&Box<[u8]>> = names.iter().collect();
    for name in unique {
        if !join_topic(core, cluster, kind, name) {
            let topic = Topic { cluster, kind, name: name.clone() };
            if let Some(entry) = core.pubsub.topics.get_mut(&topic) {
                entry.waiting.push((index, tag));
                missing += 1;
            }
        }
    }
    route::take_silence(client); // CLIENT REPLY silences no push
    let sequence = client.replies.expect(false);
    let subscribing = Subscribing { sequence, kind, names, missing };
    client.subscriptions.get_or_insert_default().pending = Some(subscribing);
    if missing == 0 {
        confirm(core, client, index);
        return Next::Go;
    }
    client.flow = Flow::Barrier;
    Next::Wait
}

/// Make the topic known and subscribed upstream; whether it is live already.
fn join_topic(core: &mut Core, cluster: usize, kind: Kind, name: &[u8]) -> bool {
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
    let park = Duration::from_secs_f64(served.cluster.spec.timeouts.park);
    let is_missed = core.pubsub.missing.iter().any(|(&(cluster, shard), &since)| {
        cluster == topic.cluster
            && concerns(topic, shard, |slot| served.cluster.shard_of(slot))
            && core.now < since + park
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
    if upstream.pinged.is_none() {
        upstream.pinged = Some(core.now);
        write::command(upstream.window.sink(), &[b"PING"]);
        core.mark_dirty(index);
    }
}

/// One connection per shard for the subscriptions of a cluster.
fn open_links(core: &mut Core, cluster: usize) {
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

/// All topics of a SUBSCRIBE are live: the client hears them from now on, and is told.
fn confirm(core: &mut Core, client: &mut Client, index: usize) {
    let Some(done) = client.subscriptions.as_mut().and_then(|s| s.pending.take()) else { return };
    let (cluster, tag, resp) = (client.cluster, client.tag(), client.resp);
    let mut reply = Vec::new();
    for name in done.names {
        let topic = Topic { cluster, kind: done.kind, name: name.clone() };
        if client.subscribed(done.kind).insert(name.clone()) {
            let entry = core.pubsub.topics.entry(topic.clone()).or_default();
            entry.subscribers.push((index, tag));
            core.shared.census.set(&topic, core.number, entry.subscribers.len());
        }
        let count = client.subscriptions.as_deref().map_or(0, |s| s.count(done.kind));
        frame(&mut reply, resp, done.kind.words().0, Some(&name), count);
    }
    client.is_special = client.is_special || client.is_subscriber();
    client.replies.deliver(done.sequence, &reply, &mut client.output, &mut core.pool);
}

fn frame(reply: &mut Vec<u8>, resp: u8, word: &[u8], name: Option<&[u8]>, count: usize) {
    write::push_header(reply, 3, resp);
    write::bulk(reply, word);
    match name {
        Some(name) => write::bulk(reply, name),
        None => write::null(reply, resp),
    }
    write::integer(reply, count as i64);
}

fn unsubscribe(core: &mut Core, client: &mut Client, index: usize, request: &Request, kind: Kind) -> Next {
    let all = client.subscriptions.as_deref().map(|s| s.topics[kind as usize].iter().cloned().collect::<Vec<_>>());
    let names: Vec<Box<[u8]>> =
        if request.len() > 1 { request.arguments().skip(1).map(Box::from).collect() } else { all.unwrap_or_default() };
    let mut reply = Vec::new();
    let word = kind.words().1;
    for name in &names {
        if client.subscribed(kind).remove(name) {
            leave_topic(core, &Topic { cluster: client.cluster, kind, name: name.clone() }, index);
        }
        let count = client.subscriptions.as_deref().map_or(0, |s| s.count(kind));
        frame(&mut reply, client.resp, word, Some(name), count);
    }
    if names.is_empty() {
        let count = client.subscriptions.as_deref().map_or(0, |s| s.count(kind));
        frame(&mut reply, client.resp, word, None, count);
    }
    client.is_special = client.is_subscriber() || client.transaction.as_deref().is_some_and(|t| t.is_open);
    route::take_silence(client); // as above
    client.replies.answer(&mut client.output, &mut core.pool, &reply);
    Next::Go
}

/// One subscriber fewer; with the last the topic is given up upstream.
fn leave_topic(core: &mut Core, topic: &Topic, index: usize) {
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

/// The client is gone, or was reset.
pub fn forget(core: &mut Core, client: &mut Client, index: usize) {
    let Some(subscriptions) = client.subscriptions.take() else { return };
    let cluster = client.cluster;
    let pending = subscriptions.pending.into_iter().flat_map(|p| p.names.into_iter().map(move |name| (p.kind, name)));
    let kinds = [Kind::Channel, Kind::Pattern, Kind::Shard];
    let live =
        kinds.into_iter().zip(subscriptions.topics).flat_map(|(kind, names)| names.into_iter().map(move |n| (kind, n)));
    for (kind, name) in live.chain(pending).collect::<Vec<_>>() {
        leave_topic(core, &Topic { cluster, kind, name }, index);
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
        core.upstreams[index].pinged = None; // it has no subscription now
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
            core.upstreams[index].pinged = None;
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

/// The reply to PUBLISH or SPUBLISH with the clients that heard it, where the engine counted workers.
pub fn count_receivers(
    core_shared: &crate::plane::Shared,
    cluster: usize,
    request: &[u8],
    reply: &[u8],
) -> Option<Vec<u8>> {
    let delivered = crate::protocol::resp::reply::integer(reply)?;
    let array = |at: usize| -> Option<(usize, usize)> {
        let start = at + memchr::memchr(b'\n', request.get(at..)?)? + 1;
        let length: usize = std::str::from_utf8(request.get(at + 1..start - 2)?).ok()?.parse().ok()?;
        Some((start, start + length))
    };
    let (first, _) = array(0)?;
    let word = array(first)?;
    let channel = array(word.1 + 2)?;
    let kind = if matches!(request.get(word.0), Some(b's' | b'S')) { Kind::Shard } else { Kind::Channel };
    let receivers = core_shared.census.receivers(cluster, kind, request.get(channel.0..channel.1)?, delivered);
    let mut corrected = Vec::new();
    write::integer(&mut corrected, receivers);
    Some(corrected)
}
