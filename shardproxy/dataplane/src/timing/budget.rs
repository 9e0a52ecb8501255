//! How many requests are described: where all are slow, more are counted, and cost next to nothing.

use super::came::Place;

/// Between two ticks.
pub const DESCRIBED: u32 = 64;
/// So many of those are left for what took long: who does not read has the others.
pub const FOR_SLOW: u32 = DESCRIBED / 2;

pub struct Budget {
    left: u32,
    /// By cluster, those that were too many.
    uncounted: Vec<u64>,
    /// The last one of those: its parts are one request.
    last: Option<Place>,
}

impl Budget {
    pub const fn new() -> Self {
        Self { left: DESCRIBED, uncounted: Vec::new(), last: None }
    }

    /// Whether one more request is described, that took long or whose client does not read. If not, one that `counts` is
    /// counted.
    pub fn take(&mut self, cluster: usize, place: Place, counts: bool) -> bool {
        if self.left > if counts { 0 } else { FOR_SLOW } {
            self.left -= 1;
            return true;
        }
        if counts && self.last.replace(place) != Some(place) {
            if self.uncounted.len() <= cluster {
                self.uncounted.resize(cluster + 1, 0);
            }
            self.uncounted[cluster] += 1;
        }
        false
    }

    /// Begin anew; how many were too many since the last time, of each cluster that had some.
    pub fn renew(&mut self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.left = DESCRIBED;
        let counts = self.uncounted.iter_mut().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(cluster, count)| (cluster, std::mem::take(count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_leaves_room_for_what_took_long() {
        let mut budget = Budget::new();
        let described = (0..DESCRIBED).filter(|&n| budget.take(2, (0, 0, n), false)).count();
        assert_eq!(described, (DESCRIBED - FOR_SLOW) as usize);
        assert_eq!(budget.renew().count(), 0, "they are not slow");
    }
}
