//! What nodes say on subscribing connections: messages, which are handed to all who subscribed, and confirmations.

use std::sync::Arc;

use super::carriers::pinged;
use super::live::{is_heard, settle};
use super::strays::stray;
use crate::clients::Clients;
use crate::dialect::resp::redirect::{is_elsewhere, Redirect};
use crate::dialect::resp::reply::{array_elements, ReplyFramer};
use crate::dialect::texts;
use crate::exchange::{Message, Parcel};
use crate::links::{Role, Way};
use crate::metrics::CloseReason;
use crate::model::Kind;
use crate::turn::{Job, Pressure, Turn, STEPS};

/// So many of a turn's steps are left to what goes on from turn to turn.
const RESERVED: usize = STEPS / 4;
/// Clients that are handed a short message in a step, and what is short.
const HANDED: usize = 32;
const SHORT: usize = 256;
/// A longer message to several clients is held once for all of them.
const COPIED: usize = 4096;
/// Whoever has more than this unread takes no message while memory is used up.
const UNREAD_WHEN_FULL: usize = 128 * 1024;

/// Frames of a subscribing connection: how many bytes were taken. With what is left it is behind: it goes on in the next
/// turn, or waits for more.
pub fn receive_all(turn: &mut Turn, clients: &mut Clients, index: usize, data: &[u8]) -> Result<usize, String> {
    let mut taken = 0;
    let mut is_behind = false;
    while taken < data.len() && !is_behind {
        let scan =
            ReplyFramer::new().scan(&data[taken..]).map_err(|e| format!("the node sent no valid message: {e}"))?;
        if !scan.complete {
            break;
        }
        let frame = &data[taken..taken + scan.consumed];
        is_behind = turn.pubsub.left <= RESERVED
            || turn.pubsub.handing_out.contains(&index)
            || !receive(turn, clients, index, frame)?;
        if !is_behind {
            turn.links[index].heard_message(turn.now);
            taken += scan.consumed;
        }
    }
    if let Some(subscriber) = turn.links[index].subscriber_mut() {
        subscriber.is_behind = is_behind;
    }
    if is_behind {
        turn.links.mark_unread(index);
    }
    Ok(taken)
}

/// Take what a connection is behind with, before more of it is read; whether it has caught up.
pub fn catch_up(turn: &mut Turn, clients: &mut Clients, index: usize) -> Result<bool, String> {
    if !turn.links[index].subscriber().is_some_and(|subscriber| subscriber.is_behind) {
        return Ok(true);
    }
    let mut input = std::mem::take(&mut turn.links[index].input);
    let taken = receive_all(turn, clients, index, &input)?;
    input.drain(..taken);
    let link = &mut turn.links[index];
    link.input = input;
    link.patience.begin(turn.now); // it was not the node that took its time
    turn.settle_link(index);
    Ok(!turn.links[index].subscriber().is_some_and(|subscriber| subscriber.is_behind))
}

/// A message to hand out, or an answer to what was said; false if it cannot be taken now.
fn receive(turn: &mut Turn, clients: &mut Clients, index: usize, raw: &[u8]) -> Result<bool, String> {
    let Way { cluster, shard, .. } = turn.links[index].way;
    turn.spend(1);
    let Role::Subscriber(subscriber) = &mut turn.links[index].role else { return Ok(true) };
    if raw == texts::PONG {
        pinged(turn, index); // it has no subscription now
        return Ok(true);
    }
    if raw.first() == Some(&b'-') {
        if let Some((kind, name)) = subscriber.said.pop_front() {
            if kind == Kind::Shard && is_elsewhere(raw) {
                stray(turn, index, &name, Redirect::of(raw).as_ref());
                return Ok(true);
            }
            let topics = turn.pubsub.of(cluster);
            if let Some(id) = topics.find(kind, &name) {
                topics.refuse(shard, id, raw);
                settle(turn, cluster, id);
            }
            return Ok(true);
        }
        if subscriber.is_pinged {
            pinged(turn, index); // one that is busy with a script answers, if only that
            return Ok(true);
        }
    }
    let Some([word, name]) = first_two(raw) else {
        let text = String::from_utf8_lossy(&raw[..raw.len().min(200)]).trim().to_owned();
        return Err(format!("not a message of a subscription: {text}"));
    };
    let is_reply = subscriber.said.front().is_some_and(|(kind, known)| {
        let (joined, left) = kind.words();
        **known == *name && (word == joined || word == left)
    });
    if is_reply {
        subscriber.said.pop_front();
    }
    let (kind, is_message) = match word {
        b"message" => (Kind::Channel, true),
        b"pmessage" => (Kind::Pattern, true),
        b"smessage" => (Kind::Shard, true),
        b"subscribe" => (Kind::Channel, false),
        b"psubscribe" => (Kind::Pattern, false),
        b"ssubscribe" => (Kind::Shard, false),
        b"pong" => {
            pinged(turn, index);
            return Ok(true);
        }
        b"sunsubscribe" if !is_reply => {
            let name = Arc::from(name);
            stray(turn, index, &name, None); // its slot has moved
            return Ok(true);
        }
        _ => return Ok(true), // a topic was given up
    };
    let is_sifted = subscriber.sifted > 0;
    let topics = turn.pubsub.of(cluster);
    let Some(id) = topics.find(kind, name) else { return Ok(true) };
    if is_message && kind != Kind::Shard {
        let place = if kind == Kind::Pattern { 2 } else { 1 };
        let channel = if kind == Kind::Pattern { element(raw, place).unwrap_or_default() } else { name };
        if !is_heard(turn, cluster, (shard, is_sifted), channel, || element(raw, place + 1).unwrap_or_default()) {
            return Ok(true); // it comes from another, too, or is of a copy
        }
    }
    let topics = turn.pubsub.of(cluster);
    if is_message {
        return Ok(begin_handing_out(turn, clients, index, (cluster, id), raw));
    }
    topics.confirm(shard, id);
    settle(turn, cluster, id);
    Ok(true)
}

/// Hand a message to its subscribers, or begin to; false while another of the topic is handed out.
fn begin_handing_out(
    turn: &mut Turn,
    clients: &mut Clients,
    link: usize,
    (cluster, topic): (usize, u32),
    raw: &[u8],
) -> bool {
    let began = turn.pubsub.of(cluster).change(topic, |entry| {
        let is_free = entry.subscribers.begin();
        is_free.then(|| (entry.name.clone(), entry.subscribers.len()))
    });
    let Some(Some((name, subscribers))) = began else { return began.is_none() };
    if let Some(served) = turn.served(cluster) {
        served.metrics.deliveries.add(subscribers as u64);
    }
    let parcel = if raw.len() > COPIED && subscribers > 1 {
        Parcel::Shared(Message::new(raw, &turn.pubsub.messages))
    } else {
        Parcel::Copied(raw)
    };
    let steps = turn.pubsub.left;
    if !hand_out_some(turn, clients, (cluster, topic), &parcel, steps) {
        let message = match parcel {
            Parcel::Shared(message) => message,
            Parcel::Copied(raw) => Message::new(raw, &turn.pubsub.messages),
        };
        turn.pubsub.handing_out.push(link);
        turn.pubsub.jobs.push_back(Job::HandOut { link, cluster, topic, name, message });
    }
    true
}

/// Go on with a message; whether all have it.
pub(super) fn hand_out(turn: &mut Turn, clients: &mut Clients, job: &Job, steps: usize) -> bool {
    let Job::HandOut { link, cluster, topic, name, message } = job else { return true };
    let parcel =
        if message.bytes().len() > COPIED { Parcel::Shared(message.clone()) } else { Parcel::Copied(message.bytes()) };
    let is_done = !turn.pubsub.of(*cluster).is_still(*topic, name)
        || hand_out_some(turn, clients, (*cluster, *topic), &parcel, steps);
    if is_done {
        turn.pubsub.handing_out.retain(|known| known != link);
    }
    is_done
}

fn hand_out_some(
    turn: &mut Turn,
    clients: &mut Clients,
    (cluster, topic): (usize, u32),
    parcel: &Parcel,
    steps: usize,
) -> bool {
    let each = match parcel {
        Parcel::Copied(raw) => (HANDED * SHORT / raw.len().max(SHORT)).max(1),
        Parcel::Shared(_) => HANDED / 4,
    };
    let most = steps.saturating_mul(each);
    let mut handed = 0;
    while handed < most {
        let next = turn.pubsub.of(cluster).next_untold(topic);
        let Some(ticket) = next else {
            turn.spend(handed.div_ceil(each));
            return true;
        };
        handed += 1;
        let Some(client) = clients.tagged(ticket) else { continue };
        if turn.accounts.pressure == Pressure::Full && client.output.len() > UNREAD_WHEN_FULL {
            client.cut_off(&mut turn.pool, CloseReason::Buffers);
        } else {
            client.push(&mut turn.pool, parcel);
        }
        clients.mark(ticket.0);
    }
    turn.spend(handed.div_ceil(each));
    false
}

/// An element of a message.
fn element(raw: &[u8], place: usize) -> Option<&[u8]> {
    let whole = array_elements(raw).ok()?.nth(place)?.ok()?;
    let start = memchr::memchr(b'\n', whole)? + 1;
    whole.get(start..whole.len().checked_sub(2)?)
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
