//! What all clients of a worker are subscribed to.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::model::Topic;

/// A worker's subscriptions.
#[derive(Default)]
pub struct PubSub {
    pub topics: HashMap<Topic, Subscribed>,
    /// The subscribing connection to each shard, by cluster and shard.
    pub links: HashMap<(usize, u16), usize>,
    /// Since when a shard has no known primary.
    pub missing: HashMap<(usize, u16), Instant>,
}

#[derive(Default)]
pub struct Subscribed {
    pub subscribers: Vec<(usize, u32)>,
    /// Clients whose SUBSCRIBE waits for this topic to be live.
    pub waiting: Vec<(usize, u32)>,
    pub confirmed: HashSet<u16>,
}
