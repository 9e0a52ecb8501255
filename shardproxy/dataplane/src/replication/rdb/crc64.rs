//! CRC-64 as engines put it behind RDB files and DUMP payloads: the polynomial of Jones, reflected, from zero.

/// Bytes taken at once. One at a time each waits for the table entry of the one before.
const SLICE: usize = 16;
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5; // ad93d23594c935a9, its bits in the other order

/// `TABLES[n][byte]`: what a byte does to the checksum when n more bytes follow it.
static TABLES: [[u64; 256]; SLICE] = tables();

#[allow(clippy::large_stack_arrays)] // the compiler's stack
const fn tables() -> [[u64; 256]; SLICE] {
    let mut tables = [[0u64; 256]; SLICE];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL };
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
            tables[n][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// The checksum of what had `crc` and of these bytes behind it; that of nothing is 0.
#[inline]
pub fn crc64(mut crc: u64, bytes: &[u8]) -> u64 {
    let (slices, rest) = bytes.as_chunks::<SLICE>();
    for slice in slices {
        let (first, second) = slice.split_at(8);
        let first = crc.to_le_bytes().into_iter().zip(first).map(|(crc, byte)| crc ^ byte);
        let taken = first.chain(second.iter().copied()).zip(TABLES.iter().rev());
        crc = taken.fold(0, |crc, (byte, table)| crc ^ table[usize::from(byte)]);
    }
    rest.iter().fold(crc, |crc, &byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_engines() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca); // crc64.c of redis
    }

    #[test]
    fn slices_and_cuts_make_no_difference() {
        let bytes: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(37)).collect();
        for end in 0..bytes.len() {
            let slow = bytes[..end].iter().fold(0u64, |crc, &byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)]);
            assert_eq!(crc64(0, &bytes[..end]), slow);
            assert_eq!(crc64(crc64(0, &bytes[..end / 3]), &bytes[end / 3..end]), slow);
        }
    }
}
