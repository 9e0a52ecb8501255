//! How long a node may take for what it owes next. What comes, or is taken, of that counts as time given back, at the least
//! rate that is progress: a large reply may take as long as it needs, one that trickles may not.
//!
//! ```text
//!   owed since   |──────── timeouts.reply ────────|  over
//!   64 KiB come      └> |──────── timeouts.reply ────────|  a second more, but never later than now
//! ```

use std::time::{Duration, Instant};

/// What comes on slower than this, bytes a second, makes no progress.
const SLOWEST: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug)]
pub struct Patience {
    since: Instant,
}

impl Patience {
    /// Something is owed from now on.
    pub const fn from(now: Instant) -> Self {
        Self { since: now }
    }

    #[inline]
    pub fn begin(&mut self, now: Instant) {
        self.since = now;
    }

    /// So many bytes came of it.
    #[inline]
    pub fn credit(&mut self, bytes: usize, now: Instant) {
        let worth = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / SLOWEST);
        self.since = self.since.checked_add(worth).map_or(now, |since| since.min(now));
    }

    pub fn is_over(&self, now: Instant, limit: Duration) -> bool {
        now.saturating_duration_since(self.since) > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// When it is over, in tenths of a second, if so many bytes come with each.
    fn over_after(bytes: impl Fn(u64) -> usize) -> Option<u64> {
        let start = Instant::now();
        let mut patience = Patience::from(start);
        (0..1000).find(|&tenth| {
            let now = start + Duration::from_millis(tenth * 100);
            patience.credit(bytes(tenth), now);
            patience.is_over(now, LIMIT)
        })
    }

    #[test]
    fn only_what_comes_on_fast_enough_may_take_longer() {
        assert_eq!(over_after(|_| 0), Some(51));
        assert_eq!(over_after(|_| 1), Some(51), "a trickle");
        assert_eq!(over_after(|_| 3300), Some(101), "half as fast as it has to be: twice as long");
        assert_eq!(over_after(|_| 6600), None);
        assert_eq!(over_after(|tenth| if tenth < 10 { 1 << 30 } else { 0 }), Some(60), "what came fast is no store");
        assert_eq!(over_after(|tenth| if tenth == 20 { usize::MAX } else { 0 }), Some(71));
    }
}
