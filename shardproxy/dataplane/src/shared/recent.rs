//! Read your writes: when each key was last written through this process, so that a replica that may not have it yet is not
//! asked for it. A fixed table by a hash of the key, shared by all workers; a false positive costs the primary a read.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const PLACES: usize = 1 << 16;

/// Where a key stands in the table.
pub type Place = u16;

pub struct Recent {
    /// Milliseconds on the plane's clock, plus one; 0 = never.
    written: Box<[AtomicU32]>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { written: (0..PLACES).map(|_| AtomicU32::new(0)).collect() }
    }
}

impl Recent {
    /// FNV-1a, folded to 16 bits, as its authors advise for less than 32.
    #[inline]
    pub fn place(cluster: usize, key: &[u8]) -> Place {
        let start = 0x811c_9dc5 ^ cluster as u32;
        let hash = key.iter().fold(start, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        (hash >> 16 ^ hash) as u16
    }

    #[inline]
    pub fn write(&self, place: Place, at: u64) {
        self.written[usize::from(place)].store((at as u32).wrapping_add(1), Relaxed);
    }

    /// Any key may have been written.
    pub fn write_all(&self, at: u64) {
        for written in &self.written {
            written.store((at as u32).wrapping_add(1), Relaxed);
        }
    }

    /// Whether the key may have been written within the last `millis`, or is going to be.
    #[inline]
    pub fn is_recent(&self, place: Place, now: u64, millis: u32) -> bool {
        let written = self.written[usize::from(place)].load(Relaxed);
        let age = (now as u32).wrapping_add(1).wrapping_sub(written);
        written != 0 && (age <= millis || age > u32::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_recent_for_so_long() {
        let recent = Recent::default();
        let (key, other) = (Recent::place(0, b"key"), Recent::place(0, b"other"));
        recent.write(key, 5000);
        assert!(recent.is_recent(key, 5000, 1000));
        assert!(recent.is_recent(key, 6000, 1000));
        assert!(!recent.is_recent(key, 6001, 1000));
        assert!(!recent.is_recent(other, 5000, 1000));
        recent.write(key, 9000); // marked ahead: it may be executed then
        assert!(recent.is_recent(key, 8000, 1000));
    }
}
