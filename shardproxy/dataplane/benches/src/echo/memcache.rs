//! Framing of memcached text requests, and the fixed answers.

use super::{Answer, Hangup, Talk};

const LONGEST_LINE: usize = 8192;

pub(super) struct Memcache {
    /// ` 0 <size>\r\n<bytes>\r\n`, what follows the key.
    tail: Vec<u8>,
}

impl Memcache {
    pub(super) fn new(value_size: usize) -> Self {
        let head = format!(" 0 {value_size}\r\n").into_bytes();
        Self { tail: [&head[..], &vec![b'x'; value_size], b"\r\n"].concat() }
    }
}

impl Answer for Memcache {
    fn answer(&self, _: &mut Talk, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Hangup> {
        let Some(end) = bytes.iter().take(LONGEST_LINE).position(|b| *b == b'\n') else {
            return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(Hangup) };
        };
        let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
        let mut words = line.split(|b| *b == b' ');
        match words.next() {
            Some(b"get") => {
                for key in words {
                    out.extend_from_slice(b"VALUE ");
                    out.extend_from_slice(key);
                    out.extend_from_slice(&self.tail);
                }
                out.extend_from_slice(b"END\r\n");
            }
            Some(b"set") => {
                let size = words.nth(3).and_then(|w| std::str::from_utf8(w).ok()?.parse::<u32>().ok());
                let length = end + 1 + size.ok_or(Hangup)? as usize + 2;
                if bytes.len() < length {
                    return Ok(None);
                }
                out.extend_from_slice(b"STORED\r\n");
                return Ok(Some(length));
            }
            Some(b"version") => out.extend_from_slice(b"VERSION 1.0.0\r\n"),
            Some(b"quit") => return Err(Hangup),
            _ => out.extend_from_slice(b"ERROR\r\n"),
        }
        Ok(Some(end + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Memcache, Talk};

    #[test]
    fn requests_are_answered_whole_or_not_at_all() {
        let table: [(&[u8], &[u8]); 4] = [
            (b"get k\r\n", b"VALUE k 0 3\r\nxxx\r\nEND\r\n"),
            (b"get a b\r\n", b"VALUE a 0 3\r\nxxx\r\nVALUE b 0 3\r\nxxx\r\nEND\r\n"),
            (b"set k 0 0 4\r\nabcd\r\n", b"STORED\r\n"),
            (b"foo\r\n", b"ERROR\r\n"),
        ];
        let echo = Memcache::new(3);
        for (bytes, expected) in table {
            let mut out = Vec::new();
            for cut in 0..bytes.len() {
                assert!(matches!(echo.answer(&mut Talk::default(), &bytes[..cut], &mut out), Ok(None)));
            }
            let length = echo.answer(&mut Talk::default(), bytes, &mut out).ok().flatten();
            assert_eq!((length, &out[..]), (Some(bytes.len()), expected));
        }
    }
}
