//! Read your writes: when each key was last written through this process, so that a replica that may not have it yet is not
//! asked for it. A table by a hash of the key, one for each cluster, shared by all workers without a lock; a key that looks
//! written and was not costs the primary a read. So the table grows with what is written while a write is recent:
//!
//! ```text
//!   65,536 places   [. . x . x x .]   too many are taken: writes go to the next, larger one from now on,
//!   262,144 places  [. . . . . . . . x . . . . . . x . . . . .]   and what is in the one before ages there
//! ```

use std::array::from_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::OnceLock;
use std::time::Duration;

use crate::exchange::{Mark, MANY_MARKS};

/// Places of the smallest table, as a power of two; each next one has four times as many, the last 4 M: 16 MiB.
const SMALLEST: u32 = 16;
const STEP: u32 = 2;
const TABLES: usize = 4;
/// A table of which more than one place in so many is taken gives way to a larger one.
const SPARSE: usize = 32;
/// Places that are looked at to tell.
const SAMPLE: usize = 512;
/// Further ahead, or back, a wrapping clock of milliseconds cannot tell which of the two it is.
const FARTHEST: u64 = u32::MAX as u64 / 2;

/// FNV-1a, with its high bits folded into the low ones, of which each table takes as many as it needs.
#[inline]
pub fn mark_of(key: &[u8]) -> Mark {
    let hash = key.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16 ^ hash).min(MANY_MARKS - 1)
}

/// The keys of one cluster.
pub struct Recent {
    tables: [OnceLock<Table>; TABLES],
    /// The table that writes go to.
    current: AtomicUsize,
    /// When all keys were written last: milliseconds on the plane's clock, plus one; 0 = never.
    all_written: AtomicU64,
}

struct Table {
    /// Milliseconds on the plane's clock, wrapped, and never 0; 0 = never.
    written: Box<[AtomicU32]>,
    /// Nothing in it is recent any more from then on, milliseconds; 0 while writes go to it.
    ends: AtomicU64,
    /// How often some of its places were looked at.
    looks: AtomicUsize,
}

/// How long writes are recent, and how long they may be under way.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub staleness: Duration,
    pub under_way: Duration,
}

impl Window {
    fn staleness(self) -> u32 {
        clipped(self.staleness) as u32
    }

    fn under_way(self) -> u64 {
        clipped(self.under_way)
    }
}

fn clipped(duration: Duration) -> u64 {
    duration.as_millis().min(u128::from(FARTHEST)) as u64
}

impl Default for Recent {
    fn default() -> Self {
        let recent =
            Self { tables: from_fn(|_| OnceLock::new()), current: AtomicUsize::new(0), all_written: AtomicU64::new(0) };
        recent.tables[0].get_or_init(|| Table::of(0));
        recent
    }
}

impl Recent {
    /// The key was, or will have been, written at this time.
    #[inline]
    pub fn write(&self, mark: Mark, at: u64) {
        if let Some(table) = self.table(self.current.load(Acquire)) {
            table.write(mark, at);
        }
    }

    /// The key is written at any time from now on, until its write cannot be under way any more.
    #[inline]
    pub fn begin_write(&self, mark: Mark, now: u64, window: Window) {
        self.write(mark, now + window.under_way());
    }

    /// Any key may have been written.
    pub fn write_all(&self, at: u64) {
        self.all_written.store(at + 1, Relaxed);
    }

    /// Whether a replica may not have the key's last write yet.
    #[inline]
    pub fn is_recent(&self, mark: Mark, now: u64, window: Window) -> bool {
        let staleness = window.staleness();
        let all = self.all_written.load(Relaxed);
        if all != 0 && now < all + u64::from(staleness) {
            return true;
        }
        let current = self.current.load(Acquire);
        let is_in = |number| self.table(number).is_some_and(|table: &Table| table.is_recent(mark, now, staleness));
        is_in(current) || (0..current).rev().take_while(|&number| self.has_recent(number, now)).any(is_in)
    }

    /// Look at some places, and have writes go to a larger table from now on if too many are taken. All workers do.
    pub fn grow_if_crowded(&self, now: u64, window: Window) {
        let current = self.current.load(Acquire);
        let Some(table) = self.table(current) else { return };
        let taken = table.sample(now, window.staleness());
        if taken * SPARSE <= SAMPLE || current + 1 == TABLES {
            return;
        }
        let next = (current + if taken * 4 > SAMPLE { 2 } else { 1 }).min(TABLES - 1);
        self.tables[next].get_or_init(|| Table::of(next));
        // who writes meanwhile to the one before is found there
        let ends = now + window.under_way() + u64::from(window.staleness()) + 1;
        (current..next).filter_map(|number| self.table(number)).for_each(|table| table.ends.store(ends, Relaxed));
        self.current.fetch_max(next, Release);
    }

    /// Whether something that was written to an earlier table may be recent.
    fn has_recent(&self, number: usize, now: u64) -> bool {
        self.table(number).is_none_or(|table| now < table.ends.load(Relaxed))
    }

    #[inline]
    fn table(&self, number: usize) -> Option<&Table> {
        self.tables[number].get()
    }
}

impl Table {
    fn of(number: usize) -> Self {
        let places = 1 << (SMALLEST + STEP * number as u32);
        Self {
            written: (0..places).map(|_| AtomicU32::new(0)).collect(),
            ends: AtomicU64::new(0),
            looks: AtomicUsize::new(0),
        }
    }

    #[inline]
    fn place(&self, mark: Mark) -> &AtomicU32 {
        &self.written[mark as usize & (self.written.len() - 1)]
    }

    #[inline]
    fn write(&self, mark: Mark, at: u64) {
        self.place(mark).store((at as u32).max(1), Relaxed);
    }

    #[inline]
    fn is_recent(&self, mark: Mark, now: u64, staleness: u32) -> bool {
        is_within(self.place(mark).load(Relaxed), now, staleness)
    }

    /// How many of `SAMPLE` places are taken, each time of others until all had their turn. What is old is forgotten before
    /// the clock wraps.
    fn sample(&self, now: u64, staleness: u32) -> usize {
        let apart = self.written.len() / SAMPLE;
        let first = self.looks.fetch_add(1, Relaxed) % apart;
        let places = self.written.iter().skip(first).step_by(apart);
        let is_taken = |place: &&AtomicU32| {
            let written = place.load(Relaxed);
            let is_taken = is_within(written, now, staleness);
            if !is_taken && written != 0 {
                let _ = place.compare_exchange(written, 0, Relaxed, Relaxed); // or it is written just now
            }
            is_taken
        };
        places.filter(is_taken).count()
    }
}

/// Whether that was within so many milliseconds, or is still to come.
#[inline]
fn is_within(written: u32, now: u64, staleness: u32) -> bool {
    let age = (now as u32).wrapping_sub(written);
    written != 0 && (age <= staleness || u64::from(age) > FARTHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { staleness: Duration::from_secs(1), under_way: Duration::from_secs(8) };

    fn marks(name: &str, count: usize) -> impl Iterator<Item = Mark> + '_ {
        (0..count).map(move |n| mark_of(format!("{name}:{n}").as_bytes()))
    }

    #[test]
    fn a_write_is_recent_for_so_long() {
        let recent = Recent::default();
        let (key, other) = (mark_of(b"key"), mark_of(b"other"));
        recent.write(key, 5000);
        let found = [5000, 6000, 6001].map(|now| recent.is_recent(key, now, WINDOW));
        assert_eq!(found, [true, true, false]);
        assert!(!recent.is_recent(other, 5000, WINDOW));
        recent.begin_write(key, 9000, WINDOW);
        let found = [9000, 17_000, 18_000, 18_001].map(|now| recent.is_recent(key, now, WINDOW));
        assert_eq!(found, [true, true, true, false], "it may be executed at any time until then");
        recent.write_all(30_000);
        let found = [30_000, 31_000, 31_001].map(|now| recent.is_recent(other, now, WINDOW));
        assert_eq!(found, [true, true, false]);
    }

    #[test]
    fn times_may_be_as_long_as_they_can_be() {
        let forever = Window { staleness: Duration::MAX, under_way: Duration::MAX };
        let recent = Recent::default();
        let key = mark_of(b"key");
        for now in [1, u64::from(u32::MAX) - 1, u64::from(u32::MAX) + 1, 1 << 40] {
            recent.begin_write(key, now, forever);
            assert!(recent.is_recent(key, now, forever) && recent.is_recent(key, now + 1_000_000_000, forever));
            recent.grow_if_crowded(now, forever);
        }
    }

    /// After 25 days a wrapped age looks like a time to come.
    #[test]
    fn what_is_old_is_forgotten() {
        let recent = Recent::default();
        let key = mark_of(b"key");
        recent.write(key, 5000);
        (0..1 << SMALLEST).step_by(SAMPLE).for_each(|_| recent.grow_if_crowded(7000, WINDOW));
        assert!(!recent.is_recent(key, 5000 + FARTHEST + 2, WINDOW));
    }

    /// Ten times as many as the smallest table has places, in a second.
    #[test]
    fn few_keys_look_written_that_are_not() {
        let recent = Recent::default();
        let mut now = 100_000;
        for (number, mark) in marks("written", 600_000).enumerate() {
            recent.write(mark, now);
            if number % 60_000 == 59_999 {
                now += 100; // a worker's tick
                recent.grow_if_crowded(now, WINDOW);
            }
            if number == 300_000 {
                assert!(
                    marks("written", number).step_by(97).all(|mark| recent.is_recent(mark, now, WINDOW)),
                    "in any table"
                );
            }
        }
        assert!(marks("written", 600_000).skip(300_000).step_by(97).all(|mark| recent.is_recent(mark, now, WINDOW)));
        now += 1000;
        for (number, mark) in marks("again", 100_000).enumerate() {
            recent.write(mark, now + number as u64 / 1000);
        }
        let looks = marks("other", 10_000).filter(|&mark| recent.is_recent(mark, now + 100, WINDOW)).count();
        assert!(looks < 1000, "{looks} of 10,000");
        assert!(marks("again", 100_000).all(|mark| recent.is_recent(mark, now + 100, WINDOW)));
        assert_eq!(marks("other", 10_000).filter(|&mark| recent.is_recent(mark, now + 20_000, WINDOW)).count(), 0);
    }
}
