//! How many clients of all workers are subscribed to what: PUBLISH tells its caller, and PUBSUB lists it.
//!
//! An engine counts one subscriber per worker; the application counts its clients. So a reply to PUBLISH is corrected by
//! the difference.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::glob;
use crate::model::{Kind, Topic};

#[cfg(test)]
mod random;

#[derive(Default)]
pub struct Census {
    /// Subscribed clients by topic and worker.
    topics: RwLock<HashMap<Topic, BTreeMap<usize, usize>>>,
    /// So that nobody takes the lock while there is nothing.
    size: AtomicUsize,
}

impl Census {
    pub fn set(&self, topic: &Topic, worker: usize, clients: usize) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if clients > 0 {
            topics.entry(topic.clone()).or_default().insert(worker, clients);
        } else if let Some(workers) = topics.get_mut(topic) {
            workers.remove(&worker);
            if workers.is_empty() {
                topics.remove(topic);
            }
        }
        self.size.store(topics.len(), Relaxed);
    }

    /// A worker starts anew: its clients are gone.
    pub fn forget_worker(&self, worker: usize) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|_, workers| {
            workers.remove(&worker);
            !workers.is_empty()
        });
        self.size.store(topics.len(), Relaxed);
    }

    /// How many clients heard a message that an engine delivered to `delivered` subscribers.
    pub fn receivers(&self, cluster: usize, kind: Kind, channel: &[u8], delivered: i64) -> i64 {
        if self.size.load(Relaxed) == 0 {
            return delivered;
        }
        let topics = self.read();
        let mut correction = 0;
        let mut count = |workers: &BTreeMap<usize, usize>| {
            correction += workers.values().sum::<usize>() as i64 - workers.len() as i64;
        };
        let topic = Topic { cluster, kind, name: channel.into() };
        topics.get(&topic).map(&mut count);
        if kind == Kind::Channel {
            let patterns = topics.iter().filter(|(t, _)| t.cluster == cluster && t.kind == Kind::Pattern);
            patterns.filter(|(t, _)| glob::matches(&t.name, channel)).for_each(|(_, workers)| count(workers));
        }
        delivered.saturating_add(correction).max(0)
    }

    /// Every topic of a cluster with its clients.
    pub fn list(&self, cluster: usize) -> Vec<(Kind, Vec<u8>, usize)> {
        let topics = self.read();
        let own = topics.iter().filter(|(topic, _)| topic.cluster == cluster);
        own.map(|(topic, workers)| (topic.kind, topic.name.to_vec(), workers.values().sum())).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Topic, BTreeMap<usize, usize>>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(kind: Kind, name: &str) -> Topic {
        Topic { cluster: 0, kind, name: name.as_bytes().into() }
    }

    #[test]
    fn clients_are_counted_not_workers() {
        let census = Census::default();
        census.set(&topic(Kind::Channel, "news"), 0, 3);
        census.set(&topic(Kind::Channel, "news"), 1, 1);
        census.set(&topic(Kind::Pattern, "n*"), 0, 2);
        // the engine saw: two workers on the channel, one on the pattern, and one client of its own
        assert_eq!(census.receivers(0, Kind::Channel, b"news", 4), 7);
        assert_eq!(census.receivers(0, Kind::Channel, b"nothing", 1), 2);
        assert_eq!(census.receivers(0, Kind::Channel, b"news", i64::MAX), i64::MAX);
        assert_eq!(census.receivers(1, Kind::Channel, b"news", 4), 4);
        census.forget_worker(0);
        assert_eq!(census.list(0), vec![(Kind::Channel, b"news".to_vec(), 1)]);
    }
}
