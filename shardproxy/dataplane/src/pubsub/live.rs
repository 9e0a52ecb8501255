//! When a topic is live: who waits for it is told then.

use super::strays;
use crate::hash::slot;
use crate::model::{Cluster, Kind, BUS};
use crate::turn::{Job, Turn};

/// The shard of a shard channel, or of one that engines in cluster mode have in common; none for what lives on all of them.
pub(super) fn home(turn: &Turn, cluster: usize, kind: Kind, name: &[u8]) -> Option<u16> {
    let served = turn.cluster(cluster);
    match kind {
        Kind::Shard => Some(served.map_or(u16::MAX, |served| served.shard_of(slot(name)))),
        Kind::Channel if !is_of_keys(name) && served.is_some_and(|served| served.spec.clustered) => Some(BUS),
        Kind::Channel | Kind::Pattern => None,
    }
}

/// Whether a shard is to be subscribed to the topic: its home, or all where it has none. While keys of the home's slots are
/// copied to others, and from them, these are too: whichever has the slot next is heard from its first message on.
pub(super) fn is_wanted_at(turn: &Turn, cluster: usize, (kind, name): (Kind, &[u8]), shard: u16) -> bool {
    let is_mixed = |shard| turn.cluster(cluster).is_some_and(|described| described.is_mixed(shard));
    home(turn, cluster, kind, name).is_none_or(|home| home == shard || is_mixed(home) && is_mixed(shard))
}

/// Whether an engine tells on that channel of its own keys: others do not pass that on.
fn is_of_keys(channel: &[u8]) -> bool {
    channel.starts_with(b"__keyspace@") || channel.starts_with(b"__keyevent@")
}

/// Whether a message on the channel is to be heard from this shard. Engines in cluster mode all tell the same, but for what
/// concerns their own keys. Of its keys an engine is heard if they are its own, not copies on their way, or those that were:
/// what it tells is sifted for as long.
pub(super) fn is_heard<'m>(
    turn: &Turn,
    cluster: usize,
    (shard, is_sifted): (u16, bool),
    channel: &'m [u8],
    payload: impl FnOnce() -> &'m [u8],
) -> bool {
    let Some(served) = turn.cluster(cluster) else { return true };
    if is_of_keys(channel) {
        return !(is_sifted || served.is_mixed(shard)) || is_of_own_key(served, shard, channel, payload());
    }
    shard == BUS || !served.spec.clustered
}

/// Whether the key is one of the shard's, of which an engine tells that may have copies of others. Where none is named it is.
#[cold]
fn is_of_own_key(served: &Cluster, shard: u16, channel: &[u8], payload: &[u8]) -> bool {
    let key = if channel.starts_with(b"__keyevent@") {
        Some(payload)
    } else {
        memchr::memmem::find(channel, b"__:").map(|at| &channel[at + 3..])
    };
    key.is_none_or(|key| served.shard_of(served.slot_of(key)) == shard)
}

/// Subscribed on every shard that can be reached. One that cannot does not hold up the others: it is subscribed when it
/// is back. One without a known primary does for as long as requests for it are parked: what is published meanwhile is.
pub(super) fn is_live(turn: &Turn, cluster: usize, id: u32) -> bool {
    let (Some(topics), Some(served)) = (turn.pubsub.topics(cluster), turn.cluster(cluster)) else { return true };
    let Some(entry) = topics.get(id) else { return true };
    let home = home(turn, cluster, entry.kind, &entry.name);
    let park = served.spec.timeouts.park;
    let is_missed = topics
        .missing
        .iter()
        .any(|(&shard, &since)| home.is_none_or(|home| home == shard) && turn.now.duration_since(since) < park);
    !is_missed && topics.unconfirmed(id, home).all(|link| turn.links[link].trouble.down_since.is_some())
}

/// If the topic is live now, or refused, those that waited for it go on.
pub(super) fn settle(turn: &mut Turn, cluster: usize, id: u32) {
    let is_refused = || turn.pubsub.topics(cluster).and_then(|t| t.get(id)).is_some_and(|e| e.refusal.is_some());
    if !is_refused() && !is_live(turn, cluster, id) {
        return;
    }
    let waiting = turn.pubsub.of(cluster).change(id, |entry| std::mem::take(&mut entry.waiting)).unwrap_or_default();
    turn.spend(waiting.len());
    turn.pubsub.jobs.extend(waiting.as_slice().iter().map(|member| Job::Errand(member.ticket())));
}

/// The same for all topics: a shard some waited for was lost, or left the topology.
pub fn settle_all(turn: &mut Turn, cluster: usize) {
    let waited_for: Vec<u32> =
        turn.pubsub.topics(cluster).map_or_else(Vec::new, |topics| topics.waited_for().collect());
    for id in waited_for {
        settle(turn, cluster, id);
    }
}

/// Who waits for a shard without a primary waits no longer than what is parked. What was given up is so everywhere by now.
pub fn tick(turn: &mut Turn) {
    for cluster in 0..turn.clusters.len() {
        if turn.pubsub.topics(cluster).is_some() {
            forget_left(turn, cluster);
            strays::tick(turn, cluster);
        }
        if turn.pubsub.topics(cluster).is_some_and(|topics| !topics.missing.is_empty()) {
            settle_all(turn, cluster);
        }
    }
}

/// Engines have heard of what was given up: they count this worker no more, unless it has asked for it anew.
fn forget_left(turn: &mut Turn, cluster: usize) {
    let now = turn.now;
    let left = turn.pubsub.of(cluster).left.take_heard(now);
    for (kind, name) in left {
        if turn.pubsub.of(cluster).find(kind, &name).is_none() {
            turn.shared.census.forget(cluster, kind, &name, turn.number);
            turn.spend(1);
        }
    }
}
