//! Who has most of something: all are counted together in a small sketch, and those it says have much, one by one.
//!
//! ```text
//!   hash ─> one line of sixteen counters, four of them: the least says how much there was, or more (count-min)
//!              │ more than the least on the list?
//!              v
//!         the list: what was counted since is exact, and that is what is told
//! ```

/// Counters of a line, so that a look costs one line of the cache.
const LINE: usize = 16;
const LINES: usize = 512;
/// Of a key that is longer so much is kept.
pub const LONGEST: usize = 128;
const NOBODY: u16 = u16::MAX;

/// Count-min over all keys of a window.
pub struct Sketch(Box<[[u32; LINE]]>);

impl Default for Sketch {
    fn default() -> Self {
        Self(vec![[0; LINE]; LINES].into_boxed_slice())
    }
}

impl Sketch {
    /// Add to a key, and how much it has by now, or more.
    #[inline]
    fn add(&mut self, hash: u64, much: u32) -> u32 {
        let line = &mut self.0[(hash >> 40) as usize & (LINES - 1)];
        let at = |n: u32| (hash >> (4 * n)) as usize & (LINE - 1);
        let [a, b, c, d] = [at(0), at(1), at(2), at(3)];
        let least = line[a].min(line[b]).min(line[c]).min(line[d]).saturating_add(much);
        line[a] = line[a].max(least);
        line[b] = line[b].max(least);
        line[c] = line[c].max(least);
        line[d] = line[d].max(least);
        least
    }

    pub fn clear(&mut self) {
        self.0.fill([0; LINE]);
    }

    /// Bytes of each.
    pub const HELD: usize = LINES * LINE * size_of::<u32>();
}

/// What was seen of one key in one request.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    pub hash: u64,
    pub key: &'a [u8],
    pub shard: u16,
    pub slot: u16,
    pub is_read: bool,
    pub bytes: u32,
    /// How many like it this one stands for.
    pub times: u32,
}

/// How much was asked for.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Tally {
    pub requests: u64,
    pub reads: u64,
    pub bytes: u64,
}

impl Tally {
    #[inline]
    pub fn add(&mut self, seen: &Sighting) {
        let times = u64::from(seen.times);
        self.requests += times;
        self.reads += if seen.is_read { times } else { 0 };
        self.bytes += u64::from(seen.bytes) * times;
    }

    pub fn join(&mut self, other: Self) {
        self.requests += other.requests;
        self.reads += other.reads;
        self.bytes += other.bytes;
    }
}

/// A key on a list.
pub struct Item {
    pub hash: u64,
    pub key: Vec<u8>,
    pub is_cut: bool,
    pub shard: u16,
    pub slot: u16,
    /// Since it is on the list.
    pub tally: Tally,
}

/// The keys with most of something.
pub struct Top {
    items: Vec<Item>,
    /// How much each has; what it may have had before it came is in it.
    ranks: Vec<u32>,
    /// Where an item is, by its hash; open addressing.
    places: Box<[u16]>,
    most: usize,
    /// Nobody with less comes on a full list: the least rank there, or less.
    floor: u32,
}

impl Top {
    pub fn new(most: usize) -> Self {
        let places = (most * 4).next_power_of_two().max(16);
        Self { items: Vec::new(), ranks: Vec::new(), places: vec![NOBODY; places].into_boxed_slice(), most, floor: 0 }
    }

    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Bytes that it takes.
    pub fn held(&self) -> usize {
        let keys: usize = self.items.iter().map(|item| item.key.capacity()).sum();
        let items = self.items.capacity() * size_of::<Item>() + self.ranks.capacity() * size_of::<u32>();
        items + keys + self.places.len() * size_of::<u16>()
    }

    /// And no more than this, with so many keys.
    pub const fn most_held(keys: usize) -> usize {
        const PLACES: usize = 8; // for each
        keys.next_power_of_two() * (size_of::<Item>() + size_of::<u32>()) + keys * (LONGEST + PLACES * size_of::<u16>())
    }

    pub fn clear(&mut self) {
        self.items.clear();
        self.ranks.clear();
        self.places.fill(NOBODY);
        self.floor = 0;
    }

    /// Count it, with so much of what is ranked by.
    #[inline]
    pub fn count(&mut self, sketch: &mut Sketch, seen: &Sighting, much: u32) {
        let estimate = sketch.add(seen.hash, much);
        if let Some(item) = self.find(seen.hash) {
            self.items[item].tally.add(seen);
            self.ranks[item] = self.ranks[item].saturating_add(much);
        } else if self.items.len() < self.most || estimate > self.floor {
            self.admit(seen, estimate);
        }
    }

    pub fn get(&self, hash: u64) -> Option<&Item> {
        self.find(hash).map(|item| &self.items[item])
    }

    fn find(&self, hash: u64) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let item = usize::from(self.places[at]);
            match self.items.get(item) {
                None => return None,
                Some(known) if known.hash == hash => return Some(item),
                Some(_) => at = (at + 1) & (self.places.len() - 1),
            }
        }
    }

    const fn home(&self, hash: u64) -> usize {
        (hash >> 20) as usize & (self.places.len() - 1)
    }

    /// It comes on the list, in the place of the least if that is full.
    fn admit(&mut self, seen: &Sighting, rank: u32) {
        if self.items.len() < self.most {
            self.place(seen.hash, self.items.len());
            self.items.push(Item::of(seen, Vec::new()));
            return self.ranks.push(rank);
        }
        let (mut at, mut least, mut next) = (0, u32::MAX, u32::MAX);
        for (place, &rank) in self.ranks.iter().enumerate() {
            if rank < least {
                (at, least, next) = (place, rank, least);
            } else {
                next = next.min(rank);
            }
        }
        self.floor = least;
        if rank > least {
            self.floor = next.min(rank);
            self.displace(self.items[at].hash);
            let room = std::mem::take(&mut self.items[at].key);
            (self.items[at], self.ranks[at]) = (Item::of(seen, room), rank);
            self.place(seen.hash, at);
        }
    }

    fn place(&mut self, hash: u64, item: usize) {
        let mut at = self.home(hash);
        while self.places[at] != NOBODY {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = item as u16;
    }

    /// Nobody is where it was, and whoever stands behind it is still found.
    fn displace(&mut self, hash: u64) {
        let mask = self.places.len() - 1;
        let mut hole = self.home(hash);
        while self.items.get(usize::from(self.places[hole])).is_some_and(|item| item.hash != hash) {
            hole = (hole + 1) & mask;
        }
        let mut next = (hole + 1) & mask;
        while let Some(item) = self.items.get(usize::from(self.places[next])) {
            if next.wrapping_sub(self.home(item.hash)) & mask >= next.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.places[hole] = NOBODY;
    }
}

impl Item {
    /// `room`: memory for the key.
    fn of(seen: &Sighting, mut room: Vec<u8>) -> Self {
        room.clear();
        room.extend_from_slice(&seen.key[..seen.key.len().min(LONGEST)]);
        let mut tally = Tally::default();
        tally.add(seen);
        let (is_cut, shard, slot) = (seen.key.len() > LONGEST, seen.shard, seen.slot);
        Self { hash: seen.hash, key: room, is_cut, shard, slot, tally }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::near::hash_of;

    fn seen(key: &[u8]) -> Sighting<'_> {
        Sighting { hash: hash_of(0, key), key, shard: 0, slot: 0, is_read: true, bytes: 10, times: 1 }
    }

    fn requests(top: &Top, key: &str) -> u64 {
        top.find(hash_of(0, key.as_bytes())).map_or(0, |item| top.items[item].tally.requests)
    }

    /// A key of a stream in which the n-th has a share of 1/n.
    fn zipfian(random: &mut u64, keys: u32) -> u32 {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        #[allow(clippy::cast_precision_loss)]
        let part = (*random >> 11) as f64 / (1u64 << 53) as f64;
        (f64::from(keys).powf(part)) as u32
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_heavy_hitters_of_a_zipfian_stream_are_found(seed in 1u64.., keys in 1000u32..100_000) {
            let (mut top, mut sketch, mut random) = (Top::new(200), Sketch::default(), seed);
            let mut exact: HashMap<u32, u64> = HashMap::new();
            for _ in 0..50_000 {
                let key = zipfian(&mut random, keys);
                *exact.entry(key).or_default() += 1;
                top.count(&mut sketch, &seen(format!("key:{key}").as_bytes()), 1);
            }
            let mut exact: Vec<(u32, u64)> = exact.into_iter().collect();
            exact.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
            for (key, count) in &exact[..50] {
                let told = requests(&top, &format!("key:{key}"));
                prop_assert!(told <= *count && told * 10 >= count * 9, "{key}: {told} of {count}");
            }
        }

        #[test]
        fn whoever_is_on_the_list_is_found_there(keys in prop::collection::vec(0u16..300, 1..2000)) {
            let (mut top, mut sketch) = (Top::new(10), Sketch::default());
            for key in keys {
                top.count(&mut sketch, &seen(&key.to_be_bytes()), 1);
                for (place, item) in top.items.iter().enumerate() {
                    prop_assert_eq!(top.find(item.hash), Some(place));
                }
                let placed = top.places.iter().filter(|&&place| place != NOBODY).count();
                prop_assert_eq!(placed, top.items.len());
            }
        }
    }

    #[test]
    fn what_was_counted_is_exact_while_there_is_room() {
        let (mut top, mut sketch) = (Top::new(100), Sketch::default());
        for n in 0..100 {
            (0..=n).for_each(|_| top.count(&mut sketch, &seen(format!("k{n}").as_bytes()), 1));
        }
        assert!((0..100).all(|n| requests(&top, &format!("k{n}")) == n + 1));
    }

    #[test]
    fn a_long_key_is_cut_and_two_are_told_apart() {
        let (mut top, mut sketch) = (Top::new(10), Sketch::default());
        let [one, other] = [b'a', b'b'].map(|end| [vec![b'x'; LONGEST], vec![end]].concat());
        top.count(&mut sketch, &seen(&one), 1);
        top.count(&mut sketch, &seen(&other), 1);
        assert_eq!(top.items.len(), 2);
        assert!(top.items.iter().all(|item| item.is_cut && item.key.len() == LONGEST));
    }
}
