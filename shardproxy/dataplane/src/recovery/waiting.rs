//! Clients whose command waits for a connection of its own, or at an engine, when that is no use any more.

use std::time::Duration;

use super::lost::give_up;
use crate::clients::{Client, Clients, Flow, Waiting};
use crate::complete::{fail, Cure, Unsettled};
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::exchange::Entry;
use crate::links::{Link, State};
use crate::metrics::Class;
use crate::place::{link_beside, next_queued};
use crate::turn::{Queued, Turn};

/// A deposed primary that is alive ends the waits of its clients within this; whoever still waits then is in doubt.
pub const GRACE: Duration = Duration::from_millis(500);

/// Let those try again that found no primary, and those whose own timeout is over get their answer. Who waits no more
/// leaves its place in a queue.
pub fn tick(turn: &mut Turn, clients: &mut Clients) {
    turn.later.clients.append(&mut turn.later.unplaced);
    let now = turn.now;
    for node in turn.clusters.iter_mut().flatten().flat_map(|served| &mut served.nodes) {
        node.queue.retain(|&Queued { ticket, .. }| {
            let Some(client) = clients.tagged(ticket).filter(|c| c.flow == Flow::Queued) else { return false };
            let is_over = client.waiting.as_deref().is_some_and(|waiting| waiting.is_over(now));
            if is_over {
                turn.later.clients.push(ticket);
            }
            !is_over
        });
    }
    share_out(turn);
}

/// Other pools, and other workers, may have left room for connections that some of this worker's pools may open. And whoever
/// was told of a free one may not have taken it: its time was over, or it waits for another pool by now.
fn share_out(turn: &mut Turn) {
    let mut room = turn.shared.dedicated.room();
    for (cluster, served) in turn.clusters.iter().enumerate() {
        let Some(served) = served else { continue };
        let limit = served.cluster.spec.limits.dedicated;
        for (number, node) in served.nodes.iter().enumerate().filter(|(_, node)| !node.queue.is_empty()) {
            // whoever was told in this very turn looks in the next
            let free = node.idle.iter().filter(|&&idle| turn.links[idle].wanted < turn.now).count();
            let free = free.min(node.queue.len());
            let more = limit.saturating_sub(node.dedicated).min(node.queue.len() - free).min(room);
            room -= more;
            turn.later.pools.extend(std::iter::repeat_n((cluster, number), free + more));
        }
    }
}

/// A command that was not executed, and that its engine will not execute: it looks for another connection, and is
/// told to wait for what is left of its time.
pub fn wait_again(turn: &mut Turn, clients: &mut Clients, request: &Entry, waiting: Option<Waiting>, bytes: &[u8]) {
    let (Some(client), Some(mut waiting)) = (clients.owed(&request.owed), waiting) else { return };
    if client.closing.is_some() {
        let cluster = client.cluster; // nothing of it is served any more
        return fail(turn, clients, cluster, request, texts::CLOSING);
    }
    waiting.returned(turn.now);
    client.take_back(request.owed.sequence, bytes);
    client.waiting = Some(Box::new(waiting));
    client.flow = Flow::Queued;
    turn.settle_client(client);
    turn.later.unplaced.push(client.ticket());
}

/// An engine has refused or ended a wait, and closes the connection or is of no use: leave it.
pub fn waits_elsewhere(turn: &mut Turn, clients: &mut Clients, index: usize, unsettled: &Unsettled) {
    let Unsettled { request, bytes, .. } = unsettled;
    let waiting = turn.links[index].leased_mut().and_then(|leased| leased.waiting.take());
    end_lease(turn, clients, index);
    let mut is_unused = false; // and given back
    if let Some(transaction) = clients.owed(&request.owed).and_then(|client| client.transaction.as_deref_mut()) {
        is_unused = request.class != Class::Block && transaction.is_first_watch;
        transaction.watch_lost &= !is_unused;
    }
    if !is_unused {
        turn.remove_link(index);
    }
    wait_again(turn, clients, request, waiting, bytes);
}

/// The connection is its client's no more, and what it watched there is forgotten.
pub fn end_lease(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let Some(ticket) = turn.links[index].leased_mut().and_then(|leased| leased.owner.take()) else { return };
    let Some(client) = clients.tagged(ticket) else { return };
    client.lease = None;
    if let Some(transaction) = client.transaction.as_deref_mut().filter(|t| t.is_watching) {
        transaction.is_watching = false;
        transaction.watch_lost = true;
    }
}

/// Give a deposed primary time to say that a write which waits there is not executed; whether there is such a one.
/// Its reply would be of an older epoch: it acknowledges nothing.
pub fn is_given_grace(turn: &mut Turn, index: usize) -> bool {
    let link = &mut turn.links[index];
    let is_up = link.is_leased() && link.state == State::Ready && !link.is_streaming;
    let is_waiting_write = link.exchange.head().is_some_and(|r| r.class == Class::Block && !r.is_read);
    if !is_up || !is_waiting_write || !link.exchange.unsent().is_empty() {
        return false;
    }
    link.redo.left = 1; // its reply is looked at
    let until = turn.now + GRACE;
    link.deposed.get_or_insert(until);
    true
}

/// Whether a client's command is neither here nor at an engine: it waits for a connection, or its shard holds it.
const fn is_away(flow: Flow) -> bool {
    matches!(flow, Flow::Queued | Flow::Held)
}

/// End a client's wait, here or at its engine; whether it waits.
pub fn unblock(turn: &mut Turn, clients: &mut Clients, id: u64, with_error: bool) -> bool {
    let Some(client) = clients.place_of(id).and_then(|place| clients.get_mut(place)) else { return false };
    let ticket = client.ticket();
    if let Some(waiting) = client.waiting.as_deref_mut().filter(|w| is_away(client.flow) && !w.is_watch) {
        waiting.unblocked = Some(with_error);
        turn.later.clients.push(ticket);
        return true;
    }
    let Some(leased) = client.lease.map(|l| l as usize) else { return false };
    if !has_left(&turn.links[leased]) {
        if let Some(waiting) = turn.links[leased].leased_mut().and_then(|leased| leased.waiting.as_mut()) {
            waiting.unblocked = Some(with_error);
        }
        return take_back(turn, clients, leased);
    }
    end_at_engine(turn, leased, with_error)
}

/// Slots have moved: whoever waits for a key at an engine may wait where nobody adds to it any more. It is served again. So is
/// everybody where several shards have become of one (`has_grown`): who waits for keys of several slots is told.
pub fn look_again(turn: &mut Turn, clients: &mut Clients, cluster: usize, has_grown: bool) {
    let Some(described) = turn.served(cluster).map(|served| served.cluster.clone()) else { return };
    call_back(turn, clients, cluster, |link, request| {
        has_grown || described.spec.clustered || described.moved_to(request.slot, link.way.shard).is_some()
    });
}

/// What waits at engines and is like that is served again: they end it, or it has not left yet.
pub fn call_back(turn: &mut Turn, clients: &mut Clients, cluster: usize, is_like: impl Fn(&Link, &Entry) -> bool) {
    let waits = |(_, link): &(usize, &Link)| {
        let is_waiting =
            link.exchange.head().is_some_and(|request| request.class == Class::Block && is_like(link, request));
        link.way.cluster == cluster && link.owner().is_some() && is_waiting
    };
    let waiting: Vec<usize> = turn.links.iter().filter(waits).map(|(index, _)| index).collect();
    for index in waiting {
        if !has_left(&turn.links[index]) {
            take_back(turn, clients, index);
            continue;
        }
        let is_told = end_at_engine(turn, index, true);
        if let Some(leased) = turn.links[index].leased_mut() {
            leased.moves |= is_told;
        }
    }
}

/// Whether an engine may know of what waits on the connection. It does not before it has greeted, say.
fn has_left(link: &Link) -> bool {
    link.exchange.is_empty() || link.exchange.is_in_flight()
}

/// What was to wait on a connection, and has not left yet, is served again; whether it is.
fn take_back(turn: &mut Turn, clients: &mut Clients, leased: usize) -> bool {
    let taken = turn.links[leased].exchange.take_unsent(|request| request.class == Class::Block);
    let Some((request, bytes)) = taken.into_iter().next() else { return false };
    waits_elsewhere(turn, clients, leased, &Unsettled { request, bytes, cure: Cure::Shard });
    true
}

/// Have an engine end what waits there on a connection; whether it is told to.
fn end_at_engine(turn: &mut Turn, leased: usize, with_error: bool) -> bool {
    let link = &turn.links[leased];
    let engine_id = link.leased().map_or(0, |leased| leased.engine_id);
    if link.exchange.is_empty() || engine_id == 0 {
        return false;
    }
    // to that very node, and behind nothing that waits for its shard: elsewhere the id is another client's
    let Some(link) = link_beside(turn, leased) else { return false };
    let how: &[u8] = if with_error { b"ERROR" } else { b"TIMEOUT" };
    turn.links[link].exchange.push_with(Entry::nobody(turn.micros), |sink| {
        write::command(sink, &[b"CLIENT", b"UNBLOCK", engine_id.to_string().as_bytes(), how]);
    });
    turn.links.mark(link);
    if let Some(leased) = turn.links[leased].leased_mut() {
        leased.is_altered = true;
    }
    true
}

/// Close leased connections whose client has gone, and those nobody needs to hear, and let clients that waited for one try again.
pub fn settle(turn: &mut Turn, clients: &mut Clients) {
    while let Some(index) = turn.later.retire.pop() {
        // another may have taken its place in this very turn
        let is_over = |link: &Link| link.is_leased() && link.owner().is_none() || link.is_feed() && link.is_retired;
        if turn.links.get(index).is_some_and(is_over) {
            give_up(turn, clients, index);
            turn.remove_link(index);
        }
    }
    for queued in std::mem::take(&mut turn.later.clients) {
        wake(clients, queued);
    }
    while let Some(pool) = turn.later.pools.pop() {
        while let Some(queued) = next_queued(turn, pool) {
            if wake(clients, queued) {
                break; // whoever has gone meanwhile needs no connection
            }
        }
    }
}

/// Let a client that waited for a connection try again; whether it still waits.
fn wake(clients: &mut Clients, ticket: (usize, u32)) -> bool {
    let waits = |c: &&mut Client| c.flow == Flow::Queued || c.flow == Flow::Held && c.waiting.is_some();
    let Some(client) = clients.tagged(ticket).filter(waits) else { return false };
    client.flow = Flow::Open;
    clients.look_again(ticket.0);
    true
}
