//! Patterns by the letters they begin with: a message looks only at those that its channel may match.

use std::sync::Arc;

use super::counts::Sum;
use crate::glob;
use crate::maps::Map;

/// Patterns are told apart by so many of their first letters at most.
const PREFIX: usize = 64;
/// A message is matched with so many patterns at most: with more the count of its receivers is that of the engine, and
/// of those. Nobody else waits while somebody counts.
const MATCHES: usize = 16 * 1024;

type Sums = Map<Arc<[u8]>, Sum>;

pub struct Patterns {
    by_prefix: Map<Box<[u8]>, Sums>,
    /// How many prefixes of each length there are.
    lengths: [usize; PREFIX + 1],
}

/// What a pattern takes, about: its prefix may have a map of its own.
pub const fn bytes_of(sum: Sum) -> usize {
    if sum.workers + sum.left == 0 {
        0
    } else {
        328
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self { by_prefix: Map::default(), lengths: [0; PREFIX + 1] }
    }
}

impl Patterns {
    /// So many hear messages that match it; without a worker it is forgotten.
    pub fn set(&mut self, pattern: &Arc<[u8]>, sum: Sum) {
        let prefix = prefix(pattern);
        if sum.workers + sum.left != 0 {
            if self.by_prefix.get(prefix).is_none() {
                self.lengths[prefix.len()] += 1;
                self.by_prefix.insert(prefix.into(), Map::default());
            }
            if let Some(patterns) = self.by_prefix.get_mut(prefix) {
                patterns.insert(pattern.clone(), sum);
            }
            return;
        }
        let Some(patterns) = self.by_prefix.get_mut(prefix) else { return };
        patterns.remove(&**pattern);
        if patterns.is_empty() {
            self.by_prefix.remove(prefix);
            self.lengths[prefix.len()] -= 1;
        }
    }

    /// Who hears a message on the channel; and how many patterns were looked at to know.
    pub fn sum(&self, channel: &[u8]) -> (Sum, usize) {
        let (mut sum, mut looked_at) = (Sum::default(), 0);
        for length in (0..=channel.len().min(PREFIX)).filter(|&length| self.lengths[length] > 0) {
            for (pattern, &of_pattern) in self.by_prefix.get(&channel[..length]).into_iter().flat_map(Map::iter) {
                if looked_at == MATCHES {
                    return (sum, looked_at);
                }
                looked_at += 1;
                if glob::matches(pattern, channel) {
                    sum += of_pattern;
                }
            }
        }
        (sum, looked_at)
    }
}

fn prefix(pattern: &[u8]) -> &[u8] {
    let literal = pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(pattern.len());
    &pattern[..literal.min(PREFIX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_that_begin_so_are_looked_at() {
        let mut patterns = Patterns::default();
        let all = ["user:1:*", "user:2:*", "user:?:news", "*", "user:1:news", "us\\er:*", "other"];
        for pattern in all {
            patterns.set(&pattern.as_bytes().into(), Sum { clients: 2, workers: 1, left: 0 });
        }
        let sum = |patterns: &Patterns, channel: &str| {
            let (sum, looked_at) = patterns.sum(channel.as_bytes());
            (sum.clients, sum.workers, looked_at)
        };
        assert_eq!(sum(&patterns, "user:1:news"), (10, 5, 5), "all but user:2:* and other");
        assert_eq!(sum(&patterns, "other"), (4, 2, 2));
        assert_eq!(sum(&patterns, ""), (2, 1, 1));
        for pattern in all {
            patterns.set(&pattern.as_bytes().into(), Sum::default());
        }
        assert_eq!((sum(&patterns, "user:1:news"), patterns.by_prefix.is_empty()), ((0, 0, 0), true));
    }
}
