//! How much families of keys are asked for, and by them how long requests take.

use std::sync::Arc;

use super::top::{Sighting, Tally};
use crate::metrics::{ClusterMetrics, Histogram, Registry};

/// Of one window. What comes when there are so many is of no family.
const MOST: usize = 64;
/// A family has times of its own once it has one of so many requests, and not before it has so many.
const ONE_OF: u64 = 100;
const AT_LEAST: u64 = 16;

pub struct Family {
    hash: u64,
    pub name: Vec<u8>,
    pub tally: Tally,
    /// Requests by place of the shard.
    pub shards: Vec<u64>,
    /// Those of all that are too few stand for it until it has times of its own.
    times: Option<Arc<Histogram>>,
}

#[derive(Default)]
pub struct Families {
    known: Vec<Family>,
}

impl Families {
    pub fn known(&self) -> &[Family] {
        &self.known
    }

    /// Count it; the times of its family, where that has some.
    #[inline]
    pub fn count(
        &mut self,
        (hash, name): (u64, &[u8]),
        seen: &Sighting,
        metrics: &ClusterMetrics,
    ) -> Option<&Histogram> {
        let place = match self.known.iter().position(|family| family.hash == hash) {
            Some(place) => place,
            None if self.known.len() < MOST => self.admit(hash, name, metrics),
            None => return None,
        };
        let family = &mut self.known[place];
        family.tally.add(seen);
        let shard = usize::from(seen.shard);
        if family.shards.len() <= shard {
            family.shards.resize(shard + 1, 0);
        }
        family.shards[shard] += u64::from(seen.times);
        family.times.as_deref()
    }

    fn admit(&mut self, hash: u64, name: &[u8], metrics: &ClusterMetrics) -> usize {
        let times = metrics.families.find(&String::from_utf8_lossy(name));
        self.known.push(Family { hash, name: name.to_vec(), tally: Tally::default(), shards: Vec::new(), times });
        self.known.len() - 1
    }

    /// Those that are asked for often have times of their own from now on, as far as there is room in their cluster.
    pub fn promote(&mut self, cluster: &str, metrics: &ClusterMetrics, registry: &Registry) {
        let all: u64 = self.known.iter().map(|family| family.tally.requests).sum();
        for family in self.known.iter_mut().filter(|family| family.times.is_none()) {
            let requests = family.tally.requests;
            let name = String::from_utf8_lossy(&family.name);
            if requests >= AT_LEAST && requests * ONE_OF >= all && registry.admit_family(cluster, &name) {
                family.times = Some(metrics.families.of(&name));
            }
        }
    }

    /// Bytes that they take.
    pub fn held(&self) -> usize {
        let of_each = |family: &Family| family.name.capacity() + family.shards.capacity() * size_of::<u64>();
        self.known.capacity() * size_of::<Family>() + self.known.iter().map(of_each).sum::<usize>()
    }

    pub fn clear(&mut self) {
        self.known.clear();
    }
}
