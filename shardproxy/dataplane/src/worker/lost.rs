//! What becomes of requests when their connection breaks, or when they have waited too long.

use std::mem;

use slab::Slab;

use super::core::refusal;
use super::deliver::mark;
use super::parking::{Origin, Unsettled};
use super::{Core, Worker};
use crate::client::Client;
use crate::durable;
use crate::durations::wrapping_micros;
use crate::metrics::{Class, CloseReason};
use crate::plane::HintKind;
use crate::protocol::resp::write;
use crate::upstream::{Pending, State, WHOLE};

impl Worker {
    /// The connection is gone. What was not sent waits for the next one, reads are asked again, writes are in doubt. A node
    /// executes nothing of which it has but a part; yet what breaks a second connection half-way may be why it breaks.
    pub(super) fn upstream_lost(&mut self, index: usize, why: &str) {
        let Self { core, clients, dirty, .. } = self;
        let random = core.random();
        let Some(upstream) = core.upstreams.get_mut(index) else { return };
        let was_ready = upstream.state == State::Ready;
        let is_stranger = mem::take(&mut upstream.is_stranger);
        if is_stranger {
            upstream.metrics.strangers.increment();
        } else if was_ready {
            upstream.metrics.lost.increment();
        } else {
            upstream.metrics.connect_failures.increment();
        }
        let was_streaming = upstream.is_streaming;
        upstream.disconnect();
        upstream.back_off(core.now, random);
        core.retrying.push(index);
        upstream.down_since.get_or_insert(core.now);
        why.clone_into(&mut upstream.why_down);
        core.give_hint(index, if is_stranger { HintKind::Stranger } else { HintKind::Lost });
        let upstream = &mut core.upstreams[index];
        let (cluster, number) = (upstream.cluster, upstream.shard);
        if upstream.is_pubsub {
            return crate::pubsub::lost(core, clients, dirty, index);
        }
        if upstream.is_dedicated {
            self.lose_awaiting(index);
            if !was_ready {
                self.core.rest(index);
            }
            return self.lease_lost(index, was_streaming, why);
        }
        if upstream.is_memcached {
            let before = crate::memcache::Before { was_ready, was_streaming };
            crate::memcache::lost(core, clients, dirty, index, before, why);
            if core.upstreams[index].is_retired {
                self.upstream_remove(index);
            }
            return;
        }
        self.lose_awaiting(index);
        let Self { core, clients, dirty, .. } = self;
        let upstream = &mut core.upstreams[index];
        let (bytes, sent) = upstream.window.take();
        let origin = Origin::of(upstream);
        let stays = core.is_primary(origin) && !core.upstreams[index].is_retired;
        let shard = core.label(cluster, number);
        let (patience, label) = core.patience(index);
        let mut start = 0;
        let mut moved = Vec::new();
        for (place, mut request) in mem::take(&mut core.upstreams[index].pending).into_iter().enumerate() {
            let end = start + request.length as usize;
            let (has_left, is_sent) = (start < sent, end <= sent);
            let may_go_again = !has_left || !request.is_retry && (request.is_read || !is_sent);
            let may_repeat = !request.is_nobodys() && may_go_again;
            let is_late = core.micros.wrapping_sub(request.since) > patience;
            if is_sent && place == 0 && was_streaming {
                cut(clients, dirty, &mut core.pool, &request, CloseReason::Cut);
            } else if !may_repeat || is_late {
                let is_unknown = is_sent && !may_repeat;
                let text =
                    if is_unknown { in_doubt(&shard, request.is_read, why) } else { refusal(&shard, &label, why) };
                fail(core_parts(&mut core.pool, &mut core.clusters, origin.cluster), clients, dirty, &request, &text);
            } else {
                request.is_retry |= has_left;
                if stays {
                    crate::scripts::precede_all(core, index, &bytes[start..end]);
                    let upstream = &mut core.upstreams[index];
                    upstream.window.sink().extend_from_slice(&bytes[start..end]);
                    upstream.pending.push_back(request);
                } else {
                    moved.push(Unsettled { request, bytes: bytes[start..end].to_vec() });
                }
            }
            start = end;
        }
        let upstream = &mut core.upstreams[index];
        let held = upstream.held();
        Core::settle(&mut core.held, &mut upstream.accounted, held);
        let is_over = upstream.is_retired && upstream.pending.is_empty();
        self.replace(origin, moved);
        if is_over {
            self.upstream_remove(index);
        }
    }

    /// Writes the primary has, and nobody knows whether its replicas do.
    fn lose_awaiting(&mut self, index: usize) {
        let upstream = &mut self.core.upstreams[index];
        let cluster = upstream.cluster;
        let awaiting = upstream.votes.take();
        let shard = upstream.shard;
        let terms = self.core.clusters[cluster].as_ref().and_then(|s| s.cluster.terms_of(shard));
        let wanted = terms.map_or(0, |terms| terms.wanted);
        for held in awaiting {
            self.fail_one(cluster, &held.request, &durable::in_doubt(0, wanted));
        }
    }

    /// A connection of a client's own is gone: what it watched is forgotten. What waited there waits elsewhere if it was
    /// not sent or only reads, else it is in doubt.
    fn lease_lost(&mut self, index: usize, was_streaming: bool, why: &str) {
        let Self { core, clients, dirty, .. } = self;
        let upstream = &mut core.upstreams[index];
        let (number, cluster, waiting) = (upstream.shard, upstream.cluster, upstream.waiting.take());
        let shard = core.label(cluster, number);
        let upstream = &mut core.upstreams[index];
        let (bytes, sent) = upstream.window.take();
        let mut start = 0;
        let mut unsettled = None;
        for (place, request) in mem::take(&mut upstream.pending).into_iter().enumerate() {
            let end = start + request.length as usize;
            let is_sent = end <= sent;
            if is_sent && place == 0 && was_streaming {
                cut(clients, dirty, &mut core.pool, &request, CloseReason::Cut);
            } else if request.class == Class::Block && (!is_sent || request.is_read) {
                unsettled = Some(Unsettled { request, bytes: bytes[start..end].to_vec() });
            } else {
                let text = if is_sent { in_doubt(&shard, request.is_read, why) } else { refusal(&shard, "", why) };
                fail(core_parts(&mut core.pool, &mut core.clusters, cluster), clients, dirty, &request, &text);
            }
            start = end;
        }
        self.end_lease(index);
        self.upstream_remove(index);
        if let Some(Unsettled { request, bytes }) = unsettled {
            self.wait_again(&request, waiting, &bytes);
        }
    }

    /// Requests have waited as long as they may: they were not executed, and their clients are told so.
    pub(super) fn upstream_give_up(&mut self, index: usize) {
        let Self { core, clients, dirty, .. } = self;
        if core.upstreams[index].is_memcached {
            return crate::memcache::fail(core, clients, dirty, index);
        }
        let (_, label) = core.patience(index);
        let shard = core.label(core.upstreams[index].cluster, core.upstreams[index].shard);
        let upstream = &mut core.upstreams[index];
        let text = refusal(&shard, &label, &upstream.why_down);
        upstream.window.take();
        for request in mem::take(&mut upstream.pending) {
            fail(core_parts(&mut core.pool, &mut core.clusters, upstream.cluster), clients, dirty, &request, &text);
        }
        upstream.metrics.queued.set(0);
        let held = upstream.held();
        Core::settle(&mut core.held, &mut upstream.accounted, held);
    }

    /// Answer one request with an error.
    pub(super) fn fail_one(&mut self, cluster: usize, request: &Pending, text: &[u8]) {
        let Self { core, clients, dirty, .. } = self;
        fail(core_parts(&mut core.pool, &mut core.clusters, cluster), clients, dirty, request, text);
    }
}

impl Core {
    /// How long a request may be under way, microseconds: it waits once for its node, and once for its reply, however often
    /// the connection breaks meanwhile. And the node's name.
    fn patience(&self, index: usize) -> (u32, String) {
        let upstream = &self.upstreams[index];
        let Some(served) = &self.clusters[upstream.cluster] else { return (u32::MAX, String::new()) };
        let label = served.cluster.nodes.get(usize::from(upstream.node)).map_or_else(String::new, |n| n.label.clone());
        let timeouts = served.cluster.spec.timeouts;
        (timeouts.reply.map_or(u32::MAX, |reply| wrapping_micros(timeouts.park + reply)), label)
    }
}

/// A reply broke off after its first bytes went out: only closing keeps the next reply from being taken for its rest.
pub(super) fn cut(
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    pool: &mut crate::buffer::BufferPool,
    request: &Pending,
    reason: CloseReason,
) {
    let index = request.client as usize;
    if let Some(client) = clients.get_mut(index).filter(|c| c.tag() == request.tag) {
        client.closing = Some(reason);
        client.replies.clear(pool);
        mark(client, index, dirty);
    }
}

type Parts<'a> = (&'a mut crate::buffer::BufferPool, &'a mut Vec<Option<super::Served>>, usize);

fn core_parts<'a>(
    pool: &'a mut crate::buffer::BufferPool,
    clusters: &'a mut Vec<Option<super::Served>>,
    cluster: usize,
) -> Parts<'a> {
    (pool, clusters, cluster)
}

fn fail(
    (pool, clusters, cluster): Parts<'_>,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    request: &Pending,
    text: &[u8],
) {
    if let Some(served) = &clusters[cluster] {
        served.metrics.command(request.command, true);
    }
    let index = request.client as usize;
    let Some(client) = clients.get_mut(index).filter(|c| c.tag() == request.tag) else { return };
    if let Some(served) = &clusters[cluster] {
        served.metrics.refusal(text);
    }
    if request.part == WHOLE {
        client.replies.deliver(request.sequence, text, &mut client.output, pool);
    } else {
        client.replies.deliver_part(request.sequence, request.part, text, &mut client.output, pool);
    }
    mark(client, index, dirty);
}

pub(super) fn in_doubt(shard: &str, is_read: bool, why: &str) -> Vec<u8> {
    let mut text = Vec::new();
    if is_read {
        write::error(&mut text, &format!("ERR shard {shard} lost twice while reading: {why}"));
    } else {
        write::error(
            &mut text,
            &format!("ERR INDOUBT shard {shard} primary lost, command may have been executed: {why}"),
        );
    }
    text
}
