//! The side of the clients: what they are told.

use super::links::leave_topic;
use crate::clients::Client;
use crate::dialect::resp::write;
use crate::model::{Kind, Topic};
use crate::turn::Turn;

/// All topics of a SUBSCRIBE are live: the client hears them from now on, and is told.
pub fn confirm(turn: &mut Turn, client: &mut Client) {
    let Some(done) = client.subscriptions.as_mut().and_then(|s| s.pending.take()) else { return };
    let (cluster, resp) = (client.cluster, client.resp);
    let mut reply = Vec::new();
    for name in done.names {
        let topic = Topic { cluster, kind: done.kind, name: name.clone() };
        if client.subscribed(done.kind).insert(name.clone()) {
            let entry = turn.pubsub.topics.entry(topic.clone()).or_default();
            entry.subscribers.push(client.ticket());
            turn.shared.census.set(&topic, turn.number, entry.subscribers.len());
        }
        let count = client.subscriptions.as_deref().map_or(0, |s| s.count(done.kind));
        frame(&mut reply, resp, done.kind.words().0, Some(&name), count);
    }
    client.is_special = client.is_special || client.is_subscriber();
    client.replies.deliver(done.sequence, &reply, &mut client.output, &mut turn.pool);
}

/// What SUBSCRIBE and its relatives say of one topic.
pub fn frame(reply: &mut Vec<u8>, resp: u8, word: &[u8], name: Option<&[u8]>, count: usize) {
    write::push_header(reply, 3, resp);
    write::bulk(reply, word);
    match name {
        Some(name) => write::bulk(reply, name),
        None => write::null(reply, resp),
    }
    write::integer(reply, count as i64);
}

/// The client is gone, or was reset.
pub fn forget(turn: &mut Turn, client: &mut Client) {
    let Some(subscriptions) = client.subscriptions.take() else { return };
    let cluster = client.cluster;
    let pending = subscriptions.pending.into_iter().flat_map(|p| p.names.into_iter().map(move |name| (p.kind, name)));
    let kinds = [Kind::Channel, Kind::Pattern, Kind::Shard];
    let live =
        kinds.into_iter().zip(subscriptions.topics).flat_map(|(kind, names)| names.into_iter().map(move |n| (kind, n)));
    for (kind, name) in live.chain(pending).collect::<Vec<_>>() {
        leave_topic(turn, &Topic { cluster, kind, name }, client.index as usize);
    }
}
