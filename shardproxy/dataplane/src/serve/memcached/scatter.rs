//! Requests over several nodes: gets of many keys, and commands for all.

use super::caching;
use super::route::{self, Placed, Why};
use super::serve::count;
use super::ttl;
use crate::clients::Client;
use crate::dialect::memcached::kind::Kind;
use crate::dialect::memcached::request::Request;
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::offset;
use crate::dialect::memcached::verb::Verb;
use crate::exchange::{Entry, Gathered, Join, Owed, Values};
use crate::metrics::Class;
use crate::model::Lane;
use crate::serve::caching::Ruled;
use crate::turn::{Pressure, Turn};

/// The key has no node now: it is a miss.
const MISSED: u16 = u16::MAX;

/// Get many keys, each of its node; those of a node that is down are missed. Whether it was taken.
pub fn get(turn: &mut Turn, client: &mut Client, request: &Request) -> bool {
    if turn.accounts.pressure == Pressure::Full {
        return route::refuse(turn, client, request, texts::OUT_OF_BUFFERS);
    }
    let Some(ruled) = caching::rule(turn, client, request, request.keys()) else { return caching::wait(client) };
    let parts = match place_keys(turn, client, request) {
        Ok(parts) => parts,
        Err(link) => return route::wait(turn, client, request, link),
    };
    match parts[..] {
        [] => return route::refuse(turn, client, request, texts::END),
        [placed] if turn.scratch.order.iter().all(|&part| part == 0) => {
            return route::send(turn, client, request, caching::asked(Kind::new(request.verb), ruled), placed);
        }
        _ => {}
    }
    let head = &request.line[..offset(request.line, request.key)];
    for placed in &parts {
        let sink = turn.links[placed.link].exchange.open();
        match placed.cap {
            Some(most) => ttl::write_capped(sink, head.trim_ascii_end(), request, most),
            None => sink.extend_from_slice(head.trim_ascii_end()),
        }
    }
    let Turn { links, scratch, .. } = turn;
    for (key, &part) in request.keys().zip(&scratch.order) {
        if let Some(placed) = parts.get(usize::from(part)) {
            let sink = links[placed.link].exchange.opened();
            sink.push(b' ');
            sink.extend_from_slice(key);
        }
    }
    for placed in &parts {
        links[placed.link].exchange.opened().extend_from_slice(b"\r\n");
    }
    let keys = &request.line[offset(request.line, request.key)..];
    let values = Values::new(keys, &turn.scratch.order, parts.len());
    let links = parts.iter().map(|placed| placed.link);
    expect(turn, client, request, (Join::values(values, parts.len()), ruled), links);
    true
}

/// Where each key goes: the parts, and in `turn.scratch.order` the part of each key; or the connection that one of them
/// has to wait for.
fn place_keys(turn: &mut Turn, client: &Client, request: &Request) -> Result<Vec<Placed>, usize> {
    let mut parts: Vec<Placed> = Vec::new();
    let mut of_shard = turn.clusters[client.cluster].as_mut().map(|s| std::mem::take(&mut s.parts)).unwrap_or_default();
    let (mut touched, mut full) = (Vec::new(), None);
    turn.scratch.order.clear();
    for key in request.keys() {
        let Some(served) = &turn.clusters[client.cluster] else { break };
        let shard = served.cluster.placement.shard_of(&served.cluster, key);
        let known = of_shard.get(usize::from(shard)).copied().unwrap_or(MISSED);
        if known != MISSED {
            turn.scratch.order.push(known);
            continue;
        }
        let part = match route::place_key(turn, client, key, shard) {
            Err(Why::Down(_)) => MISSED,
            Err(Why::Full(link)) => {
                full = Some(link);
                break;
            }
            Ok(placed) => match parts.iter().position(|part| *part == placed) {
                Some(part) => part as u16,
                None => {
                    parts.push(placed);
                    (parts.len() - 1) as u16
                }
            },
        };
        // keys of a shard that is down may go different ways: only those of one that is up are remembered
        let is_own = turn
            .links
            .get(parts.get(usize::from(part)).map_or(usize::MAX, |p| p.link))
            .is_some_and(|link| link.way.shard == shard);
        if let Some(slot) = of_shard.get_mut(usize::from(shard)).filter(|_| is_own) {
            *slot = part;
            touched.push(shard);
        }
        turn.scratch.order.push(part);
    }
    for shard in touched {
        of_shard[usize::from(shard)] = u16::MAX;
    }
    if let Some(served) = &mut turn.clusters[client.cluster] {
        served.parts = of_shard;
    }
    full.map_or(Ok(parts), Err)
}

/// A command for every node. Those that are down are left out of statistics, and told of otherwise.
pub fn everywhere(turn: &mut Turn, client: &mut Client, request: &Request, kind: Gathered, lane: Lane) -> bool {
    if turn.accounts.pressure == Pressure::Full {
        return route::refuse(turn, client, request, texts::OUT_OF_BUFFERS);
    }
    let shards = turn.cluster(client.cluster).map_or(0, |cluster| cluster.shards.len());
    let (mut links, mut refused) = (Vec::new(), Vec::new());
    for shard in 0..shards {
        match route::up_in(turn, client, shard as u16, lane) {
            Ok(link) => links.push(link),
            Err(Why::Down(why)) => refused.push(why),
            Err(Why::Full(link)) => return route::wait(turn, client, request, link),
        }
    }
    if links.is_empty() {
        let why = refused.into_iter().next().unwrap_or_else(|| "the cluster has no node".into());
        return route::refuse(turn, client, request, &Kind::new(Verb::Set).failure(&why));
    }
    for &link in &links {
        let sink = turn.links[link].exchange.open();
        if request.noreply {
            route::write_changed(sink, request, Kind::new(request.verb), None);
        } else {
            sink.extend_from_slice(request.bytes);
        }
    }
    let join = Join::memcache(kind, links.len(), request.noreply);
    let sequence = expect(turn, client, request, (join, Ruled::Not), links.into_iter());
    for why in refused.into_iter().filter(|_| kind == Gathered::Line) {
        // the others do as told, and the client hears that these did not
        client.replies.foretell(sequence, &Kind::new(Verb::Set).failure(&why));
        count(turn, client, request.verb, true);
    }
    true
}

/// Owe the joined reply of requests that were written to these links.
fn expect(
    turn: &mut Turn,
    client: &mut Client,
    request: &Request,
    (join, ruled): (Join, Ruled),
    links: impl Iterator<Item = usize>,
) -> u32 {
    let sequence = client.replies.expect_join(Box::new(join));
    let owed = client.owed(sequence);
    for (part, link) in links.enumerate() {
        let owed = Owed { part: part as u16, ..owed };
        let entry = Entry::memcached(owed, Kind::new(request.verb), request.verb.command(), turn.micros);
        let asked = caching::asked(Kind::new(request.verb), ruled);
        turn.links[link].exchange.close(Entry { class: Class::Split, asked, ..entry });
        turn.links.mark(link);
    }
    sequence
}
