//! How much is asked of a source at once, and when: others use it too. Pure: the time is told.
//!
//! What counts is how long the source's other clients wait for a batch, so what its own clock shows before and after. How long
//! the answer takes says less: on a busy machine that is the time until either process runs, whatever is asked, and a copy
//! that asks for ever less therefore would never end.

use std::time::{Duration, Instant};

/// So few small values take no engine a millisecond: what makes others wait a little then is somebody else.
const REPLICA_LEAST: usize = 64;
const PRIMARY_LEAST: usize = 16;
const MOST: usize = 512;
/// Bytes of values that are not small any more, together.
pub const LARGE: u64 = 1 << 20;
/// So many times longer than it may take is not somebody else.
const FAR: u32 = 5;
/// A batch that takes a replica so much longer than an empty one is too large; a primary's clients wait behind it.
const REPLICA_TAKES: Duration = Duration::from_millis(10);
const PRIMARY_TAKES: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub struct Pace {
    batch: usize,
    is_primary: bool,
    /// Bytes of the values that came since it was asked last.
    came: u64,
    /// The largest value of late, which each batch without a larger one halves.
    largest: u64,
    /// The fastest answer: what the network takes.
    least: Duration,
    asked: Option<Instant>,
    /// Nothing is asked before then.
    rests_until: Instant,
    /// Bytes a second; 0 = no limit.
    rate: u64,
    /// When the bytes that came are paid for.
    paid: Instant,
}

impl Pace {
    pub fn new(is_primary: bool, rate: u64, now: Instant) -> Self {
        Self {
            batch: PRIMARY_LEAST,
            is_primary,
            came: 0,
            largest: 0,
            least: Duration::from_secs(1),
            asked: None,
            rests_until: now,
            rate,
            paid: now,
        }
    }

    /// How many values to ask for: as many as are answered soon, and no more than are small together if they are like the
    /// largest of late.
    pub fn batch(&self) -> usize {
        let fit = LARGE.checked_div(self.largest).and_then(|count| usize::try_from(count).ok());
        self.batch.min(fit.unwrap_or(MOST)).max(1)
    }

    /// The most values that it asks for, whatever they are like.
    pub const fn most(&self) -> usize {
        self.batch
    }

    pub const fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// A value of so many bytes came.
    pub fn came(&mut self, bytes: u64) {
        self.came = self.came.saturating_add(bytes);
        self.largest = self.largest.max(bytes);
    }

    /// All that was asked is answered, which took the source so long by its own clock, if it may say. A primary then rests
    /// half of that.
    pub fn answered(&mut self, spent: Option<Duration>, now: Instant) {
        let Some(asked) = self.asked.take() else { return };
        let took = now.saturating_duration_since(asked);
        self.least = self.least.min(took);
        let own = spent.unwrap_or_else(|| took.saturating_sub(self.least));
        let (most, least) =
            if self.is_primary { (PRIMARY_TAKES, PRIMARY_LEAST) } else { (REPLICA_TAKES, REPLICA_LEAST) };
        let least = if self.came > LARGE { 1 } else { least };
        self.batch = if own > most * FAR {
            1
        } else if own > most {
            (self.batch / 2).max(least).min(self.batch)
        } else {
            (self.batch + self.batch / 4 + 1).min(MOST)
        };
        self.came = 0;
        self.largest /= 2;
        self.rests_until = if self.is_primary { now + own / 2 } else { now };
    }

    /// Both sides were asked the same, for so long. A primary then rests half of it.
    pub fn compared(&mut self, took: Duration, now: Instant) {
        if self.is_primary {
            self.rests_until = now + took / 2;
        }
    }

    /// So many bytes of the first copy came.
    pub fn took(&mut self, bytes: u64, now: Instant) {
        if let Some(micros) = bytes.saturating_mul(1_000_000).checked_div(self.rate) {
            let cost = Duration::from_micros(micros);
            self.paid = self.paid.max(now.checked_sub(Duration::from_millis(100)).unwrap_or(now)) + cost;
        }
    }

    /// How long nothing is to be asked, be it changes or the first copy.
    pub fn rest(&self, now: Instant) -> Duration {
        self.rests_until.saturating_duration_since(now)
    }

    /// The same of the first copy.
    pub fn rest_of_copy(&self, now: Instant) -> Duration {
        self.rest(now).max(self.paid.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_batch_grows_while_it_is_answered_soon_and_shrinks_when_others_would_wait() {
        let start = Instant::now();
        for (is_primary, takes, grows) in [(true, 1, true), (true, 5, false), (false, 5, true), (false, 20, false)] {
            let mut pace = Pace::new(is_primary, 0, start);
            pace.asked(start);
            for _ in 0..20 {
                pace.asked(start);
                pace.answered(None, start + MS); // what the network takes
            }
            assert_eq!(pace.batch(), MOST);
            pace.asked(start);
            pace.answered(None, start + MS + MS * takes);
            assert_eq!(pace.batch() == MOST, grows, "{is_primary} {takes}");
            let rests = if is_primary { MS * takes / 2 } else { Duration::ZERO };
            assert_eq!(pace.rest(start + MS + MS * takes), rests);
            for _ in 0..100 {
                pace.asked(start);
                pace.answered(None, start + MS + MS * takes);
            }
            let least = if is_primary { PRIMARY_LEAST } else { REPLICA_LEAST };
            assert_eq!(pace.batch(), if grows { MOST } else { least });
        }
    }

    #[test]
    fn what_the_source_took_counts_and_not_how_late_its_answer_is_heard() {
        let start = Instant::now();
        for is_primary in [true, false] {
            let mut pace = Pace::new(is_primary, 0, start);
            for _ in 0..40 {
                pace.asked(start);
                pace.answered(Some(MS / 2), start + MS * 200);
                assert_eq!(pace.rest(start + MS * 200), if is_primary { MS / 4 } else { Duration::ZERO });
            }
            assert_eq!(pace.batch(), MOST);
            pace.asked(start);
            pace.answered(Some(MS * 60), start + MS * 200);
            assert_eq!(pace.batch(), 1);
        }
    }

    #[test]
    fn what_is_answered_beside_batches_says_nothing() {
        let start = Instant::now();
        let mut pace = Pace::new(true, 0, start);
        pace.answered(None, start + 100 * MS);
        assert_eq!((pace.batch(), pace.rest(start + 100 * MS)), (PRIMARY_LEAST, Duration::ZERO));
    }

    #[test]
    fn large_values_are_asked_for_one_by_one() {
        let start = Instant::now();
        for is_primary in [true, false] {
            let mut pace = Pace::new(is_primary, 0, start);
            for _ in 0..40 {
                pace.asked(start);
                pace.answered(None, start + MS);
            }
            pace.asked(start);
            pace.came(1000);
            pace.answered(None, start + 7000 * MS); // whatever its values are as they are told
            assert_eq!(pace.batch(), 1);
            for _ in 0..40 {
                pace.asked(start);
                pace.answered(None, start + MS);
            }
            assert_eq!(pace.batch(), MOST);
            for _ in 0..3 {
                pace.asked(start);
                pace.came(20 << 20);
                pace.answered(None, start + MS);
                assert_eq!(pace.batch(), 1, "{is_primary}");
            }
            let until_small = (0..100).take_while(|_| {
                pace.asked(start);
                pace.came(100);
                pace.answered(None, start + MS);
                pace.batch() < MOST
            });
            assert!((5..30).contains(&until_small.count()));
        }
    }

    #[test]
    fn a_batch_that_is_less_than_the_least_is_not_raised_when_it_takes_long() {
        let start = Instant::now();
        let mut pace = Pace::new(false, 0, start);
        pace.asked(start);
        pace.answered(None, start + MS);
        let before = pace.batch();
        assert!(before < REPLICA_LEAST);
        pace.asked(start);
        pace.answered(None, start + 20 * MS);
        assert!(pace.batch() <= before);
    }

    #[test]
    fn a_rate_is_held_over_time() {
        let start = Instant::now();
        let mut pace = Pace::new(false, 1000, start);
        for _ in 0..5 {
            pace.took(1000, start);
        }
        let rest = pace.rest_of_copy(start);
        assert!(rest > Duration::from_millis(4800) && rest <= Duration::from_secs(5), "{rest:?}");
        assert_eq!(pace.rest(start), Duration::ZERO);
        pace.took(1000, start + Duration::from_secs(3600)); // what was not used is not saved up
        assert!(pace.rest_of_copy(start + Duration::from_secs(3600)) > Duration::from_millis(800));
    }
}
