//! What must be remembered of a request until its reply comes: its verb, and whether it was quiet. Packed into the
//! number that RESP uses for the replies before the one that counts.

use super::wire::reply::is_error;
use super::wire::texts;
use super::wire::verb::Verb;

const QUIET: u32 = 1 << 8;

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

    pub const fn pack(self) -> u32 {
        self.verb as u32 | if self.is_quiet { QUIET } else { 0 }
    }

    #[inline]
    pub fn unpack(packed: u32) -> Self {
        Self { verb: Verb::from_number(packed as u8), is_quiet: packed & QUIET != 0 }
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
        match reply.first() {
            Some(b'V') => reply.starts_with(b"VA ") == self.verb.is_meta() && !reply.starts_with(b"VALUE "),
            Some(b'E') => !reply.starts_with(b"END") || self.verb == Verb::Stats,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_packing() {
        for verb in [Verb::Get, Verb::MetaNoop, Verb::Unknown] {
            for is_quiet in [false, true] {
                let kind = Kind { verb, is_quiet };
                assert_eq!(Kind::unpack(kind.pack()), kind);
            }
        }
    }

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
        ];
        for (verb, reply, fits) in table {
            assert_eq!(Kind::new(verb).fits(reply.as_bytes()), fits, "{verb:?} {reply}");
        }
    }
}
