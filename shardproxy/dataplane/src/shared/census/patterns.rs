//! Patterns by the letters they begin with: a message looks only at those that its channel may match.

use std::collections::HashMap;
use std::sync::Arc;

use crate::glob;

/// Patterns are told apart by so many of their first letters at most.
const PREFIX: usize = 64;
/// A message is matched with so many patterns at most: with more the count of its receivers is that of the engine, and
/// of those. Nobody else waits while somebody counts.
const MATCHES: usize = 16 * 1024;

/// By how much more than by the engine messages that match a pattern are counted.
type Corrections = HashMap<Arc<[u8]>, i64>;

pub struct Patterns {
    by_prefix: HashMap<Box<[u8]>, Corrections>,
    /// How many prefixes of each length there are.
    lengths: [usize; PREFIX + 1],
}

/// What a pattern with this correction takes, about: its prefix has a map of its own.
pub const fn bytes_of(correction: i64) -> usize {
    if correction == 0 {
        0
    } else {
        256
    }
}

impl Default for Patterns {
    fn default() -> Self {
        Self { by_prefix: HashMap::new(), lengths: [0; PREFIX + 1] }
    }
}

impl Patterns {
    /// Count messages that match it by so much more than the engine; with 0 it is forgotten.
    pub fn set(&mut self, pattern: &Arc<[u8]>, correction: i64) {
        let prefix = prefix(pattern);
        if correction != 0 {
            if !self.by_prefix.contains_key(prefix) {
                self.lengths[prefix.len()] += 1;
                self.by_prefix.insert(prefix.into(), HashMap::new());
            }
            if let Some(patterns) = self.by_prefix.get_mut(prefix) {
                patterns.insert(pattern.clone(), correction);
            }
            return;
        }
        let Some(patterns) = self.by_prefix.get_mut(prefix) else { return };
        patterns.remove(pattern);
        if patterns.is_empty() {
            self.by_prefix.remove(prefix);
            self.lengths[prefix.len()] -= 1;
            if self.by_prefix.len() * 4 < self.by_prefix.capacity() {
                self.by_prefix.shrink_to(self.by_prefix.len() * 2);
            }
        }
    }

    /// By how much more a message on the channel is counted; and how many patterns that took.
    pub fn correction(&self, channel: &[u8]) -> (i64, usize) {
        let (mut sum, mut looked_at) = (0, 0);
        for length in (0..=channel.len().min(PREFIX)).filter(|&length| self.lengths[length] > 0) {
            for (pattern, correction) in self.by_prefix.get(&channel[..length]).into_iter().flatten() {
                if looked_at == MATCHES {
                    return (sum, looked_at);
                }
                looked_at += 1;
                if glob::matches(pattern, channel) {
                    sum += correction;
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
            patterns.set(&pattern.as_bytes().into(), 1);
        }
        assert_eq!(patterns.correction(b"user:1:news"), (5, 5), "all but user:2:* and other");
        assert_eq!(patterns.correction(b"other"), (2, 2));
        assert_eq!(patterns.correction(b""), (1, 1));
        for pattern in all {
            patterns.set(&pattern.as_bytes().into(), 0);
        }
        assert_eq!((patterns.correction(b"user:1:news"), patterns.by_prefix.len()), ((0, 0), 0));
    }
}
