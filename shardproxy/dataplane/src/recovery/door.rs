//! Requests that their shards hold: who waits at the door, and whether all that came before has been answered.
//!
//! ```text
//!   epoch with a hold ─> nothing of it leaves any more ─> what waits at engines is called back ─> nothing is under way: settled
//!   another epoch     ─> all who wait are looked at anew
//! ```

use super::waiting;
use crate::clients::{Clients, Flow};
use crate::exchange::Entry;
use crate::links::Link;
use crate::turn::Turn;

/// Another epoch of the cluster: who waited for one looks whether it is served now.
pub fn open(turn: &mut Turn, clients: &mut Clients, cluster: usize) {
    for ticket in turn.door.open(cluster) {
        call(clients, ticket);
    }
    call_back(turn, clients, cluster);
}

fn call(clients: &mut Clients, ticket: (usize, u32)) {
    if let Some(client) = clients.tagged(ticket).filter(|client| client.flow == Flow::Held) {
        client.flow = Flow::Open;
        clients.look_again(ticket.0);
    }
}

/// Who has waited as long as it may is told so, and whoever has gone waits no more. What came to an engine's wait after it was
/// called back is called once more.
pub fn tick(turn: &mut Turn, clients: &mut Clients) {
    let now = turn.now;
    turn.settling.retain(|settling| settling.until > now);
    if !turn.door.is_empty() {
        let mut waiting = turn.door.take();
        waiting.retain(|&(cluster, ticket)| {
            let Some(client) = clients.tagged(ticket).filter(|client| client.flow == Flow::Held) else { return false };
            let park = turn.cluster(cluster).map(|cluster| cluster.spec.timeouts.park);
            let is_over = park.is_none_or(|park| client.hold.as_deref().is_none_or(|hold| hold.has_lasted(now, park)))
                || client.waiting.as_deref().is_some_and(|waiting| waiting.is_over(now));
            if is_over {
                call(clients, ticket);
            }
            !is_over
        });
        turn.door.put_back(waiting);
    }
    for cluster in 0..turn.clusters.len() {
        call_back(turn, clients, cluster);
    }
}

/// What waits at an engine and is held is ended there, unexecuted: it waits here.
fn call_back(turn: &mut Turn, clients: &mut Clients, cluster: usize) {
    let Some(served) = turn.served(cluster).filter(|served| served.cluster.is_held) else { return };
    let described = served.cluster.clone();
    waiting::call_back(turn, clients, cluster, |link, request| {
        described.hold_of(link.way.shard).is_some_and(|hold| hold.concerns(request.slot, request.is_read))
    });
}

/// Tell those who wait for it that nothing is under way that is held.
pub fn settle(turn: &mut Turn) {
    if turn.settling.is_empty() {
        return;
    }
    for settling in std::mem::take(&mut turn.settling) {
        if is_settled(turn, settling.cluster) {
            let _ = settling.settled.try_send(()); // whoever asked may have given up
        } else {
            turn.settling.push(settling);
        }
    }
}

/// Whether nothing is under way, or parked, that the cluster holds by now: it has all been answered. Transactions count as
/// what may write, and what names no keys as what may have any.
fn is_settled(turn: &Turn, index: usize) -> bool {
    let Some(cluster) = turn.cluster(index).filter(|cluster| cluster.is_held) else { return true };
    if turn.offloaded.may_change(index) {
        return false;
    }
    let is_under_way = |link: &Link| {
        let Some(hold) = cluster.hold_of(link.way.shard) else { return false };
        let is_held = |entry: &Entry| !entry.is_nobodys() && hold.concerns(entry.slot, !entry.is_durable());
        link.exchange.newest_first().any(is_held)
    };
    !turn.links.iter().any(|(_, link)| link.way.cluster == index && is_under_way(link))
}
