//! Engines in cluster mode: requests that another node is to execute, and slots that are on their way from one to another.
//!
//! ```text
//!   MOVED s B, ASK s B ──> B, once (ASK: behind ASKING) ── again elsewhere ──┐
//!   TRYAGAIN, or B is no node of the topology ────────────────────────────> lot of the slot ── pause, or next epoch ──> its primary
//! ```
//!
//! Nothing of this was executed. Of a client's requests for a slot none passes another: what is refused in order goes on in
//! order, behind what waits for the slot already; and when an epoch gives a slot to somebody else, whoever has requests
//! under way that may be on their way to who had it before waits for these first (`Served::unsettled`).

use std::collections::HashSet;
use std::time::Duration;

use super::parking::{send_parked, RETRY};
use crate::clients::Clients;
use crate::complete::{Cure, Unsettled};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::exchange::{Asked, Body, Entry, Owed};
use crate::links::{Link, Role, State, Way, NO_NODE};
use crate::model::{Cluster, EngineKind, Slots, NO_SLOT};
use crate::net::Address;
use crate::place::{find_lot, link, lot, scripts};
use crate::shared::{Loss, NodeLost};
use crate::turn::{Served, Turn};

/// The control plane hears of slots that moved no more often than this, from one worker of one cluster.
const TOLD: Duration = Duration::from_millis(20);
/// Requests looked at for one step of a turn.
const LOOKS: usize = 64;

/// Requests that the node of this connection did not execute, in their order.
pub fn turn_aside(turn: &mut Turn, index: usize, requests: Vec<Unsettled>) {
    let way = turn.links[index].way;
    turn.spend(requests.len());
    for Unsettled { mut request, bytes, cure } in requests {
        let way = Way { slot: request.slot, ..way };
        // what waits for its slot, or its whole shard, it does not pass
        let known = find_lot(turn, &way).or_else(|| find_lot(turn, &Way { slot: NO_SLOT, ..way }));
        let known = known.filter(|&lot| turn.links[lot].ahead() != Some(request.owed));
        let is_node = matches!(cure, Cure::Node { .. });
        let target = match (known, cure) {
            (None, Cure::Node { address, is_ask }) => {
                if !is_ask {
                    tell(turn, &way, &address);
                }
                if request.is_redirected {
                    None
                } else {
                    to_node(turn, &way, &address, &request).map(|link| (link, is_ask))
                }
            }
            (Some(_), _) | (None, Cure::Shard | Cure::Slot) => None,
        };
        request.is_redirected = target.is_some() || request.is_program && is_node;
        let Some((target, is_ask)) = target else {
            let lot = known.unwrap_or_else(|| open(turn, way));
            park(turn, lot, request, bytes);
            continue;
        };
        scripts::precede_all(turn, target, &bytes);
        let (asked, bytes) = if is_ask { ask_each(request.asked, bytes) } else { (request.asked, bytes) };
        request.asked = asked;
        let exchange = &mut turn.links[target].exchange;
        if is_ask {
            let asking = Entry { is_read: true, ..Entry::nobody(turn.micros) };
            exchange.push(asking, texts::ASKING_REQUEST);
        }
        exchange.push_body(request, bytes);
        turn.links.mark(target);
    }
}

/// ASKING is for the very next request, or a whole transaction: what goes before a request has its own.
fn ask_each(asked: Asked, bytes: Body) -> (Asked, Body) {
    if !matches!(asked, Asked::After(_) | Asked::Exec(_)) {
        return (asked, bytes);
    }
    let (mut before, mut rest) = (0, &*bytes);
    let mut parser = RequestParser::new();
    let mut each = Vec::new();
    while let Ok(Parsed::Request { consumed }) = parser.parse(rest, &RequestLimits::NONE) {
        let request = Request { bytes: &rest[..consumed], spans: parser.spans() };
        let is_last = match asked {
            Asked::After(_) => consumed == rest.len(),
            _ => !request.argument(0).eq_ignore_ascii_case(b"DEL"), // only leases go before MULTI
        };
        if is_last {
            break;
        }
        each.extend_from_slice(request.bytes);
        each.extend_from_slice(texts::ASKING_REQUEST);
        (before, rest) = (before + 1, &rest[consumed..]);
    }
    let asked = match asked {
        _ if before == 0 => return (asked, bytes),
        Asked::After(inner) => Asked::After(inner + before),
        Asked::Exec(inner) => Asked::Exec(inner + before),
        _ => return (asked, bytes),
    };
    each.extend_from_slice(rest);
    (asked, Body::Copied(each))
}

/// Let a request wait in a lot: behind all others, or before them if it was sent ahead of them.
pub fn park(turn: &mut Turn, lot: usize, request: Entry, bytes: Body) {
    if turn.links[lot].ahead() == Some(request.owed) {
        let lot = &mut turn.links[lot];
        lot.role = Role::Lot { ahead: None };
        lot.exchange.push_first(request, bytes);
    } else {
        scripts::precede_all(turn, lot, &bytes);
        turn.links[lot].exchange.push_body(request, bytes);
    }
    turn.links.mark(lot);
}

/// Of those that were sent ahead of lots, who has no answer yet.
pub struct Ahead(HashSet<Owed>);

impl Ahead {
    /// With one look at all that is under way, however many lots there are.
    pub fn of(turn: &mut Turn, lots: &[usize]) -> Self {
        let sent: HashSet<Owed> = lots.iter().filter_map(|&lot| turn.links[lot].ahead()).collect();
        if sent.is_empty() {
            return Self(sent);
        }
        let mut looked = 0;
        let entries = turn.links.iter().flat_map(|(_, link)| link.exchange.newest_first());
        let owed = entries.inspect(|_| looked += 1).map(|entry| entry.owed);
        let left = owed.filter(|owed| sent.contains(owed)).collect();
        turn.spend(looked / LOOKS);
        Self(left)
    }
}

/// Send the first request that waits for a slot ahead, or see what became of it; whether the others may follow. All of them
/// at once would overtake each other where some are refused again.
pub fn sends_ahead(turn: &mut Turn, clients: &mut Clients, lot: usize, ahead: &Ahead) -> bool {
    if let Some(owed) = turn.links[lot].ahead() {
        let is_over = !ahead.0.contains(&owed);
        if !is_over {
            turn.links[lot].trouble.retry_at = turn.now + RETRY;
        }
        return is_over;
    }
    let way = turn.links[lot].way;
    let Some((request, bytes)) = turn.links[lot].exchange.take_first() else { return true };
    turn.links[lot].role = Role::Lot { ahead: (!request.is_nobodys()).then_some(request.owed) };
    turn.links[lot].trouble.retry_at = turn.now + RETRY;
    turn.links.mark(lot); // it is counted anew
    let metrics = turn.links[lot].metrics.clone();
    let mut ahead = Link::new(way, Role::Lot { ahead: None }, EngineKind::Redis, turn.now, metrics);
    ahead.exchange.push_body(request, bytes);
    send_parked(turn, clients, way, &mut ahead);
    false
}

/// A connection to the node that serves the slot, if the topology has it.
fn to_node(turn: &mut Turn, way: &Way, address: &str, request: &Entry) -> Option<usize> {
    let served = turn.served(way.cluster)?;
    let node = served.cluster.node_at(address)?;
    let shard = served.cluster.nodes.get(usize::from(node))?.shard;
    if request.is_durable() && served.why_read_only(shard).is_some() {
        return None;
    }
    link(turn, way.cluster, node, way.speech()).ok() // one that is full takes no more this way than any other
}

/// A lot for the slot, which is tried again after a pause.
fn open(turn: &mut Turn, way: Way) -> usize {
    let retry_at = turn.now + RETRY;
    let lot = lot(turn, way);
    turn.links[lot].trouble.retry_at = retry_at;
    lot
}

/// Somebody serves the slot who does not in this epoch.
pub fn tell(turn: &mut Turn, way: &Way, address: &str) {
    let now = turn.now;
    let Some(served) = turn.clusters[way.cluster].as_mut().filter(|_| Address::parse(address).is_ok()) else { return };
    if served.told_moved.is_some_and(|at| now.duration_since(at) < TOLD) {
        return;
    }
    served.told_moved = Some(now);
    let cluster = served.cluster.spec.name.clone();
    let why = format!("it serves slot {} by now", way.slot);
    turn.shared.events.lose(NodeLost { cluster, address: address.into(), kind: Loss::Moved, why });
}

/// An epoch has begun: slots that are somebody else's by it are unsettled, as are those that were already.
pub fn unsettle(turn: &mut Turn, index: usize, before: Option<&Cluster>, unsettled: Option<&Slots>) {
    let Some(served) = &mut turn.clusters[index] else { return };
    let now = served.cluster.clone();
    let Some(before) = before else { return };
    if !now.spec.clustered && unsettled.is_none() && before.has_slots_of(&now) {
        return;
    }
    let is_unsettled = |slot| unsettled.is_some_and(|slots| slots.contains(slot));
    let is_others = |slot| {
        if now.spec.clustered {
            before.seat_of(slot) != now.seat_of(slot)
        } else {
            before.shard_of(slot) != now.shard_of(slot)
        }
    };
    let slots = Slots::of(|slot| is_unsettled(slot) || is_others(slot));
    served.set_unsettled(slots);
    settle(turn, index);
}

/// Slots are settled when nothing is under way to who served them before.
pub fn settle(turn: &mut Turn, index: usize) {
    let Some(slots) = turn.served(index).and_then(Served::unsettled) else { return };
    let Some(cluster) = turn.cluster(index) else { return };
    let is_stray = |slot: u16, way: &Way, is_leaving: bool, is_lot: bool| {
        if !slots.contains(slot) {
            return false; // as what is in none
        }
        let shard = cluster.shard_of(slot);
        let is_there = match cluster.spec.clustered {
            true if is_lot => way.slot == slot || way.shard == shard,
            true => cluster.is_primary(shard, way.node),
            false => way.shard == shard,
        };
        is_leaving || !is_there
    };
    let is_unsettled = turn.links.iter().any(|(_, link)| {
        let is_leaving = link.is_retired || link.is_deposed() || link.way.node == NO_NODE && !link.is_lot();
        link.way.cluster == index
            && link.exchange.newest_first().any(|entry| is_stray(entry.slot, &link.way, is_leaving, link.is_lot()))
    });
    if !is_unsettled {
        if let Some(served) = &mut turn.clusters[index] {
            served.set_unsettled(None);
        }
    }
}

pub fn tick(turn: &mut Turn) {
    for index in 0..turn.clusters.len() {
        settle(turn, index);
    }
}

/// Give a primary of engines in cluster mode that was replaced time to refuse what is under way to it, and name its
/// successor; whether it may have any. What it executes all the same is in doubt.
pub fn is_given_grace(turn: &mut Turn, index: usize, grace: Duration) -> bool {
    let link = &mut turn.links[index];
    let is_clustered = turn.clusters[link.way.cluster].as_ref().is_some_and(|served| served.cluster.spec.clustered);
    let is_up = link.state == State::Ready && !link.is_streaming && !link.votes.is_asking();
    if !is_clustered || !is_up || link.is_leased() || link.listens() || !link.exchange.is_in_flight() {
        return false;
    }
    if !link.exchange.unsent().is_empty() {
        return false; // it is sent nothing more
    }
    link.redo.left = link.exchange.len(); // its replies are looked at
    link.deposed = Some(turn.now + grace);
    link.is_retired = true;
    link.way.node = NO_NODE;
    turn.forget(index);
    true
}
