//! The largest requests and replies there were, by key. Whatever is small pays a comparison.

use std::time::{SystemTime, UNIX_EPOCH};

use super::top::LONGEST;

/// Nothing below is large.
pub const LARGE: usize = 16 * 1024;
/// An hour, in milliseconds: nobody wants to know what was large before.
const KEPT: u64 = 3_600_000;
/// Half of the time of which the largest reply is told.
const PERIOD: u64 = 150_000;

#[derive(Clone, Debug)]
pub struct BigKey {
    pub hash: u64,
    pub key: Vec<u8>,
    pub is_cut: bool,
    pub shard: u16,
    pub slot: u16,
    /// The last that was as large.
    pub command: u16,
    pub request: u64,
    pub reply: u64,
    /// When that was, seconds since 1970; and milliseconds on the plane's clock.
    pub at: f64,
    seen: u64,
}

impl BigKey {
    pub fn size(&self) -> u64 {
        self.request.max(self.reply)
    }

    /// Another one of the same key.
    pub fn join(&mut self, other: Self) {
        let (request, reply) = (self.request.max(other.request), self.reply.max(other.reply));
        if other.size() >= self.size() {
            *self = other;
        }
        (self.request, self.reply) = (request, reply);
    }
}

/// What was large at one worker.
#[derive(Clone, Copy, Debug)]
pub struct Large<'a> {
    pub hash: u64,
    pub key: &'a [u8],
    pub shard: u16,
    pub slot: u16,
    pub command: u16,
    pub request: usize,
    pub reply: usize,
}

pub struct Big {
    keys: Vec<BigKey>,
    most: usize,
    /// The largest reply of this period and of the one before.
    largest: [usize; 2],
    /// When this period began.
    began: u64,
}

impl Big {
    pub const fn new(most: usize, now: u64) -> Self {
        Self { keys: Vec::new(), most, largest: [0; 2], began: now }
    }

    pub fn keys(&self) -> &[BigKey] {
        &self.keys
    }

    /// Bytes that they take.
    pub fn held(&self) -> usize {
        let keys: usize = self.keys.iter().map(|key| key.key.capacity()).sum();
        self.keys.capacity() * size_of::<BigKey>() + keys
    }

    /// A reply was that large. The largest of the last minutes, by now.
    pub fn replied(&mut self, bytes: usize) -> usize {
        self.largest[0] = self.largest[0].max(bytes);
        self.largest()
    }

    pub fn largest(&self) -> usize {
        self.largest[0].max(self.largest[1])
    }

    /// Whether anybody of that size is noted: else there are larger ones enough.
    pub fn wants(&self, bytes: usize) -> bool {
        bytes > LARGE && (self.keys.len() < self.most || self.keys.iter().any(|key| key.size() < bytes as u64))
    }

    pub fn note(&mut self, large: &Large, now: u64) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let key = BigKey {
            hash: large.hash,
            key: large.key[..large.key.len().min(LONGEST)].to_vec(),
            is_cut: large.key.len() > LONGEST,
            shard: large.shard,
            slot: large.slot,
            command: large.command,
            request: large.request as u64,
            reply: large.reply as u64,
            at,
            seen: now,
        };
        if let Some(known) = self.keys.iter_mut().find(|known| known.hash == key.hash) {
            return known.join(key);
        }
        if self.keys.len() < self.most {
            return self.keys.push(key);
        }
        if let Some(least) = self.keys.iter_mut().min_by_key(|known| known.size()) {
            if least.size() < key.size() {
                *least = key;
            }
        }
    }

    /// Once a second.
    pub fn tick(&mut self, now: u64) {
        self.keys.retain(|key| now.saturating_sub(key.seen) < KEPT);
        if now.saturating_sub(self.began) >= PERIOD {
            self.largest = [0, self.largest[0]];
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(key: &'static [u8], request: usize, reply: usize) -> Large<'static> {
        Large { hash: crate::near::hash_of(0, key), key, shard: 0, slot: 0, command: 1, request, reply }
    }

    #[test]
    fn the_largest_stay() {
        let mut big = Big::new(2, 0);
        assert!(big.wants(LARGE + 1) && !big.wants(LARGE));
        big.note(&large(b"a", 100_000, 5), 0);
        big.note(&large(b"b", 0, 50_000), 0);
        assert!(!big.wants(40_000) && big.wants(60_000));
        big.note(&large(b"c", 0, 60_000), 0);
        big.note(&large(b"a", 50, 70_000), 0);
        let mut known: Vec<_> = big.keys().iter().map(|key| (key.key.as_slice(), key.request, key.reply)).collect();
        known.sort_unstable();
        assert_eq!(known, [(&b"a"[..], 100_000, 70_000), (b"c", 0, 60_000)]);
        big.tick(KEPT);
        assert!(big.keys().is_empty());
    }

    #[test]
    fn the_largest_reply_is_of_the_last_minutes() {
        let mut big = Big::new(2, 0);
        assert_eq!(big.replied(70_000), 70_000);
        big.tick(PERIOD);
        assert_eq!(big.replied(20_000), 70_000);
        big.tick(2 * PERIOD);
        assert_eq!(big.largest(), 20_000);
    }
}
