//! How many clients of all workers are subscribed to what: PUBLISH tells its caller, and PUBSUB lists it.
//!
//! An engine counts one subscriber per worker; the application counts its clients. So of what an engine counts the workers
//! are taken away, and the clients are added. A worker whose last client has left is one that an engine may count for a
//! moment more, or may not: it has clients of whom there are none. Locks are many, and held for one topic or one part of
//! them.

mod counts;
mod patterns;
#[cfg(test)]
mod random;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::counts::{Counts, Sum};
use self::patterns::Patterns;
use crate::maps::Map;
use crate::model::Kind;

/// Topics of one kind are kept in so many maps, each with a lock of its own.
const PARTS: usize = 64;

const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

#[derive(Default)]
pub struct Census {
    clusters: RwLock<Vec<OfCluster>>,
    hasher: RandomState,
    /// Topics of which some worker has another number of clients than one: while there is none, no reply is corrected.
    uneven: AtomicUsize,
    bytes: AtomicUsize,
}

type Part = Map<Arc<[u8]>, Counts>;

struct OfCluster {
    kinds: [Box<[RwLock<Part>]>; 3],
    patterns: RwLock<Patterns>,
}

impl Default for OfCluster {
    fn default() -> Self {
        Self { kinds: [(); 3].map(|()| (0..PARTS).map(|_| RwLock::default()).collect()), patterns: RwLock::default() }
    }
}

impl Census {
    /// So many clients of a worker are subscribed to the topic from now on.
    pub fn set(&self, cluster: usize, kind: Kind, name: &Arc<[u8]>, worker: usize, clients: usize) {
        self.change(cluster, kind, name, worker, Some(clients));
    }

    /// No engine counts the worker any more.
    pub fn forget(&self, cluster: usize, kind: Kind, name: &Arc<[u8]>, worker: usize) {
        self.change(cluster, kind, name, worker, None);
    }

    fn change(&self, cluster: usize, kind: Kind, name: &Arc<[u8]>, worker: usize, clients: Option<usize>) {
        if read(&self.clusters).len() <= cluster {
            let mut all = write(&self.clusters);
            let missing = (cluster + 1).saturating_sub(all.len());
            all.extend((0..missing).map(|_| OfCluster::default()));
        }
        let all = read(&self.clusters);
        let mut part = write(&all[cluster].kinds[kind as usize][self.part(name)]);
        let taken = part.held();
        if part.get(&**name).is_none() {
            part.insert(name.clone(), Counts::default());
        }
        let Some(counts) = part.get_mut(&**name) else { return };
        let (before, was_even, taken) = (counts.sum(), counts.is_even(), taken + counts.held());
        counts.set(worker as u16, clients.map(|clients| clients as u32));
        let (after, is_even, held) = (counts.sum(), counts.is_even(), counts.held());
        if counts.is_empty() {
            part.remove(&**name);
        }
        self.count_bytes(taken, held + part.held());
        self.count_uneven(was_even, is_even);
        if kind == Kind::Pattern && before != after {
            // with the part still locked: the last to count is the last to say so
            write(&all[cluster].patterns).set(name, after);
            self.count_bytes(patterns::bytes_of(before), patterns::bytes_of(after));
        }
    }

    fn count_bytes(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after.wrapping_sub(before), Relaxed);
    }

    fn count_uneven(&self, was_even: bool, is_even: bool) {
        let step = usize::from(!is_even).wrapping_sub(usize::from(!was_even));
        if step != 0 {
            self.uneven.fetch_add(step, Relaxed);
        }
    }

    /// A worker starts anew: its clients are gone.
    pub fn forget_worker(&self, worker: usize) {
        for of_cluster in read(&self.clusters).iter() {
            for kind in KINDS {
                for part in &of_cluster.kinds[kind as usize] {
                    let mut part = write(part);
                    let taken = part.held();
                    part.retain(|name, counts| {
                        let (before, was_even, held) = (counts.sum(), counts.is_even(), counts.held());
                        counts.set(worker as u16, None);
                        let after = counts.sum();
                        self.count_uneven(was_even, counts.is_even());
                        self.count_bytes(held, counts.held());
                        if kind == Kind::Pattern && before != after {
                            write(&of_cluster.patterns).set(name, after);
                            self.count_bytes(patterns::bytes_of(before), patterns::bytes_of(after));
                        }
                        !counts.is_empty()
                    });
                    self.count_bytes(taken, part.held());
                }
            }
        }
    }

    /// How many clients heard a message that an engine delivered to `delivered` subscribers; and how many topics were
    /// looked at to know.
    pub fn receivers(&self, cluster: usize, kind: Kind, channel: &[u8], delivered: i64) -> (i64, usize) {
        if self.uneven.load(Relaxed) == 0 || delivered == 0 {
            return (delivered, 0);
        }
        let all = read(&self.clusters);
        let Some(of_cluster) = all.get(cluster) else { return (delivered, 0) };
        let own = read(&of_cluster.kinds[kind as usize][self.part(channel)]).get(channel).map(Counts::sum);
        let (mut sum, looked_at) =
            if kind == Kind::Channel { read(&of_cluster.patterns).sum(channel) } else { (Sum::default(), 0) };
        sum += own.unwrap_or_default();
        (sum.receivers(delivered), 1 + looked_at)
    }

    /// Every topic of a kind with its clients.
    pub fn list(&self, cluster: usize, kind: Kind) -> Vec<(Arc<[u8]>, usize)> {
        let all = read(&self.clusters);
        let Some(of_cluster) = all.get(cluster) else { return Vec::new() };
        let mut listed = Vec::new();
        for part in &of_cluster.kinds[kind as usize] {
            let clients = |counts: &Counts| counts.sum().clients as usize;
            let part = read(part);
            listed
                .extend(part.iter().map(|(name, of)| (name.clone(), clients(of))).filter(|(_, clients)| *clients > 0));
        }
        listed
    }

    /// How many topics of a kind there are.
    pub fn topics(&self, cluster: usize, kind: Kind) -> usize {
        let all = read(&self.clusters);
        all.get(cluster)
            .map_or(0, |of_cluster| of_cluster.kinds[kind as usize].iter().map(|part| read(part).len()).sum())
    }

    /// How many clients are subscribed to one.
    pub fn clients(&self, cluster: usize, kind: Kind, name: &[u8]) -> usize {
        let all = read(&self.clusters);
        let part = all.get(cluster).map(|of_cluster| read(&of_cluster.kinds[kind as usize][self.part(name)]));
        part.and_then(|part| part.get(name).map(Counts::sum)).map_or(0, |sum| sum.clients as usize)
    }

    /// Bytes it takes, names apart: they are the workers' too.
    pub fn held(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    fn part(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize % PARTS
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn clients_are_counted_not_workers() {
        let census = Census::default();
        census.set(0, Kind::Channel, &name("news"), 0, 3);
        census.set(0, Kind::Channel, &name("news"), 1, 1);
        census.set(0, Kind::Pattern, &name("n*"), 0, 2);
        // the engine saw: two workers on the channel, one on the pattern, and one client of its own
        assert_eq!(census.receivers(0, Kind::Channel, b"news", 4).0, 7);
        assert_eq!(census.receivers(0, Kind::Channel, b"nothing", 1).0, 2);
        assert_eq!(census.receivers(0, Kind::Channel, b"news", i64::MAX).0, i64::MAX);
        assert_eq!(census.receivers(1, Kind::Channel, b"news", 4).0, 4);
        census.forget_worker(0);
        assert_eq!(census.list(0, Kind::Channel), vec![(name("news"), 1)]);
        assert_eq!((census.clients(0, Kind::Channel, b"news"), census.clients(0, Kind::Pattern, b"n*")), (1, 0));
        assert_eq!(census.receivers(0, Kind::Channel, b"news", 4), (4, 0), "all are even again");
    }

    #[test]
    fn who_has_left_is_not_counted_whether_the_engine_has_heard_of_it_or_not() {
        let census = Census::default();
        census.set(0, Kind::Channel, &name("news"), 0, 2);
        census.set(0, Kind::Channel, &name("news"), 1, 0);
        census.set(0, Kind::Pattern, &name("n*"), 1, 1);
        for delivered in [2, 3] {
            assert_eq!(census.receivers(0, Kind::Channel, b"news", delivered).0, 3);
        }
        assert_eq!(census.receivers(0, Kind::Channel, b"news", 4).0, 4, "one is a stranger");
        assert_eq!(census.receivers(0, Kind::Channel, b"news", 1).0, 2, "a worker has lost its connection");
        assert_eq!(census.receivers(0, Kind::Channel, b"news", 0).0, 0, "nobody hears that engine");
        assert_eq!(census.list(0, Kind::Channel), vec![(name("news"), 2)]);
        census.set(0, Kind::Channel, &name("news"), 0, 0);
        assert_eq!((census.list(0, Kind::Channel), census.clients(0, Kind::Channel, b"news")), (vec![], 0));
        census.forget(0, Kind::Channel, &name("news"), 0);
        census.forget(0, Kind::Channel, &name("news"), 1);
        assert_eq!(census.receivers(0, Kind::Channel, b"news", 2), (2, 0), "all are even again");
    }

    #[test]
    fn it_gives_its_room_back() {
        let census = Census::default();
        let names: Vec<_> = (0..10_000).map(|number| name(&number.to_string())).collect();
        for (worker, clients) in [(0, 1), (1, 2), (0, 0), (1, 0)] {
            for name in &names {
                census.set(0, Kind::Channel, name, worker, clients);
            }
            assert!(census.held() > 10_000 * 32);
        }
        for worker in 0..2 {
            for name in &names {
                census.forget(0, Kind::Channel, name, worker);
            }
        }
        assert_eq!(census.held(), 0);
    }
}
