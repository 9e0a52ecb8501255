//! What a worker's clients that track keys are to be told of: the keys each has read, and the prefixes of those who hear of
//! all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use super::members::{Member, Members, Tagged};
use super::names::Names;
use crate::clients::Tracking;
use crate::exchange::Owed;

/// Keys of a cluster that are kept in mind; of one more another is forgotten, and who has read it is told that it may be old.
const MOST: usize = 250_000;

#[derive(Default)]
pub struct Tracked {
    clusters: Vec<Keys>,
    /// Clients whose CLIENT TRACKING ON is not answered yet.
    pub pending: Vec<Pending>,
    /// Keys that were forgotten for want of room, whose readers are to be told in this turn.
    pub forgotten: Vec<(Arc<[u8]>, Members)>,
    pub accounted: usize,
}

/// Of one cluster.
#[derive(Default)]
pub struct Keys {
    names: Names,
    entries: Slab<Entry>,
    bytes: usize,
    /// Where the next one is looked for that is forgotten.
    hand: usize,
    pub prefixes: BTreeMap<Box<[u8]>, Members>,
    /// How many clients track.
    pub clients: usize,
    /// Readers of all keys.
    pub items: usize,
}

struct Entry {
    name: Arc<[u8]>,
    members: Members,
}

/// A client is to track keys when all is told to this worker, and it is known who else is told if not the client.
pub struct Pending {
    pub owed: Owed,
    pub cluster: usize,
    pub wanted: Box<Tracking>,
    /// Who is to be told, and how many workers have not said whether it is theirs.
    pub sought: Option<(u64, usize)>,
    /// It waits no longer.
    pub until: Instant,
}

impl Entry {
    fn held(&self) -> usize {
        2 * size_of::<usize>() + self.name.len() + self.members.held()
    }
}

impl Tracked {
    pub fn of(&mut self, cluster: usize) -> &mut Keys {
        if self.clusters.len() <= cluster {
            self.clusters.resize_with(cluster + 1, Keys::default);
        }
        &mut self.clusters[cluster]
    }

    pub fn clusters(&self) -> usize {
        self.clusters.len()
    }

    /// Whether some of the worker's clients track keys, or are about to.
    pub fn is_on(&self, cluster: usize) -> bool {
        self.clusters.get(cluster).is_some_and(|keys| keys.clients > 0) || self.is_awaited(cluster)
    }

    pub fn is_awaited(&self, cluster: usize) -> bool {
        self.pending.iter().any(|pending| pending.cluster == cluster)
    }

    pub fn held(&self) -> usize {
        self.clusters.iter().map(Keys::held).sum::<usize>() + self.pending.capacity() * size_of::<Pending>()
    }
}

impl Keys {
    /// The client has read the key. Whoever is to be told of another one that is forgotten for that.
    pub fn remember(&mut self, key: &[u8], ticket: Tagged) -> Option<(Arc<[u8]>, Members)> {
        if let Some(id) = self.names.get(key) {
            let entry = &mut self.entries[id as usize];
            let before = entry.held();
            let readers = entry.members.len();
            entry.members.insert(ticket);
            self.items += entry.members.len() - readers;
            self.bytes = self.bytes + entry.held() - before;
            return None;
        }
        let forgotten = if self.entries.len() >= MOST { self.forget_one() } else { None };
        let mut entry = Entry { name: key.into(), members: Members::default() };
        entry.members.insert(ticket);
        self.items += 1;
        self.bytes += entry.held();
        let name = entry.name.clone();
        let id = self.entries.insert(entry) as u32;
        self.names.insert(name, id);
        forgotten
    }

    /// Who has read the key. It is read anew by then.
    pub fn take(&mut self, key: &[u8]) -> Option<Members> {
        let id = self.names.get(key)?;
        Some(self.remove(id).1)
    }

    fn remove(&mut self, id: u32) -> (Arc<[u8]>, Members) {
        let entry = self.entries.remove(id as usize);
        self.items -= entry.members.len();
        self.bytes -= entry.held();
        self.names.remove(&entry.name);
        (entry.name, entry.members)
    }

    /// Forget one of the keys, and who has read it.
    pub fn forget_one(&mut self) -> Option<(Arc<[u8]>, Members)> {
        if self.entries.is_empty() {
            return None;
        }
        let places = self.entries.capacity();
        while !self.entries.contains(self.hand % places) {
            self.hand += 1;
        }
        let id = self.hand % places;
        self.hand = id + 1;
        Some(self.remove(id as u32))
    }

    /// No key is kept in mind.
    pub fn clear(&mut self) {
        (self.names, self.entries) = (Names::default(), Slab::new());
        (self.bytes, self.items) = (0, 0);
    }

    /// A client hears of all keys with these prefixes, or does not any more.
    pub fn listen<'a>(&mut self, prefixes: impl Iterator<Item = &'a Box<[u8]>>, ticket: Tagged) {
        prefixes.for_each(|prefix| self.prefixes.entry(prefix.clone()).or_default().insert(ticket));
    }

    pub fn ignore<'a>(&mut self, prefixes: impl Iterator<Item = &'a Box<[u8]>>, ticket: Tagged) {
        for prefix in prefixes {
            let Some(members) = self.prefixes.get_mut(prefix) else { continue };
            members.remove(ticket);
            if members.is_empty() {
                self.prefixes.remove(prefix);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn held(&self) -> usize {
        let slots = self.entries.capacity() * (size_of::<Entry>() + size_of::<usize>());
        self.bytes
            + slots
            + self.names.held()
            + self.prefixes.iter().map(|(prefix, members)| prefix.len() + members.held()).sum::<usize>()
    }
}

/// The tickets of some clients.
pub fn tickets(members: &Members) -> Vec<Tagged> {
    members.as_slice().iter().map(|member: &Member| member.ticket()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_once_to_all_who_have_read_it() {
        let mut keys = Keys::default();
        for ticket in [(1, 10), (2, 20), (1, 10)] {
            assert!(keys.remember(b"a", ticket).is_none());
        }
        assert!(keys.remember(b"b", (2, 20)).is_none());
        let held = keys.held();
        let told = keys.take(b"a").map(|members| tickets(&members));
        assert_eq!(told, Some(vec![(1, 10), (2, 20)]));
        assert!(keys.take(b"a").is_none() && keys.held() < held);
        assert_eq!((keys.len(), keys.items), (1, 1));
        assert_eq!(keys.take(b"b").map(|members| tickets(&members)), Some(vec![(2, 20)]));
        keys.clear();
        assert_eq!((keys.forget_one().map(|(name, _)| name), keys.bytes), (None, 0));
    }

    #[test]
    fn of_more_keys_than_there_may_be_each_is_forgotten_once() {
        let mut keys = Keys::default();
        (0..MOST).for_each(|key| assert!(keys.remember(key.to_string().as_bytes(), (1, 1)).is_none()));
        let mut forgotten: Vec<_> =
            (0..1000).filter_map(|key| keys.remember(format!("x{key}").as_bytes(), (2, 2))).collect();
        forgotten.sort_by(|one, other| one.0.cmp(&other.0));
        forgotten.dedup_by(|one, other| one.0 == other.0);
        assert_eq!((forgotten.len(), keys.len()), (1000, MOST));
    }

    #[test]
    fn who_listens_to_prefixes_is_forgotten_with_them() {
        let mut keys = Keys::default();
        let prefixes: Vec<Box<[u8]>> = vec![b"a:"[..].into(), b""[..].into()];
        keys.listen(prefixes.iter(), (1, 1));
        keys.listen(prefixes.iter().take(1), (2, 2));
        keys.ignore(prefixes.iter(), (1, 1));
        assert_eq!(keys.prefixes.keys().collect::<Vec<_>>(), [&prefixes[0]]);
        keys.ignore(prefixes.iter(), (2, 2));
        assert!(keys.prefixes.is_empty());
    }
}
