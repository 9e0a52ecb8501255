//! When batches are due at a fixed rate. A batch that finds no idle connection stays due, and its latency counts from
//! then: a slow server cannot slow the clock it is measured by.

use std::time::Duration;

#[derive(Debug)]
pub struct Pace {
    interval: f64, // ns
    sent: u64,
    start: u64,
}

impl Pace {
    /// `rate` requests per second in batches of `pipeline`, first one at `start` ns.
    pub fn new(rate: f64, pipeline: usize, start: u64) -> Self {
        Self { interval: pipeline as f64 * 1e9 / rate, sent: 0, start }
    }

    fn next(&self) -> u64 {
        #[allow(clippy::cast_sign_loss)]
        let offset = (self.sent as f64 * self.interval) as u64;
        self.start + offset
    }

    /// When the next batch was due, if that is not later than now; it then counts as sent.
    pub fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next();
        (due <= now).then(|| {
            self.sent += 1;
            due
        })
    }

    pub fn wait(&self, now: u64) -> Duration {
        Duration::from_nanos(self.next().saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn what_was_missed_stays_due() {
        let mut pace = Pace::new(2e6, 2, 100); // a batch each 1000 ns
        assert_eq!(pace.take(99), None);
        assert_eq!(pace.take(1200), Some(100));
        assert_eq!(pace.take(1200), Some(1100));
        assert_eq!(pace.take(1200), None);
        assert_eq!(pace.wait(1200).as_nanos(), 900);
    }
}
