//! What one client is subscribed to, and what it is about to be.

use std::collections::BTreeSet;

use super::Client;
use crate::model::Kind;

/// Topics by their places among those of the client's cluster.
#[derive(Default)]
pub struct Subscriptions {
    pub topics: [BTreeSet<u32>; 3],
    /// A command about topics that is not done yet.
    pub errand: Option<Box<Errand>>,
}

pub struct Errand {
    pub sequence: u32,
    pub kind: Kind,
    pub stage: Stage,
    pub names: Words,
    /// The topics of a SUBSCRIBE, reserved from `at` on once it is confirmed or given up, all of them before.
    pub topics: Vec<u32>,
    /// The next of the names or topics.
    pub at: usize,
    /// What is to be told at the end.
    pub said: Vec<u8>,
}

/// What is being done about each topic.
pub enum Stage {
    /// It is made known, and asked for.
    Joining,
    /// The command waits until it is live.
    Awaiting,
    Confirming,
    /// One was refused for this reason: none is subscribed to.
    GivingUp(Box<[u8]>),
    Leaving,
    LeavingAll,
    /// All of all kinds are left without a word; this is said at the end.
    Forgetting(&'static [u8]),
}

/// The names in a command, in one piece.
#[derive(Default)]
pub struct Words {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Words {
    pub fn of<'a>(words: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut all = Self::default();
        for word in words {
            all.bytes.extend_from_slice(word);
            all.ends.push(all.bytes.len() as u32);
        }
        all
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start as usize..end as usize])
    }

    fn held(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }
}

impl Errand {
    /// The names of a SUBSCRIBE that are not made known yet.
    pub fn joining(&self) -> impl Iterator<Item = &[u8]> {
        let first = if matches!(self.stage, Stage::Joining) { self.at } else { usize::MAX };
        (first..).map_while(|at| self.names.get(at))
    }

    /// All are done so far: the next stage begins with the first.
    pub fn begin(&mut self, stage: Stage) {
        self.stage = stage;
        self.at = 0;
        self.names = Words::default();
    }
}

/// A number in such a set takes so much, at most.
const PLACE: usize = 12;

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

    /// Take any topic out.
    pub fn pop(&mut self) -> Option<(Kind, u32)> {
        [Kind::Channel, Kind::Pattern, Kind::Shard]
            .into_iter()
            .find_map(|kind| Some((kind, self.topics[kind as usize].pop_first()?)))
    }

    /// Take a topic out that is reserved by a command under way; and whether that waits for it.
    pub fn pop_reserved(&mut self) -> Option<(u32, bool)> {
        let errand = self.errand.as_deref_mut()?;
        let first = match errand.stage {
            Stage::Joining | Stage::Awaiting => 0,
            _ => errand.at,
        };
        let id = errand.topics.pop().filter(|_| errand.topics.len() >= first)?;
        let is_waiting = matches!(errand.stage, Stage::Awaiting) && errand.topics.len() == errand.at;
        Some((id, is_waiting))
    }

    pub fn held(&self) -> usize {
        let errand = self.errand.as_deref().map_or(0, |errand| {
            let topics = errand.topics.capacity() * size_of::<u32>();
            size_of::<Errand>() + errand.names.held() + topics + errand.said.capacity()
        });
        size_of::<Self>() + errand + self.counts().iter().sum::<usize>() * PLACE
    }
}

impl Client {
    /// Whether it may only say some commands because of what it listens to.
    pub fn is_listener(&self) -> bool {
        self.tap.is_some() || self.is_subscriber()
    }

    /// Whether RESP2 restricts it to the commands of a subscriber.
    pub fn is_subscriber(&self) -> bool {
        self.resp == 2 && self.subscriptions.as_deref().is_some_and(|s| s.topics.iter().any(|t| !t.is_empty()))
    }
}
