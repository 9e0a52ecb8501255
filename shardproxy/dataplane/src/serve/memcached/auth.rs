//! ASCII authentication, as memcached -Y does it: the first command is a set whose value is `<user> <password>`.

use crate::dialect::memcached::request::{Close, BINARY, MAX_LINE};
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::{unsigned, words, Tokens};
use crate::dialect::TLS_HELLO;

/// A value longer than this is no user and password.
const MAX_TOKEN: u64 = 4096;

/// What the bytes come to of a client that has not said who it is.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt<'a> {
    Incomplete,
    /// So many bytes are done with, and this is the answer.
    Refused(usize, &'static [u8]),
    /// So many bytes name a user and a password.
    Given(usize, &'a [u8], &'a [u8]),
    Close(Close),
}

pub fn attempt(buffer: &[u8]) -> Attempt<'_> {
    if buffer.first() == Some(&BINARY) {
        return Attempt::Close(Close::Binary);
    }
    if buffer.starts_with(TLS_HELLO) {
        return Attempt::Close(Close::Tls);
    }
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > MAX_LINE { Attempt::Close(Close::LineTooLong) } else { Attempt::Incomplete };
    };
    let line = buffer[..end].strip_suffix(b"\r").unwrap_or(&buffer[..end]);
    let tokens = Tokens::of(line);
    let length = unsigned(tokens.get(4)).filter(|length| *length <= MAX_TOKEN);
    let Some(length) = length.filter(|_| tokens.get(0) == b"set") else {
        return Attempt::Refused(end + 1, texts::UNAUTHENTICATED);
    };
    let start = end + 1;
    let taken = start + length as usize + 2;
    let Some(value) = buffer.get(start..taken) else { return Attempt::Incomplete };
    let Some(value) = value.strip_suffix(b"\r\n") else {
        return Attempt::Refused(taken, texts::AUTH_TERMINATION);
    };
    let mut given = words(value);
    match (given.next(), given.next()) {
        (Some(user), Some(password)) => Attempt::Given(taken, user, password),
        _ => Attempt::Refused(taken, texts::AUTH_FORMAT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_answered_as_by_memcached() {
        let table: &[(&str, Attempt)] = &[
            ("set x 0 0 9\r\nme secret\r\nget a\r\n", Attempt::Given(24, b"me", b"secret")),
            ("set x 0 0 9\nme secret\r\n", Attempt::Given(23, b"me", b"secret")),
            ("set x 0 0 9\r\nme secre", Attempt::Incomplete),
            ("se", Attempt::Incomplete),
            ("set x 0 0 2\r\nme\r\n", Attempt::Refused(17, texts::AUTH_FORMAT)),
            ("set x 0 0 2\r\nmexx", Attempt::Refused(17, texts::AUTH_TERMINATION)),
            ("get a\r\n", Attempt::Refused(7, texts::UNAUTHENTICATED)),
            ("set x 0 0 x\r\n", Attempt::Refused(13, texts::UNAUTHENTICATED)),
            ("set x 0 0 99999999\r\n", Attempt::Refused(20, texts::UNAUTHENTICATED)),
        ];
        for (bytes, expected) in table {
            assert_eq!(attempt(bytes.as_bytes()), *expected, "{bytes:?}");
        }
        assert_eq!(attempt(&vec![b'x'; MAX_LINE + 1]), Attempt::Close(Close::LineTooLong));
        assert_eq!(attempt(b"\x80\x20\x00\x05"), Attempt::Close(Close::Binary));
    }
}
