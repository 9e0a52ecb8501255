//! The connections on which primaries tell a worker of every key that changes: one a primary, while somebody needs it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A node that tells of no changes is asked again whether it does after so long.
const REFUSED: Duration = Duration::from_secs(60);

/// Who needs them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hearer {
    /// Clients that track keys.
    Clients = 1,
    /// What is kept of replies.
    Cache = 2,
}

#[derive(Default)]
pub struct Feeds {
    clusters: Vec<OfCluster>,
    /// Of the last one that was heard.
    serial: u64,
}

#[derive(Default)]
pub struct OfCluster {
    hearers: u8,
    /// By shard; none where it has no primary.
    pub feeds: BTreeMap<u16, Feed>,
}

/// What one primary tells.
pub struct Feed {
    /// None while its node refuses to tell.
    pub link: Option<usize>,
    /// The primary's address, by which it is known across epochs.
    pub label: String,
    /// Tells this connection from those before it; none while nothing is heard.
    pub hearing: Option<u64>,
    /// It is not the first one.
    pub was_lost: bool,
    /// Its node does not tell: when, and why.
    pub refused: Option<(Instant, String)>,
}

impl Feeds {
    /// Tells the connection on which the primary of a shard tells of its keys from all before it; none while none does. What
    /// was asked and answered while this is one and the same, and is told of nowhere in between, still holds.
    #[inline]
    pub fn hearing(&self, cluster: usize, shard: u16) -> Option<u64> {
        self.clusters.get(cluster)?.feeds.get(&shard)?.hearing
    }

    #[inline]
    pub fn is_live(&self, cluster: usize, shard: u16) -> bool {
        self.hearing(cluster, shard).is_some()
    }

    pub fn is_needed(&self, cluster: usize) -> bool {
        self.clusters.get(cluster).is_some_and(|known| known.hearers != 0)
    }

    /// Somebody needs them, or needs them no more; whether that begins or ends it all.
    pub fn set(&mut self, cluster: usize, hearer: Hearer, is_needed: bool) -> bool {
        let known = self.of(cluster);
        let was_needed = known.hearers != 0;
        if is_needed {
            known.hearers |= hearer as u8;
        } else {
            known.hearers &= !(hearer as u8);
        }
        was_needed != (known.hearers != 0)
    }

    pub fn of(&mut self, cluster: usize) -> &mut OfCluster {
        if self.clusters.len() <= cluster {
            self.clusters.resize_with(cluster + 1, OfCluster::default);
        }
        &mut self.clusters[cluster]
    }

    /// Those of a cluster, by shard.
    pub fn all(&self, cluster: usize) -> impl Iterator<Item = (u16, &Feed)> {
        self.clusters.get(cluster).into_iter().flat_map(|known| &known.feeds).map(|(&shard, feed)| (shard, feed))
    }

    /// That which this connection carries.
    pub fn carried(&mut self, cluster: usize, shard: u16, link: usize) -> Option<&mut Feed> {
        self.of(cluster).feeds.get_mut(&shard).filter(|feed| feed.link == Some(link))
    }

    /// It is heard from now on.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn clusters(&self) -> usize {
        self.clusters.len()
    }
}

impl Feed {
    pub const fn new(link: usize, label: String, was_lost: bool) -> Self {
        Self { link: Some(link), label, hearing: None, was_lost, refused: None }
    }

    /// Why its node tells nothing, if it was asked lately.
    pub fn refusal(&self, now: Instant) -> Option<&str> {
        let (at, why) = self.refused.as_ref()?;
        (now.duration_since(*at) < REFUSED).then_some(why)
    }
}
