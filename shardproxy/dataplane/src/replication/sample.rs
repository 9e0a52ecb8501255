//! Some keys of all that were copied, to be compared: by chance, and the last ones. Pure.

use super::keys::Key;

const CHANCE: usize = 256;
const LAST: usize = 128;

#[derive(Debug, Default)]
pub struct Sample {
    seen: u64,
    random: u64,
    chosen: Vec<Key>,
    last: Vec<Key>,
}

impl Sample {
    /// A key was copied.
    pub fn note(&mut self, key: &Key) {
        let at = (self.seen % LAST as u64) as usize;
        self.seen += 1;
        if self.last.len() < LAST {
            self.last.push(key.clone());
        } else {
            self.last[at] = key.clone();
        }
        if self.chosen.len() < CHANCE {
            self.chosen.push(key.clone());
            return;
        }
        // splitmix64: each of those seen is as likely as another
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let place = ((mixed ^ (mixed >> 31)) % self.seen) as usize;
        if place < CHANCE {
            self.chosen[place] = key.clone();
        }
    }

    /// The last ones first, for they are the likeliest to be wrong.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        for key in self.last.iter().rev().chain(&self.chosen) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_and_some_of_all_are_kept() {
        let mut sample = Sample::default();
        for n in 0..100_000u32 {
            sample.note(&Key::from(&n.to_le_bytes()[..]));
        }
        let keys = sample.keys();
        assert!(keys.len() > CHANCE && keys.len() <= CHANCE + LAST);
        let numbers: Vec<u32> = keys.iter().map(|key| u32::from_le_bytes((**key).try_into().unwrap())).collect();
        assert!((99_900..100_000).all(|n| numbers.contains(&n)));
        let early = numbers.iter().filter(|&&n| n < 50_000).count();
        assert!((80..180).contains(&early), "{early} of the first half");
    }
}
