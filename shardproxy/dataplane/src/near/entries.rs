//! Replies that are kept, in two lists: those asked for once since they came, and those asked for again.
//!
//! ```text
//!   new ─> first [ . . . . ] ─ asked for again ─> again [ . . . . . . . . ]
//!            │ the oldest gives way                 │ beyond four fifths the oldest goes back to `first`
//! ```

use slab::Slab;

use super::Since;
use crate::maps::Map;

/// No entry.
const NONE: u32 = u32::MAX;
/// What an entry takes beside its key and its reply, about.
const BESIDE: usize = 160;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum List {
    First = 0,
    Again = 1,
}

/// A reply, and until when it is good.
pub struct Kept {
    pub kind: u8,
    pub key: Box<[u8]>,
    pub reply: Box<[u8]>,
    pub since: Since,
    /// Of whom it was read (`Origin`).
    pub shard: u16,
    pub hearing: u64,
    /// The key expires then: milliseconds on the plane's clock.
    pub expires: u64,
}

impl Kept {
    pub const fn bytes(&self) -> usize {
        self.key.len() + self.reply.len() + BESIDE
    }
}

struct Node {
    kept: Kept,
    hash: u64,
    list: List,
    newer: u32,
    older: u32,
}

#[derive(Clone, Copy)]
struct Ends {
    newest: u32,
    oldest: u32,
    bytes: usize,
}

pub struct Entries {
    nodes: Slab<Node>,
    by_hash: Map<u64, u32>,
    lists: [Ends; 2],
    most: usize,
}

impl Entries {
    /// At most so many bytes.
    pub fn new(most: usize) -> Self {
        let empty = Ends { newest: NONE, oldest: NONE, bytes: 0 };
        Self { nodes: Slab::new(), by_hash: Map::default(), lists: [empty; 2], most }
    }

    pub fn bytes(&self) -> usize {
        self.lists[0].bytes + self.lists[1].bytes
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub const fn most(&self) -> usize {
        self.most
    }

    /// What is kept for the key; it counts as asked for.
    #[inline]
    pub fn get(&mut self, hash: u64, kind: u8, key: &[u8]) -> Option<&Kept> {
        let at = *self.by_hash.get(&hash)?;
        let node = &self.nodes[at as usize];
        if node.kept.kind != kind || *node.kept.key != *key {
            return None;
        }
        if node.newer != NONE || node.list == List::First {
            self.touch(at);
        }
        Some(&self.nodes[at as usize].kept)
    }

    /// Who gives way to so many bytes more; none: there is room.
    pub fn victim(&self, bytes: usize) -> Option<u64> {
        if self.bytes() + bytes <= self.most {
            return None;
        }
        let oldest = [List::First, List::Again].into_iter().map(|list| self.lists[list as usize].oldest);
        oldest.into_iter().find(|&at| at != NONE).map(|at| self.nodes[at as usize].hash)
    }

    /// Keep it in place of whatever has that hash, and of the oldest as long as there is no room.
    pub fn insert(&mut self, hash: u64, kept: Kept) {
        self.remove(hash);
        let bytes = kept.bytes();
        if bytes > self.most {
            return;
        }
        while let Some(victim) = self.victim(bytes) {
            self.remove(victim);
        }
        let node = Node { kept, hash, list: List::First, newer: NONE, older: NONE };
        let at = self.nodes.insert(node) as u32;
        self.by_hash.insert(hash, at);
        self.link(at, List::First);
    }

    pub fn remove(&mut self, hash: u64) {
        let Some(&at) = self.by_hash.get(&hash) else { return };
        self.by_hash.remove(&hash);
        self.unlink(at);
        self.nodes.remove(at as usize);
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.most);
    }

    /// Drop those that are not like that.
    pub fn retain(&mut self, is_kept: impl Fn(&Kept) -> bool) {
        let gone: Vec<u64> = self.nodes.iter().filter(|(_, n)| !is_kept(&n.kept)).map(|(_, n)| n.hash).collect();
        for hash in gone {
            self.remove(hash);
        }
    }

    fn touch(&mut self, at: u32) {
        self.unlink(at);
        self.link(at, List::Again);
        while self.lists[List::Again as usize].bytes > self.most / 5 * 4 {
            let oldest = self.lists[List::Again as usize].oldest;
            if oldest == at {
                break;
            }
            self.unlink(oldest);
            self.link(oldest, List::First);
        }
    }

    fn link(&mut self, at: u32, list: List) {
        let ends = &mut self.lists[list as usize];
        let second = ends.newest;
        let node = &mut self.nodes[at as usize];
        (node.list, node.newer, node.older) = (list, NONE, second);
        ends.newest = at;
        ends.bytes += node.kept.bytes();
        if second == NONE {
            ends.oldest = at;
        } else {
            self.nodes[second as usize].newer = at;
        }
    }

    fn unlink(&mut self, at: u32) {
        let node = &self.nodes[at as usize];
        let (list, newer, older, bytes) = (node.list, node.newer, node.older, node.kept.bytes());
        let ends = &mut self.lists[list as usize];
        ends.bytes -= bytes;
        match newer {
            NONE => ends.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => ends.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::near::{hash_of, Changes};
    use proptest::prelude::*;

    fn kept(key: &[u8], size: usize) -> Kept {
        Kept {
            kind: 0,
            key: key.into(),
            reply: vec![b'x'; size].into(),
            since: Changes::default().since(0),
            shard: 0,
            hearing: 0,
            expires: u64::MAX,
        }
    }

    proptest! {
        /// Whatever is done, the lists, the map and the count of bytes agree, and memory has its bound.
        #[test]
        fn it_stays_within_its_bound(plan in proptest::collection::vec((0..3u8, 0..40u8, 0..600usize), 1..80)) {
            let mut entries = Entries::new(8000);
            for (what, name, size) in plan {
                let hash = hash_of(0, &[name]);
                match what {
                    0 => entries.insert(hash, kept(&[name], size)),
                    1 => {
                        let found = entries.get(hash, 0, &[name]).is_some();
                        prop_assert_eq!(found, entries.by_hash.get(&hash).is_some());
                    }
                    _ => entries.remove(hash),
                }
                prop_assert!(entries.bytes() <= 8000);
                let total: usize = entries.nodes.iter().map(|(_, node)| node.kept.bytes()).sum();
                prop_assert_eq!(entries.bytes(), total);
                prop_assert_eq!(entries.by_hash.len(), entries.len());
                let mut seen = 0;
                for list in entries.lists {
                    let mut at = list.newest;
                    while at != NONE {
                        seen += 1;
                        at = entries.nodes[at as usize].older;
                    }
                }
                prop_assert_eq!(seen, entries.len());
            }
        }
    }

    #[test]
    fn what_is_asked_for_again_outlives_what_is_not() {
        let mut entries = Entries::new(10 * (BESIDE + 101));
        let name = |n: u8| hash_of(0, &[n]);
        (0..10).for_each(|n| entries.insert(name(n), kept(&[n], 100)));
        (0..5).for_each(|n| assert!(entries.get(name(n), 0, &[n]).is_some()));
        (10..15).for_each(|n| entries.insert(name(n), kept(&[n], 100)));
        let left: Vec<u8> = (0..15).filter(|&n| entries.by_hash.get(&name(n)).is_some()).collect();
        assert_eq!(left, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]);
    }

    #[test]
    fn another_key_of_the_same_hash_is_not_taken_for_it() {
        let mut entries = Entries::new(8000);
        entries.insert(7, kept(b"one", 10));
        assert!(entries.get(7, 0, b"other").is_none());
        assert!(entries.get(7, 1, b"one").is_none());
        assert!(entries.get(7, 0, b"one").is_some());
    }
}
