//! The node side of a turn: frame a node's replies and give each to the client it is for.

use slab::Slab;

use super::kind::{key_fits, Kind};
use super::lost::cut;
use super::wire::reply::is_error;
use crate::buffer::BufferPool;
use crate::client::Client;
use crate::metrics::CloseReason;
use crate::upstream::{Pending, State, Upstream, WHOLE};
use crate::worker::{is_asked, unasked, Core};

/// An incomplete reply beyond this is passed on in pieces rather than gathered.
const GATHER: usize = 64 * 1024;

/// Deliver every complete reply in `data`; how much of it was taken.
pub fn deliver_all(
    core: &mut Core,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    index: usize,
    data: &[u8],
) -> Result<usize, String> {
    let Core { upstreams, clusters, pool, now, micros, shared, .. } = core;
    let upstream = &mut upstreams[index];
    let Some(served) = &clusters[upstream.cluster] else { return Ok(data.len()) };
    let mut taken = 0;
    while taken + upstream.scanned < data.len() {
        let from = taken + upstream.scanned;
        let scan = upstream.memcache.scan(&data[from..]).map_err(|e| format!("the node sent no valid reply: {e}"))?;
        let end = from + scan.consumed;
        if !scan.complete {
            upstream.scanned += scan.consumed;
            let most = served.cluster.spec.limits.client_output;
            if upstream.scanned > GATHER && pass_on(upstream, clients, dirty, pool, &data[taken..end], most)? {
                upstream.scanned = 0;
                upstream.is_streaming = true;
                taken = end;
            }
            return Ok(taken);
        }
        upstream.scanned = 0;
        let reply = &data[taken..end];
        taken = end;
        if let State::Greeting(left) = upstream.state {
            greeted(upstream, left, reply)?;
            if upstream.state == State::Ready && upstream.count_as_out(false) {
                shared.tell_down();
            }
            continue;
        }
        upstream.patience.begin(*now); // for the next one
        let Some(request) = upstream.pending.front().filter(|_| is_asked(upstream)) else {
            return Err(unasked(reply));
        };
        let kind = Kind::unpack(request.inner);
        if !upstream.is_streaming && !is_answer(upstream, request, kind, reply) {
            return Err("the node sent a reply to something else".into());
        }
        let Some(request) = upstream.pending.pop_front() else { continue };
        let is_error = !upstream.is_streaming && is_error(reply);
        upstream.is_streaming = false;
        (upstream.strikes, upstream.relapses) = (0, 0);
        upstream.window.forget(request.length as usize);
        served.metrics.command(request.command, is_error);
        served.metrics.latency(request.class, micros.wrapping_sub(request.since));
        upstream.metrics.requests.increment();
        if is_error {
            upstream.metrics.errors.increment();
        }
        let Some(client) = client_of(clients, &request) else { continue };
        let reply = if kind.is_dropped(reply) { &[] } else { reply };
        if request.part == WHOLE {
            client.replies.deliver(request.sequence, reply, &mut client.output, pool);
        } else {
            client.replies.deliver_part(request.sequence, request.part, reply, &mut client.output, pool);
        }
        mark(client, request.client as usize, dirty);
    }
    Ok(taken)
}

/// A reply that is not complete: one that goes to its client as it is leaves piece by piece, one that is too much for its
/// client, or whose client has gone, is thrown away as it comes. Whether the piece is done with.
fn pass_on(
    upstream: &Upstream,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    pool: &mut BufferPool,
    piece: &[u8],
    client_output: usize,
) -> Result<bool, String> {
    let request = upstream.pending.front().filter(|_| upstream.state == State::Ready && is_asked(upstream));
    let Some(request) = request else { return Ok(false) };
    let kind = Kind::unpack(request.inner);
    if !upstream.is_streaming && !is_answer(upstream, request, kind, piece) {
        return Err("the node sent a reply to something else".into());
    }
    let Some(client) = client_of(clients, request) else { return Ok(true) };
    if !upstream.is_streaming && upstream.scanned + client.replies.early() > client_output {
        cut(clients, dirty, pool, request, CloseReason::Output);
        return Ok(true);
    }
    let is_passed_on = upstream.is_streaming || request.part == WHOLE && !kind.is_quiet;
    if is_passed_on {
        client.replies.deliver_piece(request.sequence, piece, &mut client.output, pool);
        mark(client, request.client as usize, dirty);
    }
    Ok(is_passed_on)
}

/// Whether the node answers the oldest request, and not another one.
#[inline]
fn is_answer(upstream: &Upstream, request: &Pending, kind: Kind, reply: &[u8]) -> bool {
    kind.fits(reply)
        && (!kind.verb.is_get() || key_fits(kind.verb, upstream.window.oldest(request.length as usize), reply))
}

fn greeted(upstream: &mut Upstream, left: u8, reply: &[u8]) -> Result<(), String> {
    if is_error(reply) {
        let text = String::from_utf8_lossy(reply);
        return Err(format!("the node refused the proxy's greeting: {}", text.trim_end()));
    }
    if left > 1 {
        upstream.state = State::Greeting(left - 1);
    } else if reply.starts_with(b"VERSION ") {
        upstream.state = State::Ready;
        upstream.recovered();
    } else {
        return Err("the node did not tell its version".into());
    }
    Ok(())
}

pub fn client_of<'a>(clients: &'a mut Slab<Client>, request: &Pending) -> Option<&'a mut Client> {
    clients.get_mut(request.client as usize).filter(|client| client.tag() == request.tag)
}

pub fn mark(client: &mut Client, index: usize, dirty: &mut Vec<usize>) {
    if !client.is_dirty {
        client.is_dirty = true;
        dirty.push(index);
    }
}
