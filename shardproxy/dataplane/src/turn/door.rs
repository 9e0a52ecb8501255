//! Clients whose next request waits before it is taken, as its shard holds it: none of it has left, and when the hold ends
//! it is looked at anew, by whom its slot is then.
//!
//! ```text
//!   request ─> its slot is held ─> not taken, its client is not read ─> another epoch ─> looked at again ─> its owner's connection
//!                                                     └─ waited too long ─> -TRYAGAIN, not executed
//! ```
//!
//! So a client's requests never pass each other, whatever connections they leave on, and what has keys on several shards
//! leaves whole or not at all.

use super::members::Tagged;

#[derive(Default)]
pub struct Door {
    /// With their clusters, in the order they came.
    waiting: Vec<(usize, Tagged)>,
}

impl Door {
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn push(&mut self, cluster: usize, client: Tagged) {
        self.waiting.push((cluster, client));
    }

    /// Those of a cluster, who wait no more.
    pub fn open(&mut self, cluster: usize) -> Vec<Tagged> {
        let (open, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|(of, _)| *of == cluster);
        self.waiting = waiting;
        Vec::into_iter(open).map(|(_, client)| client).collect()
    }

    /// All of them; those that wait on are put back.
    pub fn take(&mut self) -> Vec<(usize, Tagged)> {
        std::mem::take(&mut self.waiting)
    }

    pub fn put_back(&mut self, waiting: Vec<(usize, Tagged)>) {
        self.waiting = waiting;
    }

    pub fn held(&self) -> usize {
        self.waiting.capacity() * size_of::<(usize, Tagged)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_opens_for_its_cluster() {
        let mut door = Door::default();
        for (cluster, client) in [(0, 1), (1, 2), (0, 3)] {
            door.push(cluster, (client, 0));
        }
        assert_eq!(door.open(0), [(1, 0), (3, 0)]);
        assert!(!door.is_empty() && door.held() > 0 && door.open(2).is_empty());
        assert_eq!(door.open(1), [(2, 0)]);
        assert!(door.is_empty());
    }
}
