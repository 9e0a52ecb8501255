//! Reply framing: where a node's reply ends. The replies themselves say it, whatever was asked: VALUE and STAT lines go
//! on until END, VA carries one value, anything else is one line. A line of another kind among them is the next reply:
//! the end of this one never came, and no later one would be its client's.

use std::fmt;

use memchr::memchr;

use super::tokens::{unsigned, words};
pub use crate::dialect::Scan;

/// STAT lines are the longest.
const MAX_LINE: usize = 16 * 1024;
/// Twice the largest item size memcached can be started with.
const MAX_VALUE: u64 = 2 << 30;

#[derive(Default, Clone, Copy, Debug)]
pub struct ReplyFramer {
    /// Bytes of the current value that are still to come, its line end included.
    data: u64,
    /// The reply ends with the current value.
    is_last: bool,
    lines: Lines,
}

/// What the lines so far were, of a reply that goes on until END.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
enum Lines {
    #[default]
    None,
    Values,
    Statistics,
}

#[derive(Debug, PartialEq, Eq)]
pub struct ReplyError(&'static str);

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a line of a reply means.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// The whole reply.
    Alone,
    Error,
    End,
    Statistic,
    /// So many bytes follow, and then more lines.
    Value(u64),
    /// So many bytes follow, and they are the last.
    Last(u64),
}

impl ReplyFramer {
    /// Look at more bytes of a reply; how many of them belong to it, and whether it is complete.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, ReplyError> {
        let mut at = 0;
        loop {
            if self.data > 0 {
                let here = self.data.min((bytes.len() - at) as u64);
                self.data -= here;
                at += here as usize;
                if self.data > 0 {
                    return Ok(Scan { consumed: at, complete: false });
                }
                if self.is_last {
                    *self = Self::default();
                    return Ok(Scan { consumed: at, complete: true });
                }
            }
            let rest = &bytes[at..];
            let Some(end) = memchr(b'\n', rest) else {
                if rest.len() > MAX_LINE {
                    return Err(ReplyError("a line is too long"));
                }
                return Ok(Scan { consumed: at, complete: false });
            };
            at += end + 1;
            let Some(line) = rest[..end].strip_suffix(b"\r") else {
                return Err(ReplyError("a line does not end in CRLF"));
            };
            match (read(line)?, self.lines) {
                (Line::Alone, Lines::None) | (Line::Error, Lines::None | Lines::Values) | (Line::End, _) => {
                    self.lines = Lines::None;
                    return Ok(Scan { consumed: at, complete: true });
                }
                (Line::Statistic, Lines::None | Lines::Statistics) => self.lines = Lines::Statistics,
                (Line::Value(length), Lines::None | Lines::Values) => {
                    (self.data, self.lines) = (length + 2, Lines::Values);
                }
                (Line::Last(length), Lines::None) => (self.data, self.is_last) = (length + 2, true),
                _ => return Err(ReplyError("a reply has no end")),
            }
        }
    }
}

#[inline]
fn read(line: &[u8]) -> Result<Line, ReplyError> {
    let word = line.split(|&byte| byte == b' ').next().unwrap_or_default();
    match word {
        b"VALUE" => length(line, 3).map(Line::Value),
        b"END" => Ok(Line::End),
        b"STORED" | b"HD" | b"EN" | b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND" | b"DELETED" | b"TOUCHED" | b"OK"
        | b"NF" | b"NS" | b"EX" | b"MN" | b"ME" | b"RESET" | b"VERSION" | b"BUSY" | b"BADCLASS" => Ok(Line::Alone),
        b"ERROR" | b"ERROR:" | b"CLIENT_ERROR" | b"SERVER_ERROR" => Ok(Line::Error),
        b"VA" => length(line, 1).map(Line::Last),
        b"STAT" | b"PREFIX" => Ok(Line::Statistic),
        number if unsigned(number).is_some() => Ok(Line::Alone),
        _ => Err(ReplyError("no line of memcached's")),
    }
}

fn length(line: &[u8], place: usize) -> Result<u64, ReplyError> {
    let number = words(line).nth(place).and_then(unsigned);
    number.filter(|n| *n <= MAX_VALUE).ok_or(ReplyError("a length is not a number"))
}

/// The first of a reply's values, line and data, if it is of this key.
pub fn value_of<'a>(values: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let rest = values.strip_prefix(b"VALUE ")?.strip_prefix(key)?.strip_prefix(b" ")?;
    let end = memchr(b'\n', rest)?;
    let length = words(rest[..end].trim_ascii_end()).nth(1).and_then(unsigned)?;
    let line = values.len() - rest.len() + end + 1;
    values.get(..line + usize::try_from(length).ok()? + 2)
}

/// Whether a reply says that something went wrong.
#[inline]
pub fn is_error(reply: &[u8]) -> bool {
    match reply.first() {
        Some(b'C') => reply.starts_with(b"CLIENT_ERROR"),
        Some(b'S') => reply.starts_with(b"SERVER_ERROR"),
        Some(b'E') => reply.starts_with(b"ERROR"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPLIES: [&[u8]; 13] = [
        b"END\r\n",
        b"VALUE a 0 3\r\nEND\r\nEND\r\n",
        b"VALUE a 0 5 17\r\nEND\r\n\r\nVALUE b 1 0 18\r\n\r\nEND\r\n",
        b"STORED\r\n",
        b"42\r\n",
        b"VA 2 kfoo\r\nhi\r\n",
        b"HD Oabc\r\n",
        b"EN\r\n",
        b"ME a exp=-1 la=3\r\n",
        b"STAT pid 1\r\nSTAT x y z\r\nEND\r\n",
        b"PREFIX a get 1 hit 0 set 0 del 0\r\nEND\r\n",
        b"SERVER_ERROR out of memory storing object\r\n",
        b"ERROR: shutdown not enabled\r\n",
    ];

    fn framed(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let (mut framer, mut found, mut input, mut scanned) = (ReplyFramer::default(), Vec::new(), Vec::new(), 0);
        for chunk in stream.chunks(piece) {
            input.extend_from_slice(chunk);
            loop {
                let scan = framer.scan(&input[scanned..]).unwrap();
                scanned += scan.consumed;
                if !scan.complete {
                    break;
                }
                found.push(input.drain(..scanned).collect());
                scanned = 0;
                if input.is_empty() {
                    break;
                }
            }
        }
        assert!(input.is_empty());
        found
    }

    #[test]
    fn replies_end_where_they_end_however_they_are_cut() {
        let stream = REPLIES.concat();
        for piece in [1, 2, 3, 7, stream.len()] {
            assert_eq!(framed(&stream, piece), REPLIES, "{piece}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        for bad in [
            &b"\r\n"[..],
            b"hello\r\n",
            b"END\n",
            b"VALUE a 0 x\r\n",
            b"VALUE a 0 -1\r\n",
            b"VA\r\n",
            b"+OK\r\n",
            b"-5\r\n",
            b"STAT sizes_status enabled\r\nSTORED\r\n",
            b"STAT a 1\r\nVALUE a 0 1\r\nx\r\nEND\r\n",
            b"STAT a 1\r\nERROR\r\n",
            b"VALUE a 0 1\r\nx\r\nSTORED\r\n",
            b"VALUE a 0 1\r\nx\r\nVA 1\r\nx\r\n",
            b"ITEM a [1 b; 0 s]\r\n",
        ] {
            assert!(ReplyFramer::default().scan(bad).is_err(), "{bad:?}");
        }
        assert!(ReplyFramer::default().scan(&vec![b'x'; MAX_LINE + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_framed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(scan) = ReplyFramer::default().scan(&bytes) {
                prop_assert!(scan.consumed <= bytes.len());
            }
        }
    }
}
