//! CLIENT PAUSE: until when requests are held, and which.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[derive(Default)]
pub struct Pause {
    /// Milliseconds on the plane's clock; 0 = none.
    until: AtomicU64,
    only_writes: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Paused {
    #[default]
    Nothing,
    Writes,
    All,
}

impl Pause {
    pub fn set(&self, until: u64, only_writes: bool) {
        self.only_writes.store(only_writes, Relaxed);
        self.until.store(until, Relaxed);
    }

    pub fn at(&self, now: u64) -> Paused {
        if self.until.load(Relaxed) <= now {
            Paused::Nothing
        } else if self.only_writes.load(Relaxed) {
            Paused::Writes
        } else {
            Paused::All
        }
    }
}
