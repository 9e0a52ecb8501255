//! Publish and subscribe over shards that share no bus.
//!
//! ```text
//!   client A ─ SUBSCRIBE news ─┐                       ┌─> shard 0   one connection per worker and shard,
//!   client B ─ SUBSCRIBE news ─┴─> topic "news" ───────┼─> shard 1   one subscription per topic on it
//!        ^ confirmed when every reachable shard is     └─> shard 2
//!        └──────────── message ── fanned out here <────────── from whichever shard it was published on
//! ```
//!
//! A channel is subscribed on *every* shard, because scripts and transactions publish on the shard they run on, and
//! keyspace events come from all. A shard channel (SSUBSCRIBE) lives on the shard of its slot.

mod clients;
mod links;

pub use clients::{count_receivers, forget, serve, why_not_while_subscribed};
pub use links::{connected, lost, ping, receive, refresh, settle_all, tick};

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Instant;

use crate::client::Client;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Kind {
    Channel,
    Pattern,
    Shard,
}

impl Kind {
    const fn words(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Channel => (b"subscribe", b"unsubscribe"),
            Self::Pattern => (b"psubscribe", b"punsubscribe"),
            Self::Shard => (b"ssubscribe", b"sunsubscribe"),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Pattern => "pattern",
            Self::Shard => "shard",
        }
    }
}

/// What one client is subscribed to.
#[derive(Default)]
pub struct Subscriptions {
    topics: [BTreeSet<Box<[u8]>>; 3],
    /// A SUBSCRIBE whose topics are not live yet.
    pending: Option<Subscribing>,
}

struct Subscribing {
    sequence: u32,
    kind: Kind,
    names: Vec<Box<[u8]>>,
    /// Topics that are not live yet.
    missing: usize,
}

impl Subscriptions {
    /// What SUBSCRIBE and PSUBSCRIBE, or SSUBSCRIBE, report.
    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.topics[2].len(),
            _ => self.topics[0].len() + self.topics[1].len(),
        }
    }

    pub fn counts(&self) -> [usize; 3] {
        [self.topics[0].len(), self.topics[1].len(), self.topics[2].len()]
    }
}

impl Client {
    /// Whether RESP2 restricts it to the commands of a subscriber.
    pub fn is_subscriber(&self) -> bool {
        self.resp == 2 && self.subscriptions.as_deref().is_some_and(|s| s.topics.iter().any(|t| !t.is_empty()))
    }

    fn subscribed(&mut self, kind: Kind) -> &mut BTreeSet<Box<[u8]>> {
        &mut self.subscriptions.get_or_insert_default().topics[kind as usize]
    }
}

/// A worker's subscriptions.
#[derive(Default)]
pub struct PubSub {
    topics: HashMap<Topic, Entry>,
    /// The subscribing connection to each shard, by cluster and shard.
    links: HashMap<(usize, u16), usize>,
    /// Since when a shard has no known primary.
    missing: HashMap<(usize, u16), Instant>,
}

#[derive(PartialEq, Eq, Hash, Clone)]
pub struct Topic {
    pub cluster: usize,
    pub kind: Kind,
    pub name: Box<[u8]>,
}

#[derive(Default)]
struct Entry {
    subscribers: Vec<(usize, u32)>,
    /// Clients whose SUBSCRIBE waits for this topic to be live.
    waiting: Vec<(usize, u32)>,
    confirmed: HashSet<u16>,
}
