//! What must be remembered of a request until its reply comes: its verb, and whether it was quiet.

use memchr::memchr;

use super::reply::is_error;
use super::texts;
use super::tokens::words;
use super::verb::Verb;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    pub verb: Verb,
    /// The meta protocol's `q`: the ordinary reply is not wanted.
    pub is_quiet: bool,
}

impl Kind {
    pub const fn new(verb: Verb) -> Self {
        Self { verb, is_quiet: false }
    }

    /// Whether the client wants nothing of this reply (memcached's `proto_text.c`, `no_reply`).
    #[inline]
    pub fn is_dropped(self, reply: &[u8]) -> bool {
        self.is_quiet
            && match self.verb {
                Verb::MetaGet => reply.starts_with(b"EN"),
                Verb::MetaArithmetic => reply.starts_with(b"HD") || reply.starts_with(b"VA "),
                _ => reply.starts_with(b"HD"),
            }
    }

    /// Whether a node may answer such a request with such a reply.
    #[inline]
    pub fn fits(self, reply: &[u8]) -> bool {
        if self.verb.is_get() {
            return reply.starts_with(b"END") || reply.starts_with(b"VALUE ") || is_error(reply);
        }
        if self.verb == Verb::Stats {
            let is_known =
                [&b"STAT "[..], b"PREFIX ", b"END", b"RESET", b"OK"].iter().any(|word| reply.starts_with(word));
            return is_known || is_error(reply);
        }
        match reply.first() {
            Some(b'S') => !reply.starts_with(b"STAT "),
            Some(b'P') => false,
            Some(b'V') => reply.starts_with(b"VA ") == self.verb.is_meta() && !reply.starts_with(b"VALUE "),
            Some(b'E') => !reply.starts_with(b"END"),
            _ => true,
        }
    }

    /// What a client hears when its node cannot answer: a cache that is away has nothing.
    pub fn failure(self, why: &str) -> Vec<u8> {
        if self.verb.is_get() {
            return texts::END.to_vec();
        }
        match self.verb {
            Verb::MetaGet if self.is_quiet => Vec::new(),
            Verb::MetaGet => texts::EN.to_vec(),
            _ => format!("SERVER_ERROR {why}\r\n").into_bytes(),
        }
    }
}

/// Whether the first value is of the key that was asked for; of several keys it may be any's.
#[inline]
pub fn key_fits(verb: Verb, request: &[u8], reply: &[u8]) -> bool {
    let Some(rest) = reply.strip_prefix(b"VALUE ") else { return true };
    let key = &rest[..memchr(b' ', rest).unwrap_or(rest.len())];
    let is_plain = request.strip_prefix(b"get ").and_then(|rest| rest.strip_prefix(key)) == Some(b"\r\n");
    is_plain || key_is_asked(verb, request, key)
}

/// However the request is written.
fn key_is_asked(verb: Verb, request: &[u8], key: &[u8]) -> bool {
    let line = &request[..memchr(b'\n', request).unwrap_or(request.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = &line[..memchr(0, line).unwrap_or(line.len())];
    let mut keys = words(line).skip(if matches!(verb, Verb::Gat | Verb::Gats) { 2 } else { 1 });
    keys.next() == Some(key) || keys.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_requests_hide_what_memcached_hides() {
        let table = [
            (Verb::MetaGet, "EN\r\n", true),
            (Verb::MetaGet, "HD O1\r\n", false),
            (Verb::MetaSet, "HD\r\n", true),
            (Verb::MetaSet, "NS\r\n", false),
            (Verb::MetaDelete, "HD\r\n", true),
            (Verb::MetaDelete, "NF\r\n", false),
            (Verb::MetaArithmetic, "VA 1\r\n5\r\n", true),
            (Verb::MetaArithmetic, "NF\r\n", false),
            (Verb::MetaSet, "CLIENT_ERROR bad data chunk\r\n", false),
        ];
        for (verb, reply, is_dropped) in table {
            assert_eq!(Kind { verb, is_quiet: true }.is_dropped(reply.as_bytes()), is_dropped, "{verb:?} {reply}");
            assert!(!Kind::new(verb).is_dropped(reply.as_bytes()));
        }
    }

    #[test]
    fn a_reply_to_something_else_does_not_fit() {
        let table = [
            (Verb::Get, "END\r\n", true),
            (Verb::Gets, "VALUE a 0 1 5\r\nx\r\nEND\r\n", true),
            (Verb::Get, "SERVER_ERROR x\r\n", true),
            (Verb::Get, "STORED\r\n", false),
            (Verb::Set, "STORED\r\n", true),
            (Verb::Set, "EXISTS\r\n", true),
            (Verb::Set, "END\r\n", false),
            (Verb::Set, "VALUE a 0 1\r\nx\r\nEND\r\n", false),
            (Verb::MetaGet, "VA 1\r\nx\r\n", true),
            (Verb::Stats, "END\r\n", true),
            (Verb::Stats, "STAT a 1\r\nEND\r\n", true),
            (Verb::Stats, "RESET\r\n", true),
            (Verb::Stats, "ERROR\r\n", true),
            (Verb::Stats, "STORED\r\n", false),
            (Verb::Stats, "VERSION 1.6.18\r\n", false),
            (Verb::Set, "STAT a 1\r\nEND\r\n", false),
            (Verb::Stats, "PREFIX a get 1 hit 0 set 0 del 0\r\nEND\r\n", true),
            (Verb::Set, "PREFIX a get 1 hit 0 set 0 del 0\r\nEND\r\n", false),
        ];
        for (verb, reply, fits) in table {
            assert_eq!(Kind::new(verb).fits(reply.as_bytes()), fits, "{verb:?} {reply}");
        }
    }
    #[test]
    fn a_value_of_another_key_does_not_fit() {
        let table = [
            (Verb::Get, "get a\r\n", true),
            (Verb::Get, "  get   a  \n", true),
            (Verb::Get, "get a\0b c\r\n", true),
            (Verb::Get, "get b a\r\n", true),
            (Verb::Get, "get ab\r\n", false),
            (Verb::Get, "get b\r\n", false),
            (Verb::Get, "get b \0a\r\n", false),
            (Verb::Gets, "gets a\r\n", true),
            (Verb::Gats, "gats a b\r\n", false),
            (Verb::Gat, "gat 10 a\r\n", true),
        ];
        for (verb, request, fits) in table {
            assert_eq!(key_fits(verb, request.as_bytes(), b"VALUE a 0 1\r\nx\r\nEND\r\n"), fits, "{request:?}");
            assert!(key_fits(verb, request.as_bytes(), b"END\r\n"));
        }
        assert!(key_fits(Verb::Get, b"get a\rb\r\n", b"VALUE a\rb 0 0\r\n\r\nEND\r\n"));
    }
}
