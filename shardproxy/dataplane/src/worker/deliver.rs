//! Replies of nodes on their way to clients: framed, matched with their requests, handed over in order.

use std::io;
use std::mem;

use slab::Slab;

use super::connect::greeted;
use super::core::{Core, Served};
use super::lost::{cut, in_doubt};
use super::parking::{Overtaker, Unsettled};
use super::refusals::is_refusal;
use super::{Worker, LEFT_OVER};
use crate::buffer::BufferPool;
use crate::client::Client;
use crate::durable;
use crate::exec_reply;
use crate::metrics::{Class, CloseReason};
use crate::protocol::resp::reply::ReplyError;
use crate::protocol::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::pubsub::count_receivers;
use crate::request::Request;
use crate::upstream::{Pending, State, Upstream, WHOLE};

/// An incomplete reply beyond this is passed on in pieces rather than gathered.
const GATHER: usize = 64 * 1024;

/// A node says so of a request it has read the beginning of, before it closes: that one is larger than it takes.
const PROTOCOL_ERROR: &[u8] = b"-ERR Protocol error";

/// Reads of one upstream per turn, so that one busy node does not hold up the others.
const READS: usize = 8;

impl Worker {
    pub(super) fn upstream_read(&mut self, index: usize) {
        for _ in 0..READS {
            let Self { core, clients, scratch, dirty, .. } = self;
            let Some(upstream) = core.upstreams.get_mut(index) else { return };
            if upstream.state == State::Connecting {
                return; // left over by a connection that was lost since
            }
            let Some(stream) = &upstream.stream else { return };
            let mut gathered = mem::take(&mut upstream.input);
            // behind a little that was left over, at the front of the scratch buffer; more than that is added to
            let is_little = gathered.len() <= LEFT_OVER;
            let start = if is_little { gathered.len() } else { 0 };
            scratch[..start].copy_from_slice(&gathered[..start]);
            let room = scratch.len() - start;
            let n = match stream.read(&mut scratch[start..]) {
                Ok(0) => return self.upstream_lost(index, "the node closed the connection"),
                Ok(n) => n,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    upstream.input = gathered;
                    return;
                }
                Err(error) => return self.upstream_lost(index, &error.to_string()),
            };
            let data: &[u8] = if is_little {
                &scratch[..start + n]
            } else {
                gathered.extend_from_slice(&scratch[..n]);
                &gathered
            };
            upstream.metrics.bytes_in.add(n as u64);
            upstream.hears(core.now, gathered.is_empty());
            let was_greeting = matches!(upstream.state, State::Greeting(_));
            let mut errands = Errands::default();
            let delivery = deliver_all(core, clients, dirty, index, data, &mut errands);
            let upstream = &mut core.upstreams[index];
            upstream.heard_some(n, core.now);
            if upstream.is_unproven && upstream.window.in_flight() == 0 {
                core.mark_dirty(index); // now it can be asked
            }
            if was_greeting && core.upstreams[index].state == State::Ready {
                if core.upstreams[index].is_pubsub {
                    crate::pubsub::connected(core, index);
                }
                core.mark_dirty(index);
            }
            let upstream = &mut core.upstreams[index];
            match &delivery {
                Ok(taken) if *taken < data.len() => {
                    if is_little {
                        gathered.clear();
                        gathered.extend_from_slice(&scratch[*taken..start + n]);
                    } else {
                        gathered.drain(..*taken);
                    }
                    upstream.input = gathered;
                }
                _ => {}
            }
            let held = upstream.held();
            Core::settle(&mut core.held, &mut upstream.accounted, held);
            if errands.asks_again {
                core.mark_dirty(index);
            }
            for written in errands.written {
                self.mark_written(self.core.upstreams[index].cluster, &written);
            }
            if !errands.overtakers.is_empty() {
                self.drop_overtaken(index, &errands.overtakers, &mut errands.refused);
            }
            if !errands.refused.is_empty() {
                self.park_refused(index, errands.refused);
            }
            for unsettled in errands.unexecuted {
                self.waits_elsewhere(index, &unsettled);
            }
            for (shard, request) in errands.doubtful {
                let cluster = self.core.upstreams[index].cluster;
                let text = in_doubt(&self.core.label(cluster, shard), false, "the primary is being replaced");
                self.fail_one(cluster, &request, &text);
            }
            for (unsettled, reply) in errands.healable {
                self.heal(&unsettled, &reply);
            }
            if let Err(why) = delivery {
                return self.upstream_lost(index, &why);
            }
            let Some(upstream) = self.core.upstreams.get(index) else { return };
            if upstream.is_retired && upstream.pending.is_empty() && !upstream.is_dedicated {
                return self.upstream_remove(index);
            }
            let is_free = upstream.pending.is_empty() && upstream.state == State::Ready && !upstream.is_half_closed;
            if upstream.is_dedicated && is_free {
                self.lease_idle(index);
                return;
            }
            if n < room && !self.core.upstreams[index].is_half_closed {
                return; // a short read has emptied the socket
            }
        }
        // still more: a later turn, without waiting for a new event
        self.core.unread.push(index);
    }

    /// Upstreams that had more to read than one turn gives them.
    pub(super) fn read_left_over(&mut self) {
        for index in mem::take(&mut self.core.unread) {
            self.upstream_read(index);
        }
    }

    /// A connection of a client's own has answered: keep it while the client watches, else give it back.
    fn lease_idle(&mut self, index: usize) {
        if let Some((owner, tag)) = self.core.upstreams[index].owner {
            if let Some(client) = self.clients.get_mut(owner).filter(|c| c.tag() == tag) {
                if client.transaction.as_deref().is_some_and(|t| t.is_watching) {
                    return;
                }
                client.lease = None;
            }
        }
        self.core.give_back(index);
    }

    /// Let the control plane load what the node lacks, and run the command. The error stands if it cannot, and if the
    /// client has sent more since, for that was executed and must not be overtaken.
    fn heal(&mut self, unsettled: &Unsettled, reply: &[u8]) {
        let Self { core, clients, .. } = self;
        let Unsettled { request, bytes } = unsettled;
        let Some(client) = clients.get_mut(request.client as usize).filter(|c| c.tag() == request.tag) else { return };
        let mut parser = RequestParser::new();
        let limits = RequestLimits { max_request: usize::MAX, max_arguments: usize::MAX, authenticated: true };
        let is_taken = client.replies.is_last(request.sequence)
            && matches!(parser.parse(bytes, &limits), Ok(Parsed::Request { .. }))
            && crate::offload::heal(core, client, request, &Request { bytes, spans: parser.spans() });
        if !is_taken {
            let cluster = client.cluster;
            self.fail_one(cluster, request, reply);
        }
    }
}

/// What replies left to do, once all that came are delivered.
#[derive(Default)]
struct Errands {
    /// Requests that wrote late after they were routed.
    written: Vec<Vec<u8>>,
    refused: Vec<Unsettled>,
    overtakers: Vec<Overtaker>,
    healable: Vec<(Unsettled, Vec<u8>)>,
    unexecuted: Vec<Unsettled>,
    doubtful: Vec<(u16, Pending)>,
    /// Replicas are asked once more.
    asks_again: bool,
}

/// What becomes of a request that was answered by an error, or after one that was refused.
#[derive(PartialEq, Eq)]
enum Fate {
    Deliver,
    /// As well, and it was executed although an earlier request of its client was refused: that one must not be any more.
    DeliverPast,
    /// It was not executed, or is a read behind one that was not: again, on whoever is primary then.
    Redo,
    /// The control plane can load what the node lacks.
    Heal,
    /// It waited in vain: it waits again, at another connection.
    WaitElsewhere,
    /// It was executed by a primary of an older epoch.
    Doubt,
}

#[cold]
fn fate_of(upstream: &mut Upstream, request: &Pending, reply: &[u8], is_error: bool, was_refused: bool) -> Fate {
    if upstream.is_dedicated {
        return if request.class == Class::Block {
            fate_of_wait(upstream, request, reply, is_error)
        } else {
            Fate::Deliver
        };
    }
    let is_error = is_error && request.class != Class::Wait; // the writes it is for were executed all the same
    let is_refused =
        is_error && (is_refusal(reply, request.is_program) || was_refused && reply.starts_with(b"-EXECABORT"));
    if is_refused {
        upstream.redo = upstream.redo.max(upstream.pending.len() + 1);
        upstream.refused.push((request.client, request.tag));
    }
    let mut deliver = Fate::Deliver;
    if upstream.redo > 0 {
        upstream.redo -= 1;
        let is_behind = !is_refused && upstream.refused.contains(&(request.client, request.tag));
        if upstream.redo == 0 {
            upstream.refused.clear();
        }
        if is_refused || is_behind && request.is_read && !is_error && !upstream.is_streaming {
            return Fate::Redo;
        }
        if is_behind && !request.is_read {
            deliver = Fate::DeliverPast;
        }
    }
    if is_error && request.part == WHOLE && request.inner == 0 && is_healable(reply) {
        upstream.scripts.clear(); // whoever flushed them, the next call brings its script
        return Fate::Heal;
    }
    deliver
}

/// What a primary says to those who wait when it becomes a replica. CLIENT UNBLOCK says it in other words.
const DEMOTED: &[u8] = b"-UNBLOCKED force unblock";

fn fate_of_wait(upstream: &Upstream, request: &Pending, reply: &[u8], is_error: bool) -> Fate {
    if is_error && (is_refusal(reply, false) || reply.starts_with(DEMOTED)) {
        return Fate::WaitElsewhere;
    }
    let is_nothing = matches!(reply, b"_\r\n" | b"*-1\r\n" | b"$-1\r\n");
    if upstream.deposed.is_some() && !is_error && !is_nothing && !request.is_read {
        return Fate::Doubt;
    }
    Fate::Deliver
}

/// The node lacks a script or function that another node, or this one before its restart, was given.
fn is_healable(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOSCRIPT") || reply.starts_with(b"-ERR Function not found")
}

/// Deliver every complete reply in `data`; how much of it was taken.
fn deliver_all(
    core: &mut Core,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    index: usize,
    data: &[u8],
    errands: &mut Errands,
) -> Result<usize, String> {
    if core.upstreams[index].is_memcached {
        return crate::memcache::deliver_all(core, clients, dirty, index, data);
    }
    if core.upstreams[index].is_pubsub && core.upstreams[index].state == State::Ready {
        return receive_all(core, clients, dirty, index, data);
    }
    let Core { upstreams, clusters, pool, now, micros, millis, shared, .. } = core;
    let upstream = &mut upstreams[index];
    let Some(served) = &clusters[upstream.cluster] else { return Ok(data.len()) };
    let mut taken = 0;
    while taken + upstream.scanned < data.len() {
        let from = taken + upstream.scanned;
        if upstream.is_aside || upstream.framer.is_idle() && matches!(data[from], b'|' | b'>') {
            taken += pass_over(upstream, &data[from..])?;
            if upstream.is_aside {
                return Ok(taken);
            }
            continue;
        }
        let scan = upstream.framer.scan(&data[from..]).map_err(invalid)?;
        let end = from + scan.consumed;
        if !scan.complete {
            upstream.scanned += scan.consumed;
            let limits = (served.cluster.spec.limits.client_output, upstream.votes.is_asking());
            if pass_on_incomplete(upstream, clients, dirty, pool, &data[taken..end], limits) {
                taken = end;
            }
            return Ok(taken);
        }
        upstream.scanned = 0;
        let reply = &data[taken..end];
        taken = end;
        if let State::Greeting(left) = upstream.state {
            greeted(upstream, &served.cluster, left, reply)?;
            continue;
        }
        upstream.patience.begin(*now); // for the next one
        if !is_asked(upstream) {
            if let Some(cut_short) = upstream.pending.front_mut().filter(|_| reply.starts_with(PROTOCOL_ERROR)) {
                hand_over(clients, dirty, pool, cut_short, reply);
                cut_short.settle();
            }
            return Err(unasked(reply));
        }
        if upstream.pending.front().is_some_and(|p| upstream.inner_seen < p.inner) {
            upstream.inner_seen += 1; // its client was answered QUEUED when it queued
            upstream.inner_refused |= reply[0] == b'-' && is_refusal(reply, false);
            continue;
        }
        let was_refused = mem::take(&mut upstream.inner_refused);
        upstream.inner_seen = 0;
        let Some(request) = upstream.pending.pop_front() else { continue };
        let is_error = matches!(reply[0], b'-' | b'!') && !upstream.is_streaming;
        if is_error || upstream.redo > 0 {
            match fate_of(upstream, &request, reply, is_error, was_refused) {
                Fate::Deliver => {}
                Fate::DeliverPast => errands.overtakers.push(Overtaker::of(&request)),
                fate => {
                    set_aside(upstream, request, reply, &fate, errands);
                    continue;
                }
            }
        }
        if request.class == Class::Wait {
            let (settled, asks_again) = replicas_answered(served, upstream, &request, reply, *micros);
            errands.asks_again |= asks_again;
            for held in settled {
                hand_over(clients, dirty, pool, &held.request, &held.reply);
            }
            continue;
        }
        if request.inner > 0 && !upstream.scripts.is_empty() && memchr::memmem::find(reply, b"-NOSCRIPT").is_some() {
            upstream.scripts.clear();
        }
        let corrected = match request.class {
            Class::Publish if reply[0] == b':' => {
                let sent = upstream.window.oldest(request.length as usize);
                count_receivers(shared, upstream.cluster, sent, reply)
            }
            Class::Publish if request.inner > 0 && reply[0] == b'*' => {
                let sent = upstream.window.oldest(request.length as usize);
                exec_reply::corrected(shared, upstream.cluster, sent, reply)
            }
            _ => None,
        };
        let reply = corrected.as_deref().unwrap_or(reply);
        upstream.is_streaming = false;
        if served.writes.is_some() && !request.is_read && (request.class == Class::Block || request.inner > 0) {
            errands.written.push(upstream.window.oldest(request.length as usize).to_vec());
        }
        upstream.window.forget(request.length as usize);
        served.note_written(request.mark, *millis);
        count(served, upstream, &request, is_error, *micros);
        if upstream.votes.is_asking() && !is_error && request.is_durable() {
            upstream.votes.hold(request, reply, *micros);
            continue;
        }
        hand_over(clients, dirty, pool, &request, reply);
    }
    Ok(taken)
}

/// Bytes of what stands beside the replies. None of it is kept, however much it is.
#[cold]
fn pass_over(upstream: &mut Upstream, data: &[u8]) -> Result<usize, String> {
    let scan = upstream.framer.scan_aside(data).map_err(invalid)?;
    upstream.is_aside = !scan.complete;
    Ok(scan.consumed)
}

fn invalid(error: ReplyError) -> String {
    format!("the node sent no valid reply: {error}")
}

#[inline]
fn count(served: &Served, upstream: &Upstream, request: &Pending, is_error: bool, now: u32) {
    served.metrics.command(request.command, is_error);
    served.metrics.latency(request.class, now.wrapping_sub(request.since));
    upstream.metrics.requests.increment();
    if is_error {
        upstream.metrics.errors.increment();
    }
}

/// The reply to a question of ours about replicas: what goes out now, and whether they are asked once more.
fn replicas_answered(
    served: &Served,
    upstream: &mut Upstream,
    request: &Pending,
    reply: &[u8],
    now: u32,
) -> (Vec<durable::Held>, bool) {
    upstream.is_streaming = false;
    upstream.window.forget(request.length as usize);
    if durable::is_decisive(request) {
        served.metrics.latency(request.class, now.wrapping_sub(request.since));
        upstream.metrics.requests.increment();
    }
    let terms = served.cluster.terms_of(upstream.shard).unwrap_or(durable::NONE);
    let (settled, asks_again) = durable::answered(upstream, &terms, request, reply, now);
    for held in &settled {
        served.metrics.refusal(&held.reply);
    }
    (settled, asks_again)
}

/// A reply that is not complete: a large one leaves piece by piece, one larger than its client may be owed is cut off.
/// Whether the piece was passed on.
fn pass_on_incomplete(
    upstream: &mut Upstream,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    pool: &mut BufferPool,
    piece: &[u8],
    (client_output, awaits_replicas): (usize, bool),
) -> bool {
    if upstream.scanned <= GATHER || upstream.state != State::Ready || !is_asked(upstream) {
        return false;
    }
    let Some(request) = upstream.pending.front() else { return false };
    if upstream.scanned > client_output && !upstream.is_streaming {
        cut(clients, dirty, pool, request, CloseReason::Output); // the rest is thrown away as it comes
        upstream.is_streaming = true;
    }
    let is_changed = request.class == Class::Publish || upstream.deposed.is_some();
    let is_whole = request.part == WHOLE && request.inner <= upstream.inner_seen && !is_changed;
    if !upstream.is_streaming && (!is_whole || awaits_replicas && request.is_durable()) {
        return false;
    }
    deliver_piece(upstream, clients, dirty, pool, piece);
    upstream.scanned = 0;
    upstream.is_streaming = true;
    true
}

/// Keep a request whose reply its client is not to see.
#[cold]
fn set_aside(upstream: &mut Upstream, request: Pending, reply: &[u8], fate: &Fate, errands: &mut Errands) {
    let bytes = upstream.window.oldest(request.length as usize).to_vec();
    upstream.window.forget(request.length as usize);
    let unsettled = Unsettled { request, bytes };
    match fate {
        Fate::Heal => errands.healable.push((unsettled, reply.to_vec())),
        Fate::WaitElsewhere => errands.unexecuted.push(unsettled),
        Fate::Doubt => errands.doubtful.push((upstream.shard, unsettled.request)),
        Fate::Deliver | Fate::DeliverPast | Fate::Redo => errands.refused.push(unsettled),
    }
}

/// Give a reply to the client that is owed it.
#[inline]
pub(super) fn hand_over(
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    pool: &mut BufferPool,
    request: &Pending,
    reply: &[u8],
) {
    let Some(client) = clients.get_mut(request.client as usize) else { return };
    if client.tag() != request.tag {
        return;
    }
    if request.part == WHOLE {
        client.replies.deliver(request.sequence, reply, &mut client.output, pool);
    } else {
        client.replies.deliver_part(request.sequence, request.part, reply, &mut client.output, pool);
    }
    mark(client, request.client as usize, dirty);
}

/// Whether the oldest request has left: what comes before that answers nobody, as when a node has too many connections.
/// Of a transaction the engine queues what it has read while the rest is still to be sent: only EXEC's reply needs it whole.
#[inline]
pub fn is_asked(upstream: &Upstream) -> bool {
    let in_flight = upstream.window.in_flight();
    upstream.pending.front().is_some_and(|request| {
        request.length as usize <= in_flight || in_flight > 0 && upstream.inner_seen < request.inner
    })
}

#[cold]
pub fn unasked(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(&reply[..reply.len().min(100)]);
    format!("the node sent a reply nobody asked for: {}", text.trim_end())
}

/// Messages of subscriptions.
fn receive_all(
    core: &mut Core,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    index: usize,
    data: &[u8],
) -> Result<usize, String> {
    let mut taken = 0;
    while taken < data.len() {
        let mut framer = crate::protocol::resp::reply::ReplyFramer::new();
        let scan = framer.scan(&data[taken..]).map_err(|e| format!("the node sent no valid message: {e}"))?;
        if !scan.complete {
            break;
        }
        crate::pubsub::receive(core, clients, dirty, index, &data[taken..taken + scan.consumed])?;
        taken += scan.consumed;
    }
    Ok(taken)
}

fn deliver_piece(
    upstream: &Upstream,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    pool: &mut BufferPool,
    piece: &[u8],
) {
    let Some(request) = upstream.pending.front() else { return };
    let Some(client) = clients.get_mut(request.client as usize).filter(|c| c.tag() == request.tag) else { return };
    client.replies.deliver_piece(request.sequence, piece, &mut client.output, pool);
    mark(client, request.client as usize, dirty);
}

pub(super) fn mark(client: &mut Client, index: usize, dirty: &mut Vec<usize>) {
    if !client.is_dirty {
        client.is_dirty = true;
        dirty.push(index);
    }
}
