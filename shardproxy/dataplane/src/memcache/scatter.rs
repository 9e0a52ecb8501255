//! Requests over several nodes: gets of many keys, and commands for all.

use super::gather::Gathered;
use super::kind::Kind;
use super::route::{self, Placed};
use super::serve::count;
use super::wire::request::Request;
use super::wire::texts;
use super::wire::tokens::offset;
use super::wire::verb::Verb;
use super::{ttl, FIRST_ID};
use crate::client::Client;
use crate::metrics::Class;
use crate::recent::NO_MARK;
use crate::split::Join;
use crate::upstream::Pending;
use crate::worker::{Core, Pressure};

/// The key has no node now: it is a miss.
const MISSED: u16 = u16::MAX;

/// Get many keys, each of its node; those of a node that is down are missed.
pub fn get(core: &mut Core, client: &mut Client, index: usize, request: &Request) {
    if core.pressure == Pressure::Full {
        return route::refuse(core, client, request, texts::OUT_OF_BUFFERS);
    }
    let parts = place_keys(core, client, request);
    match parts[..] {
        [] => return route::refuse(core, client, request, texts::END),
        [placed] if core.order.iter().all(|&part| part == 0) => {
            return route::send(core, client, index, request, Kind::new(request.verb), placed);
        }
        _ => {}
    }
    let head = &request.line[..offset(request.line, request.key)];
    let starts: Vec<usize> = parts
        .iter()
        .map(|placed| {
            let sink = core.upstreams[placed.upstream].window.sink();
            let start = sink.len();
            match placed.cap {
                Some(most) => ttl::write_capped(sink, head.trim_ascii_end(), request, most),
                None => sink.extend_from_slice(head.trim_ascii_end()),
            }
            start
        })
        .collect();
    for (key, &part) in request.keys().zip(&core.order) {
        if let Some(placed) = parts.get(usize::from(part)) {
            let sink = core.upstreams[placed.upstream].window.tail();
            sink.push(b' ');
            sink.extend_from_slice(key);
        }
    }
    for (placed, _) in parts.iter().zip(&starts) {
        core.upstreams[placed.upstream].window.tail().extend_from_slice(b"\r\n");
    }
    let upstreams: Vec<usize> = parts.iter().map(|placed| placed.upstream).collect();
    expect(core, client, index, request, Gathered::Values, &upstreams, &starts);
}

/// Where each key goes: the parts, and in `core.order` the part of each key.
fn place_keys(core: &mut Core, client: &Client, request: &Request) -> Vec<Placed> {
    let mut parts: Vec<Placed> = Vec::new();
    let mut of_shard = core.clusters[client.cluster].as_mut().map(|s| std::mem::take(&mut s.parts)).unwrap_or_default();
    let mut touched = Vec::new();
    core.order.clear();
    for key in request.keys() {
        let Some(served) = &core.clusters[client.cluster] else { break };
        let shard = served.cluster.placement.shard_of(&served.cluster, key);
        let known = of_shard.get(usize::from(shard)).copied().unwrap_or(MISSED);
        if known != MISSED {
            core.order.push(known);
            continue;
        }
        let part = match route::place(core, client, key, shard) {
            Err(_) => MISSED,
            Ok(placed) => match parts.iter().position(|part| *part == placed) {
                Some(part) => part as u16,
                None => {
                    parts.push(placed);
                    (parts.len() - 1) as u16
                }
            },
        };
        // keys of a shard that is down may go different ways: only those of one that is up are remembered
        let is_own = core
            .upstreams
            .get(parts.get(usize::from(part)).map_or(usize::MAX, |p| p.upstream))
            .is_some_and(|u| u.shard == shard);
        if let Some(slot) = of_shard.get_mut(usize::from(shard)).filter(|_| is_own) {
            *slot = part;
            touched.push(shard);
        }
        core.order.push(part);
    }
    for shard in touched {
        of_shard[usize::from(shard)] = u16::MAX;
    }
    if let Some(served) = &mut core.clusters[client.cluster] {
        served.parts = of_shard;
    }
    parts
}

/// A command for every node. Those that are down are left out of statistics, and told of otherwise.
pub fn everywhere(core: &mut Core, client: &mut Client, index: usize, request: &Request, kind: Gathered) {
    let shards = core.clusters[client.cluster].as_ref().map_or(0, |s| s.cluster.shards.len());
    let (mut upstreams, mut starts, mut refused) = (Vec::new(), Vec::new(), None);
    for shard in 0..shards {
        match route::up(core, client, shard as u16) {
            Ok(upstream) => upstreams.push(upstream),
            Err(why) => refused = Some(why.text().to_owned()),
        }
    }
    if upstreams.is_empty() {
        let why = refused.unwrap_or_else(|| "the cluster has no node".into());
        return route::refuse(core, client, request, &Kind::new(Verb::Set).failure(&why));
    }
    for &upstream in &upstreams {
        let sink = core.upstreams[upstream].window.sink();
        starts.push(sink.len());
        if request.noreply {
            route::write_changed(sink, request, Kind::new(request.verb), None);
        } else {
            sink.extend_from_slice(request.bytes);
        }
    }
    if let Some(why) = refused.filter(|_| kind == Gathered::Line) {
        // the others do as told, and the client hears that one did not
        let sequence = expect(core, client, index, request, kind, &upstreams, &starts);
        let text = Kind::new(Verb::Set).failure(&why);
        client.replies.foretell(sequence, &text);
        return count(core, client, request.verb, true);
    }
    expect(core, client, index, request, kind, &upstreams, &starts);
}

/// Owe the joined reply of requests that lie in the windows from these places on.
fn expect(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    request: &Request,
    kind: Gathered,
    upstreams: &[usize],
    starts: &[usize],
) -> u32 {
    let sequence = client.replies.expect_join(Join::memcache(kind, upstreams.len(), request.noreply));
    for (part, (&upstream, &start)) in upstreams.iter().zip(starts).enumerate() {
        let link = &mut core.upstreams[upstream];
        let length = (link.window.tail().len() - start) as u32;
        link.pending.push_back(Pending {
            client: index as u32,
            tag: client.tag(),
            sequence,
            part: part as u16,
            inner: Kind::new(request.verb).pack(),
            command: FIRST_ID + request.verb as u16,
            length,
            since: core.micros,
            class: Class::Split,
            is_read: request.verb.is_read(),
            is_write: false,
            is_program: false,
            is_retry: false,
            mark: NO_MARK,
        });
        core.mark_dirty(upstream);
    }
    sequence
}
