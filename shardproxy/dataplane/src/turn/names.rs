//! Topics by their names. It grows and shrinks in parts, so that no turn moves them all.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

const PARTS: usize = 64;

#[derive(Default)]
pub struct Names {
    parts: Vec<HashMap<Arc<[u8]>, u32>>,
    hasher: RandomState,
    len: usize,
    places: usize,
}

impl Names {
    pub fn get(&self, name: &[u8]) -> Option<u32> {
        self.parts.get(self.part(name))?.get(name).copied()
    }

    /// How many entries that moved.
    pub fn insert(&mut self, name: Arc<[u8]>, id: u32) -> usize {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, HashMap::new);
        }
        let part = self.part(&name);
        let part = &mut self.parts[part];
        let (before, length) = (part.capacity(), part.len());
        if part.insert(name, id).is_none() {
            self.len += 1;
        }
        self.places += part.capacity() - before;
        if part.capacity() > before {
            length
        } else {
            0
        }
    }

    /// How many entries that moved.
    pub fn remove(&mut self, name: &[u8]) -> usize {
        let part = self.part(name);
        let Some(part) = self.parts.get_mut(part) else { return 0 };
        if part.remove(name).is_some() {
            self.len -= 1;
        }
        let (before, length) = (part.capacity(), part.len());
        let is_roomy = before > 16 && length * 4 < before;
        if is_roomy || length == 0 {
            part.shrink_to(length * 2);
        }
        self.places -= before - part.capacity();
        if self.len == 0 {
            self.parts = Vec::new();
        }
        if is_roomy {
            length
        } else {
            0
        }
    }

    pub fn held(&self) -> usize {
        let parts = self.parts.capacity() * size_of::<HashMap<Arc<[u8]>, u32>>();
        parts + self.places * (size_of::<(Arc<[u8]>, u32)>() + 1) * 8 / 7
    }

    fn part(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize % PARTS
    }
}
