//! Which requests are looked at: one of so many, at steps that no pattern of the traffic can follow.

/// xorshift32: what is chosen by it need only be hard to follow.
#[derive(Clone, Copy)]
pub struct Random(u32);

impl Random {
    pub const fn new(seed: u32) -> Self {
        Self(seed | 1)
    }

    pub const fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

pub struct Countdown {
    /// Requests until the next one; at least one.
    left: u32,
    /// How many requests one stands for; 0 = none is looked at.
    every: u32,
    random: Random,
}

impl Countdown {
    pub const fn new(every: u32, seed: u32) -> Self {
        let mut countdown = Self { left: 1, every, random: Random::new(seed) };
        countdown.begin();
        countdown
    }

    pub const fn every(&self) -> u32 {
        self.every
    }

    /// How many requests it takes until one is looked at, that one too.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// So many requests have passed, no more than were left; whether the last one is looked at.
    pub const fn pass(&mut self, requests: u32) -> bool {
        self.left -= requests;
        if self.left > 0 {
            return false;
        }
        self.begin();
        self.every > 0
    }

    /// As likely any step from one to nearly twice the mean.
    const fn begin(&mut self) {
        self.left = match self.every {
            0 => u32::MAX,
            every => 1 + self.random.next() % (2 * every - 1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_so_many_is_looked_at_whatever_the_pattern() {
        for every in [1, 2, 16, 100] {
            let mut countdown = Countdown::new(every, 7);
            let mut seen = [0u32; 16];
            for n in 0..160_000 {
                if countdown.pass(1) {
                    seen[n % 16] += 1;
                }
            }
            let expected = 10_000 / every;
            assert!(seen.iter().all(|&n| n.abs_diff(expected) <= expected / 3), "{every}: {seen:?}");
        }
    }

    #[test]
    fn none_is_where_none_is_wanted() {
        let mut countdown = Countdown::new(0, 7);
        assert!((0..1000).all(|_| !countdown.pass(1)));
        assert!(!countdown.pass(countdown.left()) && countdown.left() == u32::MAX, "nor after all of them");
    }
}
