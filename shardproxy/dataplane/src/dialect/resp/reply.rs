//! Reply framing, RESP2 and RESP3: where a reply ends. Values are not looked at.

use std::fmt;

use memchr::memchr;

pub use crate::dialect::Scan;

/// Longest line that announces a length; more digits than any length has.
const MAX_LENGTH_LINE: usize = 32;
/// `rest` while a line without a length (`+ - : _ # , (`) is under way.
const LINE: u64 = u64::MAX;

/// Finds the end of replies in a stream that arrives in pieces. An aggregate only adds to the values to come, so
/// nesting needs no stack, and an attribute adds its own without being one.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyFramer {
    /// Values of the current reply that have not begun.
    left: u64,
    /// Bytes to come of the value that has, its CRLF included; or `LINE`.
    rest: u64,
}

/// The node speaks no RESP: its connection cannot be used any more.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum ReplyError {
    UnknownType(u8),
    /// A length that is no number, negative, too large, or not that of its value.
    BadLength,
    /// Not the reply its command has.
    Unexpected,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(byte) => write!(f, "unknown type '{}'", byte.escape_ascii()),
            Self::BadLength => f.write_str("a wrong length"),
            Self::Unexpected => f.write_str("unexpected reply"),
        }
    }
}

impl std::error::Error for ReplyError {}

impl ReplyFramer {
    pub const fn new() -> Self {
        Self { left: 0, rest: 0 }
    }

    /// Whether the next byte begins a reply.
    #[inline]
    pub const fn is_idle(&self) -> bool {
        self.left == 0 && self.rest == 0
    }

    /// Take bytes of the current reply off `buf`. What is not consumed (the start of a length line) is shown again,
    /// with more behind it. After an error the framer is of no use.
    #[inline]
    pub fn scan(&mut self, buf: &[u8]) -> Result<Scan, ReplyError> {
        if self.is_idle() {
            if let Some(consumed) = short_reply(buf) {
                return Ok(Scan { consumed, complete: true });
            }
        }
        self.scan_values(buf)
    }

    /// As `scan`, of what stands beside replies: a push, or an attribute alone, without the reply it is about.
    pub fn scan_aside(&mut self, buf: &[u8]) -> Result<Scan, ReplyError> {
        if !self.is_idle() || buf.first() != Some(&b'|') {
            return self.scan(buf);
        }
        let Some((length, size)) = length_line(b'|', &buf[1..])? else {
            return Ok(Scan { consumed: 0, complete: false });
        };
        let start = 1 + size;
        self.left = length.unwrap_or(0) * 2;
        if self.left == 0 {
            return Ok(Scan { consumed: start, complete: true });
        }
        let scan = self.scan_values(&buf[start..])?;
        Ok(Scan { consumed: start + scan.consumed, ..scan })
    }

    fn scan_values(&mut self, buf: &[u8]) -> Result<Scan, ReplyError> {
        let was_idle = self.is_idle();
        let mut left = if was_idle { 1 } else { self.left };
        let mut at = 0;
        let mut rest = self.rest;
        loop {
            if rest == LINE {
                match find_crlf(&buf[at..]) {
                    Ok(end) => at += end,
                    Err(seen) => return Ok(self.pause(left, LINE, at + seen)),
                }
            } else if rest > 0 {
                let there = (buf.len() - at) as u64;
                if there < rest {
                    let taken = there.min(rest - 2); // the CRLF is taken whole
                    return Ok(self.pause(left, rest - taken, at + taken as usize));
                }
                at += rest as usize;
                if buf[at - 2..at] != *b"\r\n" {
                    return Err(ReplyError::BadLength);
                }
            }
            rest = 0;
            if left == 0 {
                *self = Self::new();
                return Ok(Scan { consumed: at, complete: true });
            }
            let Some(&kind) = buf.get(at) else { break };
            if matches!(kind, b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') {
                left -= 1;
                at += 1;
                rest = LINE;
                continue;
            }
            let Some((length, size)) = length_line(kind, &buf[at + 1..])? else {
                break;
            };
            at += 1 + size;
            match kind {
                b'$' | b'!' | b'=' => {
                    left -= 1;
                    rest = length.map_or(0, |length| length + 2);
                }
                b'|' => left = left.saturating_add(length.unwrap_or(0) * 2),
                b'%' => left = (left - 1).saturating_add(length.unwrap_or(0) * 2),
                _ => left = (left - 1).saturating_add(length.unwrap_or(0)),
            }
        }
        if at > 0 || !was_idle {
            return Ok(self.pause(left, 0, at));
        }
        Ok(Scan { consumed: 0, complete: false })
    }

    fn pause(&mut self, left: u64, rest: u64, consumed: usize) -> Scan {
        *self = Self { left, rest };
        Scan { consumed, complete: false }
    }
}

/// The usual replies in a few instructions: a status, a small integer or a bulk string that is all there.
#[inline]
fn short_reply(buf: &[u8]) -> Option<usize> {
    match *buf {
        [b'$', b'-', b'1', b'\r', b'\n', ..] | [b'+', b'O', b'K', b'\r', b'\n', ..] => Some(5),
        [b'$', ref tail @ ..] => {
            let (length, size) = short_length(tail)?;
            let end = 1 + size + length + 2;
            (buf.get(end - 2..end) == Some(b"\r\n")).then_some(end)
        }
        [b':', ref tail @ ..] => short_length(tail).map(|(_, size)| 1 + size),
        _ => None,
    }
}

/// Digits and CRLF: the number, and bytes of the line.
#[inline]
fn short_length(tail: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (at, &byte) in tail.iter().enumerate().take(9) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (at > 0 && byte == b'\r' && tail.get(at + 1) == Some(&b'\n')).then_some((value, at + 2));
        }
        value = value * 10 + usize::from(digit);
    }
    None
}

/// What follows the type byte of a value with a length: the length (none if null) and bytes of the line; none while
/// the line is incomplete.
fn length_line(kind: u8, tail: &[u8]) -> Result<Option<(Option<u64>, usize)>, ReplyError> {
    if !matches!(kind, b'$' | b'*' | b'%' | b'~' | b'>' | b'=' | b'!' | b'|') {
        return Err(ReplyError::UnknownType(kind));
    }
    if let Some((length, size)) = short_length(tail) {
        return Ok(Some((Some(length as u64), size)));
    }
    let window = &tail[..tail.len().min(MAX_LENGTH_LINE)];
    let Some(end) = memchr(b'\n', window) else {
        return if tail.len() >= MAX_LENGTH_LINE { Err(ReplyError::BadLength) } else { Ok(None) };
    };
    let digits = window[..end].strip_suffix(b"\r").ok_or(ReplyError::BadLength)?;
    if digits == b"-1" && matches!(kind, b'$' | b'*') {
        return Ok(Some((None, end + 1)));
    }
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::BadLength);
    }
    let length = digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Ok(Some((Some(length), end + 1)))
}

/// Behind the first CRLF; or how many bytes certainly precede it. A lone `\r` or `\n` is part of the line.
#[inline]
fn find_crlf(buf: &[u8]) -> Result<usize, usize> {
    let mut from = 0;
    while let Some(found) = memchr(b'\n', &buf[from..]) {
        let end = from + found + 1;
        if end >= 2 && buf[end - 2] == b'\r' {
            return Ok(end);
        }
        from = end;
    }
    Err(buf.len() - usize::from(buf.last() == Some(&b'\r')))
}

/// The elements of a complete array, each a complete value.
pub fn array_elements(reply: &[u8]) -> Result<Elements<'_>, ReplyError> {
    elements(b'*', reply)
}

/// The same of a push.
pub fn push_elements(reply: &[u8]) -> Result<Elements<'_>, ReplyError> {
    elements(b'>', reply)
}

fn elements(kind: u8, reply: &[u8]) -> Result<Elements<'_>, ReplyError> {
    let (&first, tail) = reply.split_first().ok_or(ReplyError::Unexpected)?;
    if first != kind {
        return Err(ReplyError::Unexpected);
    }
    match length_line(kind, tail)? {
        Some((Some(left), size)) => Ok(Elements { left, rest: &tail[size..] }),
        _ => Err(ReplyError::Unexpected),
    }
}

#[derive(Clone, Debug)]
pub struct Elements<'a> {
    left: u64,
    rest: &'a [u8],
}

impl Elements<'_> {
    /// How many are to come, as the array's header says.
    pub const fn announced(&self) -> u64 {
        self.left
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<&'a [u8], ReplyError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let element = match ReplyFramer::new().scan(self.rest) {
            Ok(Scan { consumed, complete: true }) => {
                let (element, rest) = self.rest.split_at(consumed);
                self.rest = rest;
                Ok(element)
            }
            Ok(_) => Err(ReplyError::Unexpected),
            Err(error) => Err(error),
        };
        if element.is_err() {
            self.left = 0;
        }
        Some(element)
    }
}

/// The value of an integer reply.
pub fn integer(reply: &[u8]) -> Option<i64> {
    let line = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(line).ok()?.parse().ok()
}
