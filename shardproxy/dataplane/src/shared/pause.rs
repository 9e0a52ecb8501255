//! CLIENT PAUSE: until when requests of a cluster's clients are held, and which.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;

use crate::sync::lock;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Paused {
    #[default]
    Nothing,
    Writes,
    All,
}

/// The pauses of all clusters.
#[derive(Default)]
pub struct Pauses {
    /// By cluster: until when, in milliseconds on the plane's clock, and what.
    by_cluster: Mutex<Vec<(u64, Paused)>>,
    /// The last of their ends: nobody takes the lock while nothing is paused.
    last: AtomicU64,
}

impl Pauses {
    pub fn set(&self, cluster: usize, until: u64, what: Paused) {
        let mut pauses = lock(&self.by_cluster);
        if pauses.len() <= cluster {
            pauses.resize(cluster + 1, (0, Paused::Nothing));
        }
        pauses[cluster] = (until, what);
        self.last.store(pauses.iter().map(|&(until, _)| until).max().unwrap_or(0), Relaxed);
    }

    /// What is paused now, by cluster; nothing if empty.
    #[inline]
    pub fn at(&self, now: u64, found: &mut Vec<Paused>) {
        found.clear();
        if self.last.load(Relaxed) > now {
            let pauses = lock(&self.by_cluster);
            found.extend(pauses.iter().map(|&(until, what)| if until > now { what } else { Paused::Nothing }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_has_its_own_pause_and_end() {
        let (pauses, mut found) = (Pauses::default(), Vec::new());
        pauses.set(1, 100, Paused::All);
        pauses.set(2, 50, Paused::Writes);
        pauses.at(49, &mut found);
        assert_eq!(found, [Paused::Nothing, Paused::All, Paused::Writes]);
        pauses.at(50, &mut found);
        assert_eq!(found, [Paused::Nothing, Paused::All, Paused::Nothing]);
        pauses.set(1, 0, Paused::Nothing);
        pauses.at(0, &mut found);
        assert_eq!(found[1], Paused::Nothing);
        pauses.at(50, &mut found);
        assert!(found.is_empty());
    }
}
