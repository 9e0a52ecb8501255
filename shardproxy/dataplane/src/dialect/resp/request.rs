//! Request framing: where a request ends and where its arguments lie. Knows nothing of commands or sockets.
//!
//! Accepts what Redis accepts and refuses it with Redis' words (networking.c), except that every CRLF must be one:
//! Redis skips two bytes unseen, and what a client smuggles there would reach a connection that others share.

use memchr::memchr;

use super::inline;
pub use super::request_error::RequestError;
pub use crate::command::Span;
use crate::dialect::TLS_HELLO;

/// Longest inline request or length line; `PROTO_INLINE_MAX_SIZE` in Redis' server.h.
const MAX_LINE: usize = 64 * 1024;
/// Largest argument; the default of Redis' `proto-max-bulk-len`.
const MAX_BULK: usize = 512 * 1024 * 1024;
/// Largest request, where no lower limit is set: its positions are numbers of 32 bits, also those of what is written anew
/// of it, with a longer name or another timeout.
const MAX_REQUEST: usize = u32::MAX as usize - MAX_LINE;
/// What a client that has not authenticated may send (Redis' networking.c).
const UNAUTHENTICATED_ARGUMENTS: usize = 10;
const UNAUTHENTICATED_BULK: usize = 16384;
/// Spans kept between requests; a request with more arguments gives the memory back in `release`.
const KEPT_SPANS: usize = 1024;
/// An incomplete line shorter than this is searched again rather than remembered.
const RESEARCH: usize = 64;

pub struct RequestLimits {
    /// Bytes of one request.
    pub max_request: usize,
    /// Bytes of one argument, where that is less than `MAX_BULK`.
    pub max_bulk: usize,
    pub max_arguments: usize,
    pub authenticated: bool,
}

impl RequestLimits {
    /// Of requests that were framed before.
    pub const NONE: Self =
        Self { max_request: usize::MAX, max_bulk: usize::MAX, max_arguments: usize::MAX >> 1, authenticated: true };
}

/// Takes requests off a buffer, one per call, resuming where an incomplete one stopped.
///
/// ```text
///   *3\r\n $3\r\nSET\r\n $3\r\nkey\r\n $5\r\nva
///                                  at ─┘   └─ bulk = 5 of its bytes are awaited, left = 1
/// ```
#[derive(Default, Debug)]
pub struct RequestParser {
    spans: Vec<Span>,
    inline: Vec<u8>,
    /// The first byte that is not taken yet; 0 before the request's header is.
    at: usize,
    /// Up to here the line at `at` has no end.
    searched: usize,
    /// Arguments to come.
    left: usize,
    /// Length of the argument at `at`, when its length line is taken.
    bulk: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// At least so many more bytes are needed.
    Incomplete { wanted: usize },
    /// Nothing to execute: `*0`, `*-1`, an empty inline line.
    Skip { consumed: usize },
    /// The spans refer to the buffer.
    Request { consumed: usize },
    /// The spans refer to `RequestParser::inline`: the same command as a RESP array.
    Inline { consumed: usize },
}

/// What a length line says.
enum Line {
    Incomplete,
    /// Its number, if it is one, and where the next byte after its CRLF is.
    Complete(Option<i64>, usize),
}

impl RequestParser {
    pub fn new() -> Self {
        Self::default()
    }

    /// The arguments of the last request, its name first; valid until the next `parse`.
    #[inline]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The last inline request, as a RESP array.
    pub fn inline(&self) -> &[u8] {
        &self.inline
    }

    /// Whether nothing of an incomplete request is remembered.
    #[inline]
    pub const fn is_idle(&self) -> bool {
        self.at == 0 && self.searched == 0
    }

    /// Forget an incomplete request: the next `parse` starts from a request's first byte.
    pub fn reset(&mut self) {
        self.at = 0;
        self.searched = 0;
        self.left = 0;
        self.bulk = None;
    }

    /// Arguments to come, of a request that is incomplete.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Where the argument ends that is awaited: as far as is known, the request has so many bytes.
    pub fn announced(&self) -> usize {
        self.bulk.map_or(0, |length| self.at + length as usize + 2)
    }

    /// Bytes it takes.
    pub fn held(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.inline.capacity()
    }

    /// Give back the memory of a giant request.
    pub fn release(&mut self) {
        if self.spans.capacity() > KEPT_SPANS {
            self.spans = Vec::new();
        }
        self.inline = Vec::new();
    }

    /// Frame the request `buf` starts with. While it is incomplete `buf` starts with its first byte at every call;
    /// after anything else, errors too, the next call starts a new request.
    #[inline]
    pub fn parse(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Parsed, RequestError> {
        let parsed = self.take(buf, limits);
        if !matches!(parsed, Ok(Parsed::Incomplete { .. })) {
            self.reset();
        }
        parsed
    }

    #[inline]
    fn take(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Parsed, RequestError> {
        if self.at == 0 {
            self.spans.clear();
            if let [b'*', count @ b'1'..=b'9', b'\r', b'\n', ..] = *buf {
                self.left = usize::from(count - b'0');
                self.at = 4;
            } else if let Some(parsed) = self.take_start(buf, limits)? {
                return Ok(parsed);
            }
        }
        self.take_arguments(buf, limits)
    }

    /// The arguments from `at` on. Nothing is reserved for what is only announced.
    #[inline]
    fn take_arguments(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Parsed, RequestError> {
        let largest = limits.max_request.min(MAX_REQUEST);
        while self.left > 0 {
            let (length, start) = match self.bulk {
                Some(length) => (length as usize, self.at),
                None => match short_length(buf.get(self.at..).unwrap_or_default()) {
                    Some((length, size)) => (length, self.at + size),
                    None => match self.take_length(buf, limits)? {
                        Some(found) => found,
                        None => return Ok(Parsed::Incomplete { wanted: 1 }),
                    },
                },
            };
            let end = start + length;
            if end + 2 > largest {
                return Err(RequestError::TooLarge);
            }
            match buf.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(RequestError::InvalidLength),
                None => {
                    self.at = start;
                    self.bulk = Some(length as u32);
                    return Ok(Parsed::Incomplete { wanted: end + 2 - buf.len() });
                }
            }
            self.spans.push(Span { start: start as u32, end: end as u32 });
            self.bulk = None;
            self.at = end + 2;
            self.left -= 1;
        }
        if is_http(self.spans[0].of(buf)) {
            return Err(RequestError::HttpAttack);
        }
        Ok(Parsed::Request { consumed: self.at })
    }

    /// The start of a request that is none of the usual ones; none if arguments follow.
    #[cold]
    fn take_start(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Option<Parsed>, RequestError> {
        match buf.first() {
            None => return Ok(Some(Parsed::Incomplete { wanted: 1 })),
            Some(b'*') => {}
            Some(_) => return self.take_inline(buf).map(Some),
        }
        let (count, next) = match self.take_line(buf, RequestError::TooBigCount)? {
            Line::Incomplete => return Ok(Some(Parsed::Incomplete { wanted: 1 })),
            Line::Complete(count, next) => (count.ok_or(RequestError::InvalidCount)?, next),
        };
        let Ok(count @ 1..) = usize::try_from(count) else {
            return Ok(Some(Parsed::Skip { consumed: next }));
        };
        if count > limits.max_arguments {
            return Err(RequestError::InvalidCount);
        }
        if count > UNAUTHENTICATED_ARGUMENTS && !limits.authenticated {
            return Err(RequestError::UnauthenticatedCount);
        }
        self.left = count;
        self.at = next;
        Ok(None)
    }

    /// A length line that is not short, not complete, or wrong: the argument's length and where it starts.
    fn take_length(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Option<(usize, usize)>, RequestError> {
        match buf.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(RequestError::ExpectedBulk(other)),
        }
        let (length, next) = match self.take_line(buf, RequestError::TooBigLength)? {
            Line::Incomplete => return Ok(None),
            Line::Complete(length, next) => (length.ok_or(RequestError::InvalidLength)?, next),
        };
        let length = usize::try_from(length).map_err(|_| RequestError::InvalidLength)?;
        if length > MAX_BULK {
            return Err(RequestError::InvalidLength);
        }
        if length > limits.max_bulk {
            return Err(RequestError::BeyondNodes(limits.max_bulk));
        }
        if length > UNAUTHENTICATED_BULK && !limits.authenticated {
            return Err(RequestError::UnauthenticatedLength);
        }
        Ok(Some((length, next)))
    }

    /// The line at `at`, behind its first byte. It is searched once, however it arrives.
    fn take_line(&mut self, buf: &[u8], too_big: RequestError) -> Result<Line, RequestError> {
        let from = self.searched.max(self.at + 1);
        let Some(found) = memchr(b'\r', buf.get(from..).unwrap_or_default()) else {
            let length = buf.len() - self.at;
            if length > MAX_LINE {
                return Err(too_big);
            }
            self.searched = if length > RESEARCH { buf.len() } else { 0 };
            return Ok(Line::Incomplete);
        };
        let end = from + found;
        if end - self.at > MAX_LINE {
            return Err(too_big);
        }
        let number = decimal(&buf[self.at + 1..end]);
        match buf.get(end + 1) {
            None => Ok(Line::Incomplete),
            Some(b'\n') => {
                self.searched = 0;
                Ok(Line::Complete(number, end + 2))
            }
            Some(_) => Ok(Line::Complete(None, end + 2)),
        }
    }

    fn take_inline(&mut self, buf: &[u8]) -> Result<Parsed, RequestError> {
        if buf.starts_with(TLS_HELLO) {
            return Err(RequestError::Tls);
        }
        let found = memchr(b'\n', buf.get(self.searched..).unwrap_or_default());
        let end = found.map_or(buf.len(), |found| self.searched + found);
        if end > MAX_LINE {
            return Err(RequestError::TooBigInline);
        }
        if found.is_none() {
            self.searched = if buf.len() > RESEARCH { buf.len() } else { 0 };
            return Ok(Parsed::Incomplete { wanted: 1 });
        }
        let consumed = end + 1;
        let line = buf[..end].strip_suffix(b"\r").unwrap_or(&buf[..end]);
        let words = inline::split(line).ok_or(RequestError::UnbalancedQuotes)?;
        let Some(name) = words.first() else {
            return Ok(Parsed::Skip { consumed });
        };
        if is_http(name) {
            return Err(RequestError::HttpAttack);
        }
        inline::encode(&words, &mut self.inline, &mut self.spans);
        Ok(Parsed::Inline { consumed })
    }
}

/// The usual length lines, in a few instructions: length, and bytes of the line.
#[inline]
fn short_length(line: &[u8]) -> Option<(usize, usize)> {
    const fn digit(byte: u8) -> usize {
        (byte - b'0') as usize
    }
    match *line {
        [b'$', a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(a), 4)),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => Some((digit(a) * 10 + digit(b), 5)),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), 6))
        }
        _ => None,
    }
}

/// A number as Redis' string2ll takes it: no sign but minus, no leading zeros, no spaces. Larger ones than any length
/// are not told from what is no number: both are refused alike.
pub fn decimal(text: &[u8]) -> Option<i64> {
    let (digits, sign) = text.strip_prefix(b"-").map_or((text, 1), |digits| (digits, -1));
    let value = match digits {
        b"0" if sign == 1 => 0,
        [b'1'..=b'9', ..] if digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
        }
        _ => return None,
    };
    Some(value * sign)
}

/// A browser was made to speak to us: no command has such a name.
#[inline]
fn is_http(name: &[u8]) -> bool {
    match name.len() {
        4 => name.eq_ignore_ascii_case(b"POST"),
        5 => name.eq_ignore_ascii_case(b"Host:"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits =
        RequestLimits { max_request: 1 << 30, max_bulk: 1 << 30, max_arguments: 1024 * 1024, authenticated: true };

    #[test]
    fn nothing_is_reserved_for_what_is_announced() {
        for announced in [&b"*1048576\r\n"[..], b"*1048576\r\n$536870912\r\nabc", b"*2\r\n$3\r\nSET\r\n$536870912\r\n"]
        {
            let mut parser = RequestParser::new();
            assert!(matches!(parser.parse(announced, &LIMITS), Ok(Parsed::Incomplete { .. })));
            assert!(parser.spans.capacity() + parser.inline.capacity() < 64);
        }
    }

    #[test]
    fn a_giant_request_gives_its_memory_back() {
        let mut parser = RequestParser::new();
        let request = [b"*100000\r\n".to_vec(), b"$1\r\nx\r\n".repeat(100_000)].concat();
        assert_eq!(parser.parse(&request, &LIMITS), Ok(Parsed::Request { consumed: request.len() }));
        assert_eq!(parser.spans().len(), 100_000);
        parser.release();
        assert!(parser.is_idle() && parser.spans.capacity() == 0);
    }
}
