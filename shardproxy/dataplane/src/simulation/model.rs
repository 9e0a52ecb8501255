//! What a client is owed for one request, and whether a reply is that.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::{frame, token};

pub struct Expect {
    /// The beginning of the request, for reports.
    pub what: Vec<u8>,
    /// Its last byte's place in all that its client sends: no answer but an error may come before it is sent.
    pub end: u64,
    /// Tokens its reply may have: its own, or those of a transaction.
    pub tokens: RangeInclusive<u64>,
    pub shape: Shape,
    /// MULTI may be under way.
    pub may_be_queued: bool,
    /// No error is an answer while nothing goes wrong.
    pub must_succeed: bool,
    /// It may be answered by nothing at all (the meta protocol's `q`).
    pub is_optional: bool,
}

#[derive(Debug, Clone)]
pub enum Shape {
    Exact(&'static [u8]),
    /// Of one of these types, and with the token.
    Told(&'static [u8]),
    /// Of one of these types.
    Kind(&'static [u8]),
    Integer(i64),
    /// So many bulk strings, each with the token and its number.
    Values(usize),
    /// What is said of each topic, one after the other.
    Topics(&'static [u8], VecDeque<Vec<u8>>, Begun),
    /// memcached's: a line that begins so.
    Line(&'static [&'static [u8]]),
    /// memcached's: a line or value with the token that begins so, or a miss.
    Meta(&'static [u8], &'static [u8]),
    /// memcached's: values of keys with the token, at most so many, in the order of their numbers, and END.
    Get(usize),
    /// memcached's: a number, or no such key.
    Number(u64),
}

/// Whether some of an answer came.
pub type Begun = bool;

/// What one frame is to the request it came for.
pub enum Verdict {
    Done,
    /// More frames belong to it.
    More,
    /// It is the next request's: this one wanted none.
    NotMine,
}

impl Expect {
    pub fn judge(&mut self, reply: &[u8]) -> Result<Verdict, &'static str> {
        let is_own = token::all(reply).all(|found| self.tokens.contains(&found));
        if self.is_optional && !(is_own && self.is_told(reply)) {
            return Ok(Verdict::NotMine);
        }
        if !is_own {
            return Err("a reply to another request");
        }
        if reply.starts_with(b"-ERR a shard sent an unexpected reply") {
            return Err("the proxy took a reply for another's");
        }
        if is_error(reply) {
            if self.must_succeed && !is_forbidden(reply) {
                return Err("an error though all is well");
            }
            return match &self.shape {
                Shape::Topics(_, _, true) => Err("an error within an answer"),
                _ => Ok(Verdict::Done),
            };
        }
        if self.may_be_queued && reply == b"+QUEUED\r\n" {
            return Ok(Verdict::Done);
        }
        self.judge_shape(reply)
    }

    fn is_told(&self, reply: &[u8]) -> bool {
        token::all(reply).any(|found| self.tokens.contains(&found))
    }

    fn judge_shape(&mut self, reply: &[u8]) -> Result<Verdict, &'static str> {
        let is_told = self.is_told(reply);
        let own = *self.tokens.start();
        let is_right = match &mut self.shape {
            Shape::Exact(expected) => reply == *expected,
            Shape::Told(kinds) => kinds.contains(&reply[0]) && (is_told || is_null(reply)),
            Shape::Kind(kinds) => kinds.contains(&reply[0]),
            Shape::Integer(expected) => reply == format!(":{expected}\r\n").as_bytes(),
            Shape::Values(count) => {
                let elements = frame::elements(reply);
                let is_nth = |(at, element): (usize, &&[u8])| {
                    memchr::memmem::find(element, format!("{}{at}", token::text(own)).as_bytes()).is_some()
                };
                reply[0] == b'*' && elements.len() == *count && elements.iter().enumerate().all(is_nth)
            }
            Shape::Topics(word, names, begun) => {
                *begun = true;
                let elements = frame::elements(reply);
                let name = names.pop_front().unwrap_or_default();
                if elements.len() != 3 || frame::text(elements[0]) != *word || frame::text(elements[1]) != name {
                    return Err("another topic's confirmation");
                }
                return Ok(if names.is_empty() { Verdict::Done } else { Verdict::More });
            }
            Shape::Line(beginnings) => beginnings.iter().any(|beginning| reply.starts_with(beginning)),
            Shape::Meta(beginning, miss) => reply.starts_with(beginning) && is_told || reply.starts_with(miss),
            Shape::Get(most) => {
                let count = token::all(reply).count();
                let lines = memchr::memmem::find_iter(reply, b"VALUE ").map(|at| &reply[at + 6..]);
                let numbers =
                    lines.filter_map(|line| line.iter().position(|&byte| byte == b' ').map(|end| line[end - 1]));
                (reply.starts_with(b"VALUE ") || reply == b"END\r\n")
                    && reply.ends_with(b"END\r\n")
                    && count <= 2 * *most
                    && numbers.is_sorted()
            }
            Shape::Number(number) => reply == format!("{number}\r\n").as_bytes() || reply == b"NOT_FOUND\r\n",
        };
        if is_right {
            Ok(Verdict::Done)
        } else {
            Err("no answer to this request")
        }
    }
}

/// Whether a caching rule that writes does not let that be done to its keys, or to those of a transaction.
fn is_forbidden(reply: &[u8]) -> bool {
    reply.starts_with(b"-ERR LOADER ") && memchr::memmem::find(reply, b" a caching rule writes ").is_some()
        || reply.starts_with(b"-EXECABORT ")
}

fn is_null(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n")
}

pub fn is_error(reply: &[u8]) -> bool {
    [&b"-"[..], b"!", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"].iter().any(|error| reply.starts_with(error))
}
