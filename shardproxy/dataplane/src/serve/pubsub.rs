//! SUBSCRIBE and its relatives, PUBLISH.

use std::collections::BTreeSet;

use super::{answer_error, send, shard_of, Next};
use crate::admit::Admitted;
use crate::clients::{Client, Flow, Subscribing};
use crate::command::Act;
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::hash::slot;
use crate::metrics::Class;
use crate::model::{Kind, Topic};
use crate::place::primary;
use crate::pubsub::{confirm, frame, join_topic, leave_topic, open_links};
use crate::turn::Turn;

pub fn serve(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    match admitted.command.act {
        Act::Subscribe => subscribe(turn, client, admitted, Kind::Channel),
        Act::PatternSubscribe => subscribe(turn, client, admitted, Kind::Pattern),
        Act::ShardSubscribe => subscribe(turn, client, admitted, Kind::Shard),
        Act::Unsubscribe => unsubscribe(turn, client, admitted.request, Kind::Channel),
        Act::PatternUnsubscribe => unsubscribe(turn, client, admitted.request, Kind::Pattern),
        Act::ShardUnsubscribe => unsubscribe(turn, client, admitted.request, Kind::Shard),
        _ => publish(turn, client, admitted),
    }
}

/// PUBLISH and SPUBLISH go to the shard of the channel's slot; any shard would do.
fn publish(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted) -> Next {
    let shard = match shard_of(turn, client, slot(request.argument(1))) {
        Ok(shard) => shard,
        Err(text) => return answer_error(turn, client, command, text),
    };
    let link = match primary(turn, client.cluster, shard, client.speech()) {
        Ok(link) => link,
        Err(text) => return answer_error(turn, client, command, &text),
    };
    send(turn, client, command, request, link, |entry| {
        entry.class = Class::Publish;
        entry.is_read = false;
    });
    Next::Go
}

fn subscribe(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted, kind: Kind) -> Next {
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    let names: Vec<Box<[u8]>> = request.arguments().skip(1).map(Box::from).collect();
    let mut slots = names.iter().map(|name| slot(name));
    let first = slots.next();
    if kind == Kind::Shard && slots.any(|slot| Some(slot) != first) {
        return answer_error(turn, client, command, texts::CROSSSLOT);
    }
    let cluster = client.cluster;
    open_links(turn, cluster);
    let mut missing = 0;
    let unique: BTreeSet<&Box<[u8]>> = names.iter().collect();
    for name in unique {
        if !join_topic(turn, cluster, kind, name) {
            let topic = Topic { cluster, kind, name: name.clone() };
            if let Some(entry) = turn.pubsub.topics.get_mut(&topic) {
                entry.waiting.push(client.ticket());
                missing += 1;
            }
        }
    }
    client.take_silence(); // CLIENT REPLY silences no push
    let sequence = client.replies.expect(false);
    let subscribing = Subscribing { sequence, kind, names, missing };
    client.subscriptions.get_or_insert_default().pending = Some(subscribing);
    if missing == 0 {
        confirm(turn, client);
        return Next::Go;
    }
    client.flow = Flow::Barrier;
    Next::Wait
}

fn unsubscribe(turn: &mut Turn, client: &mut Client, request: &Request, kind: Kind) -> Next {
    let all = client.subscriptions.as_deref().map(|s| s.topics[kind as usize].iter().cloned().collect::<Vec<_>>());
    let names: Vec<Box<[u8]>> =
        if request.len() > 1 { request.arguments().skip(1).map(Box::from).collect() } else { all.unwrap_or_default() };
    let mut reply = Vec::new();
    let word = kind.words().1;
    for name in &names {
        if client.subscribed(kind).remove(name) {
            leave_topic(turn, &Topic { cluster: client.cluster, kind, name: name.clone() }, client.index as usize);
        }
        let count = client.subscriptions.as_deref().map_or(0, |s| s.count(kind));
        frame(&mut reply, client.resp, word, Some(name), count);
    }
    if names.is_empty() {
        let count = client.subscriptions.as_deref().map_or(0, |s| s.count(kind));
        frame(&mut reply, client.resp, word, None, count);
    }
    client.is_special = client.is_subscriber() || client.transaction.as_deref().is_some_and(|t| t.is_open);
    client.take_silence(); // as above
    client.replies.answer(&mut client.output, &mut turn.pool, &reply);
    Next::Go
}
