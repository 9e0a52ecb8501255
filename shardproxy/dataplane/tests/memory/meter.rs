//! What is held, as the allocator and as the proxy see it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::allocator::{living, take_peak};
use crate::proxy::Proxy;
use crate::MIB;

/// What tables, pools and the rest of a worker may keep, or hold without counting it.
const SLACK: usize = MIB;
/// How long the proxy may take to settle: ticks are a tenth of a second apart.
const PATIENCE: Duration = Duration::from_secs(20);

/// The allocator counts for all tests together: one runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts from where a proxy stood before its clients did anything.
pub struct Meter<'a> {
    proxy: &'a Proxy,
    living: isize,
    accounted: usize,
}

impl<'a> Meter<'a> {
    pub fn of(proxy: &'a Proxy) -> Self {
        let warm = (proxy.of_worker("turns"), Instant::now() + PATIENCE);
        while proxy.of_worker("turns") < warm.0 + 3 && Instant::now() < warm.1 {
            thread::sleep(Duration::from_millis(5)); // idle: the tick turns it
        }
        take_peak();
        let mut meter = Self { proxy, living: living(), accounted: 0 };
        meter.accounted = meter.accounted();
        meter
    }

    fn accounted(&self) -> usize {
        let buffers = self.proxy.plane.statistics()["buffers"].as_u64().unwrap();
        (buffers as usize).saturating_sub(self.accounted)
    }

    fn grown(&self) -> usize {
        usize::try_from(living() - self.living).unwrap_or(0)
    }

    /// Whatever of more than `least` bytes is held, the proxy knows nine tenths of, and does not imagine much more.
    pub fn is_accounted(&self, least: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (grown, accounted) = (self.grown(), self.accounted());
            let is_known = accounted * 10 >= grown * 9 && accounted <= grown / 4 * 5 + SLACK;
            if grown >= least && is_known {
                return;
            }
            let [held, known] = [grown, accounted].map(in_kib);
            assert!(
                Instant::now() < deadline,
                "{held} are held, at least {} expected; {known} accounted",
                in_kib(least)
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// At no time since it began more than so much was held.
    pub fn has_peaked_below(&self, most: usize) {
        let peak = usize::try_from(take_peak() - self.living).unwrap_or(0);
        assert!(peak <= most, "{} were held, {} may be", in_kib(peak), in_kib(most));
    }

    /// All is as it was at first.
    pub fn is_given_back(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.grown() > SLACK || self.accounted() > SLACK {
            let [held, known] = [self.grown(), self.accounted()].map(in_kib);
            assert!(Instant::now() < deadline, "{held} are still held; {known} accounted");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn in_kib(bytes: usize) -> String {
    format!("{} KiB", bytes / 1024)
}
