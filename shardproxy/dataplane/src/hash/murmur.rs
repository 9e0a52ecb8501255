//! Austin Appleby's `MurmurHash2` and 32-bit `MurmurHash3` (public domain).

const M: u32 = 0x5bd1_e995;

pub fn murmur2(key: &[u8], seed: u32) -> u32 {
    let mut hash = seed ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        hash = (hash ^ little_endian(tail)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

/// The 32-bit `MurmurHash3` of what is added piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Murmur3 {
    hash: u32,
    length: u32,
    /// Up to three bytes that make no word yet.
    tail: u32,
}

impl Murmur3 {
    pub const fn new(seed: u32) -> Self {
        Self { hash: seed, length: 0, tail: 0 }
    }

    #[inline]
    pub fn add(mut self, bytes: &[u8]) -> Self {
        for &byte in bytes {
            self.tail |= u32::from(byte) << (self.length % 4 * 8);
            self.length = self.length.wrapping_add(1);
            if self.length.is_multiple_of(4) {
                self.hash = (self.hash ^ scramble(self.tail)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
                self.tail = 0;
            }
        }
        self
    }

    #[inline]
    pub const fn finish(self) -> u32 {
        let mut hash = self.hash;
        if !self.length.is_multiple_of(4) {
            hash ^= scramble(self.tail);
        }
        hash ^= self.length;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }
}

#[inline]
const fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::Murmur3;

    #[test]
    fn known_values() {
        let hash = |text: &str, seed| Murmur3::new(seed).add(text.as_bytes()).finish();
        assert_eq!(hash("", 0), 0);
        assert_eq!(hash("", 1), 0x514e_28b7);
        assert_eq!(hash("test", 0), 0xba6b_d213);
        assert_eq!(hash("Hello, world!", 0), 0xc036_3e43);
        assert_eq!(Murmur3::new(0).add(b"Hel").add(b"").add(b"lo, world!").finish(), hash("Hello, world!", 0));
    }
}
