//! Times in fine buckets: none is wider than a quarter of its times, so that a percentile is right to about a tenth.

use std::sync::OnceLock;

use serde_json::{json, Map, Value};

use super::{Class, Counter, CLASSES};

/// Below 4 us a bucket each, then four for each power of two up to 16.8 s, then one for all beyond.
pub const BUCKETS: usize = 93;

pub struct Histogram {
    buckets: [Counter; BUCKETS],
    micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Counter::default()), micros: Counter::default() }
    }
}

impl Histogram {
    #[inline]
    pub fn record(&self, micros: u32) {
        self.record_times(micros, 1);
    }

    fn add(&self, other: &Self) {
        for (counter, counted) in self.buckets.iter().zip(&other.buckets) {
            counter.add(counted.get());
        }
        self.micros.add(other.micros.get());
    }

    /// As if it had been seen so many times.
    #[inline]
    pub fn record_times(&self, micros: u32, times: u32) {
        self.buckets[bucket_of(micros)].add(u64::from(times));
        self.micros.add(u64::from(micros) * u64::from(times));
    }
}

#[inline]
const fn bucket_of(micros: u32) -> usize {
    if micros < 4 {
        return micros as usize;
    }
    let power = u32::BITS - 1 - micros.leading_zeros();
    let bucket = (power - 1) << 2 | (micros >> (power - 2)) & 3;
    if bucket as usize >= BUCKETS {
        BUCKETS - 1
    } else {
        bucket as usize
    }
}

/// Of each class of commands; what never happens takes no room.
#[derive(Default)]
pub struct Latencies([OnceLock<Box<Histogram>>; CLASSES.len()]);

impl Latencies {
    #[inline]
    pub fn record(&self, class: Class, micros: u32) {
        match self.0[class as usize].get() {
            Some(histogram) => histogram.record(micros),
            None => self.begin(class).record(micros),
        }
    }

    #[cold]
    fn begin(&self, class: Class) -> &Histogram {
        self.0[class as usize].get_or_init(Box::default)
    }

    /// What another one has counted, which nobody counts in any more.
    pub fn add(&self, other: &Self) {
        for (class, times) in other.0.iter().enumerate() {
            if let Some(times) = times.get() {
                self.0[class].get_or_init(Box::default).add(times);
            }
        }
    }

    fn get(&self, class: usize) -> Option<&Histogram> {
        self.0[class].get().map(|histogram| &**histogram)
    }
}

/// What several histograms have counted together.
#[derive(Clone)]
pub struct Sum {
    counts: [u64; BUCKETS],
    micros: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], micros: 0 }
    }
}

impl Sum {
    pub fn of<'h>(parts: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut sum = Self::default();
        parts.for_each(|part| sum.add(part));
        sum
    }

    fn add(&mut self, part: &Histogram) {
        for (sum, counter) in self.counts.iter_mut().zip(&part.buckets) {
            *sum += counter.get();
        }
        self.micros += part.micros.get();
    }

    fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.micros += other.micros;
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// `fine`: the buckets that have something, by their numbers; all else is worked out of them.
    pub fn told(&self) -> Value {
        let fine: Vec<_> = self.counts.iter().enumerate().filter(|(_, &count)| count > 0).collect();
        #[allow(clippy::cast_precision_loss)]
        let seconds = self.micros as f64 / 1e6;
        json!({"fine": fine, "sum": seconds})
    }
}

/// By class: the sums over `parts`, and what other sums have in them.
pub fn by_class(parts: &[&Latencies]) -> Vec<Sum> {
    (0..CLASSES.len()).map(|class| Sum::of(parts.iter().filter_map(|part| part.get(class)))).collect()
}

pub fn merge(into: &mut [Sum], others: &[Sum]) {
    into.iter_mut().zip(others).for_each(|(sum, other)| sum.merge(other));
}

/// All classes, or only those of which there was anything.
pub fn tell(sums: &[Sum], are_all: bool) -> Map<String, Value> {
    let wanted = CLASSES.iter().zip(sums).filter(|(_, sum)| are_all || sum.count() > 0);
    wanted.map(|(name, sum)| ((*name).to_owned(), sum.told())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where the bucket begins, and where the next does.
    fn bounds(bucket: usize) -> (u64, u64) {
        if bucket < 4 {
            return (bucket as u64, bucket as u64 + 1);
        }
        let (shift, part) = ((bucket >> 2) - 1, bucket as u64 & 3);
        ((4 + part) << shift, (5 + part) << shift)
    }

    proptest! {
        #[test]
        fn a_time_is_in_a_bucket_around_it(micros: u32) {
            let (low, high) = bounds(bucket_of(micros));
            let is_last = bucket_of(micros) == BUCKETS - 1;
            prop_assert!(low <= u64::from(micros) && (u64::from(micros) < high || is_last));
            prop_assert!(high - low <= 1.max(low / 4));
        }
    }

    #[test]
    fn buckets_with_something_are_told() {
        let histogram = Histogram::default();
        for micros in [0, 31, 32, 63, 64, u32::MAX] {
            histogram.record(micros);
        }
        histogram.record_times(100, 16);
        let told = Sum::of([&histogram].into_iter()).told();
        assert_eq!(told["fine"], json!([[0, 1], [15, 1], [16, 1], [19, 1], [20, 1], [22, 16], [92, 1]]));
    }
}
