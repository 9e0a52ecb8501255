//! The side of the clients: what they ask for, and what they are told of it.

use std::collections::BTreeSet;

use super::links::{join_topic, leave_topic, open_links};
use super::{Kind, Subscribing, Topic};
use crate::client::{Client, Flow};
use crate::command::Command;
use crate::hash::slot;
use crate::metrics::Class;
use crate::protocol::{resp::write, texts};
use crate::request::Request;
use crate::route::{self, answer_error, Next};
use crate::topology::NO_SHARD;
use crate::worker::Core;

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

/// All topics of a SUBSCRIBE are live: the client hears them from now on, and is told.
pub(super) fn confirm(core: &mut Core, client: &mut Client, index: usize) {
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
