//! Passwords, of which only hashes are kept.

use std::fmt;
use std::hint::black_box;

use ring::digest::{digest, SHA256};

const LENGTH: usize = 32;

/// The SHA-256 of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; LENGTH]);

impl Hash {
    pub fn of(password: &[u8]) -> Self {
        let mut hash = [0; LENGTH];
        hash.copy_from_slice(digest(&SHA256, password).as_ref());
        Self(hash)
    }

    /// From 64 hexadecimal digits, letters in lower case.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        if digits.len() != LENGTH * 2 {
            return None;
        }
        let mut hash = [0; LENGTH];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(hash))
    }

    pub fn digits(self) -> String {
        self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(hex(digit))).collect()
    }

    /// Whether they are the same, in a time that says nothing of where they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold(0, |difference, (a, b)| black_box(difference | (a ^ b))) == 0
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        0..=9 => b'0' + digit,
        _ => b'a' + digit - 10,
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum() {
        let of_foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(Hash::of(b"foo").digits(), of_foo);
        assert_eq!(Hash::parse(of_foo.as_bytes()), Some(Hash::of(b"foo")));
        for wrong in [&of_foo[1..], &of_foo.to_uppercase(), "", &of_foo.replace('2', "g")] {
            assert_eq!(Hash::parse(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(Hash::of(b"foo").is_same(&Hash::of(b"foo")) && !Hash::of(b"foo").is_same(&Hash::of(b"fop")));
        assert_eq!(format!("{:?}", Hash::of(b"foo")), "Hash(..)");
    }
}
