//! A worker's subscriptions, and what is to be done about them in later turns.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use super::members::Tagged;
use super::topics::Topics;
use crate::clients::Subscriptions;
use crate::exchange::{Gauge, Message};

/// What a turn may do of what clients have many of, in steps of a microsecond or a few.
pub const STEPS: usize = 1024;

#[derive(Default)]
pub struct PubSub {
    clusters: Vec<Topics>,
    pub jobs: VecDeque<Job>,
    /// Those that go on when a connection has taken what is to be said on it, or with the next tick.
    pub stalled: Vec<Job>,
    /// Steps left in this turn.
    pub left: usize,
    /// Connections whose last message is not with all its subscribers yet.
    pub handing_out: Vec<usize>,
    pub messages: Gauge,
    /// Bytes of all that, as last counted.
    pub accounted: usize,
    /// Nothing was done since.
    pub is_counted: bool,
}

/// What goes on in a later turn.
pub enum Job {
    /// A client's command about topics.
    Errand(Tagged),
    Gone(Box<Gone>),
    /// A connection is told of all topics.
    Announce {
        cluster: usize,
        shard: u16,
    },
    /// A message, of which this connection is the source, is handed to those who have not got it.
    HandOut {
        link: usize,
        cluster: usize,
        topic: u32,
        name: Arc<[u8]>,
        message: Rc<Message>,
    },
}

/// What a client that has gone was subscribed to.
pub struct Gone {
    pub cluster: usize,
    pub ticket: Tagged,
    pub subscriptions: Subscriptions,
}

impl PubSub {
    pub fn topics(&self, cluster: usize) -> Option<&Topics> {
        self.clusters.get(cluster)
    }

    pub fn of(&mut self, cluster: usize) -> &mut Topics {
        if self.clusters.len() <= cluster {
            self.clusters.resize_with(cluster + 1, Topics::default);
        }
        &mut self.clusters[cluster]
    }

    /// Whether what clients took that have gone is still to be given back.
    pub fn is_forgetting(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job, Job::Gone(_)))
    }

    /// A connection has taken what was to be said, or may have: who waited for it goes on.
    pub fn resume(&mut self) {
        self.jobs.extend(self.stalled.drain(..));
    }

    /// Shards of a cluster have other numbers now.
    pub fn renumber(&mut self, of: usize, numbers: &BTreeMap<u16, u16>) {
        self.of(of).renumber(numbers);
        for job in self.jobs.iter_mut().chain(&mut self.stalled) {
            if let Job::Announce { cluster, shard } = job {
                *shard = numbers.get(shard).copied().filter(|_| *cluster == of).unwrap_or(*shard);
            }
        }
    }

    pub fn held(&self) -> usize {
        let gone = |job: &Job| if let Job::Gone(gone) = job { gone.subscriptions.held() } else { 0 };
        let jobs = self.jobs.capacity() * size_of::<Job>() + self.jobs.iter().map(gone).sum::<usize>();
        self.messages.get() + jobs + self.clusters.iter().map(Topics::held).sum::<usize>()
    }
}
