//! A histogram of latencies: 64 buckets per power of two, so a percentile is right within 0.8 %.

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const HIGHEST: u64 = (1 << 40) - 1; // ns, 18 minutes: longer than any run

#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; bucket(HIGHEST) + 1], total: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, nanoseconds: u64) {
        let value = nanoseconds.min(HIGHEST);
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.sum += value;
        self.max = self.max.max(value);
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn mean(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        self.sum as f64 / self.total as f64
    }

    /// The smallest value that at least this share (0 to 1) of all values does not exceed; 0 when empty.
    pub fn percentile(&self, share: f64) -> u64 {
        #[allow(clippy::cast_sign_loss)]
        let rank = ((share * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index).min(self.max);
            }
        }
        0
    }
}

/// Values below 64 have a bucket each; above, the top seven bits choose it.
fn bucket(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    ((shift as usize) << SUB_BITS) + (value >> shift) as usize
}

fn middle(bucket: usize) -> u64 {
    if bucket < 2 * SUB {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let lowest = ((bucket - (shift << SUB_BITS)) as u64) << shift;
    lowest + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::{bucket, middle, Histogram, HIGHEST};

    #[test]
    fn buckets_are_contiguous_and_hold_their_middle() {
        let mut last = 0;
        for value in (0..100_000).chain([HIGHEST - 1, HIGHEST]) {
            let index = bucket(value);
            assert!(index == last || index == last + 1 || value > 100_000, "gap before {value}");
            assert_eq!(bucket(middle(index)), index);
            last = index;
        }
    }

    #[test]
    fn percentiles_are_within_a_hundredth() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|us| histogram.record(us * 1000));
        for (share, expected) in [(0.5, 50e6), (0.99, 99e6), (0.999, 99.9e6), (1.0, 100e6)] {
            let got = histogram.percentile(share) as f64;
            assert!((got / expected - 1.0).abs() < 0.01, "{share}: {got} against {expected}");
        }
        assert_eq!(histogram.max(), 100_000_000);
        assert!((histogram.mean() / 50_000_500.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn merged_is_as_if_recorded_together() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        (0..500).for_each(|v| a.record(v));
        (500..1000).for_each(|v| b.record(v));
        a.merge(&b);
        assert_eq!((a.total(), a.max()), (1000, 999));
        assert!((495..=505).contains(&a.percentile(0.5)));
    }

    #[test]
    fn an_empty_one_answers_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.percentile(0.99), empty.max(), empty.total()), (0, 0, 0));
    }
}
