//! What one worker remembers of one cluster.

use std::sync::Arc;

use super::big::Big;
use super::countdown::Random;
use super::hot::Hot;
use super::report::{HotReport, Report};
use crate::metrics::{ClusterMetrics, Registry, ShardMetrics};
use crate::model::{Cluster, HotSpec};

pub struct Watched {
    spec: HotSpec,
    /// Numbers of the shards: what is remembered is by their places.
    shards: Vec<u32>,
    pub(super) random: Random,
    pub(super) big: Big,
    /// None while nothing was looked at lately.
    hot: Option<Box<Hot>>,
}

impl Watched {
    pub fn new(cluster: &Cluster, seed: u32, now: u64) -> Self {
        let spec = cluster.spec.hot_keys;
        let shards = cluster.shards.iter().map(|shard| shard.number).collect();
        Self { spec, shards, random: Random::new(seed), big: Big::new(spec.keys, now), hot: None }
    }

    /// Whether what is remembered is still of this cluster.
    pub fn is_of(&self, cluster: &Cluster) -> bool {
        self.spec == cluster.spec.hot_keys
            && cluster.shards.iter().map(|shard| shard.number).eq(self.shards.iter().copied())
    }

    /// For how many requests one that is looked at stands.
    pub const fn every(&self) -> u32 {
        self.spec.sample
    }

    /// So many keys are on each list.
    pub(super) const fn keys(&self) -> usize {
        self.spec.keys * 2
    }

    pub(super) const fn is_remembered(&self) -> bool {
        self.hot.is_some()
    }

    /// Bytes that it takes.
    pub fn held(&self) -> usize {
        self.big.held() + self.hot.as_ref().map_or(0, |hot| hot.held())
    }

    /// Forget what is hot, for its memory. `shards`: theirs, by their places.
    pub fn forget(&mut self, shards: &[Arc<ShardMetrics>]) {
        if self.hot.take().is_some() {
            for shard in shards {
                shard.sampled.set(0);
                shard.hottest.set(0);
            }
        }
    }

    /// What is hot. Of both windows there are twice as many keys on a list as are told: those that are few here may be many
    /// elsewhere.
    pub(super) fn hot(&mut self, now: u64) -> &mut Hot {
        let keys = self.keys();
        self.hot.get_or_insert_with(|| Box::new(Hot::new(keys, now)))
    }

    /// Once a second. `shards`: theirs, by their places.
    pub fn tick(
        &mut self,
        now: u64,
        name: &str,
        (metrics, registry): (&ClusterMetrics, &Registry),
        shards: &[Arc<ShardMetrics>],
    ) {
        self.big.tick(now);
        metrics.big_reply.set(self.big.largest() as u64);
        if let Some(hot) = &mut self.hot {
            hot.tick(now, name, (metrics, registry), shards);
        }
        self.hot = self.hot.take().filter(|hot| !hot.is_idle());
    }

    pub fn report(&self, now: u64) -> Report {
        let hot = self.hot.as_ref().map_or_else(HotReport::default, |hot| hot.report(now, self.spec.sample));
        Report { hot, big: self.big.keys().to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hot_takes_memory_only_while_something_is_asked_for() {
        let (metrics, registry) = (ClusterMetrics::default(), Registry::default());
        let spec = HotSpec { sample: 1, keys: 10 };
        let (random, big) = (Random::new(1), Big::new(spec.keys, 0));
        let mut watched = Watched { spec, shards: Vec::new(), random, big, hot: None };
        watched.hot(0).sampled();
        for (seconds, is_kept) in [(1, true), (15, true), (29, true), (30, false)] {
            watched.tick(seconds * 1000, "main", (&metrics, &registry), &[]);
            assert_eq!(watched.hot.is_some(), is_kept, "after {seconds} s");
        }
    }
}
