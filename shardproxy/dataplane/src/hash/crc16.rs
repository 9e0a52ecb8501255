//! Slots of Redis Cluster: CRC-16/XMODEM of the key or its hash tag, modulo 16384.

use memchr::memchr;

pub const SLOTS: u16 = 16384;

/// Bytes taken at once. One at a time each waits for the table entry of the one before.
const SLICE: usize = 8;

/// `TABLES[n][byte]`: what a byte does to the checksum when n more bytes follow it.
static TABLES: [[u16; 256]; SLICE] = tables();

const fn tables() -> [[u16; 256]; SLICE] {
    let mut tables = [[0u16; 256]; SLICE];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < SLICE {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = before << 8 ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// What one byte does to a checksum of zero.
#[inline]
pub fn of_byte(byte: u8) -> u16 {
    TABLES[0][usize::from(byte)]
}

#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (slices, rest) = bytes.as_chunks::<SLICE>();
    for slice in slices {
        let [high, low] = crc.to_be_bytes();
        crc = TABLES[7][usize::from(slice[0] ^ high)]
            ^ TABLES[6][usize::from(slice[1] ^ low)]
            ^ TABLES[5][usize::from(slice[2])]
            ^ TABLES[4][usize::from(slice[3])]
            ^ TABLES[3][usize::from(slice[4])]
            ^ TABLES[2][usize::from(slice[5])]
            ^ TABLES[1][usize::from(slice[6])]
            ^ TABLES[0][usize::from(slice[7])];
    }
    for &byte in rest {
        crc = crc << 8 ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// The slot of a key or of its hash tag.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    slot_of_part(tag_of(key, b'{', b'}').unwrap_or(key))
}

/// The slot of exactly these bytes, braces or not.
#[inline]
pub fn slot_of_part(part: &[u8]) -> u16 {
    crc16(part) & (SLOTS - 1)
}

/// What stands between the first `open` and the first `close` behind it, unless that is nothing.
#[inline]
pub fn tag_of(key: &[u8], open: u8, close: u8) -> Option<&[u8]> {
    let (_, behind) = key.split_at(memchr(open, key)? + 1);
    let length = memchr(close, behind)?;
    (length > 0).then(|| &behind[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and slots as redis-server 7.0 gives them (CLUSTER KEYSLOT).
    const SLOTS_OF: &[(&[u8], u16)] = &[
        (b"foo", 12182),
        (b"hello", 866),
        (b"123456789", 12739),
        (b"{user1000}.following", 3443),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", 4015),
        (b"foo{bar}{zap}", 5061),
        (b"", 0),
        (b"{}", 15257),
        (b"{a", 10276),
        (b"a}", 5921),
        (b"a long key of more than sixteen bytes", 11041),
        (b"key:000000001234", 16382),
        (b"{{}", 4092),
        (b"x{}y", 16116),
    ];

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3); // the check value of CRC-16/XMODEM
        for &(key, expected) in SLOTS_OF {
            assert_eq!(slot(key), expected, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn slices_make_no_difference() {
        let bytes: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37)).collect();
        for end in 0..bytes.len() {
            let slow =
                bytes[..end].iter().fold(0u16, |crc, &byte| crc << 8 ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)]);
            assert_eq!(crc16(&bytes[..end]), slow);
        }
    }
}
