//! A set of shards, of which a cluster has 250 at most.

use std::collections::BTreeMap;

/// The first word of most sets is all of it.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct Shards {
    first: u64,
    rest: Option<Box<[u64; 3]>>,
}

impl Shards {
    pub fn insert(&mut self, shard: u16) {
        match usize::from(shard / 64) {
            0 => self.first |= 1 << shard,
            word => self.rest.get_or_insert_default()[word - 1] |= 1 << (shard % 64),
        }
    }

    pub fn remove(&mut self, shard: u16) {
        match (usize::from(shard / 64), &mut self.rest) {
            (0, _) => self.first &= !(1 << shard),
            (word, Some(rest)) => rest[word - 1] &= !(1 << (shard % 64)),
            (_, None) => {}
        }
    }

    pub fn contains(&self, shard: u16) -> bool {
        self.word(usize::from(shard / 64)) >> (shard % 64) & 1 == 1
    }

    /// Those of this set that are not in the other.
    pub fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u16> + 'a {
        (0..4).flat_map(|word| {
            let mut left = self.word(word) & !other.word(word);
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as u16;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(word as u16 * 64 + bit)
            })
        })
    }

    /// The same shards by other numbers; those that have none are left out.
    pub fn renumbered(&self, numbers: &BTreeMap<u16, u16>) -> Self {
        let mut renumbered = Self::default();
        for (_, &new) in numbers.iter().filter(|(&old, _)| self.contains(old)) {
            renumbered.insert(new);
        }
        renumbered
    }

    /// Bytes it takes beside itself.
    pub fn held(&self) -> usize {
        self.rest.as_ref().map_or(0, |_| size_of::<[u64; 3]>())
    }

    fn word(&self, word: usize) -> u64 {
        match word {
            0 => self.first,
            _ => self.rest.as_ref().map_or(0, |rest| rest[word - 1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_of_every_word_come_and_go() {
        let (mut some, mut others) = (Shards::default(), Shards::default());
        for shard in [0, 5, 63, 64, 130, 249] {
            assert!(!some.contains(shard));
            some.insert(shard);
            assert!(some.contains(shard));
        }
        for shard in [5, 64, 200] {
            others.insert(shard);
        }
        assert_eq!(some.without(&others).collect::<Vec<_>>(), [0, 63, 130, 249]);
        let numbers = BTreeMap::from([(0, 63), (63, 0), (130, 249), (1, 2)]);
        assert_eq!(some.renumbered(&numbers).without(&Shards::default()).collect::<Vec<_>>(), [0, 63, 249]);
        for shard in [0, 63, 130, 249] {
            some.remove(shard);
        }
        assert_eq!(some.without(&others).next(), None);
        assert_eq!(Shards::default().without(&some).next(), None);
    }
}
