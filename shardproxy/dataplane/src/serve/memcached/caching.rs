//! Requests about keys with caching rules. Leases are the nodes' own: a write changes what `cas` compares, and nothing goes
//! before it.

use super::route::{self, Why};
use crate::caching::{digest_of_key, memcached, Order, Way as Goes};
use crate::clients::{Client, Flow};
use crate::command::Misses;
use crate::dialect::memcached::base64;
use crate::dialect::memcached::kind::Kind;
use crate::dialect::memcached::request::{parse, Parsed, Request};
use crate::dialect::memcached::texts;
use crate::dialect::memcached::verb::Verb;
use crate::exchange::{Asked, Body, Entry, Loads};
use crate::hash;
use crate::links::{Way, NO_NODE};
use crate::model::{NO_SHARD, NO_SLOT};
use crate::serve::caching::{goes_now, submit, Passed, Ruled};
use crate::turn::{Again, Turn};

/// What the rules make of a request for these keys. None: it waits for its client's earlier ones.
#[inline]
pub fn rule<'k>(
    turn: &Turn,
    client: &mut Client,
    request: &Request,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Option<Ruled> {
    if turn.cluster(client.cluster).is_none_or(|cluster| cluster.rules.is_none()) {
        return Some(Ruled::Not);
    }
    look(turn, client, request, keys)
}

fn look<'k>(
    turn: &Turn,
    client: &mut Client,
    request: &Request,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Option<Ruled> {
    let Some(rules) = turn.cluster(client.cluster).and_then(|cluster| cluster.rules.as_ref()) else {
        return Some(Ruled::Not);
    };
    let is_read = request.verb.is_get() || request.verb == Verb::MetaGet;
    let misses = if request.verb.is_get() && request.has_many_keys() { Misses::Any } else { Misses::Nothing };
    let (mut bits, mut found, mut handed) = (0, None, None);
    for key in keys {
        let Some(rule) = rules.find(key) else { continue };
        bits |= Order::bit(hash::slot(key));
        if is_read && rule.loads {
            let is_due = rule.checks && !turn.ages.is_known(digest_of_key(client.cluster, key), turn.millis);
            let loads = found.get_or_insert(Loads { misses, rule: rule.number, is_due, looks: 0 });
            loads.is_due |= is_due;
        }
        let is_handed = rule.writes && memcached::is_rules_write(request.verb)
            || (rule.writes || rule.loads) && memcached::asks_for_value(request);
        if is_handed {
            handed = Some(rule.number);
        }
    }
    let (meaning, goes) = match (found, handed) {
        _ if bits == 0 => return Some(Ruled::Not),
        (Some(loads), _) => (Ruled::Loads(loads), Goes::Read),
        (None, Some(rule)) => (Ruled::Handed(rule), Goes::Handed),
        (None, None) if is_read => (Ruled::Not, Goes::Read),
        (None, None) => (Ruled::Not, Goes::Sent),
    };
    goes_now(client, goes, bits, meaning != Ruled::Not || goes == Goes::Sent).then_some(meaning)
}

/// It is not taken: its client's earlier requests are answered first.
pub fn wait(client: &mut Client) -> bool {
    client.flow = Flow::Barrier;
    false
}

/// What is remembered of a request until its reply comes.
pub const fn asked(kind: Kind, ruled: Ruled) -> Asked {
    match ruled {
        Ruled::Loads(loads) => Asked::MemcachedLoads(kind, loads),
        Ruled::Not | Ruled::Cancels(_) | Ruled::Handed(_) | Ruled::Forbidden => Asked::Memcached(kind),
    }
}

/// Hand a write over that was not sent. It is taken, and so is one that is refused.
pub fn hand_over(turn: &mut Turn, client: &mut Client, request: &Request, kind: Kind, rule: u16) -> bool {
    let way = Way {
        cluster: client.cluster,
        shard: NO_SHARD,
        node: NO_NODE,
        resp: client.resp,
        db: 0,
        lane: client.lane,
        slot: NO_SLOT,
    };
    let entry = Entry::memcached(client.owed(client.replies.next()), kind, request.verb.command(), turn.micros);
    let mut bytes = Vec::with_capacity(request.bytes.len());
    if request.noreply || kind.is_quiet {
        route::write_changed(&mut bytes, request, kind, None);
    } else {
        bytes.extend_from_slice(request.bytes);
    }
    if !submit(turn, client, Again { entry, bytes: Body::Copied(bytes), way }, rule) {
        return route::refuse(turn, client, request, texts::TOO_MANY_HANDED);
    }
    client.replies.expect(request.noreply);
    true
}

/// A request goes to the node of its key as if no rule were about it.
pub fn pass_on(turn: &mut Turn, client: &Client, again: Again, kind: Kind) -> Passed {
    let Again { entry, bytes, .. } = again;
    let entry = Entry { asked: Asked::Memcached(kind), since: turn.micros, is_retry: false, ..entry };
    let refused = |why: &str| Passed::Refused(entry, kind.failure(why));
    let Parsed::Request(request) = parse(&bytes, 0, usize::MAX) else { return refused("it cannot be read") };
    let decoded = if route::is_encoded(&request) { base64::Key::decode(request.key) } else { None };
    let key = decoded.as_ref().map_or(request.key, base64::Key::bytes);
    let Some(shard) = turn.cluster(client.cluster).map(|cluster| cluster.placement.shard_of(cluster, key)) else {
        return refused("the cluster is not served");
    };
    let (link, cap) = match route::place_key(turn, client, key, shard) {
        Ok(placed) => (placed.link, placed.cap),
        Err(Why::Full(link)) => (link, None), // it takes no more memory there than here
        Err(Why::Down(why)) => return refused(&why),
    };
    let exchange = &mut turn.links[link].exchange;
    if cap.is_some() {
        exchange.push_with(entry, |sink| route::write_changed(sink, &request, Kind::new(kind.verb), cap));
    } else {
        exchange.push(entry, &bytes);
    }
    turn.links.mark(link);
    Passed::Sent
}
