//! Of which keys somebody has looked lately how old they are: a table of digests that forgets when it is full.

/// Nobody asks for a key's age again within this, milliseconds.
pub const ASKED_FOR: u64 = 1000;
/// Keys that a digest may be of: one line of the processor's cache.
const WAYS: usize = 4;
/// 64 bytes each, and none before the first key.
const SETS: usize = 16 * 1024;

/// Of one worker.
#[derive(Default)]
pub struct Ages {
    sets: Vec<[Known; WAYS]>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    digest: u64,
    /// Until when nobody need look, milliseconds.
    until: u64,
}

/// FNV-1a over a key and the number of its cluster; the same in all workers.
#[inline]
pub fn digest_of_key(cluster: usize, key: &[u8]) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325 ^ cluster as u64;
    key.iter().fold(begin, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Ages {
    /// Whether nobody need look at the key now.
    #[inline]
    pub fn is_known(&self, digest: u64, now: u64) -> bool {
        self.sets.get(place_of(digest)).is_some_and(|set| set.iter().any(|k| k.digest == digest && k.until > now))
    }

    /// Nobody need look at the key before then. Of too many in one place that is forgotten which is due first.
    pub fn set(&mut self, digest: u64, until: u64, now: u64) {
        if self.sets.is_empty() {
            self.sets = vec![[Known::default(); WAYS]; SETS];
        }
        let set = &mut self.sets[place_of(digest)];
        let at = set.iter().position(|known| known.digest == digest).unwrap_or_else(|| {
            let due = |&at: &usize| if set[at].until <= now { 0 } else { set[at].until };
            (0..WAYS).min_by_key(due).unwrap_or_default()
        });
        set[at] = Known { digest, until };
    }

    pub fn held(&self) -> usize {
        size_of_val(self.sets.as_slice())
    }
}

#[inline]
const fn place_of(digest: u64) -> usize {
    (digest ^ digest >> 32) as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_until_its_time_comes() {
        let mut ages = Ages::default();
        let (one, other) = (digest_of_key(0, b"a"), digest_of_key(1, b"a"));
        assert!(!ages.is_known(one, 0) && ages.held() == 0);
        ages.set(one, 100, 0);
        assert!(ages.is_known(one, 99) && !ages.is_known(one, 100) && !ages.is_known(other, 0));
        ages.set(one, 50, 10);
        assert!(!ages.is_known(one, 60), "the newest word counts");
    }

    #[test]
    fn of_too_many_in_one_place_the_first_due_goes() {
        let mut ages = Ages::default();
        let digest = |n: u64| n << 32 | n; // all in one place
        for n in 1..=4 {
            ages.set(digest(n), 100 * n, 0);
        }
        ages.set(digest(5), 1000, 0);
        let known: Vec<u64> = (1..=5).filter(|&n| ages.is_known(digest(n), 0)).collect();
        assert_eq!(known, [2, 3, 4, 5]);
        ages.set(digest(6), 350, 310);
        assert!(ages.is_known(digest(4), 310), "what is over goes before what is due first");
    }
}
