//! What clients that track keys are told: between their replies, and never before the reply to a request that was under way
//! when a key changed. That one may bring the value of before.

use std::sync::Arc;

use super::{feed, Invalidation};
use crate::clients::{Client, Clients, Mode, Tracking};
use crate::dialect::resp::invalidation::Keys;
use crate::dialect::resp::write;
use crate::links::Question;
use crate::shared::{Changed, Letter, Sender};
use crate::turn::{tickets, Turn};

const CHANNEL: &[u8] = b"__redis__:invalidate";

/// The clients hear of it.
pub fn hear(turn: &mut Turn, clients: &mut Clients, cluster: usize, what: &Invalidation) {
    if !turn.tracked.is_on(cluster) {
        return;
    }
    match what {
        Invalidation::Keys(keys) => changed(turn, clients, cluster, keys),
        Invalidation::Lost(_) => flush(turn, clients, cluster),
    }
}

fn changed(turn: &mut Turn, clients: &mut Clients, cluster: usize, keys: &Keys) {
    for key in keys.clone() {
        turn.spend(1);
        if let Some(readers) = turn.tracked.of(cluster).take(key) {
            forgotten(turn, clients, key, &tickets(&readers));
        }
    }
    let prefixes: Vec<_> = turn.tracked.of(cluster).prefixes.iter().map(|(p, of)| (p.clone(), tickets(of))).collect();
    for (prefix, listeners) in prefixes {
        let meant = || keys.clone().filter(|key| key.starts_with(&prefix));
        let count = meant().count();
        if count == 0 {
            continue;
        }
        let array = array_of(meant());
        turn.spend(count + listeners.len());
        for ticket in listeners {
            let tracking = clients.tagged(ticket).and_then(|client| client.tracking.as_deref());
            if tracking.is_some_and(|tracking| tracking.is_noloop) {
                let others: Vec<&[u8]> = meant().filter(|key| !is_perhaps_own(turn, clients, ticket, key)).collect();
                if !others.is_empty() {
                    inform(turn, clients, ticket, Some(&array_of(others.into_iter())));
                }
            } else {
                inform(turn, clients, ticket, Some(&array));
            }
        }
    }
}

/// Who has read the key is told that it may have changed.
pub fn forgotten(turn: &mut Turn, clients: &mut Clients, key: &[u8], readers: &[(usize, u32)]) {
    let array = array_of(std::iter::once(key));
    turn.spend(readers.len());
    for &ticket in readers {
        let is_reader = |tracking: &Tracking| tracking.prefixes.is_empty();
        let is_it = clients.tagged(ticket).and_then(|client| client.tracking.as_deref()).is_some_and(is_reader);
        if is_it && !is_perhaps_own(turn, clients, ticket, key) {
            inform(turn, clients, ticket, Some(&array));
        }
    }
}

pub fn array_of<'a>(keys: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let mut array = Vec::new();
    write::array_header(&mut array, keys.clone().count());
    keys.for_each(|key| write::bulk(&mut array, key));
    array
}

/// Whether what has changed the key may be this client's own SET, of which it does not want to hear. The feed does not say who
/// it was, nor whether somebody else was faster: the primary is asked whether the key has that value.
fn is_perhaps_own(turn: &mut Turn, clients: &mut Clients, ticket: (usize, u32), key: &[u8]) -> bool {
    let Some(client) = clients.tagged(ticket) else { return false };
    let Some(value) = client.tracking.as_deref().and_then(|tracking| tracking.own(key)) else { return false };
    feed::ask(turn, client.cluster, key, Question { ticket, value: value.clone() })
}

/// It has that value, or another.
pub fn answered(turn: &mut Turn, clients: &mut Clients, key: &[u8], question: &Question, reply: &[u8]) {
    let Some(client) = clients.tagged(question.ticket) else { return };
    let cluster = client.cluster;
    let Some(tracking) = client.tracking.as_deref_mut() else { return };
    let is = |value: &[u8]| {
        let mut bulk = Vec::with_capacity(value.len() + 16);
        write::bulk(&mut bulk, value);
        bulk == reply
    };
    let is_own = is(&question.value) || tracking.own(key).is_some_and(|value| is(value));
    if !is_own {
        tracking.note_own(key, None);
        return inform(turn, clients, question.ticket, Some(&array_of(std::iter::once(key))));
    }
    if tracking.mode != Mode::Broadcast {
        let forgotten = turn.tracked.of(cluster).remember(key, question.ticket);
        turn.tracked.forgotten.extend(forgotten);
    }
}

/// All may be old: nobody need be told of a key any more.
fn flush(turn: &mut Turn, clients: &mut Clients, cluster: usize) {
    turn.tracked.of(cluster).clear();
    let all: Vec<_> = clients.iter().filter(|(_, c)| c.cluster == cluster && c.tracking.is_some()).collect();
    let tickets: Vec<(usize, u32)> = all.into_iter().map(|(_, client)| client.ticket()).collect();
    turn.spend(tickets.len());
    for ticket in tickets {
        let Some(client) = clients.tagged(ticket) else { continue };
        let may_keep = client.tracking.as_deref_mut().is_some_and(|it| std::mem::take(&mut it.may_keep));
        if !may_keep {
            continue; // it was told so, and has asked for nothing since
        }
        let is_late = client.tells_behind().is_some();
        if is_late && client.awaits_read() {
            // what it gets may be of a new primary: before that it is told, too
            tell(turn, client, None);
            clients.mark(ticket.0);
        }
        inform(turn, clients, ticket, None);
    }
}

/// Tell a client, or have it told when the replies under way are out. None: all may be old.
fn inform(turn: &mut Turn, clients: &mut Clients, ticket: (usize, u32), keys: Option<&[u8]>) {
    let Some(client) = clients.tagged(ticket) else { return };
    match client.tells_behind() {
        Some(sequence) => {
            if let Some(tracking) = client.tracking.as_deref_mut() {
                tracking.put_off(sequence, keys.map(Into::into));
            }
            turn.settle_client(client);
        }
        None => tell(turn, client, keys),
    }
    clients.mark(ticket.0);
}

/// Replies are out: what was put off until then is told now.
pub fn release(turn: &mut Turn, client: &mut Client) {
    while let Some(late) = client.take_late() {
        tell(turn, client, late.keys.as_deref());
    }
}

/// A reply is long in coming: what waits for it is told before it, too.
pub fn tell_overdue(turn: &mut Turn, clients: &mut Clients) {
    let mut told = Vec::new();
    for (index, client) in clients.iter_mut().filter(|(_, client)| client.tracking.is_some()) {
        for keys in client.take_overdue() {
            tell(turn, client, keys.as_deref());
            told.push(index);
        }
    }
    for index in told {
        clients.mark(index);
    }
}

fn tell(turn: &mut Turn, client: &mut Client, keys: Option<&[u8]>) {
    let Some(tracking) = client.tracking.as_deref() else { return };
    if let Some(redirect) = tracking.redirect {
        let from = Sender { worker: turn.number as u16, ticket: client.ticket() };
        let letter = Changed { to: redirect.client, from, keys: keys.map(Arc::from) };
        return turn.shared.post(usize::from(redirect.worker), Letter::Changed(letter));
    }
    if client.resp == 3 {
        push(turn, client, keys);
    }
}

/// In RESP3 a push; in RESP2 a message, to who subscribes.
fn push(turn: &mut Turn, client: &mut Client, keys: Option<&[u8]>) {
    let mut message = Vec::with_capacity(64 + keys.map_or(0, <[u8]>::len));
    if client.resp == 3 {
        write::push_header(&mut message, 2, 3);
        write::bulk(&mut message, b"invalidate");
    } else if client.is_subscriber() {
        write::array_header(&mut message, 3);
        write::bulk(&mut message, b"message");
        write::bulk(&mut message, CHANNEL);
    } else {
        return;
    }
    match keys {
        Some(keys) => message.extend_from_slice(keys),
        None => write::null(&mut message, client.resp),
    }
    client.hear(&mut turn.pool, &message);
    turn.settle_client(client);
}

/// A client of this or another worker has this one told instead.
pub fn deliver(turn: &mut Turn, clients: &mut Clients, Changed { to, from, keys }: &Changed) {
    let Some(place) = clients.place_of(*to) else {
        return turn.shared.post(usize::from(from.worker), Letter::Unheard { from: *from, to: *to });
    };
    push(turn, &mut clients[place], keys.as_deref());
    clients.mark(place);
}

/// Who was to be told instead has gone.
pub fn unheard(turn: &mut Turn, clients: &mut Clients, ticket: (usize, u32), to: u64) {
    let Some(client) = clients.tagged(ticket) else { return };
    let is_it = |tracking: &&mut Tracking| tracking.redirect.is_some_and(|redirect| redirect.client == to);
    let Some(tracking) = client.tracking.as_deref_mut().filter(is_it) else { return };
    tracking.is_broken = true;
    if client.resp == 3 {
        let mut message = Vec::new();
        write::push_header(&mut message, 2, 3);
        write::bulk(&mut message, b"tracking-redir-broken");
        write::integer(&mut message, to as i64);
        client.hear(&mut turn.pool, &message);
        clients.mark(ticket.0);
    }
}
