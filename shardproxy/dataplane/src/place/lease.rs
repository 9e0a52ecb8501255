//! Connections of a client's own, while it is blocked or watches: from a bounded pool per node, with a queue beyond it. All
//! pools together have no more than there are file descriptors for.

use std::collections::VecDeque;
use std::time::Duration;

use super::{least_busy, NO_CLUSTER};
use crate::clients::{Client, Flow};
use crate::dialect::texts;
use crate::links::{Leased, Link, Role, State, Way};
use crate::metrics::Class;
use crate::model::{Lane, NO_SLOT};
use crate::turn::{Queued, Tagged, Turn};

/// Clients that wait for a connection of one pool: more than a worker has of them, unless something is wrong.
const QUEUED: usize = 4096;
/// A node whose pool could not connect is not tried again for so long.
const REST: Duration = Duration::from_millis(100);

/// What a request for a connection of its own comes to.
pub enum Lease {
    Held(usize),
    /// The pool is used up: the client is queued for the next free one.
    Wait,
    /// There is no primary, or none that can be reached.
    Later,
    Refused(Vec<u8>),
}

/// A connection of a client's own to the primary of a shard, or for what is read to a replica, from the node's bounded pool.
/// `number`: its place among those that wait for one. Whoever looks in vain, or was asked for elsewhere, has it again.
pub fn lease(
    turn: &mut Turn,
    client: &mut Client,
    (shard, number): (u16, u64),
    is_read: bool,
    on_replica: bool,
) -> Lease {
    if let Some(text) = turn.served(client.cluster).filter(|_| !is_read).and_then(|served| served.why_read_only(shard))
    {
        return Lease::Refused(text);
    }
    if let Some(held) = client.lease {
        return Lease::Held(held as usize);
    }
    let replica = if on_replica { least_busy(turn, client.cluster, shard, client.speech(), true, None) } else { None };
    let Some(served) = &mut turn.clusters[client.cluster] else { return Lease::Refused(NO_CLUSTER.to_vec()) };
    if client.db >= served.databases {
        return Lease::Refused(texts::NOT_A_DATABASE.to_vec());
    }
    let Some(node) = replica.or(served.cluster.shards[usize::from(shard)].primary) else {
        return served.why_refused(shard).map_or(Lease::Later, Lease::Refused);
    };
    let place = &mut served.nodes[usize::from(node)];
    if place.rests_until > turn.now {
        return Lease::Later;
    }
    let ahead = before(&place.queue, number);
    let has_room = place.dedicated < served.cluster.spec.limits.dedicated;
    let idle = place.idle.iter().position(|&i| {
        let way = &turn.links[i].way;
        ahead == 0 && way.resp == client.resp && way.db == client.db
    });
    let may_open = ahead == 0 && idle.is_none() && has_room;
    let permit = if may_open { turn.shared.dedicated.take() } else { None };
    let leased = match (idle, permit) {
        (Some(at), _) => place.idle.swap_remove(at),
        (None, Some(permit)) => {
            place.dedicated += 1;
            let engine = served.cluster.spec.engine;
            let Client { cluster, resp, db, .. } = *client;
            let way = Way { cluster, shard, node, resp, db, lane: Lane::Usual, slot: NO_SLOT };
            let role = Role::Leased(Box::new(Leased::with(permit)));
            turn.links.insert(Link::new(way, role, engine, turn.now, place.metrics.clone()))
        }
        (None, None) => {
            if ahead > 0 && (has_room || !place.idle.is_empty()) {
                turn.later.pools.push((client.cluster, usize::from(node))); // who came before has it
            } else if let Some(other) = place.idle.pop() {
                turn.later.retire.push(other); // of another RESP version or database: it makes room
            }
            let is_queued = enqueue(&mut place.queue, Queued { ticket: client.ticket(), number });
            return if is_queued { Lease::Wait } else { Lease::Refused(texts::TOO_MANY_QUEUED.to_vec()) };
        }
    };
    if let Some(lease) = turn.links[leased].leased_mut() {
        lease.owner = Some(client.ticket());
    }
    client.lease = Some(leased as u32);
    Lease::Held(leased)
}

/// How many of them came earlier.
fn before(queue: &VecDeque<Queued>, number: u64) -> usize {
    queue.partition_point(|other| other.number < number)
}

/// Whether it has its place. Who comes last is refused where many wait; whoever looked in vain has its place again, so that
/// the oldest is not the one who goes.
fn enqueue(queue: &mut VecDeque<Queued>, queued: Queued) -> bool {
    let ahead = before(queue, queued.number);
    let has_room = ahead < QUEUED;
    if has_room {
        queue.insert(ahead, queued);
    }
    has_room
}

/// Its node cannot be connected to: nobody tries for a moment.
pub fn rest(turn: &mut Turn, index: usize) {
    let way = turn.links[index].way;
    let served = turn.clusters[way.cluster].as_mut();
    if let Some(place) = served.and_then(|s| s.nodes.get_mut(usize::from(way.node))) {
        place.rests_until = turn.now + REST;
    }
}

/// Whether the client has gone while it waits at an engine, or for a connection to do so, or in WAIT, or is held by CLIENT
/// PAUSE. An engine forgets such a client; so do we.
pub fn is_left(turn: &Turn, client: &Client) -> bool {
    let waits = |leased: u32| turn.links[leased as usize].exchange.newest_first().any(|r| r.class == Class::Block);
    client.is_half_closed
        && match client.flow {
            Flow::Queued | Flow::Stopped => true,
            Flow::Held => client.waiting.is_some(),
            Flow::Offloaded(_) => is_in_wait(turn, client),
            _ => client.waits_at.is_some() || client.lease.is_some_and(waits),
        }
}

/// Whether a command of the control plane's does nothing for it but wait.
pub fn is_in_wait(turn: &Turn, client: &Client) -> bool {
    matches!(client.flow, Flow::Offloaded(token) if turn.offloaded.get(token).is_some_and(|o| o.waits))
}

/// A leased connection is free again: keep it for the next client that wants one.
pub fn give_back(turn: &mut Turn, index: usize) {
    let link = &mut turn.links[index];
    let Some(Leased { is_altered, owner, waiting, .. }) = link.leased_mut() else { return };
    (*owner, *waiting) = (None, None);
    let is_fit = !*is_altered && !link.is_retired;
    let is_good = link.state == State::Ready && link.exchange.is_empty() && is_fit;
    link.wanted = turn.now;
    let Way { cluster, node, .. } = link.way;
    if !is_good {
        return turn.later.retire.push(index);
    }
    if let Some(place) = turn.clusters[cluster].as_mut().and_then(|s| s.nodes.get_mut(usize::from(node))) {
        place.idle.push(index);
        turn.later.pools.push((cluster, usize::from(node)));
    }
}

/// Who waits longest for a connection of that pool; it may be gone.
pub fn next_queued(turn: &mut Turn, (cluster, node): (usize, usize)) -> Option<Tagged> {
    Some(turn.clusters[cluster].as_mut()?.nodes.get_mut(node)?.queue.pop_front()?.ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_too_many_wait_the_newest_is_refused_and_not_the_oldest() {
        let queued = |number: u64| Queued { ticket: (number as usize, 0), number };
        let mut queue = VecDeque::new();
        assert!((0..QUEUED as u64).all(|number| enqueue(&mut queue, queued(10 + number))));
        let oldest = queue.pop_front().unwrap();
        assert!(enqueue(&mut queue, queued(20_000)), "there is room");
        assert!(!enqueue(&mut queue, queued(20_001)), "too many wait");
        assert!(enqueue(&mut queue, oldest), "it looked in vain, and has its place again");
        assert_eq!((queue[0].number, queue.len()), (10, QUEUED + 1));
        assert!(!enqueue(&mut queue, queued(20_001)));
    }
}
