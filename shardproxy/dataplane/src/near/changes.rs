//! Which keys may have changed, as all workers know at once: a counter for each of many groups of keys, and one for all keys.
//!
//! A value is read at a node under the counters of that moment. Whoever is about to tell a client that it has written counts;
//! a value is good only as long as nobody has.

use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Release};

/// Groups of keys: a write makes the others of its group look changed as well.
const GROUPS: usize = 1 << 16;

pub struct Changes {
    groups: Box<[AtomicU32]>,
    all: AtomicU32,
}

/// What was so when a value was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Since {
    group: u32,
    all: u32,
}

impl Default for Changes {
    fn default() -> Self {
        Self { groups: (0..GROUPS).map(|_| AtomicU32::new(0)).collect(), all: AtomicU32::new(0) }
    }
}

impl Changes {
    /// A key of this mark may be another from now on.
    #[inline]
    pub fn note(&self, mark: u32) {
        self.groups[mark as usize % GROUPS].fetch_add(1, Release);
    }

    /// Any key may.
    pub fn note_all(&self) {
        self.all.fetch_add(1, Release);
    }

    #[inline]
    pub fn since(&self, mark: u32) -> Since {
        Since { group: self.groups[mark as usize % GROUPS].load(Acquire), all: self.all.load(Acquire) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_seen_by_who_asks_about_the_key() {
        let changes = Changes::default();
        let (one, other) = (changes.since(1), changes.since(2));
        changes.note(1);
        assert_ne!(changes.since(1), one);
        assert_eq!(changes.since(2), other);
        changes.note_all();
        assert_ne!(changes.since(2), other);
    }
}
