//! CLIENT PAUSE: until when requests of a cluster's clients are held, and which.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;

use crate::sync::lock;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Paused {
    #[default]
    Nothing,
    Writes,
    All,
}

/// By name: whether it says that it writes nothing.
pub type Functions = HashMap<Vec<u8>, bool>;

/// The pauses of all clusters.
#[derive(Default)]
pub struct Pauses {
    by_cluster: Mutex<Vec<Pause>>,
    /// The last of their ends: nobody takes the lock while nothing is paused.
    last: AtomicU64,
}

#[derive(Default)]
struct Pause {
    /// Milliseconds on the plane's clock.
    until: u64,
    what: Paused,
    /// As they are while it lasts, for it holds what changes them.
    functions: Functions,
}

impl Pauses {
    /// Hold this much until then. A pause that lasts at `now` gets no shorter, and holds no less.
    pub fn set(&self, cluster: usize, now: u64, until: u64, what: Paused, functions: Functions) {
        self.change(cluster, |pause| {
            let (end, held) = if pause.until > now { (pause.until, pause.what) } else { (0, Paused::Nothing) };
            *pause = Pause { until: end.max(until), what: held.max(what), functions };
        });
    }

    pub fn end(&self, cluster: usize) {
        self.change(cluster, |pause| *pause = Pause::default());
    }

    fn change(&self, cluster: usize, change: impl FnOnce(&mut Pause)) {
        let mut pauses = lock(&self.by_cluster);
        if pauses.len() <= cluster {
            pauses.resize_with(cluster + 1, Pause::default);
        }
        change(&mut pauses[cluster]);
        self.last.store(pauses.iter().map(|pause| pause.until).max().unwrap_or(0), Relaxed);
    }

    /// What is paused now, by cluster; nothing if empty.
    #[inline]
    pub fn at(&self, now: u64, found: &mut Vec<Paused>) {
        found.clear();
        if self.last.load(Relaxed) > now {
            let pauses = lock(&self.by_cluster);
            found.extend(pauses.iter().map(|pause| if pause.until > now { pause.what } else { Paused::Nothing }));
        }
    }

    /// Whether the function says that it writes nothing; none when there is none of that name.
    pub fn is_without_writes(&self, cluster: usize, function: &[u8]) -> Option<bool> {
        lock(&self.by_cluster).get(cluster)?.functions.get(function).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cluster_has_its_own_pause_and_end() {
        let (pauses, mut found) = (Pauses::default(), Vec::new());
        pauses.set(1, 0, 100, Paused::All, Functions::new());
        pauses.set(2, 0, 50, Paused::Writes, Functions::from([(b"f".to_vec(), true)]));
        pauses.at(49, &mut found);
        assert_eq!(found, [Paused::Nothing, Paused::All, Paused::Writes]);
        let without_writes =
            [(1, b"f"), (2, b"f"), (2, b"g")].map(|(cluster, name)| pauses.is_without_writes(cluster, name));
        assert_eq!(without_writes, [None, Some(true), None]);
        pauses.at(50, &mut found);
        assert_eq!(found, [Paused::Nothing, Paused::All, Paused::Nothing]);
        pauses.end(1);
        pauses.at(0, &mut found);
        assert_eq!(found[1], Paused::Nothing);
        pauses.at(50, &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn a_pause_that_lasts_gets_no_shorter_and_holds_no_less() {
        let (pauses, mut found) = (Pauses::default(), Vec::new());
        pauses.set(0, 0, 100, Paused::Writes, Functions::new());
        pauses.set(0, 10, 50, Paused::All, Functions::new());
        pauses.set(0, 20, 60, Paused::Writes, Functions::new());
        pauses.at(99, &mut found);
        assert_eq!(found, [Paused::All]);
        pauses.set(0, 100, 110, Paused::Writes, Functions::new());
        pauses.at(105, &mut found);
        assert_eq!(found, [Paused::Writes], "that one is over");
    }
}
