//! Fowler-Noll-Vo hashes, as libmemcached has them: over signed chars, and the 64-bit ones cut to 32 bits, fnv1 at the
//! end and fnv1a at every step.

use super::signed;

const BASIS_32: u32 = 0x811c_9dc5;
const PRIME_32: u32 = 0x0100_0193;
const BASIS_64: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME_64: u64 = 0x0100_0000_01b3;

pub fn fnv1_32(key: &[u8]) -> u32 {
    key.iter().fold(BASIS_32, |hash, &byte| hash.wrapping_mul(PRIME_32) ^ signed(byte))
}

pub fn fnv1a_32(key: &[u8]) -> u32 {
    key.iter().fold(BASIS_32, |hash, &byte| (hash ^ signed(byte)).wrapping_mul(PRIME_32))
}

pub fn fnv1_64(key: &[u8]) -> u32 {
    let widened = |byte: u8| i64::from(byte.cast_signed()).cast_unsigned();
    key.iter().fold(BASIS_64, |hash, &byte| hash.wrapping_mul(PRIME_64) ^ widened(byte)) as u32
}

pub fn fnv1a_64(key: &[u8]) -> u32 {
    key.iter().fold(BASIS_64 as u32, |hash, &byte| (hash ^ signed(byte)).wrapping_mul(PRIME_64 as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "foobar" in the test suite of draft-eastlake-fnv.
    #[test]
    fn known_values() {
        assert_eq!(fnv1_32(b"foobar"), 0x31f0_b262);
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9c_f968);
        assert_eq!(fnv1_64(b"foobar"), 0x340d_8765_a4dd_a9c2_u64 as u32);
    }
}
