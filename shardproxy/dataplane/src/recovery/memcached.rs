//! A memcached node that fails: what becomes of its requests, and when it counts as down.

use crate::clients::Clients;
use crate::complete::cut;
use crate::exchange::Entry;
use crate::links::Link;
use crate::metrics::CloseReason;
use crate::turn::Turn;

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
fn is_too_much(link: &mut Link, was_ready: bool, most: u32) -> bool {
    if was_ready && link.exchange.is_empty() {
        return false;
    }
    let trouble = &mut link.trouble;
    trouble.strikes = trouble.strikes.saturating_add(1);
    if was_ready && trouble.strikes > most {
        trouble.relapses = (trouble.relapses + 1).min(MAX_DOUBLINGS);
    }
    trouble.strikes >= most
}

/// The connection is gone. Reads are asked again and what was not sent waits, unless the node now counts as down;
/// writes that were sent are in doubt.
pub fn lost(turn: &mut Turn, clients: &mut Clients, index: usize, before: Before, why: &str) {
    let random = turn.random();
    let way = turn.links[index].way;
    let Some(rule) = turn.cluster(way.cluster).map(|c| c.spec.memcached.on_failure) else { return };
    let label = turn.node_label(way.cluster, way.node).to_owned();
    let link = &mut turn.links[index];
    if is_too_much(link, before.was_ready, rule.failures) {
        if link.count_as_out(true) {
            turn.shared.tell_down();
        }
        let pause = rule.retry * (1 << link.trouble.relapses);
        let jitter = pause * (random % 1000) / 4000; // workers must not knock at once
        link.trouble.retry_at = turn.now + pause + jitter;
    }
    let is_out = link.trouble.is_out || link.is_retired;
    let taken = link.exchange.take();
    for part in taken.parts() {
        let mut request = part.entry;
        if part.is_first && before.was_streaming {
            cut(turn, clients, &request, CloseReason::Cut);
        } else if !is_out && (!part.has_left || request.is_read && !request.is_retry) {
            request.is_retry |= part.has_left;
            turn.links[index].exchange.push_part(request, &part);
        } else if part.has_left {
            let text = format!("node {label} is lost, command may have been executed: {why}");
            answer(turn, clients, &request, &text);
        } else {
            answer(turn, clients, &request, &format!("node {label} is down: {why}; command not executed"));
        }
    }
    turn.settle_link(index);
    if turn.links[index].is_retired {
        turn.remove_link(index);
    }
}

/// Every request that waits has waited too long.
pub fn give_up(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let link = &mut turn.links[index];
    let why = format!("{}; command not executed", link.trouble.why_down);
    let taken = link.exchange.take();
    for part in taken.parts() {
        answer(turn, clients, &part.entry, &why);
    }
    turn.settle_link(index);
}

fn answer(turn: &mut Turn, clients: &mut Clients, request: &Entry, why: &str) {
    let Some(kind) = request.kind() else { return };
    let Some(client) = clients.owed(&request.owed) else { return };
    if let Some(served) = turn.served(client.cluster) {
        served.metrics.command(request.command, true);
    }
    clients.deliver(&mut turn.pool, &request.owed, &kind.failure(why));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::links::{Role, Way};
    use crate::model::{EngineKind, Lane, NO_SLOT};

    #[test]
    fn a_node_that_only_greets_is_down_again_at_its_next_failure() {
        let way = Way { cluster: 0, shard: 0, node: 0, resp: 2, db: 0, lane: Lane::Usual, slot: NO_SLOT };
        let mut link = Link::new(way, Role::Shared, EngineKind::Memcached, Instant::now(), Arc::default());
        assert!(!is_too_much(&mut link, true, 2), "an idle connection was closed");
        link.exchange.push(Entry::nobody(0), b"x");
        let was_ready = [true, true, false, true, true];
        let found = was_ready.map(|was_ready| (is_too_much(&mut link, was_ready, 2), link.trouble.relapses));
        assert_eq!(found, [(false, 0), (true, 0), (true, 0), (true, 1), (true, 2)]);
        (0..9).for_each(|_| assert!(is_too_much(&mut link, true, 2)));
        assert_eq!(link.trouble.relapses, MAX_DOUBLINGS);
    }
}
