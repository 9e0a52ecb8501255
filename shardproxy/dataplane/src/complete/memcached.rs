//! Replies of memcached nodes.

use super::{count, gathers_at_most, greeting_left, unasked, GATHER};
use crate::clients::Clients;
use crate::dialect::memcached::kind::{key_fits, Kind};
use crate::dialect::memcached::reply::is_error;
use crate::exchange::{Asked, BufferPool, Entry, WHOLE};
use crate::links::{Link, State};
use crate::turn::{Accounts, Turn};

const ELSE: &str = "the node sent a reply to something else";

pub fn deliver_all(turn: &mut Turn, clients: &mut Clients, index: usize, data: &[u8]) -> Result<usize, String> {
    let Turn { links, clusters, pool, accounts, now, micros, shared, .. } = turn;
    let link = &mut links[index];
    let Some(served) = &clusters[link.way.cluster] else { return Ok(data.len()) };
    let mut taken = 0;
    while taken + link.scanned < data.len() {
        let from = taken + link.scanned;
        let scan = link.framer.scan(&data[from..])?;
        let end = from + scan.consumed;
        if !scan.complete {
            link.scanned += scan.consumed;
            let most = served.cluster.spec.limits.client_output;
            if link.scanned > GATHER && pass_on(link, clients, (pool, accounts), &data[taken..end], most)? {
                link.scanned = 0;
                link.is_streaming = true;
                taken = end;
            }
            return Ok(taken);
        }
        link.scanned = 0;
        let reply = &data[taken..end];
        taken = end;
        if let Some(left) = greeting_left(link) {
            link.greeted(&served.cluster, left, reply)?;
            if link.state == State::Ready && link.count_as_out(false) {
                shared.tell_down();
            }
            continue;
        }
        link.patience.begin(*now); // for the next one
        let is_error = !link.is_streaming && is_error(reply);
        let Some((request, kind)) = answered(link, is_error) else { return Err(unasked(reply)) };
        if !link.is_streaming && !is_answer(link, kind, reply) {
            return Err(ELSE.into());
        }
        link.is_streaming = false;
        (link.trouble.strikes, link.trouble.relapses) = (0, 0);
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
    match request.asked {
        Asked::Memcached(kind) => Some((*request, kind)),
        Asked::Reply | Asked::Exec(_) | Asked::Attempt(_) => None,
    }
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
    let is_passed_on = link.is_streaming || request.owed.part == WHOLE && !kind.is_quiet;
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
