//! How often keys were asked for lately: a count-min sketch of small counters that are halved now and then (`TinyLFU`).
//!
//! ```text
//!   hash ─> one line of 64 bytes ─> four of its 128 counters of four bits: the least of them is the estimate
//! ```

/// Bytes of one line: all counters of a key are in it, so that a look costs one line of the cache.
const LINE: usize = 64;
/// Highest value of a counter.
const MOST: u8 = 15;
/// Counters are halved after so many increments for each line.
const SAMPLE: usize = 128;

pub struct Sketch {
    lines: Box<[[u8; LINE]]>,
    increments: usize,
}

impl Sketch {
    /// For about so many keys.
    pub fn new(keys: usize) -> Self {
        let lines = (keys / 16).next_power_of_two().max(16);
        Self { lines: vec![[0; LINE]; lines].into_boxed_slice(), increments: 0 }
    }

    /// Bytes of memory it takes.
    pub const fn held(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Count a key, and how often it was counted by now: at most fifteen times.
    #[inline]
    pub fn count(&mut self, hash: u64) -> u8 {
        let (line, counters) = self.place(hash);
        let line = &mut self.lines[line];
        let least = counters.iter().map(|&at| read(line, at)).min().unwrap_or(0);
        if least < MOST {
            for at in counters {
                if read(line, at) == least {
                    line[at / 2] += 1 << (4 * (at % 2));
                }
            }
            self.increments += 1;
            if self.increments >= self.lines.len() * SAMPLE {
                self.halve();
            }
        }
        (least + 1).min(MOST)
    }

    /// How often the key was counted, or more.
    #[inline]
    pub fn estimate(&self, hash: u64) -> u8 {
        let (line, counters) = self.place(hash);
        counters.iter().map(|&at| read(&self.lines[line], at)).min().unwrap_or(0)
    }

    #[inline]
    fn place(&self, hash: u64) -> (usize, [usize; 4]) {
        let line = (hash >> 32) as usize & (self.lines.len() - 1);
        let at = |n: u32| (hash >> (7 * n)) as usize & (2 * LINE - 1);
        (line, [at(0), at(1), at(2), at(3)])
    }

    /// What was hot once is not for ever.
    #[cold]
    fn halve(&mut self) {
        for byte in self.lines.iter_mut().flatten() {
            *byte = (*byte >> 1) & 0x77;
        }
        self.increments /= 2;
    }
}

#[inline]
const fn read(line: &[u8; LINE], at: usize) -> u8 {
    (line[at / 2] >> (4 * (at % 2))) & MOST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::near::hash_of;

    #[test]
    fn it_counts_and_forgets() {
        let mut sketch = Sketch::new(1000);
        let hot = hash_of(0, b"hot");
        assert_eq!(sketch.estimate(hot), 0);
        assert_eq!((1..=20).map(|_| sketch.count(hot)).collect::<Vec<_>>()[..4], [1, 2, 3, 4]);
        assert_eq!(sketch.estimate(hot), MOST);
        (0..20_000).for_each(|n| {
            sketch.count(hash_of(0, format!("cold:{n}").as_bytes()));
        });
        assert!(sketch.estimate(hot) < MOST, "it was halved");
    }

    #[test]
    fn few_keys_look_hot_that_are_not() {
        let mut sketch = Sketch::new(10_000);
        for _ in 0..3 {
            for n in 0..1000 {
                sketch.count(hash_of(0, format!("hot:{n}").as_bytes()));
            }
        }
        let wrong = (0..10_000).filter(|n| sketch.estimate(hash_of(0, format!("never:{n}").as_bytes())) > 1).count();
        assert!(wrong < 300, "{wrong} of 10,000");
        assert!((0..1000).all(|n| sketch.estimate(hash_of(0, format!("hot:{n}").as_bytes())) >= 3));
    }
}
