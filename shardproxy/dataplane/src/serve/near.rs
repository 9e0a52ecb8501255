//! Reads that the near cache answers, and what it is to have of keys that are asked for often.
//!
//! Of a client whose writes are under way nothing is answered here, for its order; nor while it watches keys, for it acts on
//! what it read only if that is still so at the node; nor where it tracks what it reads.

use super::Next;
use crate::admit::Admitted;
use crate::caching::digest_of_key;
use crate::clients::Client;
use crate::command::{Act, Command};
use crate::dialect::resp::write;
use crate::exchange::{Entry, NearAsks};
use crate::insight::{Of, Watched};
use crate::metrics::{Class, ClusterMetrics};
use crate::model::{Cluster, Lane, NO_SLOT};
use crate::near::{name_of, Found, Kind, Near, Origin, GET, HGETALL};
use crate::shared::mark_of;
use crate::timing::Seen;
use crate::turn::{Drawn, Looks, Served, Turn};

/// At most so many members of one request are fetched to be kept.
const FETCHED: usize = 16;

/// With so many bytes unread a client is answered by engines, at their pace: a read of a few bytes may be answered by
/// thousands of times as many, at once, and others of its worker would wait for all the copying.
const UNREAD: usize = 256 * 1024;

/// Answer a read of one key.
#[inline]
pub fn serve(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Option<Next> {
    let &Admitted { command, request } = admitted;
    turn.served(client.cluster)?.near.as_ref()?;
    if !command.is_read() {
        client.wrote = client.replies.next();
        return None;
    }
    let kind = match command.act {
        Act::Get => GET,
        // fields that expire by themselves are told of late
        Act::HGetAll if !turn.cluster(client.cluster)?.has_field_expiry => HGETALL[usize::from(client.resp == 3)],
        _ => return None,
    };
    if !may_be_answered(turn, client) || is_due(turn, client, request.argument(1)) {
        return None;
    }
    let Turn { clusters, pool, feeds, millis, micros, looks, .. } = turn;
    let Served { cluster, near, metrics, gate, watched, .. } = clusters[client.cluster].as_mut()?;
    let hearing = |shard| feeds.hearing(client.cluster, shard);
    match find(cluster, near.as_mut()?, hearing, (kind, request.argument(1)), *millis)? {
        Found::Reply(reply) => {
            client.answer(pool, reply);
            hit(metrics, command, 1);
            if let Some(drawn) = looks.take(gate, 0, request.bytes.len() | reply.len()) {
                let of = Of { cluster, metrics, now: *millis };
                look_at((looks, drawn), (watched, of), client, admitted, (reply, *micros));
            }
            return Some(Next::Go);
        }
        Found::Wanted => {
            metrics.near_misses.increment();
            fetch(turn, client, kind, request.argument(1));
        }
        Found::Nothing => metrics.near_misses.increment(),
    }
    None
}

/// Answer a read of several keys, if all of them are there.
pub fn serve_all(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Option<Next> {
    let &Admitted { command, request } = admitted;
    turn.served(client.cluster)?.near.as_ref()?;
    if !command.is_read() {
        client.wrote = client.replies.next();
        return None;
    }
    let is_any_due = |turn: &Turn| request.arguments().skip(1).any(|key| is_due(turn, client, key));
    if command.act != Act::MGet || !may_be_answered(turn, client) || is_any_due(turn) {
        return None;
    }
    let Turn { clusters, pool, feeds, millis, micros, looks, .. } = turn;
    let Served { cluster, near, metrics, gate, watched, .. } = clusters[client.cluster].as_mut()?;
    let near = near.as_mut()?;
    let hearing = |shard| feeds.hearing(client.cluster, shard);
    let mut reply = Vec::new();
    pool.lend(&mut reply);
    write::array_header(&mut reply, request.len() - 1);
    let (mut are_all, mut wanted, mut fetched) = (true, [0; FETCHED], 0);
    for position in 1..request.len() {
        match find(cluster, near, hearing, (GET, request.argument(position)), *millis) {
            Some(Found::Reply(value)) if are_all && reply.len() + value.len() <= UNREAD => {
                reply.extend_from_slice(value);
            }
            Some(Found::Wanted) => {
                are_all = false;
                if fetched < FETCHED {
                    wanted[fetched] = position;
                    fetched += 1;
                }
            }
            Some(Found::Reply(_) | Found::Nothing) | None => are_all = false,
        }
        if fetched == FETCHED {
            break; // engines are asked for all of them anyway
        }
    }
    if are_all {
        client.answer(pool, &reply);
        hit(metrics, command, request.len() as u64 - 1);
        if let Some(drawn) = looks.take(gate, 0, request.bytes.len() | reply.len()) {
            let of = Of { cluster, metrics, now: *millis };
            look_at((looks, drawn), (watched, of), client, admitted, (&reply, *micros));
        }
    } else {
        metrics.near_misses.increment();
    }
    pool.take_back(&mut reply);
    for &position in &wanted[..fetched] {
        fetch(turn, client, GET, request.argument(position));
    }
    are_all.then_some(Next::Go)
}

/// Look at a request that was answered here.
#[cold]
fn look_at(
    (looks, drawn): (&mut Looks, Drawn),
    (watched, of): (&mut Watched, Of),
    client: &Client,
    &Admitted { command, request }: &Admitted,
    (reply, now): (&[u8], u32),
) {
    let owed = client.owed(client.replies.next().wrapping_sub(1));
    let slot = if command.is_single { of.cluster.slot_of(request.argument(1)) } else { NO_SLOT };
    let seen = Seen {
        cluster: client.cluster,
        link: None,
        request: &Entry { slot, ..Entry::of(owed, command, now) },
        bytes: request.bytes,
        length: request.bytes.len(),
        reply,
        streamed: 0,
        is_error: false,
        now,
        elapsed: None,
    };
    looks.look(watched, of, Some(client), &seen, drawn);
}

/// Whether what is kept is good for this client now.
fn may_be_answered(turn: &Turn, client: &Client) -> bool {
    let Some(served) = turn.served(client.cluster) else { return false };
    let is_usual = client.db == 0 && client.lane == Lane::Usual && client.lease.is_none() && !served.lease.is_over();
    is_usual
        && client.unread() <= UNREAD
        && client.transaction.is_none()
        && client.tracking.is_none()
        && !served.cluster.is_held
        && !client.replies.owes(client.wrote)
}

/// Whether its engine is to be asked once more, so that a caching rule learns how old the key is.
fn is_due(turn: &Turn, client: &Client, key: &[u8]) -> bool {
    let rules = turn.cluster(client.cluster).and_then(|cluster| cluster.rules.as_ref());
    rules
        .and_then(|rules| rules.find(key))
        .is_some_and(|rule| rule.checks && !turn.ages.is_known(digest_of_key(client.cluster, key), turn.millis))
}

/// None where nothing of the key is kept.
#[inline]
fn find<'n>(
    cluster: &Cluster,
    near: &'n mut Near,
    hearing: impl Fn(u16) -> Option<u64>,
    (kind, key): (Kind, &[u8]),
    now: u64,
) -> Option<Found<'n>> {
    if !cluster.near.as_ref()?.has(key) {
        return None;
    }
    let shard = cluster.shard_of(cluster.slot_of(key));
    let origin = Origin { shard, hearing: hearing(shard)? };
    Some(near.find(kind, key, mark_of(key), origin, now))
}

fn hit(metrics: &ClusterMetrics, command: &Command, members: u64) {
    metrics.command(command.id, false);
    metrics.latency(Class::Read, 0);
    metrics.near_hits.add(members);
}

/// Ask the primary for the value and how long the key lives, beside what its client asks.
#[cold]
fn fetch(turn: &mut Turn, client: &Client, kind: Kind, key: &[u8]) {
    let Turn { clusters, links, feeds, millis, micros, .. } = turn;
    let Some(served) = &mut clusters[client.cluster] else { return };
    let shard = served.cluster.shard_of(served.cluster.slot_of(key));
    let Some(link) = served.ready_primary(links, shard, client.resp) else { return };
    let Some(near) = &mut served.near else { return };
    let Some(hearing) = feeds.hearing(client.cluster, shard) else { return };
    let origin = Origin { shard, hearing };
    let Some(serial) = near.expect(kind, key, mark_of(key), origin, *millis) else { return };
    for (is_age, name) in [(false, name_of(kind)), (true, &b"PTTL"[..])] {
        let asks = NearAsks { kind, is_age, serial };
        links[link].exchange.push_with(Entry::near(asks, *micros), |sink| {
            write::array_header(sink, 2);
            write::bulk(sink, name);
            write::bulk(sink, key);
        });
    }
    links.mark(link);
}
