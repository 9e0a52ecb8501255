//! Topics by their names. It grows and shrinks in parts, so that no turn moves them all.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::maps::Map;

const PARTS: usize = 64;

#[derive(Default)]
pub struct Names {
    parts: Vec<Map<Arc<[u8]>, u32>>,
    hasher: RandomState,
    len: usize,
    /// Bytes of all parts.
    bytes: usize,
}

impl Names {
    pub fn get(&self, name: &[u8]) -> Option<u32> {
        self.parts.get(self.part(name))?.get(name).copied()
    }

    /// Add a name that is not there; how many others that moved.
    pub fn insert(&mut self, name: Arc<[u8]>, id: u32) -> usize {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, Map::default);
        }
        self.len += 1;
        self.change(self.part(&name), |part| part.insert(name, id))
    }

    /// Take out a name that is there; how many others that moved.
    pub fn remove(&mut self, name: &[u8]) -> usize {
        self.len -= 1;
        let moved = self.change(self.part(name), |part| part.remove(name));
        if self.len == 0 {
            self.parts = Vec::new();
        }
        moved
    }

    fn change(&mut self, part: usize, change: impl FnOnce(&mut Map<Arc<[u8]>, u32>) -> usize) -> usize {
        let part = &mut self.parts[part];
        let before = part.held();
        let moved = change(part);
        self.bytes = self.bytes + part.held() - before;
        moved
    }

    pub fn held(&self) -> usize {
        self.bytes + self.parts.capacity() * size_of::<Map<Arc<[u8]>, u32>>()
    }

    fn part(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize % PARTS
    }
}
