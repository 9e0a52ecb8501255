//! What all clients of a worker are subscribed to in one cluster, and the connections that carry it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use super::left::Left;
use super::members::{Members, Tagged};
use super::names::Names;
use super::shards::Shards;
use crate::model::Kind;

#[derive(Default)]
pub struct Topics {
    names: [Names; 3],
    entries: Slab<Box<Entry>>,
    /// Bytes of all entries.
    bytes: usize,
    /// The subscribing connection to each shard.
    carriers: BTreeMap<u16, Carrier>,
    carried: Shards,
    /// Shards whose connections are not told of everything yet.
    late: BTreeSet<u16>,
    /// Since when a shard has no known primary.
    pub missing: BTreeMap<u16, Instant>,
    /// Topics that some SUBSCRIBE waits for.
    waited_for: BTreeSet<u32>,
    pub left: Left,
    /// Shard channels whose node does not serve them, and since when.
    strays: BTreeMap<u32, Instant>,
}

/// One topic.
pub struct Entry {
    pub kind: Kind,
    pub name: Arc<[u8]>,
    pub subscribers: Members,
    /// Clients whose SUBSCRIBE waits for it to be live.
    pub waiting: Members,
    /// SUBSCRIBEs under way that name it.
    pub reserved: u32,
    /// Shards that subscribed to it, and that were asked to and have not answered.
    confirmed: Shards,
    asked: Shards,
    /// Why a shard did not.
    pub refusal: Option<Box<[u8]>>,
}

/// A connection that carries subscriptions.
#[derive(Clone, Copy)]
pub struct Carrier {
    pub link: usize,
    /// A new connection is told of one topic after another: of those before this one. What entries note of this shard
    /// beyond is of a connection before it.
    announced: u32,
    /// Somebody is telling it.
    pub is_announcing: bool,
    /// Topics it has confirmed.
    confirmed: usize,
}

const ALL: u32 = u32::MAX;

impl Entry {
    fn held(&self) -> usize {
        let name = 2 * size_of::<usize>() + self.name.len();
        let sets = self.subscribers.held() + self.waiting.held() + self.confirmed.held() + self.asked.held();
        size_of::<Self>() + name + sets + self.refusal.as_ref().map_or(0, |text| text.len())
    }

    fn is_wanted(&self) -> bool {
        self.reserved > 0 || !self.subscribers.is_empty()
    }
}

impl Topics {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn find(&self, kind: Kind, name: &[u8]) -> Option<u32> {
        self.names[kind as usize].get(name)
    }

    pub fn get(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize).map(|entry| &**entry)
    }

    /// The topic of that name, which may be new; and how many others that moved.
    pub fn open(&mut self, kind: Kind, name: &[u8]) -> (u32, usize) {
        if let Some(id) = self.find(kind, name) {
            return (id, 0);
        }
        let name: Arc<[u8]> = name.into();
        let entry = Entry {
            kind,
            name: name.clone(),
            subscribers: Members::default(),
            waiting: Members::default(),
            reserved: 0,
            confirmed: Shards::default(),
            asked: Shards::default(),
            refusal: None,
        };
        self.bytes += entry.held();
        let id = self.entries.insert(Box::new(entry)) as u32;
        (id, self.names[kind as usize].insert(name, id))
    }

    /// Do something to a topic.
    pub fn change<T>(&mut self, id: u32, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(id as usize)?;
        let before = entry.held();
        let result = change(entry);
        self.bytes = self.bytes + entry.held() - before;
        if entry.waiting.is_empty() {
            self.waited_for.remove(&id);
        } else {
            self.waited_for.insert(id);
        }
        Some(result)
    }

    /// Whether the topic in this place is the one it was when it had that name.
    pub fn is_still(&self, id: u32, name: &Arc<[u8]>) -> bool {
        self.get(id).is_some_and(|entry| Arc::ptr_eq(&entry.name, name))
    }

    /// The next client that a message of the topic is handed to.
    pub fn next_untold(&mut self, id: u32) -> Option<Tagged> {
        self.entries.get_mut(id as usize)?.subscribers.next_untold()
    }

    /// Forget a topic nobody wants; it, the carriers that were told of it, and how many others that moved.
    pub fn close(&mut self, id: u32) -> Option<(Entry, Vec<usize>, usize)> {
        let is_wanted = self.get(id).is_none_or(Entry::is_wanted);
        if is_wanted {
            return None;
        }
        let entry = *self.entries.remove(id as usize);
        let mut links = Vec::new();
        for (&shard, carrier) in self.carriers.iter_mut().filter(|(_, carrier)| id < carrier.announced) {
            let is_confirmed = entry.confirmed.contains(shard);
            carrier.confirmed -= usize::from(is_confirmed);
            if is_confirmed || entry.asked.contains(shard) {
                links.push(carrier.link);
            }
        }
        self.bytes -= entry.held();
        self.waited_for.remove(&id);
        let moved = self.names[entry.kind as usize].remove(&entry.name);
        if self.entries.is_empty() {
            self.entries = Slab::new();
        }
        Some((entry, links, moved))
    }

    /// The connections, by shard, that were not told to subscribe to it, or have refused, and will not be told otherwise.
    pub fn strangers(&self, id: u32) -> Vec<(u16, usize)> {
        let Some(entry) = self.get(id) else { return Vec::new() };
        let silent = self.carried.without(&entry.confirmed).filter(|&shard| !entry.asked.contains(shard));
        let told = silent.filter_map(|shard| Some((shard, self.carriers.get(&shard)?)));
        told.filter(|(_, carrier)| id < carrier.announced).map(|(shard, carrier)| (shard, carrier.link)).collect()
    }

    /// It is told now.
    pub fn ask(&mut self, shard: u16, id: u32) {
        self.change(id, |entry| {
            entry.confirmed.remove(shard);
            entry.asked.insert(shard);
            entry.refusal = None;
        });
    }

    /// A shard has subscribed to it.
    pub fn confirm(&mut self, shard: u16, id: u32) {
        let Some(carrier) = self.carriers.get_mut(&shard).filter(|carrier| id < carrier.announced) else { return };
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        let before = entry.held();
        entry.asked.remove(shard);
        if !self.strays.is_empty() {
            self.strays.remove(&id);
        }
        if !entry.confirmed.contains(shard) {
            entry.confirmed.insert(shard);
            carrier.confirmed += 1;
        }
        self.bytes = self.bytes + entry.held() - before;
    }

    /// A shard does not serve it, or not any more.
    pub fn stray(&mut self, shard: u16, id: u32, now: Instant) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        entry.asked.remove(shard);
        if entry.confirmed.contains(shard) {
            entry.confirmed.remove(shard);
            if let Some(carrier) = self.carriers.get_mut(&shard).filter(|carrier| id < carrier.announced) {
                carrier.confirmed = carrier.confirmed.saturating_sub(1);
            }
        }
        self.strays.entry(id).or_insert(now);
    }

    /// Those that nobody serves, and since when. Whatever was subscribed to since is none any more.
    pub fn strays(&mut self) -> Vec<(u32, Instant)> {
        let entries = &self.entries;
        self.strays.retain(|&id, _| entries.contains(id as usize));
        self.strays.iter().map(|(&id, &since)| (id, since)).collect()
    }

    /// Whether a shard has neither subscribed to it nor was asked to.
    pub fn is_silent(&self, shard: u16, id: u32) -> bool {
        self.get(id).is_some_and(|entry| !entry.confirmed.contains(shard) && !entry.asked.contains(shard))
    }

    /// A shard has not.
    pub fn refuse(&mut self, shard: u16, id: u32, why: &[u8]) {
        self.change(id, |entry| {
            entry.asked.remove(shard);
            entry.refusal = Some(why.into());
        });
    }

    /// The connections that have not subscribed to it, of those that should; `only`: one shard's.
    pub fn unconfirmed(&self, id: u32, only: Option<u16>) -> impl Iterator<Item = usize> + '_ {
        let entry = self.get(id);
        let late = self.late.iter().filter_map(|shard| self.carriers.get(shard)).filter(move |c| id >= c.announced);
        let silent = entry.into_iter().flat_map(|entry| self.carried.without(&entry.confirmed));
        let silent = silent.filter_map(|shard| self.carriers.get(&shard)).filter(move |c| id < c.announced);
        let is_meant = move |link: &usize| only.is_none_or(|shard| self.link(shard) == Some(*link));
        late.chain(silent).map(|carrier| carrier.link).filter(is_meant)
    }

    pub fn carriers(&self) -> impl Iterator<Item = (u16, usize)> + '_ {
        self.carriers.iter().map(|(&shard, carrier)| (shard, carrier.link))
    }

    pub fn link(&self, shard: u16) -> Option<usize> {
        self.carriers.get(&shard).map(|carrier| carrier.link)
    }

    /// A new connection carries a shard.
    pub fn carry(&mut self, shard: u16, link: usize) {
        self.carriers.insert(shard, Carrier { link, announced: 0, is_announcing: false, confirmed: 0 });
        self.carried.insert(shard);
        self.late.insert(shard);
    }

    /// None does any more; whether something is not heard now that was.
    pub fn uncarry(&mut self, shard: u16) -> bool {
        self.carried.remove(shard);
        self.late.remove(&shard);
        self.carriers.remove(&shard).is_some_and(|carrier| carrier.confirmed > 0)
    }

    /// Shards have other numbers now: each connection goes on under that of its shard. All of them are named.
    pub fn renumber(&mut self, numbers: &BTreeMap<u16, u16>) {
        let new = |shard: &u16| numbers.get(shard).copied();
        let carriers = std::mem::take(&mut self.carriers);
        self.carriers = carriers.into_iter().filter_map(|(shard, carrier)| Some((new(&shard)?, carrier))).collect();
        self.late = self.late.iter().filter_map(new).collect();
        self.carried = self.carried.renumbered(numbers);
        for (_, entry) in &mut self.entries {
            let before = entry.held();
            entry.confirmed = entry.confirmed.renumbered(numbers);
            entry.asked = entry.asked.renumbered(numbers);
            self.bytes = self.bytes + entry.held() - before;
        }
    }

    /// The connection is lost: nothing it confirmed is heard; whether something was.
    pub fn lose(&mut self, shard: u16) -> bool {
        let Some(carrier) = self.carriers.get_mut(&shard) else { return false };
        carrier.announced = 0;
        self.late.insert(shard);
        std::mem::take(&mut carrier.confirmed) > 0
    }

    /// The connection is there: it is to be told of everything, from the first topic on. Whether nobody does yet.
    pub fn begin_announcing(&mut self, shard: u16) -> bool {
        let Some(carrier) = self.carriers.get_mut(&shard) else { return false };
        carrier.announced = 0;
        carrier.confirmed = 0;
        self.late.insert(shard);
        !std::mem::replace(&mut carrier.is_announcing, true)
    }

    /// The next topic to tell a connection of, if there is one in this place.
    pub fn next_to_announce(&mut self, shard: u16) -> Announcement {
        let Some(carrier) = self.carriers.get_mut(&shard) else { return Announcement::Done };
        let id = carrier.announced;
        if id as usize >= self.entries.capacity() || self.entries.is_empty() {
            self.end_announcing(shard);
            return Announcement::Done;
        }
        carrier.announced += 1;
        match self.entries.get_mut(id as usize) {
            Some(entry) => {
                let is_known = entry.confirmed.contains(shard) || entry.asked.contains(shard);
                entry.confirmed.remove(shard);
                entry.asked.remove(shard);
                Announcement::Topic { id, is_known }
            }
            None => Announcement::Gap,
        }
    }

    fn end_announcing(&mut self, shard: u16) {
        if let Some(carrier) = self.carriers.get_mut(&shard) {
            carrier.announced = ALL;
            carrier.is_announcing = false;
            self.late.remove(&shard);
        }
    }

    /// It cannot be told now.
    pub fn stop_announcing(&mut self, shard: u16) {
        if let Some(carrier) = self.carriers.get_mut(&shard) {
            carrier.is_announcing = false;
        }
    }

    /// Topics some SUBSCRIBE waits for.
    pub fn waited_for(&self) -> impl Iterator<Item = u32> + '_ {
        self.waited_for.iter().copied()
    }

    pub fn held(&self) -> usize {
        let slots = self.entries.capacity() * (size_of::<Box<Entry>>() + size_of::<usize>());
        self.bytes
            + slots
            + self.names.iter().map(Names::held).sum::<usize>()
            + self.waited_for.len() * 16
            + self.left.held()
    }
}

pub enum Announcement {
    /// `is_known`: its connection was told of it before, or one before that was.
    Topic {
        id: u32,
        is_known: bool,
    },
    Gap,
    Done,
}
