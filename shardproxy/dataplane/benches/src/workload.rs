//! What a request looks like and what it must be answered with.
//!
//! Keys and values are of fixed width, so a connection writes its batch once and then only patches the digits:
//!
//! ```text
//! SET  key:000000001234  key:000000001234xxxxxxxx     a value opens with its key,
//!          ^ digits          ^ digits                  so a reply that belongs to another request is seen
//! ```

use std::io::Write;
use std::ops::Range;
use std::str::FromStr;

use crate::Protocol;

pub const DIGITS: usize = 12;
pub const KEY: usize = 4 + DIGITS;
const MGET_KEYS: usize = 10;
const BATCH_COMMANDS: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    Get,
    Set,
    Mget10,
    Get4k,
    Set4k,
    Multi5,
    Set5,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "get" => Self::Get,
            "set" => Self::Set,
            "mget10" => Self::Mget10,
            "get4k" => Self::Get4k,
            "set4k" => Self::Set4k,
            "multi5" => Self::Multi5,
            "set5" => Self::Set5,
            _ => return Err(format!("unknown workload '{text}': use get set mget10 get4k set4k multi5 set5 fanout")),
        })
    }
}

impl Workload {
    pub fn value_size(self) -> usize {
        match self {
            Self::Get4k | Self::Set4k => 4096,
            _ => 32,
        }
    }

    /// Large values have keys of their own, so that workloads do not overwrite each other's.
    fn prefix(self) -> &'static [u8; 4] {
        match self {
            Self::Get4k | Self::Set4k => b"4ki:",
            _ => b"key:",
        }
    }
}

/// One reply that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Exactly these bytes.
    Line(&'static [u8]),
    /// RESP: the value of the request's key, or null.
    Value,
    /// RESP: an array with the values of this many keys.
    Values(usize),
    /// RESP: an array of this many `+OK`.
    Oks(usize),
    /// Memcache: `VALUE` blocks for at most this many keys, then `END`.
    Items(usize),
}

/// One request with its gaps: every key of it, and where each key's digits stand.
#[derive(Clone, Debug)]
pub struct Shape {
    pub bytes: Vec<u8>,
    /// Per key: where it stands as a key, and where its digits have to be written.
    pub keys: Vec<KeyPlaces>,
    pub replies: Vec<Expect>,
}

#[derive(Clone, Debug)]
pub struct KeyPlaces {
    pub name: Range<usize>,
    pub digits: Vec<usize>,
}

impl Shape {
    pub fn new(protocol: Protocol, workload: Workload, value_size: usize) -> Result<Self, String> {
        if value_size < KEY {
            return Err(format!("--value-size {value_size}: at least {KEY}, since a value opens with its key"));
        }
        let mut name = workload.prefix().to_vec();
        name.resize(KEY, b'0');
        let mut value = name.clone();
        value.resize(value_size, b'x');
        match protocol {
            Protocol::Resp => Ok(resp(workload, &name, &value)),
            Protocol::Memcache => memcache(workload, &name, &value),
        }
    }
}

fn resp(workload: Workload, name: &[u8], value: &[u8]) -> Shape {
    let tagged = |n: usize| [b"{", name, format!("}}:{n}").as_bytes()].concat();
    let sets = || (0..BATCH_COMMANDS).flat_map(|n| command(&[b"SET", &tagged(n), value]));
    let ok = Expect::Line(b"+OK\r\n");
    let (bytes, replies): (Vec<u8>, _) = match workload {
        Workload::Get | Workload::Get4k => (command(&[b"GET", name]), vec![Expect::Value]),
        Workload::Set | Workload::Set4k => (command(&[b"SET", name, value]), vec![ok]),
        Workload::Mget10 => {
            let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(std::iter::repeat_n(name, MGET_KEYS)).collect();
            (command(&words), vec![Expect::Values(MGET_KEYS)])
        }
        Workload::Set5 => (sets().collect(), vec![ok; BATCH_COMMANDS]),
        Workload::Multi5 => {
            let mut replies = vec![ok];
            replies.extend([Expect::Line(b"+QUEUED\r\n"); BATCH_COMMANDS]);
            replies.push(Expect::Oks(BATCH_COMMANDS));
            (command(&[b"MULTI"]).into_iter().chain(sets()).chain(command(&[b"EXEC"])).collect(), replies)
        }
    };
    let keys = key_places(&bytes, name, workload == Workload::Mget10);
    Shape { bytes, keys, replies }
}

fn memcache(workload: Workload, name: &[u8], value: &[u8]) -> Result<Shape, String> {
    let stored = Expect::Line(b"STORED\r\n");
    let set = || [b"set ", name, format!(" 0 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
    let (bytes, replies) = match workload {
        Workload::Get | Workload::Get4k => ([b"get ", name, b"\r\n"].concat(), vec![Expect::Items(1)]),
        Workload::Set | Workload::Set4k => (set(), vec![stored]),
        Workload::Mget10 => {
            let words = [b" ", name].concat().repeat(MGET_KEYS);
            ([b"get", &words[..], b"\r\n"].concat(), vec![Expect::Items(MGET_KEYS)])
        }
        Workload::Set5 => {
            return Err("set5 groups its keys by hash tag: --protocol resp only (memcache: set --pipeline 5)".into())
        }
        Workload::Multi5 => return Err("multi5 is a RESP transaction: --protocol resp only".into()),
    };
    let keys = key_places(&bytes, name, workload == Workload::Mget10);
    Ok(Shape { bytes, keys, replies })
}

/// Find every place the key's name stands at: each a key of its own, or all of them one key.
fn key_places(bytes: &[u8], name: &[u8], each_its_own: bool) -> Vec<KeyPlaces> {
    let starts: Vec<usize> = (0..=bytes.len() - KEY).filter(|at| bytes[*at..].starts_with(name)).collect();
    let place = |starts: &[usize]| KeyPlaces {
        name: starts[0]..starts[0] + KEY,
        digits: starts.iter().map(|at| at + KEY - DIGITS).collect(),
    };
    if each_its_own {
        starts.iter().map(|at| place(&[*at])).collect()
    } else {
        vec![place(&starts)]
    }
}

pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let _ = write!(out, "${}\r\n", word.len()); // a Vec takes every write
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Expect, Shape, Workload};
    use crate::Protocol;

    const ALL: [&str; 7] = ["get", "set", "mget10", "get4k", "set4k", "multi5", "set5"];

    #[test]
    fn digits_stand_where_the_zeros_are() {
        for name in ALL {
            let workload: Workload = name.parse().unwrap();
            for protocol in [Protocol::Resp, Protocol::Memcache] {
                let Ok(shape) = Shape::new(protocol, workload, workload.value_size()) else {
                    continue;
                };
                for key in &shape.keys {
                    for at in &key.digits {
                        assert_eq!(&shape.bytes[*at..at + 12], b"000000000000", "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn requests_are_what_an_engine_expects() {
        let shape = |p, w| Shape::new(p, w, 20).unwrap();
        let get = shape(Protocol::Resp, Workload::Get);
        assert_eq!(get.bytes, b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n");
        let set = shape(Protocol::Memcache, Workload::Set);
        assert_eq!(set.bytes, b"set key:000000000000 0 0 20\r\nkey:000000000000xxxx\r\n");
        let mget = shape(Protocol::Memcache, Workload::Mget10);
        assert_eq!((mget.keys.len(), mget.bytes.len()), (10, 3 + 10 * 17 + 2));
        let multi = shape(Protocol::Resp, Workload::Multi5);
        assert_eq!((multi.keys.len(), multi.keys[0].digits.len()), (1, 10));
        assert_eq!((multi.replies.len(), multi.replies[6]), (7, Expect::Oks(5)));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        assert!(Shape::new(Protocol::Resp, Workload::Get, 15).is_err());
        assert!(Shape::new(Protocol::Memcache, Workload::Multi5, 32).is_err());
        assert!("mget11".parse::<Workload>().is_err());
    }
}
