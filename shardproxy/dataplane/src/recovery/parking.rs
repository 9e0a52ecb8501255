//! Another way for requests that were not executed: reads go to another node, the rest waits for its shard.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::redirect::{self, turn_aside, Ahead};
use crate::clients::Clients;
use crate::complete::{fail, fail_whole, whose, Cure, Overtaker, Unsettled, Whose, BECAUSE};
use crate::dialect::texts;
use crate::exchange::{Body, Entry};
use crate::links::{Link, Way, NO_NODE};
use crate::model::{wrapping_micros, NO_SLOT};
use crate::place::{find_lot, is_primary, lot, primary, reader, scripts, Unplaced};
use crate::turn::{refusal, Turn};

/// How long a refused request waits before it asks the same primary again.
pub const RETRY: Duration = Duration::from_millis(100);
/// How long a replica that refused a read is not asked again.
const REST: Duration = Duration::from_millis(500);

/// Find another way for requests that were not executed, in their order.
pub fn replace(turn: &mut Turn, clients: &mut Clients, way: Way, requests: Vec<Unsettled>) {
    turn.spend(requests.len());
    let mut shards = vec![way.shard];
    for Unsettled { mut request, bytes, .. } in requests {
        let Some(cluster) = turn.cluster(way.cluster) else { return };
        let owner = cluster.moved_to(request.slot, way.shard);
        let way = owner.map_or(way, |shard| Way { shard, node: NO_NODE, ..way });
        if !shards.contains(&way.shard) {
            shards.push(way.shard);
        }
        let shard = cluster.shards.get(usize::from(way.shard));
        let was_replica = shard.is_some_and(|s| s.nodes.contains(&way.node) && s.primary != Some(way.node));
        let target = if shard.is_none() {
            Err(refusal(&way.shard.to_string(), "", "the shard is no longer there"))
        } else if request.is_read && was_replica {
            request.is_retry = true;
            reader(turn, way.cluster, way.shard, way.speech(), false, Some(way.node)).or_else(Unplaced::or_in)
        } else {
            // what waits for its slot already it does not pass
            Ok(find_lot(turn, &Way { slot: request.slot, ..way }).unwrap_or_else(|| lot(turn, way)))
        };
        match target {
            Ok(target) if turn.links[target].is_lot() => redirect::park(turn, target, request, bytes),
            Ok(target) => {
                scripts::precede_all(turn, target, &bytes);
                turn.links[target].exchange.push_body(request, bytes);
                turn.links.mark(target);
            }
            Err(text) => fail_whole(turn, clients, way.cluster, (&request, &bytes), &text),
        }
    }
    for shard in shards {
        if let Some(lot) = find_lot(turn, &Way { shard, slot: NO_SLOT, ..way }) {
            drain(turn, clients, lot, None);
        }
    }
}

/// Send a request that was taken already to the primary of now, behind what waits for it.
pub fn send_taken(turn: &mut Turn, clients: &mut Clients, way: Way, request: Entry, bytes: Body) {
    let why =
        turn.served(way.cluster).filter(|_| request.is_durable()).and_then(|served| served.why_read_only(way.shard));
    let waits = find_lot(turn, &Way { slot: request.slot, ..way });
    let target = match (why, waits) {
        (Some(text), _) => Err(text),
        (None, Some(lot)) => Ok(lot),
        (None, None) => primary(turn, way.cluster, way.shard, way.speech()).or_else(Unplaced::or_in),
    };
    match target {
        Ok(target) if turn.links[target].is_lot() => redirect::park(turn, target, request, bytes),
        Ok(target) => {
            turn.links[target].exchange.push_body(request, bytes);
            turn.links.mark(target);
        }
        Err(text) => fail(turn, clients, way.cluster, &request, &text),
    }
}

/// Let out what waits for a primary that is known and up. Called after every epoch, and by the tick.
pub fn drain_lots(turn: &mut Turn, clients: &mut Clients, cluster: usize) {
    let Some(served) = turn.served(cluster).filter(|served| !served.lots.is_empty()) else { return };
    let lots: Vec<usize> = served.lots.values().copied().collect();
    turn.spend(lots.len());
    let ahead = Ahead::of(turn, &lots);
    for lot in lots {
        drain(turn, clients, lot, Some(&ahead));
    }
}

/// Let out what waits in one lot. `ahead`: whose requests are under way, if it may be a slot's.
fn drain(turn: &mut Turn, clients: &mut Clients, lot: usize, ahead: Option<&Ahead>) {
    let cluster = turn.links[lot].way.cluster;
    expire(turn, clients, lot);
    let Some(served) = &mut turn.clusters[cluster] else { return };
    let link = &mut turn.links[lot];
    let mut has_moved = false;
    if link.way.slot != NO_SLOT {
        let shard = served.cluster.shard_of(link.way.slot);
        has_moved = std::mem::replace(&mut link.way.shard, shard) != shard;
    }
    let way = link.way;
    let is_empty = link.exchange.is_empty() && link.ahead().is_none();
    if turn.now < link.trouble.retry_at && !is_empty {
        return; // the engine refused a moment ago
    }
    let is_refused = served.why_refused(way.shard).is_some();
    let primary = served.cluster.shards.get(usize::from(way.shard)).and_then(|s| s.primary);
    let known = primary.and_then(|node| served.nodes.get(usize::from(node))?.link(way.speech()));
    let is_undecided = known.is_some_and(|link| turn.links[link].redo.left > 0);
    if (primary.is_none() && !is_refused || is_undecided) && !is_empty {
        return; // or it has still to say whether it executed what was sent behind
    }
    let goes_ahead = way.slot != NO_SLOT && !is_empty && (!has_moved || turn.links[lot].ahead().is_some());
    if goes_ahead && !ahead.is_some_and(|ahead| redirect::sends_ahead(turn, clients, lot, ahead)) {
        return;
    }
    let Some(served) = &mut turn.clusters[cluster] else { return };
    served.close_lot(&way);
    let mut lot = turn.links.remove(lot);
    turn.release(&mut lot);
    send_parked(turn, clients, way, &mut lot);
}

pub fn send_parked(turn: &mut Turn, clients: &mut Clients, way: Way, lot: &mut Link) {
    if lot.exchange.is_empty() {
        return;
    }
    if turn.cluster(way.cluster).is_none_or(|cluster| usize::from(way.shard) >= cluster.shards.len()) {
        let text = refusal(&way.shard.to_string(), "", "the shard is no longer there");
        for part in lot.exchange.take().parts() {
            fail_whole(turn, clients, way.cluster, (&part.entry, part.bytes), &text);
        }
        return;
    }
    if let Some(text) = turn.served(way.cluster).and_then(|served| served.why_read_only(way.shard)) {
        for request in lot.exchange.retain_unsent(|request| !request.is_durable()) {
            fail(turn, clients, way.cluster, &request, &text);
        }
    }
    let databases = turn.served(way.cluster).map_or(1, |served| served.databases);
    let target = if way.db < databases {
        primary(turn, way.cluster, way.shard, way.speech()).or_else(Unplaced::or_in)
    } else {
        Err(texts::NOT_A_DATABASE.to_vec()) // nobody would find there what it writes
    };
    match target {
        Ok(target) => {
            turn.links[target].exchange.append(&mut lot.exchange);
            turn.links.mark(target);
        }
        Err(text) => {
            for part in lot.exchange.take().parts() {
                fail_whole(turn, clients, way.cluster, (&part.entry, part.bytes), &text);
            }
        }
    }
}

/// Requests that have waited as long as they may get their answer.
fn expire(turn: &mut Turn, clients: &mut Clients, lot: usize) {
    let Way { cluster, shard, .. } = turn.links[lot].way;
    let Some(park) = turn.cluster(cluster).map(|c| c.spec.timeouts.park) else { return };
    let park = wrapping_micros(park);
    loop {
        let exchange = &mut turn.links[lot].exchange;
        let is_over = exchange.head().is_some_and(|r| turn.micros.wrapping_sub(r.since) > park);
        if !is_over {
            return;
        }
        let bytes = exchange.head_body();
        let Some(request) = exchange.pop_unsent() else { return };
        turn.links.mark(lot); // it is counted anew
        let text = waited_in_vain(turn, cluster, shard, &request);
        fail_whole(turn, clients, cluster, (&request, &bytes), &text);
    }
}

/// As an engine says it: of a transaction EXEC tells why.
fn waited_in_vain(turn: &Turn, cluster: usize, shard: u16, request: &Entry) -> Vec<u8> {
    let text = turn.waited_in_vain(cluster, shard, request.is_read);
    match text.strip_prefix(b"-") {
        Some(why) if request.is_exec() && !why.starts_with(b"TRYAGAIN") => [BECAUSE, why].concat(),
        _ => text,
    }
}

/// An engine refused requests unexecuted: they wait, and are tried again there or on the next primary.
pub fn park_refused(turn: &mut Turn, clients: &mut Clients, index: usize, refused: Vec<Unsettled>) {
    let (refused, aside) = refused.into_iter().partition::<Vec<_>, _>(|unsettled| unsettled.cure == Cure::Shard);
    if !aside.is_empty() {
        turn_aside(turn, index, aside);
    }
    if refused.is_empty() {
        return;
    }
    let way = turn.links[index].way;
    let is_primary = is_primary(turn, &way);
    if !is_primary {
        turn.links[index].trouble.rests_until = turn.now + REST; // it loads, or has lost its primary
    }
    if is_primary && find_lot(turn, &way).is_none() {
        let retry_at = turn.now + RETRY;
        let lot = lot(turn, way);
        turn.links[lot].trouble.retry_at = retry_at;
    }
    replace(turn, clients, way, refused);
}

/// To try these again would turn their client's order round: they are answered as not executed, be they among those just
/// refused or in the lot already.
pub fn drop_overtaken(
    turn: &mut Turn,
    clients: &mut Clients,
    index: usize,
    by: &[Overtaker],
    refused: &mut Vec<Unsettled>,
) {
    let way = turn.links[index].way;
    let is_clustered = turn.cluster(way.cluster).is_some_and(|cluster| cluster.spec.clustered);
    let latest = latest(by, is_clustered);
    turn.spend(by.len() + refused.len());
    let is_overtaken = |request: &Entry| {
        let whose = whose(request, is_clustered);
        latest.get(&whose).is_some_and(|&sequence| is_later(sequence, request.owed.sequence))
    };
    let mut dropped: Vec<Entry> = Vec::new();
    refused.retain(|unsettled| {
        let is_overtaken = is_overtaken(&unsettled.request);
        if is_overtaken {
            dropped.push(unsettled.request);
        }
        !is_overtaken
    });
    let slots: HashSet<u16> = by.iter().map(Overtaker::slot).chain([NO_SLOT]).collect();
    for slot in slots {
        let Some(lot) = find_lot(turn, &Way { slot, ..way }) else { continue };
        turn.spend(turn.links[lot].exchange.len());
        dropped.extend(turn.links[lot].exchange.retain_unsent(|request| !is_overtaken(request)));
        turn.links.mark(lot); // it is counted anew
    }
    let text = overtaken(&turn.label(way.cluster, way.shard));
    for request in dropped {
        fail(turn, clients, way.cluster, &request, &text);
    }
}

/// Of each client the last of its writes that were executed.
fn latest(by: &[Overtaker], is_clustered: bool) -> HashMap<Whose, u32> {
    let mut latest = HashMap::new();
    for one in by {
        let last = latest.entry(one.whose(is_clustered)).or_insert(one.sequence());
        if is_later(one.sequence(), *last) {
            *last = one.sequence();
        }
    }
    latest
}

const fn is_later(sequence: u32, than: u32) -> bool {
    sequence.wrapping_sub(than) as i32 > 0
}

fn overtaken(shard: &str) -> Vec<u8> {
    format!("-TRYAGAIN shard {shard} refused the command and took a later one, command not executed\r\n").into_bytes()
}
