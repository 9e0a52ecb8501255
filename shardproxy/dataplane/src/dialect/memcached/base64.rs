//! Keys in base64, decoded as memcached does (`base64.c`): what is no digit is passed over, and the first padding ends it.

use super::request::MAX_KEY;

/// A decoded key.
#[derive(Debug)]
pub struct Key {
    bytes: [u8; MAX_KEY],
    len: usize,
}

impl Key {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// None for what memcached calls an error.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let digits = || text.iter().filter_map(|&byte| digit(byte));
        if digits().count() % 4 != 0 {
            return None;
        }
        let mut key = Self { bytes: [0; MAX_KEY], len: 0 };
        let (mut block, mut filled, mut padding) = (0u32, 0, 0);
        for (is_padding, bits) in digits() {
            block = block << 6 | bits;
            (filled, padding) = (filled + 1, padding + usize::from(is_padding));
            if filled < 4 {
                continue;
            }
            key.bytes.get_mut(key.len..key.len + 3)?.copy_from_slice(&block.to_be_bytes()[1..]);
            key.len += 3;
            (block, filled) = (0, 0);
            match padding {
                0 => {}
                1 | 2 => {
                    key.len -= padding;
                    break;
                }
                _ => return None,
            }
        }
        Some(key).filter(|key| key.len > 0)
    }
}

/// What a byte stands for, and whether it is padding, which counts as a zero.
const fn digit(byte: u8) -> Option<(bool, u32)> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => return Some((true, 0)),
        _ => return None,
    };
    Some((false, value as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_as_memcached_decodes_them() {
        let table: [(&str, Option<&[u8]>); 13] = [
            ("YmFy", Some(b"bar")),
            ("Zm9vYmE=", Some(b"fooba")),
            ("AA==", Some(b"\0")),
            ("/+8=", Some(b"\xff\xef")),
            ("Y!mF-y", Some(b"bar")),
            ("YQ==YmFy", Some(b"a")),
            ("Y=Fy", Some(b"`\x01")),
            ("YmF", None),
            ("YmFyZ", None),
            ("Y===", None),
            ("====", None),
            ("!!!!", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(Key::decode(text.as_bytes()).as_ref().map(Key::bytes), expected, "{text}");
        }
        assert_eq!(Key::decode(&[b'A'; 248]).unwrap().bytes(), [0; 186]);
    }
}
