//! What may be remembered of hot keys at one worker: no more than a part of what all buffers may have, and nothing while
//! these are short.

use super::hot::Hot;
use super::watched::Watched;

/// Of all that buffers may have, one of so many bytes.
const SHARE: usize = 8;
/// Milliseconds without it after buffers were short: all of what rates are of.
const REST: u64 = 30_000;

pub struct Memory {
    /// None: as much as it takes.
    most: Option<usize>,
    /// At the last tick, and what was begun since.
    held: usize,
    rests_until: u64,
}

impl Memory {
    /// `cap`: of buffers, all `workers` together; 0 = none.
    pub fn new((cap, workers): (usize, usize)) -> Self {
        Self { most: (cap > 0).then(|| cap / SHARE / workers.max(1)), held: 0, rests_until: 0 }
    }

    /// Bytes that are held, as far as is known.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// So much was held a moment ago.
    pub const fn measure(&mut self, held: usize) {
        self.held = held;
    }

    /// Buffers are short.
    pub const fn rest(&mut self, now: u64) {
        self.rests_until = now + REST;
    }

    /// Whether a cluster may be remembered from now on; if it is already, it goes on.
    pub(super) fn has_room(&mut self, watched: &Watched, now: u64) -> bool {
        if watched.is_remembered() {
            return true;
        }
        let more = Hot::most_held(watched.keys());
        let has_room = now >= self.rests_until && self.most.is_none_or(|most| self.held + more <= most);
        if has_room {
            self.held += more;
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cluster;

    fn watched(memory: &mut Memory, now: u64) -> Option<Watched> {
        let spec = br#"{"name": "c", "engine": "redis", "epoch": 1, "endpoints": [],
            "shards": [{"slots": [[0, 16383]], "primary": null, "nodes": []}]}"#;
        let mut watched = Watched::new(&Cluster::parse(spec).unwrap(), 1, now);
        memory.has_room(&watched, now).then(|| {
            watched.hot(now);
            watched
        })
    }

    #[test]
    fn clusters_are_remembered_as_far_as_there_is_room() {
        let mut memory = Memory::new((0, 2));
        let one = Hot::most_held(watched(&mut memory, 0).unwrap().keys());
        assert!((0..50).all(|_| watched(&mut memory, 0).is_some()), "there is no limit");
        let mut memory = Memory::new((SHARE * 2 * 5 * one / 2, 2)); // for two and a half at each worker
        let all: Vec<Watched> = (0..5).filter_map(|_| watched(&mut memory, 0)).collect();
        assert_eq!((all.len(), memory.held()), (2, 2 * one));
        assert!(memory.has_room(&all[0], 0), "who is remembered is on");
        memory.measure(one);
        assert!(watched(&mut memory, 0).is_some());
    }

    #[test]
    fn none_is_for_a_while_after_buffers_were_short() {
        let mut memory = Memory::new((0, 1));
        memory.rest(1000);
        assert!(watched(&mut memory, 1000 + REST - 1).is_none());
        assert!(watched(&mut memory, 1000 + REST).is_some());
    }
}
