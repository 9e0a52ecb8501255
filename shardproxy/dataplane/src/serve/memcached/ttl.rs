//! Keys in the gutter live a short time: requests sent there have their lifetimes cut.

use std::time::SystemTime;

use crate::dialect::memcached::request::Request;
use crate::dialect::memcached::tokens::{offset, seconds, words};
use crate::dialect::memcached::verb::Verb;

/// Write the request's line, without its end, with no lifetime above `most` seconds.
pub fn write_capped(sink: &mut Vec<u8>, line: &[u8], request: &Request, most: u32) {
    match request.verb {
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas => {
            replace(sink, line, 3, most);
        }
        Verb::Touch => replace(sink, line, 2, most),
        Verb::Gat | Verb::Gats => replace(sink, line, 1, most),
        Verb::MetaSet => flags(sink, line, most, Some(b'T')),
        Verb::MetaGet | Verb::MetaArithmetic => flags(sink, line, most, None),
        _ => sink.extend_from_slice(line),
    }
}

/// `REALTIME_MAXDELTA` in memcached.c: what is beyond 30 days is a date.
const MAX_SECONDS: i64 = 60 * 60 * 24 * 30;

/// A lifetime as memcached reads it: 0 is for ever, negative is over, and so is a date that has passed.
fn capped(seconds: i64, most: u32, now: i64) -> i64 {
    let left = if seconds > MAX_SECONDS { seconds - now } else { seconds };
    if seconds == 0 || left > i64::from(most) {
        i64::from(most)
    } else {
        seconds
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn replace(sink: &mut Vec<u8>, line: &[u8], place: usize, most: u32) {
    let Some((word, seconds)) = words(line).nth(place).and_then(|word| Some((word, seconds(word)?))) else {
        return sink.extend_from_slice(line);
    };
    let start = offset(line, word);
    sink.extend_from_slice(&line[..start]);
    sink.extend_from_slice(capped(seconds.into(), most, now()).to_string().as_bytes());
    sink.extend_from_slice(&line[start + word.len()..]);
}

/// Cut what flags T and N set; `always` is written where it is missing.
fn flags(sink: &mut Vec<u8>, line: &[u8], most: u32, always: Option<u8>) {
    let mut is_missing = always;
    for (place, word) in words(line).enumerate() {
        if place > 0 {
            sink.push(b' ');
        }
        match (word.first(), seconds(&word[1..])) {
            (Some(&flag @ (b'T' | b'N')), Some(seconds)) if place > 1 => {
                sink.push(flag);
                sink.extend_from_slice(capped(seconds.into(), most, now()).to_string().as_bytes());
                is_missing = is_missing.filter(|wanted| *wanted != flag);
            }
            _ => sink.extend_from_slice(word),
        }
    }
    if let Some(flag) = is_missing {
        sink.extend_from_slice(&[b' ', flag]);
        sink.extend_from_slice(most.to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::memcached::request::{parse, Parsed};

    #[test]
    fn lifetimes_are_cut_and_nothing_else() {
        let table = [
            ("set k 5 0 2\r\nhi\r\n", "set k 5 10 2"),
            ("set k 5 3 2\r\nhi\r\n", "set k 5 3 2"),
            ("add k 0 3600 2\r\nhi\r\n", "add k 0 10 2"),
            ("cas k 0 -1 2 77\r\nhi\r\n", "cas k 0 -1 2 77"),
            ("set k 0 2592001 2\r\nhi\r\n", "set k 0 2592001 2"),
            ("set k 0 2592000 2\r\nhi\r\n", "set k 0 10 2"),
            ("touch k 2102444800\r\n", "touch k 10"),
            ("touch k 4294967295\r\n", "touch k -1"),
            ("touch k 0\r\n", "touch k 10"),
            ("gat 60 a b\r\n", "gat 10 a b"),
            ("get a b\r\n", "get a b"),
            ("ms T9 2 c T99\r\nhi\r\n", "ms T9 2 c T10"),
            ("ms k 2\r\nhi\r\n", "ms k 2 T10"),
            ("mg k v N0 T5\r\n", "mg k v N10 T5"),
            ("ma k D2 N60\r\n", "ma k D2 N10"),
        ];
        for (bytes, expected) in table {
            let Parsed::Request(request) = parse(bytes.as_bytes(), 0, 100) else { panic!("{bytes}") };
            let mut sink = Vec::new();
            write_capped(&mut sink, request.line, &request, 10);
            assert_eq!(String::from_utf8(sink).unwrap(), expected);
        }
    }

    #[test]
    fn a_date_is_as_far_as_it_is_from_now() {
        let now = 1_800_000_000;
        let found = [-9, 0, 5, 60].map(|seconds| capped(now + seconds, 10, now));
        assert_eq!(found, [now - 9, now, now + 5, 10]);
    }
}
