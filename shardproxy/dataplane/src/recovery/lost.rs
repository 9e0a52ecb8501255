//! What becomes of requests when their connection breaks, or when they have waited too long.

use std::mem;
use std::time::Duration;

use super::{memcached, parking, waiting as elsewhere};
use crate::clients::Clients;
use crate::complete::{cut, fail, fail_whole, Cure, Unsettled};
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::links::{durable, State, Way};
use crate::metrics::{Class, CloseReason};
use crate::model::wrapping_micros;
use crate::place::{find_lot, is_primary, rest, scripts};
use crate::pubsub;
use crate::shared::Loss;
use crate::tracking;
use crate::turn::{refusal, Reign, Turn};
use crate::waiting;

/// Without a file descriptor a connection is tried again after this, or up to twice this.
const LACKING: Duration = Duration::from_millis(50);
const OUT_OF_FILES: &str = "the proxy has no file descriptor left";

const NO_FILES: Lost = Lost { why: OUT_OF_FILES, was_streaming: false, busy: None };

/// The connection is gone. What was not sent waits for the next one, reads are asked again, writes are in doubt. A node
/// executes nothing of which it has but a part; yet what breaks a second connection half-way may be why it breaks.
pub fn lost(turn: &mut Turn, clients: &mut Clients, index: usize, why: &str) {
    let random = turn.random();
    let Some(link) = turn.links.get_mut(index) else { return };
    if link.trouble.lacks_database {
        return lack_database(turn, clients, index);
    }
    if link.watcher_mut().is_some_and(|watcher| watcher.refusal.is_some()) {
        link.disconnect(); // the node is well, and tells of no changes: whoever waits does so there
        return deaf(turn, clients, index);
    }
    let was_ready = link.state == State::Ready;
    let is_stranger = link.identity.is_stranger;
    if is_stranger {
        link.metrics.strangers.increment();
    } else if was_ready {
        link.metrics.lost.increment();
    } else {
        link.metrics.connect_failures.increment();
    }
    let was_streaming = link.is_streaming;
    let busy = link.trouble.busy.take();
    link.disconnect();
    link.back_off(turn.now, random);
    link.trouble.down_since.get_or_insert(turn.now);
    why.clone_into(&mut link.trouble.why_down);
    turn.links.retrying.push(index);
    let way = turn.links[index].way;
    if is_primary(turn, &way) {
        turn.reign(&way).into_iter().for_each(Reign::forget_refusal);
    }
    turn.tell_lost(index, if is_stranger { Loss::Stranger } else { Loss::Lost });
    let link = &turn.links[index];
    if link.is_subscriber() {
        return pubsub::lost(turn, index);
    }
    if link.is_watcher() {
        return deaf(turn, clients, index);
    }
    if link.is_memcached() {
        let before = memcached::Before { was_ready, was_streaming };
        return memcached::lost(turn, clients, index, before, why);
    }
    let is_leased = link.is_leased();
    lose_awaiting(turn, clients, index);
    if is_leased {
        if !was_ready {
            rest(turn, index);
        }
        return lease_lost(turn, clients, index, &Lost { why, was_streaming, busy });
    }
    shared_lost(turn, clients, index, &Lost { why, was_streaming, busy });
}

/// A connection is gone that tells of changes to keys.
fn deaf(turn: &mut Turn, clients: &mut Clients, index: usize) {
    if turn.links[index].is_feed() {
        tracking::lost(turn, clients, index);
    } else {
        waiting::lost(turn, index);
    }
}

/// How a connection was lost.
struct Lost<'a> {
    why: &'a str,
    was_streaming: bool,
    /// The error that its node answers everything with while it runs a script: so it does what was not sent.
    busy: Option<Box<[u8]>>,
}

/// The engine is well, and has fewer databases than the config says: that is learned, and clients are told what it says.
fn lack_database(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let link = &mut turn.links[index];
    link.disconnect();
    let (way, taken) = (link.way, link.exchange.take());
    if let Some(served) = &mut turn.clusters[way.cluster] {
        served.databases = served.databases.min(way.db);
    }
    for part in taken.parts() {
        fail(turn, clients, way.cluster, &part.entry, texts::NOT_A_DATABASE);
    }
    taken.discard(&mut turn.pool);
    elsewhere::end_lease(turn, clients, index);
    turn.remove_link(index);
}

/// There is no file descriptor to reach the node with. That is our own lack: nobody hears that the node is lost, and what
/// waits for it waits on.
pub fn out_of_files(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let random = turn.random();
    let Some(link) = turn.links.get_mut(index) else { return };
    link.disconnect();
    link.trouble.retry_at = turn.now + LACKING + LACKING * (random % 1000) / 1000;
    link.trouble.down_since.get_or_insert(turn.now);
    OUT_OF_FILES.clone_into(&mut link.trouble.why_down);
    let (way, is_retired) = (link.way, link.is_retired);
    let is_watcher = link.is_watcher();
    let (is_subscriber, is_leased, is_memcached) = (link.is_subscriber(), link.is_leased(), link.is_memcached());
    turn.links.retrying.push(index);
    turn.shared.lack(format!("a connection to node {}", turn.node_label(way.cluster, way.node)));
    if is_subscriber {
        pubsub::lost(turn, index);
    } else if is_watcher {
        deaf(turn, clients, index);
    } else if is_leased {
        rest(turn, index);
        lease_lost(turn, clients, index, &NO_FILES);
    } else if is_retired && !is_memcached {
        shared_lost(turn, clients, index, &NO_FILES); // what waits here goes elsewhere
    }
}

fn shared_lost(turn: &mut Turn, clients: &mut Clients, index: usize, lost: &Lost) {
    let &Lost { why, was_streaming, .. } = lost;
    let link = &mut turn.links[index];
    let taken = link.exchange.take();
    let way = link.way;
    // what was refused before waits in a lot, and the rest goes behind it
    let stays = !link.is_retired && is_primary(turn, &way) && find_lot(turn, &way).is_none();
    let shard = turn.label(way.cluster, way.shard);
    let (patience, label) = patience(turn, &way);
    let mut moved = Vec::new();
    for part in taken.parts() {
        let mut request = part.entry;
        let may_go_again = !part.has_left || !request.is_retry && (request.is_read || !part.is_sent);
        let may_repeat = !request.is_nobodys() && may_go_again;
        let is_late = turn.micros.wrapping_sub(request.since) > patience;
        if part.is_sent && part.is_first && was_streaming {
            cut(turn, clients, &request, CloseReason::Cut);
        } else if !may_repeat || is_late {
            let is_unknown = part.is_sent && !may_repeat;
            let text = if is_unknown { in_doubt(&shard, request.is_read, why) } else { refusal(&shard, &label, why) };
            fail_whole(turn, clients, way.cluster, (&request, part.bytes), &text);
        } else if let Some(text) = lost.busy.as_deref().filter(|_| stays) {
            fail_whole(turn, clients, way.cluster, (&request, part.bytes), text);
        } else {
            if part.has_left {
                turn.looks.timing.sent_again(&request);
                request.since = turn.micros; // it has waited for its reply, and waits for its node once
            }
            request.is_retry |= part.has_left;
            let has_moved = || turn.cluster(way.cluster).is_some_and(|c| c.moved_to(request.slot, way.shard).is_some());
            if stays && !has_moved() {
                scripts::precede_all(turn, index, part.bytes);
                turn.links[index].exchange.push_part(request, &part);
            } else {
                moved.push(Unsettled { request, bytes: part.body(), cure: Cure::Shard });
            }
        }
    }
    taken.discard(&mut turn.pool);
    turn.settle_link(index);
    let link = &turn.links[index];
    let is_over = link.is_retired && link.exchange.is_empty();
    parking::replace(turn, clients, way, moved);
    if is_over {
        turn.remove_link(index);
    }
}

/// How long a request may be under way, microseconds: it waits once for its node, and once for its reply, however often
/// the connection breaks meanwhile. And the node's name.
fn patience(turn: &Turn, way: &Way) -> (u32, String) {
    let Some(cluster) = turn.cluster(way.cluster) else { return (u32::MAX, String::new()) };
    let timeouts = cluster.spec.timeouts;
    let replied = |reply: Duration| wrapping_micros(timeouts.park + reply.max(timeouts.slow));
    let patience = timeouts.reply.map_or(u32::MAX, replied);
    (patience, turn.node_label(way.cluster, way.node).to_owned())
}

/// Writes the primary has, and nobody knows whether its replicas do.
fn lose_awaiting(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let link = &mut turn.links[index];
    let Way { cluster, shard, .. } = link.way;
    let awaiting = link.votes.take();
    let wanted = turn.cluster(cluster).and_then(|c| c.terms_of(shard)).map_or(0, |terms| terms.wanted);
    for held in awaiting {
        fail(turn, clients, cluster, &held.request, &durable::lost(wanted));
    }
}

/// A connection of a client's own is gone: what it watched is forgotten. What waited there waits elsewhere if it was
/// not sent or only reads, else it is in doubt.
fn lease_lost(turn: &mut Turn, clients: &mut Clients, index: usize, lost: &Lost) {
    let &Lost { why, was_streaming, .. } = lost;
    let link = &mut turn.links[index];
    let way = link.way;
    let taken = link.exchange.take();
    let waited = link.leased_mut().and_then(|leased| leased.waiting.take());
    let shard = turn.label(way.cluster, way.shard);
    let mut unsettled = None;
    for part in taken.parts() {
        let request = part.entry;
        if part.is_sent && part.is_first && was_streaming {
            cut(turn, clients, &request, CloseReason::Cut);
        } else if let Some(text) = lost.busy.as_deref().filter(|_| !part.has_left) {
            fail_whole(turn, clients, way.cluster, (&request, part.bytes), text);
        } else if request.class == Class::Block && (!part.is_sent || request.is_read) {
            unsettled = Some(Unsettled { request, bytes: part.body(), cure: Cure::Shard });
        } else {
            let text = if part.is_sent { in_doubt(&shard, request.is_read, why) } else { refusal(&shard, "", why) };
            fail_whole(turn, clients, way.cluster, (&request, part.bytes), &text);
        }
    }
    elsewhere::end_lease(turn, clients, index);
    turn.remove_link(index);
    if let Some(Unsettled { request, bytes, .. }) = unsettled {
        elsewhere::wait_again(turn, clients, &request, waited, &bytes);
    }
}

/// Requests have waited as long as they may: they were not executed, and their clients are told so.
pub fn give_up(turn: &mut Turn, clients: &mut Clients, index: usize) {
    if turn.links[index].is_memcached() {
        return memcached::give_up(turn, clients, index);
    }
    let link = &mut turn.links[index];
    let taken = link.exchange.take();
    let (way, why) = (link.way, mem::take(&mut link.trouble.why_down));
    let text = refusal(&turn.label(way.cluster, way.shard), turn.node_label(way.cluster, way.node), &why);
    turn.links[index].trouble.why_down = why;
    for part in taken.parts() {
        fail_whole(turn, clients, way.cluster, (&part.entry, part.bytes), &text);
    }
    taken.discard(&mut turn.pool);
    turn.settle_link(index);
}

pub fn in_doubt(shard: &str, is_read: bool, why: &str) -> Vec<u8> {
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
