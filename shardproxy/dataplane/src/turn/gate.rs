//! Which requests of a cluster are looked at, once they have their answers: a comparison for all others.
//!
//! ```text
//!   answered ─> its turn for hot keys, or for spans? large? took long? ─no─> nothing
//!                        └─yes─> turn/look.rs
//! ```

use crate::insight::{Countdown, LARGE};

pub struct Gate {
    /// Requests until the next one whose turn it is, and how many there were when that was last said.
    left: u32,
    step: u32,
    /// Those that took so many microseconds took long.
    from: u32,
    hot: Countdown,
    spans: Countdown,
}

/// Why a request is looked at: for what it stands for those that are not, and whether it took long.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Drawn {
    pub for_hot: bool,
    pub for_spans: bool,
    pub is_long: bool,
}

impl Gate {
    /// `hot`, `spans`: one request of so many; 0 = none.
    pub fn new(from: u32, (hot, spans): (u32, u32), seed: u32) -> Self {
        let (hot, spans) = (Countdown::new(hot, seed), Countdown::new(spans, seed.rotate_left(16)));
        let mut gate = Self { left: 0, step: 0, from, hot, spans };
        gate.set();
        gate
    }

    /// Count a request, that took so many microseconds and has so many bytes either way; whether it is looked at. `mask`: as
    /// of `Timing`.
    #[inline]
    pub fn take(&mut self, mask: u32, took: u32, bytes: usize) -> Option<Drawn> {
        self.left -= 1;
        if self.left == 0 || took >= self.from & mask || bytes > LARGE {
            Some(Drawn { is_long: self.is_long(mask, took), ..self.draw() })
        } else {
            None
        }
    }

    /// Whether a request took long that was counted before.
    pub const fn is_long(&self, mask: u32, took: u32) -> bool {
        took >= self.from & mask
    }

    #[cold]
    fn draw(&mut self) -> Drawn {
        let drawn = self.pass();
        self.set();
        drawn
    }

    fn pass(&mut self) -> Drawn {
        let passed = self.step - self.left;
        Drawn { for_hot: self.hot.pass(passed), for_spans: self.spans.pass(passed), is_long: false }
    }

    fn set(&mut self) {
        self.step = self.hot.left().min(self.spans.left());
        self.left = self.step;
    }

    /// One request of so many is sampled for spans from now on; 0 = none.
    pub fn sample(&mut self, spans: u32, seed: u32) {
        if self.spans.every() != spans {
            self.pass();
            self.spans = Countdown::new(spans, seed);
            self.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: u32 = u32::MAX;

    fn drawn(gate: &mut Gate, requests: u32) -> [u32; 2] {
        let mut drawn = [0, 0];
        for _ in 0..requests {
            if let Some(Drawn { for_hot, for_spans, .. }) = gate.take(NEVER, 5, 100) {
                drawn[0] += u32::from(for_hot);
                drawn[1] += u32::from(for_spans);
            }
        }
        drawn
    }

    #[test]
    fn long_ones_large_ones_and_all_while_somebody_looks_are_looked_at() {
        let mut gate = Gate::new(100, (0, 0), 7);
        for (mask, took, bytes, is_due) in [
            (NEVER, 99, LARGE, false),
            (NEVER, 100, 0, true),
            (NEVER, 0, LARGE + 1, true),
            (NEVER, 1 << 31, 0, true),
            (0, 0, 0, true),
        ] {
            let drawn = gate.take(mask, took, bytes);
            assert_eq!(drawn.is_some(), is_due, "{took} us, {bytes} bytes");
            assert_eq!(drawn.is_some_and(|drawn| drawn.is_long), is_due && bytes <= LARGE);
        }
        assert!(Gate::new(NEVER, (0, 0), 7).take(NEVER, NEVER - 1, 0).is_none());
    }

    #[test]
    fn each_has_its_share_whatever_else_is_looked_at() {
        for is_noisy in [false, true] {
            let mut gate = Gate::new(10, (16, 100), 7);
            let (mut hot, mut spans) = (0, 0);
            for n in 0..160_000 {
                let took = if is_noisy && n % 3 == 0 { 10 } else { 0 };
                let drawn = gate.take(NEVER, took, 0).unwrap_or_default();
                hot += u32::from(drawn.for_hot);
                spans += u32::from(drawn.for_spans);
            }
            assert!(hot.abs_diff(10_000) < 300 && spans.abs_diff(1600) < 100, "{hot} {spans}");
        }
    }

    #[test]
    fn what_is_sampled_may_change() {
        let mut gate = Gate::new(NEVER, (0, 0), 7);
        assert_eq!(drawn(&mut gate, 10_000), [0, 0]);
        gate.sample(10, 7);
        let [_, some] = drawn(&mut gate, 10_000);
        assert!((900..1100).contains(&some), "{some}");
        gate.sample(1, 7);
        assert_eq!(drawn(&mut gate, 100), [0, 100]);
        gate.sample(0, 7);
        assert_eq!(drawn(&mut gate, 10_000), [0, 0]);
    }
}
