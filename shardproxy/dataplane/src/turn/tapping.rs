//! What clients that monitor are to hear of this turn's requests.

use std::sync::Arc;

use crate::clients::{Batch, Tap, Taps};

/// Lines are told when they are so many bytes, and at the end of a turn.
const FULL: usize = 64 * 1024;

#[derive(Default)]
pub struct Tapping {
    /// By cluster; empty while nobody monitors.
    pub taps: Vec<Vec<Arc<Tap>>>,
    /// As of when they are known.
    version: u64,
    /// By cluster.
    lines: Vec<Vec<u8>>,
}

impl Tapping {
    /// Who monitors by now.
    #[inline]
    pub fn begin(&mut self, taps: &Taps) {
        let version = taps.version();
        if version != self.version {
            self.version = version;
            self.taps = taps.list();
            self.lines = self.taps.iter().map(|_| Vec::new()).collect();
        }
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Whether somebody monitors the cluster.
    #[inline]
    pub fn hears(&self, cluster: usize) -> bool {
        self.taps.get(cluster).is_some_and(|taps| !taps.is_empty())
    }

    /// Add a line to what is told of the cluster.
    pub fn add(&mut self, taps: &Taps, cluster: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(lines) = self.lines.get_mut(cluster) else { return };
        write(lines);
        if lines.len() >= FULL {
            self.tell_cluster(taps, cluster);
        }
    }

    /// Tell all there is.
    pub fn tell(&mut self, taps: &Taps) {
        for cluster in 0..self.lines.len() {
            self.tell_cluster(taps, cluster);
        }
    }

    fn tell_cluster(&mut self, taps: &Taps, cluster: usize) {
        let lines = std::mem::take(&mut self.lines[cluster]);
        if lines.is_empty() {
            return;
        }
        let batch = Batch::from(lines);
        for tap in &self.taps[cluster] {
            taps.tell(tap, &batch);
        }
    }
}
