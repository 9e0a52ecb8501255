//! The hash functions of keys, under the names twemproxy and libmemcached give them. What they return for a key is
//! theirs to the last bit, odd ones included; hsieh is missing, for its licence.

use super::{crc16, crc32, fnv, jenkins, murmur, one_at_a_time, signed};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHash {
    OneAtATime,
    Md5,
    Crc16,
    Crc32,
    Crc32a,
    Fnv1_64,
    Fnv1a64,
    Fnv1_32,
    Fnv1a32,
    Murmur,
    Jenkins,
}

impl KeyHash {
    /// The function of that name.
    pub fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "one_at_a_time" => Self::OneAtATime,
            "md5" => Self::Md5,
            "crc16" => Self::Crc16,
            "crc32" => Self::Crc32,
            "crc32a" => Self::Crc32a,
            "fnv1_64" => Self::Fnv1_64,
            "fnv1a_64" => Self::Fnv1a64,
            "fnv1_32" => Self::Fnv1_32,
            "fnv1a_32" => Self::Fnv1a32,
            "murmur" => Self::Murmur,
            "jenkins" => Self::Jenkins,
            "hsieh" => return Err("the hash function hsieh is not available: its licence does not allow it".into()),
            other => return Err(format!("there is no hash function {other:?}")),
        })
    }

    #[inline]
    pub fn of(self, key: &[u8]) -> u32 {
        match self {
            Self::OneAtATime => one_at_a_time::one_at_a_time(key),
            Self::Md5 => md5(key),
            // 32 bits wide, nothing of it is cut off
            Self::Crc16 => key
                .iter()
                .fold(0, |crc: u32, &byte| crc << 8 ^ u32::from(crc16::of_byte((crc >> 8 ^ signed(byte)) as u8))),
            Self::Crc32 => crc32::crc32(key) >> 16 & 0x7fff,
            Self::Crc32a => crc32::crc32(key),
            Self::Fnv1_64 => fnv::fnv1_64(key),
            Self::Fnv1a64 => fnv::fnv1a_64(key),
            Self::Fnv1_32 => fnv::fnv1_32(key),
            Self::Fnv1a32 => fnv::fnv1a_32(key),
            Self::Murmur => murmur::murmur2(key, (key.len() as u32).wrapping_mul(0xdead_beef)),
            Self::Jenkins => jenkins::lookup3(key, 13),
        }
    }
}

/// The first four bytes of the digest, little-endian.
pub fn md5(key: &[u8]) -> u32 {
    md5_points(key)[0]
}

/// The digest as four little-endian numbers.
pub fn md5_points(text: &[u8]) -> [u32; 4] {
    let digest = md5::compute(text).0;
    let (points, _) = digest.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_le_bytes(points[at]))
}
