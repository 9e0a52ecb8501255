//! What one client is subscribed to.

use std::collections::BTreeSet;

use super::Client;
use crate::model::Kind;

/// What one client is subscribed to.
#[derive(Default)]
pub struct Subscriptions {
    pub topics: [BTreeSet<Box<[u8]>>; 3],
    /// A SUBSCRIBE whose topics are not live yet.
    pub pending: Option<Subscribing>,
}

pub struct Subscribing {
    pub sequence: u32,
    pub kind: Kind,
    pub names: Vec<Box<[u8]>>,
    /// Topics that are not live yet.
    pub missing: usize,
}

impl Subscriptions {
    /// What SUBSCRIBE and PSUBSCRIBE, or SSUBSCRIBE, report.
    pub fn count(&self, kind: Kind) -> usize {
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

    pub fn subscribed(&mut self, kind: Kind) -> &mut BTreeSet<Box<[u8]>> {
        &mut self.subscriptions.get_or_insert_default().topics[kind as usize]
    }
}
