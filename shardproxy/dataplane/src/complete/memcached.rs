//! Replies of memcached nodes.

use super::caching::Looker;
use super::look::{look, Clock};
use super::{count, gathers_at_most, is_greeting, unasked, Errands, GATHER};
use crate::clients::Clients;
use crate::command::Misses;
use crate::dialect::memcached::kind::{key_fits, Kind};
use crate::dialect::memcached::reply::is_error;
use crate::exchange::{Asked, BufferPool, Entry, WHOLE};
use crate::links::{Link, State};
use crate::turn::{Accounts, Turn};

const ELSE: &str = "the node sent a reply to something else";

pub fn deliver_all(
    turn: &mut Turn,
    clients: &mut Clients,
    index: usize,
    data: &[u8],
    errands: &mut Errands,
) -> Result<usize, String> {
    let Turn { links, clusters, pool, accounts, now, micros, millis, shared, ages, looks, .. } = turn;
    let clock = Clock { now: *now, micros: *micros, millis: *millis };
    let link = &mut links[index];
    let Some(served) = &mut clusters[link.way.cluster] else { return Ok(data.len()) };
    let mut taken = 0;
    while taken + link.scanned < data.len() {
        let from = taken + link.scanned;
        let scan = link.framer.scan(&data[from..])?;
        let end = from + scan.consumed;
        if !scan.complete {
            link.scanned += scan.consumed;
            let most = served.cluster.spec.limits.client_output;
            if link.scanned > GATHER && pass_on(link, clients, (pool, accounts), &data[taken..end], most)? {
                link.streamed = link.scanned + if link.is_streaming { link.streamed } else { 0 };
                link.scanned = 0;
                link.is_streaming = true;
                taken = end;
            }
            return Ok(taken);
        }
        link.scanned = 0;
        let reply = &data[taken..end];
        taken = end;
        if is_greeting(link, served, reply, *micros)? {
            if link.state == State::Ready && link.count_as_out(false) {
                shared.tell_down();
            }
            continue;
        }
        link.patience.begin(*now);
        let is_error = !link.is_streaming && is_error(reply);
        let Some((request, kind)) = answered(link, is_error) else { return Err(unasked(reply)) };
        if !link.is_streaming && !is_answer(link, kind, reply) {
            return Err(ELSE.into());
        }
        let asked_at = link.owed_since(*micros);
        (link.trouble.strikes, link.trouble.relapses) = (0, 0);
        if request.may_load() && !is_error && !link.is_streaming {
            let mut looker = Looker { served, events: &shared.events, ages: &mut *ages, now: *millis };
            if looker.is_missed(link, clients, (&request, reply), errands) {
                continue;
            }
        }
        look((looks, served, clients), (link, asked_at), &request, (reply, is_error), clock);
        link.is_streaming = false;
        link.exchange.pop();
        count(served, link, &request, is_error, *micros);
        let reply = if kind.is_dropped(reply) { &[] } else { reply };
        clients.deliver(pool, &request.owed, reply);
    }
    Ok(taken)
}

/// Whom a reply is for: the oldest request, if it has left. Of a value that is too large for it a node says so when it has
/// read where it begins, and reads the rest all the same.
#[inline]
fn answered(link: &Link, is_error: bool) -> Option<(Entry, Kind)> {
    let exchange = &link.exchange;
    let request = exchange.asked().or_else(|| exchange.begun().filter(|_| is_error))?;
    Some((*request, request.kind()?))
}

/// A reply that is not complete: one that goes to its client as it is leaves piece by piece, one that is too much for its
/// client, or whose client has gone, is thrown away as it comes. Whether the piece is done with.
fn pass_on(
    link: &Link,
    clients: &mut Clients,
    (pool, accounts): (&mut BufferPool, &Accounts),
    piece: &[u8],
    client_output: usize,
) -> Result<bool, String> {
    if link.state != State::Ready {
        return Ok(false);
    }
    let Some((request, kind)) = answered(link, false) else { return Ok(false) };
    if !link.is_streaming && !is_answer(link, kind, piece) {
        return Err(ELSE.into());
    }
    let Some(client) = clients.owed(&request.owed) else { return Ok(true) };
    // of several values some may be missing
    let may_be_loaded = matches!(request.asked, Asked::MemcachedLoads(_, loads) if loads.misses == Misses::Any);
    let is_passed_on = link.is_streaming || request.owed.part == WHOLE && !kind.is_quiet && !may_be_loaded;
    let (most, reason) = gathers_at_most(accounts, client_output);
    let is_too_much = link.scanned + client.replies.early() > client_output || !is_passed_on && link.scanned > most;
    if !link.is_streaming && is_too_much {
        clients.cut(pool, &request.owed, reason);
        return Ok(true);
    }
    if is_passed_on {
        clients.deliver_piece(pool, &request.owed, piece);
    }
    Ok(is_passed_on)
}

/// Whether the node answers the oldest request, and not another one.
#[inline]
fn is_answer(link: &Link, kind: Kind, reply: &[u8]) -> bool {
    kind.fits(reply) && (!kind.verb.is_get() || key_fits(kind.verb, link.exchange.head_bytes(), reply))
}
