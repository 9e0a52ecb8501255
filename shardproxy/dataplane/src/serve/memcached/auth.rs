//! ASCII authentication, as memcached -Y does it: the first command is a set whose value is `<user> <password>`.

use crate::dialect::memcached::request::{Close, BINARY, MAX_LINE};
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::{unsigned, words, Tokens};
use crate::dialect::TLS_HELLO;
use crate::model::NodeAuth;

/// A value longer than this is no user and password.
const MAX_TOKEN: u64 = 4096;

/// What an unauthenticated client's bytes come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    Incomplete,
    /// So many bytes are done with, and this is the answer.
    Refused(usize, &'static [u8]),
    Accepted(usize),
    Close(Close),
}

pub fn attempt(buffer: &[u8], wanted: &NodeAuth) -> Attempt {
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
        (Some(user), Some(password)) if is_right(user, password, wanted) => Attempt::Accepted(taken),
        (Some(_), Some(_)) => Attempt::Refused(taken, texts::AUTH_FAILURE),
        _ => Attempt::Refused(taken, texts::AUTH_FORMAT),
    }
}

fn is_right(user: &[u8], password: &[u8], wanted: &NodeAuth) -> bool {
    let expected = wanted.password.as_deref().unwrap_or_default().as_bytes();
    let is_user = is_equal(user, wanted.username.as_deref().unwrap_or_default().as_bytes());
    is_equal(password, expected) & is_user & !expected.is_empty()
}

/// In a time that does not tell how much is equal.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let longer = a.len().max(b.len());
    let differs = (0..longer).fold(a.len() ^ b.len(), |seen, i| {
        seen | usize::from(a.get(i).copied().unwrap_or(0) ^ b.get(i).copied().unwrap_or(0))
    });
    std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_answered_as_by_memcached() {
        let wanted = NodeAuth { username: Some("me".into()), password: Some("secret".into()) };
        let table: &[(&str, Attempt)] = &[
            ("set x 0 0 9\r\nme secret\r\nget a\r\n", Attempt::Accepted(24)),
            ("set x 0 0 9\nme secret\r\n", Attempt::Accepted(23)),
            ("set x 0 0 9\r\nme secre", Attempt::Incomplete),
            ("se", Attempt::Incomplete),
            ("set x 0 0 8\r\nme secre\r\n", Attempt::Refused(23, texts::AUTH_FAILURE)),
            ("set x 0 0 9\r\nme Secret\r\n", Attempt::Refused(24, texts::AUTH_FAILURE)),
            ("set x 0 0 9\r\nmE secret\r\n", Attempt::Refused(24, texts::AUTH_FAILURE)),
            ("set x 0 0 2\r\nme\r\n", Attempt::Refused(17, texts::AUTH_FORMAT)),
            ("set x 0 0 2\r\nmexx", Attempt::Refused(17, texts::AUTH_TERMINATION)),
            ("get a\r\n", Attempt::Refused(7, texts::UNAUTHENTICATED)),
            ("set x 0 0 x\r\n", Attempt::Refused(13, texts::UNAUTHENTICATED)),
            ("set x 0 0 99999999\r\n", Attempt::Refused(20, texts::UNAUTHENTICATED)),
        ];
        for (bytes, expected) in table {
            assert_eq!(attempt(bytes.as_bytes(), &wanted), *expected, "{bytes:?}");
        }
        assert_eq!(attempt(&vec![b'x'; MAX_LINE + 1], &wanted), Attempt::Close(Close::LineTooLong));
        assert_eq!(attempt(b"\x80\x20\x00\x05", &wanted), Attempt::Close(Close::Binary));
    }
}
