//! The same of memcached nodes: what they do not have, and what requests are as words.

use memchr::memchr;

use crate::dialect::memcached::base64;
use crate::dialect::memcached::reply::value_of;
use crate::dialect::memcached::request::{parse, Parsed, Request};
use crate::dialect::memcached::tokens::words;
use crate::dialect::memcached::verb::Verb;

fn framed(request: &[u8]) -> Option<Request<'_>> {
    match parse(request, 0, usize::MAX) {
        Parsed::Request(request) => Some(request),
        _ => None,
    }
}

/// With each key of a request, decoded where it is written in base64.
pub fn each_key(request: &[u8], mut see: impl FnMut(&[u8])) {
    let Some(request) = framed(request) else { return };
    if request.verb.is_get() {
        request.keys().for_each(see);
    } else if let Some(decoded) = decoded(&request) {
        see(decoded.bytes());
    } else {
        see(request.key);
    }
}

fn decoded(request: &Request) -> Option<base64::Key> {
    let is_encoded = words(request.line).skip(2).any(|word| word[0] == b'b');
    if is_encoded && request.verb.is_meta() {
        base64::Key::decode(request.key)
    } else {
        None
    }
}

/// By which rule what is missing is loaded, if something is; `rule`: of a key. An empty value is a place that is kept for
/// one, or one that is asked for once more.
pub fn missing(request: &[u8], reply: &[u8], rule: impl Fn(&[u8]) -> Option<u16>) -> Option<u16> {
    let framed = framed(request)?;
    if framed.verb.is_get() {
        let mut rest = reply;
        return framed.keys().find_map(|key| {
            let value = value_of(rest, key).unwrap_or_default();
            rest = &rest[value.len()..];
            let line = memchr(b'\n', value).map_or(0, |end| end + 1);
            rule(key).filter(|_| value.len() <= line + 2)
        });
    }
    let is_missing = reply.starts_with(b"EN\r")
        || reply.starts_with(b"EN ")
        || reply.starts_with(b"VA 0\r")
        || reply.starts_with(b"VA 0 ");
    let mut found = None;
    if is_missing {
        each_key(request, |key| found = rule(key));
    }
    found
}

/// A request as words: those of its line, and its data without their end, if it has such.
pub fn arguments(request: &[u8]) -> Vec<Vec<u8>> {
    let Some(framed) = framed(request) else { return Vec::new() };
    let mut found: Vec<Vec<u8>> = words(framed.line).map(<[u8]>::to_vec).collect();
    let has_data = matches!(
        framed.verb,
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas | Verb::MetaSet
    );
    if has_data {
        found.push(framed.data[..framed.data.len().saturating_sub(2)].to_vec());
    }
    found
}

/// Whether what a write does depends on what is there, which an empty place of a rule's key is not.
pub fn asks_for_value(request: &Request) -> bool {
    match request.verb {
        Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend => true,
        Verb::MetaSet => {
            words(request.line).skip(3).any(|word| word[0] == b'M' && !matches!(word.get(1), Some(b'S' | b's')))
        }
        _ => false,
    }
}

/// Whether a rule that writes is about such requests.
pub const fn is_rules_write(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Set
            | Verb::Add
            | Verb::Replace
            | Verb::Append
            | Verb::Prepend
            | Verb::Cas
            | Verb::Incr
            | Verb::Decr
            | Verb::Delete
            | Verb::MetaSet
            | Verb::MetaArithmetic
            | Verb::MetaDelete
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_does_not_have_is_missing() {
        let rule = |key: &[u8]| (key[0] == b'r').then(|| u16::from(key[1] - b'0'));
        for (request, reply, expected) in [
            ("get r1\r\n", "END\r\n", Some(1)),
            ("get r1\r\n", "VALUE r1 0 1\r\nx\r\nEND\r\n", None),
            ("get r1\r\n", "VALUE r1 0 0\r\n\r\nEND\r\n", Some(1)),
            ("get r1\r\n", "VALUE r1 0 1\r\n\n\r\nEND\r\n", None),
            ("get a\r\n", "END\r\n", None),
            ("get a r2 r3\r\n", "VALUE r2 0 1\r\nx\r\nEND\r\n", Some(3)),
            ("gets r2 r3 a\r\n", "VALUE r2 0 1 7\r\nx\r\nVALUE r3 0 1 8\r\nx\r\nEND\r\n", None),
            ("gat 9 r2\r\n", "END\r\n", Some(2)),
            ("mg r1 v\r\n", "EN\r\n", Some(1)),
            ("mg r1 v k O9\r\n", "EN kr1 O9\r\n", Some(1)),
            ("mg r1 v t\r\n", "VA 0 t30 Z\r\n\r\n", Some(1)),
            ("mg r1 v\r\n", "VA 0\r\n\r\n", Some(1)),
            ("mg r1 v\r\n", "VA 02\r\nxx\r\n", None),
            ("mg r1 t\r\n", "HD t30\r\n", None),
            ("mg cjE= v b\r\n", "EN\r\n", Some(1)),
            ("mg a v\r\n", "EN\r\n", None),
        ] {
            assert_eq!(missing(request.as_bytes(), reply.as_bytes(), rule), expected, "{request} {reply}");
        }
    }

    #[test]
    fn requests_are_words_and_data() {
        let told = |request: &[u8]| {
            let words = arguments(request);
            words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect::<Vec<_>>().join("|")
        };
        assert_eq!(told(b"set k 5 0 4\r\na\r\nb\r\n"), "set|k|5|0|4|a\r\nb");
        assert_eq!(told(b"ms k 0 T9\r\n\r\n"), "ms|k|0|T9|");
        assert_eq!(told(b"delete k\r\n"), "delete|k");
        assert_eq!(told(b"gat 9  k l\r\n"), "gat|9|k|l");
    }
}
