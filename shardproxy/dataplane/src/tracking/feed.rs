//! The side of the nodes: the connection on which each primary tells of all its keys that change.

use super::enter::settle;
use super::{tell, told, Invalidation};
use crate::clients::{Clients, OWN_VALUE};
use crate::dialect::resp::invalidation::{changed, Changed};
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::resp::write;
use crate::links::{Link, Question, Role, State, Watcher, Way};
use crate::model::{Cluster, EngineKind, Lane, NO_SLOT};
use crate::turn::{Feed, Hearer, Turn};

/// Bytes of what is told at once, beyond which it is not looked at: some ten thousand keys.
const LARGEST: usize = 256 * 1024;

/// Somebody of this worker needs to hear of the cluster's keys from now on.
pub fn need(turn: &mut Turn, cluster: usize, hearer: Hearer) {
    if turn.feeds.set(cluster, hearer, true) {
        open_all(turn, cluster);
    }
}

/// And not any more: with the last one the connections end.
pub fn spare(turn: &mut Turn, cluster: usize, hearer: Hearer) {
    if !turn.feeds.set(cluster, hearer, false) {
        return;
    }
    for (_, feed) in std::mem::take(&mut turn.feeds.of(cluster).feeds) {
        end(turn, &feed);
    }
}

/// One connection to each primary that has none.
fn open_all(turn: &mut Turn, cluster: usize) {
    let Some(described) = turn.served(cluster).map(|served| served.cluster.clone()) else { return };
    if described.spec.engine != EngineKind::Redis {
        return;
    }
    for (shard, known) in (0..).zip(&described.shards) {
        let is_open = turn.feeds.of(cluster).feeds.contains_key(&shard);
        if let Some(node) = known.primary.filter(|_| !is_open) {
            open(turn, &described, (cluster, shard, node), false);
        }
    }
}

fn open(turn: &mut Turn, described: &Cluster, (cluster, shard, node): (usize, u16, u16), was_lost: bool) {
    let label = described.nodes[usize::from(node)].label.clone();
    let metrics = turn.shared.metrics.node(&described.spec.name, &label, turn.number);
    let way = Way { cluster, shard, node, resp: 3, db: 0, lane: Lane::Usual, slot: NO_SLOT };
    let role = Role::Watcher(Box::new(Watcher { is_feed: true, ..Watcher::default() }));
    let link = turn.links.insert(Link::new(way, role, EngineKind::Redis, turn.now, metrics));
    turn.links.mark(link);
    turn.feeds.of(cluster).feeds.insert(shard, Feed::new(link, label, was_lost));
}

/// It is up, and tells of whatever changes from now on. Of what changed since the one before it was lost nobody has heard.
pub fn connected(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let Way { cluster, shard, .. } = turn.links[index].way;
    let serial = turn.feeds.next_serial();
    let Some(feed) = turn.feeds.carried(cluster, shard, index) else { return };
    feed.hearing = Some(serial);
    feed.refused = None;
    let was_lost = feed.was_lost;
    feed.was_lost = true;
    if was_lost {
        tell(turn, clients, cluster, &Invalidation::Lost(shard));
    }
    settle(turn, clients);
}

/// It is lost, or its node refuses to tell: nothing is heard until it is back.
pub fn lost(turn: &mut Turn, clients: &mut Clients, index: usize) {
    turn.links[index].exchange.take();
    let Way { cluster, shard, .. } = turn.links[index].way;
    let refusal = turn.links[index].watcher_mut().and_then(|watcher| watcher.refusal.take());
    let now = turn.now;
    if let Some(feed) = turn.feeds.carried(cluster, shard, index) {
        let was_heard = feed.hearing.take().is_some();
        if let Some(why) = &refusal {
            feed.refused = Some((now, why.clone()));
            feed.link = None;
        }
        if was_heard {
            tell(turn, clients, cluster, &Invalidation::Lost(shard));
        }
    }
    if refusal.is_some() {
        turn.remove_link(index);
    }
    settle(turn, clients);
}

/// What a node says on such a connection: how many bytes were taken.
pub fn receive_all(turn: &mut Turn, clients: &mut Clients, index: usize, data: &[u8]) -> Result<usize, String> {
    let mut taken = 0;
    while taken < data.len() {
        let link = &mut turn.links[index];
        if link.is_aside {
            let scan = link.framer.scan_aside(&data[taken..])?; // it began before the connection was up
            link.is_aside = !scan.complete;
            taken += scan.consumed;
            continue;
        }
        let scan = ReplyFramer::new().scan(&data[taken..]).map_err(|e| format!("the node sent no valid reply: {e}"))?;
        if !scan.complete && data.len() - taken > LARGEST && data[taken] == b'>' {
            // so many keys at once: the rest is passed over, and everything of the shard may be another
            turn.links[index].is_aside = true;
            let Way { cluster, shard, .. } = turn.links[index].way;
            if turn.feeds.carried(cluster, shard, index).is_some() {
                tell(turn, clients, cluster, &Invalidation::Lost(shard));
            }
            continue;
        }
        if !scan.complete {
            break;
        }
        let frame = &data[taken..taken + scan.consumed];
        taken += scan.consumed;
        if frame[0] == b'>' {
            invalidated(turn, clients, index, frame);
        } else {
            answered(turn, clients, index, frame)?;
        }
    }
    Ok(taken)
}

fn invalidated(turn: &mut Turn, clients: &mut Clients, index: usize, push: &[u8]) {
    let Way { cluster, shard, .. } = turn.links[index].way;
    if turn.feeds.carried(cluster, shard, index).is_none() {
        return; // it is another primary's turn
    }
    match changed(push) {
        Some(Changed::These(keys)) => tell(turn, clients, cluster, &Invalidation::Keys(keys)),
        Some(Changed::All) => tell(turn, clients, cluster, &Invalidation::Lost(shard)),
        None => {}
    }
}

fn answered(turn: &mut Turn, clients: &mut Clients, index: usize, reply: &[u8]) -> Result<(), String> {
    let now = turn.now;
    let link = &mut turn.links[index];
    let Role::Watcher(watcher) = &mut link.role else { return Ok(()) };
    let Some(said) = watcher.said.pop_front() else { return Err("the node sent a reply nobody asked for".into()) };
    link.patience.begin(now);
    if let Some((key, question)) = said.and_then(|key| Some((key, watcher.questions.pop_front()?))) {
        told::answered(turn, clients, &key, &question, reply);
    }
    Ok(())
}

/// Ask the primary of a key what that holds; whether it can be asked.
pub fn ask(turn: &mut Turn, cluster: usize, key: &[u8], question: Question) -> bool {
    let Some(served) = turn.served(cluster) else { return false };
    let shard = served.cluster.shard_of(served.cluster.slot_of(key));
    let feed = turn.feeds.all(cluster).find(|(of, feed)| *of == shard && feed.hearing.is_some());
    let Some(index) = feed.and_then(|(_, feed)| feed.link) else { return false };
    let link = &mut turn.links[index];
    let Role::Watcher(watcher) = &mut link.role else { return false };
    if watcher.said.is_empty() {
        link.patience.begin(turn.now);
    }
    watcher.said.push_back(Some(key.into()));
    watcher.questions.push_back(question);
    let last = OWN_VALUE.to_string(); // one byte more than may be asked for
    write::command(link.exchange.say(), &[b"GETRANGE", key, b"0", last.as_bytes()]);
    turn.links.mark(index);
    true
}

/// Another epoch: connections to what is primary no more end, and whoever hears is told so before anything is answered by the
/// next one; so it is where slots have moved. `before`: the epoch until now.
pub fn refresh(turn: &mut Turn, clients: &mut Clients, cluster: usize, before: Option<&Cluster>) {
    if !turn.feeds.is_needed(cluster) {
        return;
    }
    let now = turn.served(cluster).map(|served| served.cluster.clone());
    let mut old = std::mem::take(&mut turn.feeds.of(cluster).feeds);
    let mut lost = vec![];
    for (shard, node) in now.iter().flat_map(|now| primaries(now)) {
        let Some(described) = &now else { continue };
        let label = &described.nodes[usize::from(node)].label;
        match old.remove(&shard) {
            Some(feed) if feed.label == *label && is_of(turn, &feed, described.run_id_of(shard, node)) => {
                if let Some(link) = feed.link {
                    turn.links[link].way.node = node; // nodes are numbered anew in every epoch
                }
                turn.feeds.of(cluster).feeds.insert(shard, feed);
            }
            feed => {
                let was_lost = feed.is_some() || before.is_some();
                if let Some(feed) = feed {
                    end(turn, &feed);
                    lost.push(shard);
                }
                open(turn, described, (cluster, shard, node), was_lost);
            }
        }
    }
    for (shard, feed) in old {
        end(turn, &feed);
        lost.push(shard);
    }
    if let Some((before, now)) = before.zip(now.as_deref()).filter(|(before, now)| !before.has_slots_of(now)) {
        lost.extend(before.shards_unlike(now));
        lost.sort_unstable();
        lost.dedup();
    }
    for shard in lost {
        tell(turn, clients, cluster, &Invalidation::Lost(shard));
    }
}

fn primaries(cluster: &Cluster) -> impl Iterator<Item = (u16, u16)> + '_ {
    (0..).zip(&cluster.shards).filter_map(|(number, shard)| Some((number, shard.primary?)))
}

/// Whether it comes from the process with this run id, or will have to.
fn is_of(turn: &Turn, feed: &Feed, expected: Option<&str>) -> bool {
    let (Some(expected), Some(link)) = (expected, feed.link.and_then(|link| turn.links.get(link))) else { return true };
    match link.identity.run_id.as_deref() {
        Some(known) => known == expected,
        None => link.identity.is_asking || !matches!(link.state, State::Ready | State::Greeting(_)),
    }
}

fn end(turn: &mut Turn, feed: &Feed) {
    if let Some(link) = feed.link {
        turn.links[link].is_retired = true;
        turn.later.retire.push(link);
    }
}

/// A node that refused to tell is asked again in a while.
pub fn tick(turn: &mut Turn) {
    for cluster in 0..turn.feeds.clusters() {
        let now = turn.now;
        let is_due = |feed: &Feed| feed.link.is_none() && feed.refusal(now).is_none();
        let due: Vec<u16> = turn.feeds.all(cluster).filter(|(_, feed)| is_due(feed)).map(|(shard, _)| shard).collect();
        let Some(described) = turn.served(cluster).map(|served| served.cluster.clone()) else { continue };
        for shard in due {
            if let Some(node) = described.shards.get(usize::from(shard)).and_then(|known| known.primary) {
                open(turn, &described, (cluster, shard, node), true);
            }
        }
    }
}
