//! The side of the nodes: on one connection to each shard the keys are asked for that somebody waits for, and what changes
//! them is told.

use std::sync::Arc;
use std::time::Duration;

use super::end::answer;
use super::enter::{home_of, why_no_more};
use super::outcome::move_home;
use crate::command::Kind;
use crate::dialect::resp::invalidation::{changed, Changed};
use crate::dialect::resp::redirect::is_elsewhere;
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::links::{Link, Role, State, Way};
use crate::model::{Lane, NO_SLOT};
use crate::shared::Told;
use crate::turn::{Turn, Watch, Watcher};

/// A node that tells of no changes is asked again whether it does after so long.
const REFUSED: Duration = Duration::from_secs(60);
/// Not every change is told (SWAPDB): a key is looked at again after so long, so many of them with each tick.
const ROUTINE: Duration = Duration::from_secs(1);
const LOOKS: usize = 128;
/// With more than this to be sent a connection is asked for no more keys.
const UNSENT: usize = 256 * 1024;

/// Ask for keys that are not watched, as far as this turn's steps reach.
pub fn ask_some(turn: &mut Turn) {
    while turn.pubsub.left > 0 {
        let Some(spot) = turn.waits.asks.pop_front() else { break };
        let Some(known) = turn.waits.spots.get(spot as usize).filter(|s| s.watch == Watch::Wanted) else { continue };
        let (cluster, shard) = (known.cluster, known.shard);
        turn.spend(1);
        match open(turn, cluster, shard) {
            Some(link) if turn.links[link].state != State::Ready => turn.waits.spots[spot as usize].unwatch(),
            Some(link) if turn.links[link].exchange.unsent().len() > UNSENT => turn.waits.postponed.push(spot),
            Some(link) => ask(turn, link, spot),
            None => turn.waits.spots[spot as usize].unwatch(),
        }
    }
}

fn ask(turn: &mut Turn, link: usize, spot: u32) {
    let known = &mut turn.waits.spots[spot as usize];
    known.watch = Watch::Asked;
    known.asked = turn.now;
    let key = known.key.clone();
    say(turn, link, &[b"TYPE", &key.clone()], Some(key));
}

fn say(turn: &mut Turn, index: usize, words: &[&[u8]], key: Option<Arc<[u8]>>) {
    let now = turn.now;
    let link = &mut turn.links[index];
    let Role::Watcher(ears) = &mut link.role else { return };
    if ears.said.is_empty() {
        link.patience.begin(now);
    }
    ears.said.push_back(key);
    write::command(link.exchange.say(), words);
    turn.links.mark(index);
}

/// Ask whether the node is still there, unless something is asked already.
pub fn ping(turn: &mut Turn, index: usize) {
    if turn.links[index].watcher_mut().is_some_and(|ears| ears.said.is_empty()) {
        say(turn, index, &[b"PING"], None);
    }
}

/// The connection that tells of changes to keys of a shard; none while that has no primary.
fn open(turn: &mut Turn, cluster: usize, shard: u16) -> Option<usize> {
    let now = turn.now;
    let watcher = turn.waits.watchers.entry((cluster, shard)).or_insert(Watcher {
        link: None,
        label: String::new(),
        deaf_since: Some(now),
        refused: None,
    });
    if watcher.link.is_some() {
        return watcher.link;
    }
    if watcher.refused.is_some_and(|at| now.duration_since(at) < REFUSED) {
        return None;
    }
    let described = turn.served(cluster)?.cluster.clone();
    let node = described.shards.get(usize::from(shard))?.primary?;
    let label = described.nodes[usize::from(node)].label.clone();
    let metrics = turn.shared.metrics.node(&described.spec.name, &label, turn.number);
    let way = Way { cluster, shard, node, resp: 3, db: 0, lane: Lane::Usual, slot: NO_SLOT };
    let role = Role::Watcher(Box::default());
    let link = turn.links.insert(Link::new(way, role, described.spec.engine, now, metrics));
    turn.links.mark(link);
    if let Some(watcher) = turn.waits.watchers.get_mut(&(cluster, shard)) {
        watcher.link = Some(link);
        watcher.label = label;
        watcher.deaf_since = Some(now);
        watcher.refused = None;
    }
    Some(link)
}

/// It is up: it is asked for all keys of its shard.
pub fn connected(turn: &mut Turn, index: usize) {
    let Way { cluster, shard, .. } = turn.links[index].way;
    let Some(watcher) = turn.waits.watchers.get_mut(&(cluster, shard)).filter(|w| w.link == Some(index)) else {
        return;
    };
    watcher.deaf_since = None;
    watcher.refused = None;
    for spot in spots_of(turn, cluster, shard) {
        turn.waits.want_watched(spot);
    }
}

fn spots_of(turn: &Turn, cluster: usize, shard: u16) -> Vec<u32> {
    let spots = turn.waits.spots.iter().filter(|(_, spot)| spot.cluster == cluster && spot.shard == shard);
    spots.map(|(spot, _)| spot as u32).collect()
}

/// It is lost: nothing is heard of its keys until it is back, and then they are asked for anew.
pub fn lost(turn: &mut Turn, index: usize) {
    turn.links[index].exchange.take();
    let Way { cluster, shard, .. } = turn.links[index].way;
    let refusal = turn.links[index].watcher_mut().and_then(|ears| ears.refusal.take());
    let now = turn.now;
    let Some(watcher) = turn.waits.watchers.get_mut(&(cluster, shard)).filter(|w| w.link == Some(index)) else {
        return;
    };
    watcher.deaf_since.get_or_insert(now);
    if refusal.is_some() {
        watcher.refused = Some(now);
        watcher.link = None;
        turn.remove_link(index);
    }
    for spot in spots_of(turn, cluster, shard) {
        turn.waits.spots[spot as usize].unwatch();
    }
    if refusal.is_some() {
        for id in settled_in(turn, cluster, Some(shard)) {
            let elsewhere = turn.waits.waiters[id as usize].elsewhere();
            answer(turn, id, elsewhere);
        }
    }
}

/// Whether nothing is told of changes to keys of the shard: clients must wait at its node.
pub fn is_refused(turn: &Turn, (cluster, shard): (usize, u16)) -> bool {
    let watcher = turn.waits.watchers.get(&(cluster, shard));
    watcher.is_some_and(|w| w.refused.is_some_and(|at| turn.now.duration_since(at) < REFUSED))
}

/// Clients that only wait, of a shard or of all.
fn settled_in(turn: &Turn, cluster: usize, shard: Option<u16>) -> Vec<u32> {
    let Some(served) = turn.cluster(cluster) else { return Vec::new() };
    let waiters = turn.waits.waiters.iter().filter(|(_, w)| w.entrant.cluster == cluster && w.attempt.is_none());
    let those = waiters.filter(|(_, w)| shard.is_none_or(|shard| served.shard_of(w.entrant.slot) == shard));
    those.map(|(id, _)| id as u32).collect()
}

/// What a node says on such a connection: how many bytes were taken.
pub fn receive_all(turn: &mut Turn, index: usize, data: &[u8]) -> Result<usize, String> {
    let mut taken = 0;
    while taken < data.len() {
        let scan = ReplyFramer::new().scan(&data[taken..]).map_err(|e| format!("the node sent no valid reply: {e}"))?;
        if !scan.complete {
            break;
        }
        let frame = &data[taken..taken + scan.consumed];
        taken += scan.consumed;
        turn.spend(1);
        if frame[0] == b'>' {
            invalidated(turn, index, frame);
        } else {
            answered(turn, index, frame)?;
        }
    }
    Ok(taken)
}

/// Some keys have changed, or all.
fn invalidated(turn: &mut Turn, index: usize, frame: &[u8]) {
    let Way { cluster, shard, .. } = turn.links[index].way;
    let changed = match changed(frame) {
        Some(Changed::These(keys)) => keys.filter_map(|key| turn.waits.find_spot(cluster, key)).collect(),
        Some(Changed::All) => spots_of(turn, cluster, shard),
        None => return,
    };
    for spot in changed {
        let known = &mut turn.waits.spots[spot as usize];
        known.is_routine = false; // whatever is asked for already is to show what has changed
        if known.watch == Watch::Yes {
            known.unwatch();
            turn.waits.want_watched(spot);
        }
    }
}

/// What a key holds now. Whatever changes it from now on is told.
fn answered(turn: &mut Turn, index: usize, reply: &[u8]) -> Result<(), String> {
    let cluster = turn.links[index].way.cluster;
    let is_clustered = turn.cluster(cluster).is_some_and(|cluster| cluster.spec.clustered);
    let now = turn.now;
    let link = &mut turn.links[index];
    let Role::Watcher(ears) = &mut link.role else { return Ok(()) };
    let Some(key) = ears.said.pop_front() else { return Err("the node sent a reply nobody asked for".into()) };
    link.patience.begin(now);
    let Some(key) = key else { return Ok(()) };
    if reply.starts_with(b"-BUSY ") {
        unanswered(turn, cluster, &key);
        return Ok(());
    }
    if is_clustered && is_elsewhere(reply) {
        elsewhere(turn, cluster, &key);
        return Ok(());
    }
    if reply[0] == b'-' {
        let text = String::from_utf8_lossy(&reply[1..]).trim_end().to_owned();
        ears.refusal = text.starts_with("NOPERM").then(|| text.clone());
        return Err(format!("the node does not tell what a key holds: {text}"));
    }
    let Some(spot) = turn.waits.find_spot(cluster, &key) else { return Ok(()) };
    let known = &mut turn.waits.spots[spot as usize];
    if known.watch != Watch::Asked {
        return Ok(());
    }
    known.watch = Watch::Yes;
    let is_routine = std::mem::take(&mut known.is_routine);
    for line in known.lines.clone() {
        let known = &mut turn.waits.lines[line as usize];
        let kind = known.wish.kind;
        let holds = reply == kind.holder();
        if known.wish.db == 0 {
            known.is_amiss = !holds && reply != b"+none\r\n";
        }
        let may_have = holds || kind == Kind::Group || known.wish.db != 0;
        if may_have && !(is_routine && kind == Kind::Stream) {
            turn.waits.wake(line);
        }
    }
    Ok(())
}

/// Its node runs a script, and says so to everybody: the key is asked for again in a while.
fn unanswered(turn: &mut Turn, cluster: usize, key: &[u8]) {
    let Some(spot) = turn.waits.find_spot(cluster, key) else { return };
    let known = &mut turn.waits.spots[spot as usize];
    if known.watch == Watch::Asked {
        known.unwatch();
    }
}

/// Its slot moves, and nothing is told of it here: who waits for it is asked for with every tick, which finds it wherever it
/// is, until an epoch says who has it.
fn elsewhere(turn: &mut Turn, cluster: usize, key: &[u8]) {
    let Some(spot) = turn.waits.find_spot(cluster, key) else { return };
    let known = &mut turn.waits.spots[spot as usize];
    if known.watch != Watch::Asked {
        return;
    }
    known.unwatch();
    for line in known.lines.clone() {
        turn.waits.stall(line);
    }
}

/// The topology has changed: other primaries tell of their keys, and other workers may keep the order of some.
pub fn refresh(turn: &mut Turn, index: usize) {
    let now = turn.now;
    let primaries: Vec<Option<(u16, String)>> = turn.cluster(index).map_or_else(Vec::new, |served| {
        let known = |node: u16| (node, served.nodes[usize::from(node)].label.clone());
        served.shards.iter().map(|shard| shard.primary.map(known)).collect()
    });
    let watchers: Vec<u16> =
        turn.waits.watchers.keys().filter(|(of, _)| *of == index).map(|&(_, shard)| shard).collect();
    for shard in watchers {
        let Some(watcher) = turn.waits.watchers.get_mut(&(index, shard)) else { continue };
        let primary = primaries.get(usize::from(shard)).and_then(Option::as_ref);
        let same = primary.filter(|(_, label)| *label == watcher.label);
        if let Some(link) = watcher.link.and_then(|link| turn.links.get_mut(link)) {
            match same {
                Some(&(node, _)) => link.way.node = node, // nodes are numbered anew in every epoch
                None => link.is_retired = true,
            }
        }
        if same.is_none() {
            watcher.link = None;
            watcher.refused = None;
            watcher.deaf_since.get_or_insert(now);
        }
        if primaries.len() <= usize::from(shard) {
            turn.waits.watchers.remove(&(index, shard));
        }
    }
    let Some(cluster) = turn.served(index).map(|served| served.cluster.clone()) else { return };
    let spots: Vec<u32> =
        turn.waits.spots.iter().filter(|(_, s)| s.cluster == index).map(|(spot, _)| spot as u32).collect();
    for spot in spots {
        let Some(known) = turn.waits.spots.get_mut(spot as usize) else { continue };
        let shard = cluster.shard_of(known.slot);
        let is_heard = turn.waits.watchers.get(&(index, shard)).is_some_and(|watcher| watcher.link.is_some());
        if known.shard != shard || !is_heard {
            known.shard = shard;
            known.unwatch();
        }
        turn.waits.want_watched(spot);
    }
    for id in settled_in(turn, index, None) {
        if let Some(text) = why_no_more(turn, id) {
            answer(turn, id, Told::Failure(text.to_vec()));
        } else if home_of(turn, index, &cluster, turn.waits.waiters[id as usize].entrant.slot) != turn.number {
            move_home(turn, id);
        }
    }
}

/// Who waits for a shard that tells nothing waits no longer than what is parked; and keys are looked at again that may have
/// changed silently.
pub fn tick(turn: &mut Turn) {
    let now = turn.now;
    let deaf: Vec<(usize, u16)> =
        turn.waits.watchers.iter().filter(|(_, w)| w.deaf_since.is_some()).map(|(&of, _)| of).collect();
    for (index, shard) in deaf {
        let Some(cluster) = turn.cluster(index) else { continue };
        let (park, name) = (cluster.spec.timeouts.park, &cluster.spec.name);
        let Some(watcher) = turn.waits.watchers.get(&(index, shard)).filter(|w| w.refused.is_none()) else { continue };
        let is_busy = turn.shared.metrics.is_spared(name, &watcher.label, turn.millis);
        if is_busy || watcher.deaf_since.is_none_or(|since| now.duration_since(since) <= park) {
            continue;
        }
        let text = texts::failing_over(&turn.label(index, shard));
        for id in settled_in(turn, index, Some(shard)) {
            answer(turn, id, Told::Failure(text.clone()));
        }
    }
    look_again(turn);
}

fn look_again(turn: &mut Turn) {
    let places = turn.waits.spots.capacity();
    for _ in 0..LOOKS.min(places) {
        turn.waits.routine = (turn.waits.routine + 1) % places;
        let spot = turn.waits.routine;
        let is_old = |asked| turn.now.duration_since(asked) >= ROUTINE;
        let Some(known) = turn.waits.spots.get_mut(spot).filter(|s| is_old(s.asked)) else { continue };
        if matches!(known.watch, Watch::Yes | Watch::No) {
            known.is_routine = known.watch == Watch::Yes;
            known.watch = Watch::No;
            turn.waits.want_watched(spot as u32);
        }
    }
}
