//! A request that does not leave now: it is refused, or its client is held.

use std::time::Duration;

use super::{answer_error, Next};
use crate::clients::{Client, Flow, Hold};
use crate::command::Command;
use crate::dialect::texts;
use crate::place::{room, stop_passing, Unplaced};
use crate::turn::{Turn, Waiter};

/// Of a request of so many bytes.
#[cold]
pub fn unplaced(turn: &mut Turn, client: &mut Client, command: &Command, bytes: usize, why: Unplaced) -> Next {
    let refusal = match why {
        Unplaced::Behind => return Next::Hold,
        Unplaced::Refused(text) => Some(text),
        Unplaced::Full(link) => hold(turn, client, link, bytes),
        Unplaced::Closed(shard) => at_door(turn, client, shard),
    };
    match refusal {
        Some(text) => answer_error(turn, client, command, &text),
        None => Next::Queue,
    }
}

/// Read no more of the client until there is room for its request; or why it was held in vain. A connection's own limits
/// make room in its queue, or say what is wrong with it; what is parked waits for so long, and so does who waits to be.
#[cold]
pub fn hold(turn: &mut Turn, client: &mut Client, link: usize, bytes: usize) -> Option<Vec<u8>> {
    let sequence = client.replies.next();
    let known = client.hold.as_deref().copied().filter(|hold| hold.is_for(sequence));
    let hold = known.unwrap_or_else(|| Hold::new(turn.now, turn.held.number(), sequence));
    if turn.links[link].is_lot() && hold.has_lasted(turn.now, patience(turn, client)) {
        return Some(why_not_parked(turn, link));
    }
    if let Some(served) = turn.served(client.cluster).filter(|_| known.is_none()) {
        served.metrics.held.increment();
    }
    client.note_came(turn.long_micros(), turn.links[link].is_lot(), &[]);
    client.hold = Some(Box::new(hold));
    client.flow = Flow::Held;
    if turn.held.push(link, Waiter { ticket: client.ticket(), bytes, number: hold.number }) {
        stop_passing(turn, link);
    }
    None
}

/// Read no more of the client while its shard holds the request; or why it was held in vain.
#[cold]
pub fn at_door(turn: &mut Turn, client: &mut Client, shard: u16) -> Option<Vec<u8>> {
    let sequence = client.replies.next();
    let known = client.hold.as_deref().copied().filter(|hold| hold.is_for(sequence));
    let reign = turn.served(client.cluster).and_then(|served| served.reigns.get(usize::from(shard)));
    let since = reign.map_or(turn.now, |reign| reign.held_from(turn.now));
    let hold = known.unwrap_or_else(|| Hold::new(since, turn.held.number(), sequence));
    if hold.has_lasted(turn.now, patience(turn, client)) {
        return Some(turn.refusal(client.cluster, shard, "it is held while data is moved or copied (timeouts.park)"));
    }
    if let Some(served) = turn.served(client.cluster).filter(|_| known.is_none()) {
        served.metrics.held.increment();
    }
    client.note_came(turn.long_micros(), true, &[]);
    client.hold = Some(Box::new(hold));
    client.flow = Flow::Held;
    turn.door.push(client.cluster, client.ticket());
    None
}

fn patience(turn: &Turn, client: &Client) -> Duration {
    turn.cluster(client.cluster).map_or(Duration::ZERO, |cluster| cluster.spec.timeouts.park)
}

fn why_not_parked(turn: &Turn, lot: usize) -> Vec<u8> {
    let way = turn.links[lot].way;
    if room(turn, lot) == 0 {
        turn.refusal(way.cluster, way.shard, "too much waits for it already (limits.shard_queue)")
    } else {
        texts::failing_over(&turn.label(way.cluster, way.shard))
    }
}
