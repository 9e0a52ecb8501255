//! A node that fails: what becomes of its requests, when it counts as down, and what it must say to be back.

use std::collections::VecDeque;
use std::mem;

use slab::Slab;

use super::auth;
use super::deliver::{client_of, mark};
use super::kind::Kind;
use crate::buffer::BufferPool;
use crate::client::Client;
use crate::metrics::CloseReason;
use crate::topology::NodeAuth;
use crate::upstream::{Pending, Upstream, WHOLE};
use crate::worker::Core;

/// What a new connection says before requests may leave, and how many replies that brings. Its `version` is also the
/// probe of a node that was down.
pub fn greeting(node_auth: &NodeAuth) -> (Vec<u8>, u8) {
    let login = auth::command(node_auth);
    let replies = if login.is_some() { 2 } else { 1 };
    let mut bytes = login.unwrap_or_default();
    bytes.extend_from_slice(b"version\r\n");
    (bytes, replies)
}

/// What a connection was before it was lost.
#[derive(Clone, Copy)]
pub struct Before {
    pub was_ready: bool,
    pub was_streaming: bool,
}

/// A node that is back and fails again is probed after twice the time, and twice that, up to so many times.
const MAX_DOUBLINGS: u32 = 5;

/// Count a failure; whether the node is down by it. A connection that breaks while nobody waits is none: nodes close idle
/// ones. A greeting is no recovery, only an answer to a client's request is: a node may greet and then say nothing.
fn is_too_much(upstream: &mut Upstream, was_ready: bool, most: u32) -> bool {
    if was_ready && upstream.pending.is_empty() {
        return false;
    }
    upstream.strikes = upstream.strikes.saturating_add(1);
    if was_ready && upstream.strikes > most {
        upstream.relapses = (upstream.relapses + 1).min(MAX_DOUBLINGS);
    }
    upstream.strikes >= most
}

/// The connection is gone. Reads are asked again and what was not sent waits, unless the node now counts as down;
/// writes that were sent are in doubt.
pub fn lost(
    core: &mut Core,
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    index: usize,
    before: Before,
    why: &str,
) {
    let random = core.random();
    let upstream = &mut core.upstreams[index];
    let Some(served) = &core.clusters[upstream.cluster] else { return };
    let rule = served.cluster.spec.memcached.on_failure;
    let label = served.cluster.nodes.get(usize::from(upstream.node)).map_or("", |node| &node.label);
    let label = label.to_owned();
    if is_too_much(upstream, before.was_ready, rule.failures) {
        if upstream.count_as_out(true) {
            core.shared.tell_down();
        }
        let pause = rule.retry * (1 << upstream.relapses);
        let jitter = pause * (random % 1000) / 4000; // workers must not knock at once
        upstream.retry_at = core.now + pause + jitter;
    }
    let is_out = upstream.is_out || upstream.is_retired;
    let (bytes, sent) = upstream.window.take();
    let pending = mem::take(&mut upstream.pending);
    let (mut start, mut kept) = (0, VecDeque::new());
    for (place, mut request) in pending.into_iter().enumerate() {
        let end = start + request.length as usize;
        let was_sent = start < sent;
        if place == 0 && before.was_streaming {
            cut(clients, dirty, &mut core.pool, &request, CloseReason::Cut);
        } else if !is_out && (!was_sent || request.is_read && !request.is_retry) {
            request.is_retry |= was_sent;
            core.upstreams[index].window.sink().extend_from_slice(&bytes[start..end]);
            kept.push_back(request);
        } else if was_sent {
            let text = format!("node {label} is lost, command may have been executed: {why}");
            answer(core, clients, dirty, &request, &text);
        } else {
            answer(core, clients, dirty, &request, &format!("node {label} is down: {why}; command not executed"));
        }
        start = end;
    }
    let upstream = &mut core.upstreams[index];
    upstream.pending = kept;
    let held = upstream.held();
    Core::settle(&mut core.held, &mut upstream.accounted, held);
}

/// Every request that waits has waited too long.
pub fn fail(core: &mut Core, clients: &mut Slab<Client>, dirty: &mut Vec<usize>, index: usize) {
    let upstream = &mut core.upstreams[index];
    let why = format!("{}; command not executed", upstream.why_down);
    upstream.window.take();
    upstream.metrics.queued.set(0);
    for request in mem::take(&mut upstream.pending) {
        answer(core, clients, dirty, &request, &why);
    }
    let upstream = &mut core.upstreams[index];
    let held = upstream.held();
    Core::settle(&mut core.held, &mut upstream.accounted, held);
}

fn answer(core: &mut Core, clients: &mut Slab<Client>, dirty: &mut Vec<usize>, request: &Pending, why: &str) {
    let Some(client) = client_of(clients, request) else { return };
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.command(request.command, true);
    }
    let text = Kind::unpack(request.inner).failure(why);
    if request.part == WHOLE {
        client.replies.deliver(request.sequence, &text, &mut client.output, &mut core.pool);
    } else {
        client.replies.deliver_part(request.sequence, request.part, &text, &mut client.output, &mut core.pool);
    }
    mark(client, request.client as usize, dirty);
}

/// A reply broke off after its first bytes went out, or is too much for its client: only closing keeps the next reply
/// from being taken for its rest.
pub(super) fn cut(
    clients: &mut Slab<Client>,
    dirty: &mut Vec<usize>,
    pool: &mut BufferPool,
    request: &Pending,
    reason: CloseReason,
) {
    if let Some(client) = client_of(clients, request) {
        client.closing = Some(reason);
        client.replies.clear(pool);
        mark(client, request.client as usize, dirty);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_node_that_only_greets_is_down_again_at_its_next_failure() {
        let mut upstream = Upstream::new(0, 0, 0, 2, 0, Instant::now(), Arc::default());
        assert!(!is_too_much(&mut upstream, true, 2), "an idle connection was closed");
        upstream.pending.push_back(Pending::nobody(1, 0));
        let was_ready = [true, true, false, true, true];
        let found = was_ready.map(|was_ready| (is_too_much(&mut upstream, was_ready, 2), upstream.relapses));
        assert_eq!(found, [(false, 0), (true, 0), (true, 0), (true, 1), (true, 2)]);
        (0..9).for_each(|_| assert!(is_too_much(&mut upstream, true, 2)));
        assert_eq!(upstream.relapses, MAX_DOUBLINGS);
    }
}
