//! Request framing: where a request ends, and which key it is about. What is wrong with it in memcached's own eyes is
//! answered in memcached's own words, and leaves the same bytes behind, so that the next request is the same too. The data
//! of a refused line go with it, where its length can be read; where not, what follows is the next request, as in every
//! memcached.

use memchr::memchr;

use super::texts;
use super::tokens::{offset, seconds, signed, unsigned, words, Tokens};
use super::verb::Verb;
use crate::dialect::TLS_HELLO;

/// `KEY_MAX_LENGTH` in memcached.h.
pub const MAX_KEY: usize = 250;
/// A line without an end is not waited for beyond this, unless it gets many keys (memcached.c, `try_read_command_ascii`).
pub const MAX_LINE: usize = 2048;
/// What a get of many keys may take: 30,000 of the longest ones.
pub const MAX_GET_LINE: usize = 8 << 20;
/// A value's length is an int that must leave room for its line end.
const MAX_VALUE: u64 = i32::MAX as u64 - 2;
/// Words of a meta request (`MFLAG_MAX_OPT_LENGTH` in memcached.h, less the terminal token).
const MAX_META_WORDS: usize = 19;
/// The first byte of a request of the binary protocol.
pub const BINARY: u8 = 0x80;

/// A whole request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// As it came, line end and data included.
    pub bytes: &'a [u8],
    /// Its line, without the end, and cut at a NUL as memcached cuts it.
    pub line: &'a [u8],
    /// Its data block, with the line end; empty for requests without one.
    pub data: &'a [u8],
    pub verb: Verb,
    /// Its first or only key; empty where there is none.
    pub key: &'a [u8],
    /// The last word is `noreply`, where that counts.
    pub noreply: bool,
    /// The line had a NUL, where a C string ends.
    pub is_cut: bool,
}

impl<'a> Request<'a> {
    /// The keys of a get, in the client's order.
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        let start = if self.key.is_empty() { self.line.len() } else { offset(self.line, self.key) };
        words(&self.line[start..])
    }

    /// Whether its key is written in base64.
    pub fn is_encoded(&self) -> bool {
        match self.verb {
            Verb::MetaDebug => words(self.line).nth(2) == Some(b"b"),
            verb if verb.is_meta() => words(self.line).skip(2).any(|word| word[0] == b'b'),
            _ => false,
        }
    }

    /// Whether it gets more than one key.
    #[inline]
    pub fn has_many_keys(&self) -> bool {
        let end = offset(self.line, self.key) + self.key.len();
        end < self.line.len() && self.line[end..].iter().any(|&byte| byte != b' ')
    }
}

#[derive(Debug)]
pub enum Parsed<'a> {
    /// More bytes are needed. The first `scanned` hold no line end.
    Incomplete {
        scanned: usize,
    },
    Request(Request<'a>),
    /// Nobody needs to be asked: `text` is the answer, unless the client wants none. `swallow` bytes of data follow.
    Refused {
        text: &'static [u8],
        consumed: usize,
        swallow: u64,
        noreply: bool,
    },
    /// A line whose data are too much for this proxy; `swallow` bytes of them follow.
    TooLarge {
        request: Request<'a>,
        swallow: u64,
    },
    Close(Close),
}

/// What ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// It speaks the binary protocol.
    Binary,
    /// It speaks TLS where that is not spoken.
    Tls,
    LineTooLong,
    /// A browser was made to speak to us: the lines that follow would be commands of a web page's making.
    Http,
}

/// Take one request off `buffer`, whose first `scanned` bytes are known to hold no line end.
#[inline]
pub fn parse(buffer: &[u8], scanned: usize, max_request: usize) -> Parsed<'_> {
    let scanned = scanned.min(buffer.len());
    let Some(end) = memchr(b'\n', &buffer[scanned..]).map(|at| at + scanned) else {
        return unfinished(buffer);
    };
    if buffer[0] == BINARY {
        return Parsed::Close(Close::Binary);
    }
    if end > MAX_LINE && end > longest_line(buffer) {
        return Parsed::Close(Close::LineTooLong);
    }
    let mut line = &buffer[..end];
    if end > 1 && line[end - 1] == b'\r' {
        line = &line[..end - 1];
    }
    let nul = memchr(0, line);
    if let Some(nul) = nul {
        line = &line[..nul];
    }
    let consumed = end + 1;
    let tokens = Tokens::of(line);
    let verb = Verb::of(tokens.get(0));
    let refuse = |text, noreply| Parsed::Refused { text, consumed, swallow: 0, noreply };
    let request = Request {
        bytes: &buffer[..consumed],
        line,
        data: &[],
        verb,
        key: tokens.get(1),
        noreply: false,
        is_cut: nul.is_some(),
    };
    match verb {
        Verb::Get | Verb::Gets => get(request, &tokens, 1),
        Verb::Gat | Verb::Gats => get(request, &tokens, 2),
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas => {
            store(buffer, request, &tokens, max_request)
        }
        Verb::MetaSet => meta_store(buffer, request, &tokens, max_request),
        Verb::Delete => keyed(request, &tokens, 2..=4),
        Verb::Incr | Verb::Decr | Verb::Touch => keyed(request, &tokens, 3..=4),
        Verb::MetaGet | Verb::MetaDelete | Verb::MetaArithmetic if tokens.len < 2 => refuse(texts::ERROR, false),
        Verb::MetaDebug if tokens.len < 2 => refuse(texts::BAD_FORMAT, false),
        Verb::MetaGet | Verb::MetaDelete | Verb::MetaArithmetic | Verb::MetaDebug if request.key.len() > MAX_KEY => {
            refuse(texts::BAD_FORMAT, false)
        }
        Verb::FlushAll if tokens.len > 3 => refuse(texts::ERROR, false),
        Verb::Verbosity if !(2..=3).contains(&tokens.len) => refuse(texts::ERROR, false),
        Verb::FlushAll | Verb::Verbosity => {
            Parsed::Request(Request { noreply: tokens.last() == b"noreply", key: &[], ..request })
        }
        Verb::Refused => refuse(texts::REFUSED, false),
        Verb::Unknown if words(line).last().is_some_and(|word| word.starts_with(b"HTTP/")) => {
            Parsed::Close(Close::Http)
        }
        Verb::Unknown if line.starts_with(TLS_HELLO) => Parsed::Close(Close::Tls),
        Verb::Unknown => refuse(texts::ERROR, false),
        _ => Parsed::Request(request),
    }
}

/// There is no line end yet.
#[cold]
fn unfinished(buffer: &[u8]) -> Parsed<'_> {
    if buffer.first() == Some(&BINARY) {
        return Parsed::Close(Close::Binary);
    }
    if buffer.starts_with(TLS_HELLO) {
        return Parsed::Close(Close::Tls);
    }
    if buffer.len() > longest_line(buffer) {
        return Parsed::Close(Close::LineTooLong);
    }
    Parsed::Incomplete { scanned: buffer.len() }
}

/// A node closes the connection of a longer line when it comes in pieces, and others share that connection. Only get
/// and gets may be longer, not gat.
fn longest_line(buffer: &[u8]) -> usize {
    let start = buffer.iter().take(100).position(|&byte| byte != b' ').unwrap_or(0);
    let rest = &buffer[start..];
    if rest.starts_with(b"get ") || rest.starts_with(b"gets ") {
        MAX_GET_LINE
    } else {
        MAX_LINE
    }
}

fn get<'a>(request: Request<'a>, tokens: &Tokens<'a>, first: usize) -> Parsed<'a> {
    let request = Request { key: tokens.get(first), ..request };
    let consumed = request.bytes.len();
    let refuse = |text| Parsed::Refused { text, consumed, swallow: 0, noreply: false };
    if tokens.len < 2 {
        return refuse(texts::ERROR);
    }
    if request.key.is_empty() {
        let is_time = seconds(tokens.get(1)).is_some();
        return refuse(if is_time { texts::END } else { texts::INVALID_EXPTIME });
        // gat without a key
    }
    if request.key.len() > MAX_KEY || request.has_many_keys() && request.keys().any(|key| key.len() > MAX_KEY) {
        return refuse(texts::BAD_FORMAT);
    }
    Parsed::Request(request)
}

/// One key, and perhaps noreply; so many words.
fn keyed<'a>(request: Request<'a>, tokens: &Tokens<'a>, counts: std::ops::RangeInclusive<usize>) -> Parsed<'a> {
    let consumed = request.bytes.len();
    let noreply = tokens.len > 2 && tokens.last() == b"noreply";
    if !counts.contains(&tokens.len) {
        return Parsed::Refused { text: texts::ERROR, consumed, swallow: 0, noreply: false };
    }
    if request.key.len() > MAX_KEY {
        return Parsed::Refused { text: texts::BAD_FORMAT, consumed, swallow: 0, noreply };
    }
    Parsed::Request(Request { noreply, ..request })
}

/// `set <key> <flags> <exptime> <bytes> [noreply]`, and one word more for cas.
fn store<'a>(buffer: &'a [u8], request: Request<'a>, tokens: &Tokens<'a>, max_request: usize) -> Parsed<'a> {
    let consumed = request.bytes.len();
    let least = if request.verb == Verb::Cas { 6 } else { 5 };
    if tokens.len != least && tokens.len != least + 1 {
        return Parsed::Refused { text: texts::ERROR, consumed, swallow: 0, noreply: false };
    }
    let noreply = tokens.last() == b"noreply";
    let refuse = |swallow| Parsed::Refused { text: texts::BAD_FORMAT, consumed, swallow, noreply };
    // as strict as any memcached: a node that refused the line would take the data for commands
    let is_good = request.key.len() <= MAX_KEY
        && flags_of(tokens.get(2)).is_some()
        && seconds(tokens.get(3)).is_some()
        && (request.verb != Verb::Cas || unsigned(tokens.get(5)).is_some())
        && !request.is_cut;
    match length_of(tokens.get(4)) {
        Some(length) if is_good && is_plain(tokens.get(4)) => {
            with_data(buffer, Request { noreply, ..request }, length as usize, max_request)
        }
        length => refuse(length.map_or(0, block)),
    }
}

/// `ms <key> <bytes> <flags>*`.
fn meta_store<'a>(buffer: &'a [u8], request: Request<'a>, tokens: &Tokens<'a>, max_request: usize) -> Parsed<'a> {
    let consumed = request.bytes.len();
    let refuse = |text, swallow| Parsed::Refused { text, consumed, swallow, noreply: false };
    if tokens.len < 3 {
        return refuse(if tokens.len < 2 { texts::ERROR } else { texts::BAD_FORMAT }, 0);
    }
    let word = tokens.get(2);
    let Some(length) = length_of(word) else { return refuse(texts::BAD_FORMAT, 0) };
    if request.key.len() > MAX_KEY || request.is_cut || !is_plain(word) {
        return refuse(texts::BAD_FORMAT, block(length));
    }
    if tokens.len == Tokens::MOST && words(request.line).count() > MAX_META_WORDS {
        return refuse(texts::MANY_FLAGS, block(length));
    }
    with_data(buffer, request, length as usize, max_request)
}

/// Flags are a number of strtoul's, of which a node keeps as many bits as it has room for.
fn flags_of(word: &[u8]) -> Option<u64> {
    unsigned(word).or_else(|| signed(word).and_then(|number| u64::try_from(number).ok()))
}

/// A value's length.
fn length_of(word: &[u8]) -> Option<u64> {
    signed(word).and_then(|length| u64::try_from(length).ok()).filter(|length| *length <= MAX_VALUE)
}

/// A length that every memcached reads: newer ones take no more digits (1.6.40: 11), no plus sign and no white space.
fn is_plain(word: &[u8]) -> bool {
    word.len() <= 10 && word.iter().all(u8::is_ascii_digit)
}

/// What a refused line's data takes, with its line end: it goes with the line (as memcached has it since 1.6.40), so that
/// one request has one reply, and data are never commands.
const fn block(length: u64) -> u64 {
    length + 2
}

/// The line is good: so many bytes and a line end follow it.
fn with_data<'a>(buffer: &'a [u8], request: Request<'a>, length: usize, max_request: usize) -> Parsed<'a> {
    let start = request.bytes.len();
    let end = start + length + 2;
    let noreply = request.noreply;
    if end > max_request.max(MAX_LINE) {
        return Parsed::TooLarge { request, swallow: block(length as u64) };
    }
    let Some(data) = buffer.get(start..end) else {
        return Parsed::Incomplete { scanned: 0 };
    };
    if !data.ends_with(b"\r\n") {
        return Parsed::Refused { text: texts::BAD_CHUNK, consumed: end, swallow: 0, noreply };
    }
    Parsed::Request(Request { bytes: &buffer[..end], data, ..request })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
