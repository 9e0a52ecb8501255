//! Replies of engines that speak RESP.

use std::time::Instant;

use super::caching::Looker;
use super::exec_reply::Asker;
use super::fate::{fate_of, set_aside, Fate, Overtaker};
use super::look::{look, look_at_held, Clock};
use super::receivers::count_receivers;
use super::{count, exec_reply, gathers_at_most, hand_over, is_asked, is_greeting, near, unasked, Errands, GATHER};
use crate::clients::Clients;
use crate::command::Misses;
use crate::dialect::resp::reply::array_elements;
use crate::dialect::texts;
use crate::exchange::{Asked, BufferPool, Entry, LARGE, WHOLE};
use crate::links::{durable, Link, State};
use crate::metrics::Class;
use crate::model::NO_TERMS;
use crate::shared::Shared;
use crate::turn::{Accesses, Accounts, Outcome, Served, Turn, Waits};

/// A node says so of a request it has read the beginning of, before it closes: that one is larger than it takes.
const PROTOCOL_ERROR: &[u8] = b"-ERR Protocol error";

/// What a node says to whoever connects, and closes: it answers no request.
const MAX_CLIENTS: &[u8] = b"-ERR max number of clients";

pub fn deliver_all(
    turn: &mut Turn,
    clients: &mut Clients,
    index: usize,
    data: &[u8],
    errands: &mut Errands,
) -> Result<usize, String> {
    let Turn { links, clusters, pool, accounts, waits, accesses, ages, feeds, looks, .. } = turn;
    let Turn { now, micros, millis, shared, number, .. } = turn;
    let clock = Clock { now: *now, micros: *micros, millis: *millis };
    let link = &mut links[index];
    let Some(served) = &mut clusters[link.way.cluster] else { return Ok(data.len()) };
    let mut taken = 0;
    while taken + link.scanned < data.len() {
        let from = taken + link.scanned;
        if link.is_aside || link.framer.is_aside(data[from]) {
            taken += pass_over(link, &data[from..])?;
            if link.is_aside {
                return Ok(taken);
            }
            continue;
        }
        let scan = link.framer.scan(&data[from..])?;
        let end = from + scan.consumed;
        if !scan.complete {
            link.scanned += scan.consumed;
            let most = served.cluster.spec.limits.client_output;
            if pass_on_incomplete(link, clients, waits, (pool, accounts), &data[taken..end], most) {
                taken = end;
            }
            return Ok(taken);
        }
        link.scanned = 0;
        let reply = &data[taken..end];
        taken = end;
        if is_greeting(link, served, reply, *micros)? {
            continue;
        }
        link.patience.begin(*now);
        if !is_asked(link) {
            refuse_early(link, clients, waits, pool, reply)?;
            continue;
        }
        let Some(&request) = link.exchange.head() else { continue };
        if is_inner(link, &request, reply) {
            continue;
        }
        let asked_at = link.owed_since(*micros);
        if let Some(asks) = request.near_asks() {
            near::take(served, feeds, link, asks, reply, *millis);
            continue;
        }
        let is_error = matches!(reply[0], b'-' | b'!') && !link.is_streaming;
        let explained = exec_reply::explained(&request, &mut link.redo.inner_error, reply, is_error);
        let mut reply = explained.as_deref().unwrap_or(reply);
        if is_error || link.redo.left > 0 {
            match fate_of(served, *now, link, &request, reply, is_error) {
                Fate::Deliver => {}
                Fate::DeliverPast => errands.overtakers.push(Overtaker::of(&request)),
                Fate::Unwatched => reply = texts::null_array(link.way.resp),
                fate => {
                    set_aside(link, request, reply, fate, errands);
                    continue;
                }
            }
        }
        if request.may_load() && !is_error {
            let mut looker = Looker { served, events: &shared.events, ages: &mut *ages, now: *millis };
            if looker.is_missed(link, clients, (&request, reply), errands) {
                continue;
            }
        }
        if request.class == Class::Wait {
            let settled = replicas_answered(served, link, &request, reply, (*micros, &mut errands.asks_again));
            look_at_held(looks, served, (&mut *clients, link.way.cluster), &settled, *micros);
            let_go(waits, clients, pool, settled);
            continue;
        }
        forget_scripts(link, &request, reply);
        let corrected = match request.class {
            Class::Publish => corrected((shared, *number, *now), served, accesses, clients, link, &request, reply),
            _ if request.is_attempt() && is_error => exec_reply::only_reason(reply),
            _ => None,
        };
        let reply = corrected.as_deref().unwrap_or(reply);
        look((looks, served, clients), (link, asked_at), &request, (reply, is_error), clock);
        link.is_streaming = false;
        if served.writes.is_some() && !request.is_read && request.is_found_in_request() {
            errands.written.push(link.exchange.head_bytes().to_vec());
        }
        let is_held = !is_error && hold(link, &request, reply, *micros);
        link.exchange.pop();
        served.note_written(&request, *millis);
        count(served, link, &request, is_error, *micros);
        if !is_held {
            hand_over(waits, clients, pool, &request, reply);
        }
    }
    Ok(taken)
}

/// Whether it is a reply before the one that counts: its client was answered QUEUED when it queued.
#[inline]
fn is_inner(link: &mut Link, request: &Entry, reply: &[u8]) -> bool {
    let is_inner = link.redo.inner_seen < request.inner();
    link.redo.inner_seen = if is_inner { link.redo.inner_seen + 1 } else { 0 };
    if is_inner && reply[0] == b'-' {
        exec_reply::note_error(&mut link.redo.inner_error, reply);
    }
    is_inner
}

/// Whether the reply waits until replicas have what the request wrote.
#[inline]
fn hold(link: &mut Link, request: &Entry, reply: &[u8], now: u32) -> bool {
    let is_held = link.votes.is_asking() && request.is_durable() && has_changed(request, reply);
    if is_held {
        link.votes.hold(*request, link.exchange.head_bytes(), reply, now);
    }
    is_held
}

/// Its node lacks scripts that it was given, as a transaction has found.
#[inline]
fn forget_scripts(link: &mut Link, request: &Entry, reply: &[u8]) {
    if request.is_exec() && !link.scripts.is_empty() && memchr::memmem::find(reply, b"-NOSCRIPT").is_some() {
        link.scripts.clear();
    }
}

/// Replies that waited for replicas go to whom they are owed.
fn let_go(waits: &mut Waits, clients: &mut Clients, pool: &mut BufferPool, settled: Vec<durable::Held>) {
    for held in settled {
        if held.request.is_attempt() && held.reply().starts_with(b"-") {
            waits.results.push((held.request.owed, Outcome::Failure(held.into_reply())));
        } else {
            hand_over(waits, clients, pool, &held.request, held.reply());
        }
    }
}

/// Bytes of what stands beside the replies. None of it is kept, however much it is.
#[cold]
fn pass_over(link: &mut Link, data: &[u8]) -> Result<usize, String> {
    let scan = link.framer.scan_aside(data)?;
    link.is_aside = !scan.complete;
    Ok(scan.consumed)
}

/// Whether a node refuses a request of which it has read the beginning, and reads the rest all the same, or closes.
fn is_early_refusal(link: &Link, reply: &[u8]) -> bool {
    reply[0] == b'-' && !reply.starts_with(MAX_CLIENTS) && link.exchange.begun().is_some()
}

/// A reply that comes before its request has left whole; raise what nobody asked for.
#[cold]
fn refuse_early(
    link: &mut Link,
    clients: &mut Clients,
    waits: &mut Waits,
    pool: &mut BufferPool,
    reply: &[u8],
) -> Result<(), String> {
    if !is_early_refusal(link, reply) {
        return Err(unasked(reply));
    }
    if let Some(request) = link.exchange.head() {
        hand_over(waits, clients, pool, request, reply);
        link.metrics.errors.increment();
        link.exchange.pop();
    }
    if reply.starts_with(PROTOCOL_ERROR) {
        return Err(unasked(reply)); // it closes now
    }
    Ok(())
}

/// Whether something was written that replicas should have: not where those who wait got nothing.
fn has_changed(request: &Entry, reply: &[u8]) -> bool {
    let is_nothing =
        |element: &[u8]| matches!(element.first(), Some(b'-' | b'_' | b'+')) || element.get(1) == Some(&b'-');
    !request.is_attempt() || array_elements(reply).is_ok_and(|mut each| each.any(|e| e.is_ok_and(|e| !is_nothing(e))))
}

/// What only the proxy knows right of a reply.
fn corrected(
    (shared, worker, now): (&Shared, usize, Instant),
    served: &Served,
    accesses: &mut Accesses,
    clients: &mut Clients,
    link: &Link,
    request: &Entry,
    reply: &[u8],
) -> Option<Vec<u8>> {
    let (number, requests) = (link.way.cluster, link.exchange.head_bytes());
    if request.is_exec() && reply[0] == b'*' {
        let client = clients.owed(&request.owed);
        let asker = Asker { shared, worker, number, served, accesses, now, client };
        return exec_reply::corrected(asker, request.owed.sequence, requests, reply);
    }
    (reply[0] == b':').then(|| count_receivers((shared, worker), number, requests, reply)).flatten()
}

/// The reply to a question of ours about replicas: what goes out now. `asks_again`: they are asked once more.
fn replicas_answered(
    served: &Served,
    link: &mut Link,
    request: &Entry,
    reply: &[u8],
    (now, asks_again): (u32, &mut bool),
) -> Vec<durable::Held> {
    link.is_streaming = false;
    link.exchange.pop();
    if durable::is_decisive(request) {
        served.took(link.way.shard, request.class, now.wrapping_sub(request.since));
        link.metrics.requests.increment();
    }
    let terms = served.cluster.terms_of(link.way.shard).unwrap_or(NO_TERMS);
    let (settled, is_again) = durable::answered(link, &terms, request, reply, now);
    *asks_again |= is_again;
    for held in &settled {
        served.metrics.refusal(held.reply());
    }
    settled
}

/// A reply that is not complete: a large one leaves piece by piece, one larger than its client may be owed is cut off.
/// Whether the piece was passed on.
fn pass_on_incomplete(
    link: &mut Link,
    clients: &mut Clients,
    waits: &mut Waits,
    (pool, accounts): (&mut BufferPool, &Accounts),
    piece: &[u8],
    client_output: usize,
) -> bool {
    if link.scanned <= GATHER || link.state != State::Ready || !is_asked(link) {
        return false;
    }
    let Some(&request) = link.exchange.head() else { return false };
    if !link.is_streaming {
        link.streamed = 0;
    }
    if link.streamed + link.scanned > LARGE {
        clients.moves_large(&request.owed);
    }
    // of several values some may be missing
    let may_be_loaded = matches!(request.asked, Asked::Loads(loads) if loads.misses == Misses::Any);
    let is_changed = request.class == Class::Publish || request.is_attempt() || link.is_deposed() || may_be_loaded;
    let is_whole = request.owed.part == WHOLE && request.inner() <= link.redo.inner_seen && !is_changed;
    let is_gathered = !is_whole || link.votes.is_asking() && request.is_durable();
    let (most, reason) = gathers_at_most(accounts, client_output);
    if !link.is_streaming && (link.scanned > client_output || is_gathered && link.scanned > most) {
        if request.is_attempt() {
            waits.results.push((request.owed, Outcome::Cut));
        }
        clients.cut(pool, &request.owed, reason); // the rest is thrown away as it comes
        link.is_streaming = true;
    }
    if !link.is_streaming && is_gathered {
        return false;
    }
    clients.deliver_piece(pool, &request.owed, piece);
    link.streamed += link.scanned;
    link.scanned = 0;
    link.is_streaming = true;
    true
}
