//! Hash maps that give their room back, and know how much memory they take. A map's own `capacity` does not say: what was
//! removed may leave its place taken.

use std::borrow::Borrow;
use std::collections::hash_map::{HashMap, Iter};
use std::hash::Hash;

/// Places a map may keep though it does not need them.
const FEW: usize = 16;

pub struct Map<K, V> {
    map: HashMap<K, V>,
    /// The most places it has had since it was last shrunk.
    room: usize,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { map: HashMap::new(), room: 0 }
    }
}

impl<K: Eq + Hash, V> Map<K, V> {
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn iter(&self) -> Iter<'_, K, V> {
        self.map.iter()
    }

    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key)
    }

    pub fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.map.get_mut(key)
    }

    /// How many entries that moved.
    pub fn insert(&mut self, key: K, value: V) -> usize {
        let length = self.map.len();
        self.map.insert(key, value);
        let grows = self.map.capacity() > self.room;
        self.room = self.room.max(self.map.capacity());
        if grows {
            length
        } else {
            0
        }
    }

    /// How many entries that moved.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.map.remove(key);
        self.shrink()
    }

    pub fn retain(&mut self, is_kept: impl FnMut(&K, &mut V) -> bool) {
        self.map.retain(is_kept);
        self.shrink();
    }

    fn shrink(&mut self) -> usize {
        let length = self.map.len();
        let is_roomy = self.room > FEW && length * 4 < self.room;
        if !is_roomy && length > 0 {
            return 0;
        }
        self.map.shrink_to(length * 2);
        self.room = self.map.capacity();
        length
    }

    /// Bytes it takes beside itself and what its entries point to.
    pub fn held(&self) -> usize {
        self.room * (size_of::<(K, V)>() + 1) * 8 / 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_its_room_back() {
        let mut map = Map::default();
        let moved: usize = (0..10_000u32).map(|key| map.insert(key, ())).sum();
        assert!((5_000..20_000).contains(&moved), "{moved}");
        let full = map.held();
        assert!(full >= 10_000 * 5);
        for key in 10..10_000 {
            map.remove(&key);
        }
        assert!(map.held() < 500, "{}", map.held());
        map.retain(|key, ()| *key == 3);
        assert_eq!((map.iter().count(), map.get(&3)), (1, Some(&())));
        map.remove(&3);
        assert_eq!(map.held(), 0);
    }
}
