//! The next epoch of a cluster: which connections stay, which end, and who asks again who its node is.

use std::collections::HashMap;
use std::sync::Arc;

use super::lost::{give_up, lost};
use super::{door, moved, parking, redirect, waiting};
use crate::clients::Clients;
use crate::insight::Watched;
use crate::links::{Link, State, NO_NODE};
use crate::model::{Cluster, EngineKind};
use crate::near::{Changes, Near};
use crate::pubsub;
use crate::shared::Ruled;
use crate::tracking;
use crate::turn::{Gate, Hearer, Reign, Served, ServedNode, Turn, Writes};
use crate::waiting as keys;

/// Serve this epoch of a cluster from now on. Connections to nodes that stay are kept. Where the lease is over it waits for
/// its primaries like a cluster without them.
pub fn apply(turn: &mut Turn, clients: &mut Clients, index: usize, ruled: Option<Ruled>) {
    let is_over = turn.shared.leases.of(index).is_over();
    match ruled {
        Some(Ruled { cluster: whole, rights }) if is_over => {
            serve(turn, clients, index, Some(Ruled { cluster: Arc::new(whole.without_primaries()), rights }));
            turn.clusters[index].iter_mut().for_each(|served| served.withheld = Some(whole.clone()));
        }
        ruled => serve(turn, clients, index, ruled),
    }
}

fn serve(turn: &mut Turn, clients: &mut Clients, index: usize, ruled: Option<Ruled>) {
    if turn.clusters.len() <= index {
        turn.clusters.resize_with(index + 1, || None);
    }
    let before = turn.served(index).map(|served| served.cluster.clone());
    let unsettled = turn.served(index).and_then(|served| served.unsettled().cloned());
    take_over(turn, index, ruled);
    pubsub::refresh(turn, index);
    keys::refresh(turn, index);
    tracking::refresh(turn, clients, index, before.as_deref());
    if turn.served(index).is_some_and(|served| served.near.is_some()) {
        tracking::need(turn, index, Hearer::Cache);
    } else {
        tracking::spare(turn, index, Hearer::Cache);
    }
    let change = before.as_deref().zip(turn.cluster(index)).map(|(before, now)| {
        let has_moved = !before.has_slots_of(now);
        (has_moved, !before.is_mixed_as(now), before.is_relaxed && !now.is_relaxed)
    });
    if let Some((has_moved, is_mixed_otherwise, has_grown)) = change {
        if has_moved || is_mixed_otherwise {
            pubsub::announce_again(turn, index);
        }
        if is_mixed_otherwise {
            pubsub::sift_on(turn, index);
        }
        if has_moved || has_grown {
            waiting::look_again(turn, clients, index, has_grown);
        }
    }
    end_fenced(turn, clients);
    if let Some(before) = &before {
        moved::send_on(turn, clients, index, before);
    }
    redirect::unsettle(turn, index, before.as_deref(), unsettled.as_ref());
    ask_of_seals(turn, index);
    for (_, link) in turn.links.iter_mut() {
        if link.is_lot() && link.way.cluster == index {
            link.trouble.retry_at = turn.now;
        }
    }
    parking::drain_lots(turn, clients, index);
    turn.later.clients.append(&mut turn.later.unplaced);
    pubsub::settle_all(turn, index);
    sweep_retired(turn, clients);
    keys::go_on(turn);
    door::open(turn, clients, index);
}

/// Where a shard's seal counts, it does for what is under way as well.
fn ask_of_seals(turn: &mut Turn, index: usize) {
    let Some(cluster) = turn.cluster(index).filter(|cluster| cluster.has_seals()) else { return };
    let asked = |link: &Link| {
        let is_under_way = link.state == State::Ready && link.exchange.is_in_flight() && !link.listens();
        link.way.cluster == index && is_under_way && cluster.terms_of(link.way.shard).is_some()
    };
    let links: Vec<usize> = turn.links.iter().filter(|(_, link)| asked(link)).map(|(link, _)| link).collect();
    for link in links {
        turn.links.mark(link);
    }
}

/// Metrics forget the shards that are there no more.
fn keep_shards(turn: &Turn, old: Option<&Served>, new: Option<&Ruled>) {
    if let Some(old) = old {
        let shards = new.iter().flat_map(|ruled| &ruled.cluster.shards);
        let numbers = shards.map(|shard| shard.number).collect();
        turn.shared.metrics.keep_shards(&old.cluster.spec.name, turn.number, &numbers);
    }
}

fn take_over(turn: &mut Turn, index: usize, ruled: Option<Ruled>) {
    let mut old = turn.clusters[index].take();
    keep_shards(turn, old.as_ref(), ruled.as_ref());
    let Some(ruled) = ruled else {
        let links = old.iter().flat_map(|o| &o.nodes).flat_map(|node| node.links.iter().map(|known| known.link));
        for link in links.chain(old.iter().flat_map(|o| o.lots.values().copied())) {
            turn.links[link].is_retired = true;
        }
        turn.shared.recents.of(index, false);
        return retire_leased(turn, index, old.as_ref(), &HashMap::new());
    };
    let cluster = ruled.cluster.clone();
    fence_deposed(turn, index, old.as_ref(), &cluster);
    let renamed = old.as_ref().map_or_else(Vec::new, |old| renamed(&old.cluster, &cluster));
    let name = &cluster.spec.name;
    let mut nodes = Vec::with_capacity(cluster.nodes.len());
    let mut pools = HashMap::new(); // the numbers of nodes that stay what they are, old to new
    let before = old.as_ref().map(|old| old.cluster.clone());
    let places = before.as_deref().map_or_else(HashMap::new, places);
    for (number, node) in cluster.nodes.iter().enumerate() {
        let metrics = turn.shared.metrics.node(name, &node.label, turn.number);
        let mut served = ServedNode::new(metrics, turn.now);
        if let Some((old, &place)) = old.as_mut().zip(places.get(&(node.shard, node.label.as_str()))) {
            let pool = &mut old.nodes[place];
            served.links = std::mem::take(&mut pool.links);
            let is_primary = |of: &Cluster, n: usize| of.shards[usize::from(node.shard)].primary == Some(n as u16);
            if is_primary(&old.cluster, place) == is_primary(&cluster, number) {
                served.dedicated = pool.dedicated;
                served.idle = std::mem::take(&mut pool.idle);
                served.queue = std::mem::take(&mut pool.queue);
                pools.insert(place as u16, number as u16);
            }
        }
        for known in &served.links {
            turn.links[known.link].way.node = number as u16;
        }
        nodes.push(served);
    }
    for known in old.iter().flat_map(|o| &o.nodes).flat_map(|node| &node.links) {
        turn.links[known.link].is_retired = true;
    }
    retire_leased(turn, index, old.as_ref(), &pools);
    let metrics = turn.shared.metrics.cluster(name, turn.number);
    let (past, lots, reigns, past_near) = old.map(|o| (Some(o.watched), o.lots, o.reigns, o.near)).unwrap_or_default();
    let seed = turn.random();
    let watched = past.filter(|watched| watched.is_of(&cluster));
    let watched = watched.unwrap_or_else(|| Watched::new(&cluster, seed, turn.millis));
    let of_shard = |number| turn.shared.metrics.shard(name, number, turn.number);
    let shards = cluster.shards.iter().map(|shard| of_shard(shard.number)).collect();
    let writes = Writes::of(&turn.shared, index, &cluster);
    let near = writes
        .as_ref()
        .and_then(Writes::changes)
        .map(|changes| near_of(turn, (before.as_deref(), &cluster), changes, past_near));
    let mut past = reigns.into_iter();
    let reigns = (0..cluster.shards.len() as u16).map(|shard| Reign::next(past.next(), &cluster, shard, turn.now));
    let reigns = reigns.collect();
    let lease = turn.shared.leases.of(index);
    let (from, spans) = (cluster.spec.slow_log.looks_from(), turn.looks.timing.interval());
    let gate = Gate::new(from, (cluster.spec.hot_keys.sample, spans), turn.random());
    let (metrics, kept) = ((metrics, shards), (writes, near, watched, gate));
    turn.clusters[index] = Some(Served::new(ruled, metrics, nodes, lots, reigns, kept, lease));
    recognise(turn, index, &renamed);
}

/// Replies that are kept, as long as shards are what they were. The feed tells of other primaries.
fn near_of(
    turn: &Turn,
    (before, now): (Option<&Cluster>, &Cluster),
    changes: &Arc<Changes>,
    past: Option<Box<Near>>,
) -> Box<Near> {
    let memory = now.near.as_ref().map_or(0, |keys| keys.memory) / turn.shared.workers.len();
    let Some(mut near) = past.filter(|near| near.is_like(changes, memory)) else {
        return Box::new(Near::new(changes.clone(), memory));
    };
    if !before.is_some_and(|before| before.has_slots_of(now) && before.shards.len() == now.shards.len()) {
        near.clear();
    }
    near
}

/// Where each node stands; of several with one address in a shard, the first.
fn places(cluster: &Cluster) -> HashMap<(u16, &str), usize> {
    let nodes = cluster.nodes.iter().enumerate().rev();
    nodes.map(|(place, node)| ((node.shard, node.label.as_str()), place)).collect()
}

/// Connections to a primary that is none in the new epoch.
fn fence_deposed(turn: &mut Turn, cluster: usize, old: Option<&Served>, new: &Cluster) {
    let Some(old) = old.filter(|o| o.cluster.spec.engine == EngineKind::Redis) else { return };
    let address_of = |cluster: &Cluster, shard: usize| {
        let primary = cluster.shards.get(shard).and_then(|s| s.primary);
        primary.map(|node| cluster.nodes[usize::from(node)].address.clone())
    };
    let deposed: Vec<Option<u16>> = (0..)
        .zip(&old.cluster.shards)
        .map(|(number, shard)| {
            let is_same = address_of(new, number) == address_of(&old.cluster, number);
            shard.primary.filter(|_| !is_same)
        })
        .collect();
    for &node in deposed.iter().flatten() {
        turn.later.fenced.extend(old.nodes[usize::from(node)].links.iter().map(|known| known.link));
    }
    for (index, link) in turn.links.iter() {
        let is_deposed = || deposed.get(usize::from(link.way.shard)) == Some(&Some(link.way.node));
        if link.way.cluster == cluster && link.owner().is_some() && is_deposed() {
            turn.later.fenced.push(index);
        }
    }
}

/// Shards whose primary is another process than before.
fn renamed(old: &Cluster, new: &Cluster) -> Vec<u16> {
    let named = |cluster: &Cluster, shard: u16| {
        let primary = cluster.shards.get(usize::from(shard)).and_then(|s| s.primary)?;
        cluster.run_id_of(shard, primary).map(str::to_owned)
    };
    (0..new.shards.len() as u16).filter(|&shard| named(old, shard) != named(new, shard)).collect()
}

/// A new epoch ends the leases of primaries that are none any more: free connections at once, the others when their
/// client is done with them. `pools` gives the new numbers of those that stay.
fn retire_leased(turn: &mut Turn, cluster: usize, old: Option<&Served>, pools: &HashMap<u16, u16>) {
    for (index, link) in turn.links.iter_mut() {
        if link.way.cluster == cluster && link.is_leased() && !link.is_retired {
            if let Some(&number) = pools.get(&link.way.node) {
                link.way.node = number;
                continue;
            }
            link.is_retired = true;
            link.way.node = NO_NODE;
            if link.owner().is_none() {
                turn.later.retire.push(index);
            }
        }
    }
    let queued = old.iter().flat_map(|o| &o.nodes).flat_map(|node| node.queue.iter().map(|queued| queued.ticket));
    turn.later.clients.extend(queued);
}

/// Connections to a primary that is another process now are fenced, those that never asked have to, and those that wait to
/// connect to one that was renamed need not. The next flush sees to the rest.
fn recognise(turn: &mut Turn, cluster: usize, renamed: &[u16]) {
    let Turn { clusters, links, later, now, .. } = turn;
    let Some(served) = &mut clusters[cluster] else { return };
    let mut dirty = Vec::new();
    for (index, link) in links.iter_mut() {
        let way = link.way;
        if way.cluster != cluster || link.is_lot() || link.is_retired || !link.is_identified() || link.listens() {
            continue;
        }
        let expected = served.cluster.run_id_of(way.shard, way.node);
        link.identity.is_unproven = false;
        let is_other = match (link.state, expected, link.identity.run_id.as_deref()) {
            (State::Ready, Some(_), None) => {
                link.identity.is_unproven = true;
                false
            }
            (State::Ready | State::Greeting(_), Some(expected), Some(known)) => known != expected,
            _ => false,
        };
        if is_other && link.is_leased() {
            let place = &mut served.nodes[usize::from(way.node)];
            place.dedicated = place.dedicated.saturating_sub(1);
            place.idle.retain(|&idle| idle != index);
            link.is_retired = true;
            link.way.node = NO_NODE;
            if link.owner().is_none() {
                later.retire.push(index);
                continue;
            }
        }
        if is_other {
            later.fenced.push(index);
            continue;
        }
        let is_waiting = link.state == State::Down && renamed.contains(&way.shard) && expected.is_some();
        if is_waiting {
            link.trouble.retry_at = *now;
            link.trouble.failures = 0;
            link.trouble.down_since = Some(*now); // requests wait for it as after a new loss
        }
        // what is under way is acknowledged on the terms of now
        let awaits = !link.exchange.is_empty() && served.cluster.terms_of(way.shard).is_some();
        if is_waiting || link.identity.is_unproven || awaits {
            dirty.push(index);
        }
    }
    for index in dirty {
        links.mark(index);
    }
}

/// A connection to a node that is not the shard's primary any more: its replies are of an older epoch and must not
/// become acknowledgements. What was not sent, and reads, wait for the new primary.
fn end_fenced(turn: &mut Turn, clients: &mut Clients) {
    for index in std::mem::take(&mut turn.later.fenced) {
        if !turn.links.contains(index)
            || waiting::is_given_grace(turn, index)
            || redirect::is_given_grace(turn, index, waiting::GRACE)
        {
            continue;
        }
        turn.forget(index); // its node may still be the primary, and what waits for that must not come back here
        turn.links[index].way.node = NO_NODE; // above all no replica to read around
        lost(turn, clients, index, "the primary is being replaced");
        if turn.links.contains(index) {
            turn.remove_link(index);
        }
    }
}

/// Close connections to nodes that left, or let them answer what is under way.
fn sweep_retired(turn: &mut Turn, clients: &mut Clients) {
    let is_idle = |(_, link): &(usize, &Link)| {
        link.is_retired && link.owner().is_none() && (link.exchange.is_empty() || link.state != State::Ready)
    };
    let idle: Vec<usize> = turn.links.iter().filter(is_idle).map(|(index, _)| index).collect();
    for index in idle {
        let link = &mut turn.links[index];
        if link.exchange.is_empty() || link.is_memcached() {
            give_up(turn, clients, index);
            turn.remove_link(index);
        } else {
            link.way.node = NO_NODE; // its number is another's now
            lost(turn, clients, index, "the node left the topology"); // what waits for it goes elsewhere
        }
    }
}
