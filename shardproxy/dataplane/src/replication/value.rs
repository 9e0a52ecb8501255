//! What an engine replied, read. Borrowed from the reply's bytes, which are framed already.

use memchr::memchr;

/// Aggregates within aggregates: no reply that is read here has more.
const DEPTH: usize = 16;
/// Values of one reply, those within others counted: each takes more memory than it may have bytes.
const MOST: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Simple(&'a [u8]),
    /// Its text, the code first.
    Error(&'a [u8]),
    Integer(i64),
    Bulk(&'a [u8]),
    Null,
    Array(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    /// Read one whole reply; none where it is no reply of RESP2, or has more than a million values.
    pub fn read(reply: &'a [u8]) -> Option<Self> {
        let mut rest = reply;
        let value = take(&mut rest, DEPTH, &mut { MOST })?;
        rest.is_empty().then_some(value)
    }

    /// A string, be it simple or bulk.
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Simple(text) | Self::Bulk(text) => Some(text),
            _ => None,
        }
    }

    pub const fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(n) => Some(*n),
            _ => None,
        }
    }

    pub fn array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    pub const fn error(&self) -> Option<&'a [u8]> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr(b'\n', rest)?;
    let line = rest[..end].strip_suffix(b"\r")?;
    *rest = &rest[end + 1..];
    Some(line)
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn take<'a>(rest: &mut &'a [u8], depth: usize, left: &mut usize) -> Option<Value<'a>> {
    *left = left.checked_sub(1)?;
    let (&kind, behind) = rest.split_first()?;
    *rest = behind;
    let head = line(rest)?;
    Some(match kind {
        b'+' => Value::Simple(head),
        b'-' => Value::Error(head),
        b':' => Value::Integer(number(head)?),
        b'$' => {
            let Ok(length) = usize::try_from(number(head)?) else { return Some(Value::Null) };
            let (bytes, behind) = rest.split_at_checked(length)?;
            *rest = behind.strip_prefix(b"\r\n")?;
            Value::Bulk(bytes)
        }
        b'*' => {
            let Ok(count) = usize::try_from(number(head)?) else { return Some(Value::Null) };
            let depth = depth.checked_sub(1)?;
            // nothing is reserved for what is only announced
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(take(rest, depth, left)?);
            }
            Value::Array(values)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn replies_are_read() {
        for (reply, expected) in [
            ("+OK\r\n", Value::Simple(b"OK")),
            ("-ERR no\r\n", Value::Error(b"ERR no")),
            (":-2\r\n", Value::Integer(-2)),
            ("$3\r\na\nb\r\n", Value::Bulk(b"a\nb")),
            ("$-1\r\n", Value::Null),
            ("*-1\r\n", Value::Null),
            (
                "*2\r\n$0\r\n\r\n*1\r\n:1\r\n",
                Value::Array(vec![Value::Bulk(b""), Value::Array(vec![Value::Integer(1)])]),
            ),
        ] {
            assert_eq!(Value::read(reply.as_bytes()), Some(expected), "{reply:?}");
        }
        for wrong in ["", "+OK", "+OK\r\n+OK\r\n", "$3\r\nab\r\n", ":x\r\n", "%1\r\n+a\r\n+b\r\n", "*1\r\n"] {
            assert_eq!(Value::read(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(Value::read(&b"*1\r\n".repeat(100_000)), None);
    }

    #[test]
    fn so_many_values_are_read_and_no_more() {
        let of = |count: usize| {
            let inner = [format!("*{count}\r\n").as_bytes(), &b":1\r\n".repeat(count)].concat();
            [b"*1\r\n", &inner[..]].concat()
        };
        assert!(Value::read(&of(MOST - 2)).is_some());
        assert_eq!(Value::read(&of(MOST - 1)), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_none(bytes in "[*$+:0-9a\r\n-]{0,40}") {
            let _ = Value::read(bytes.as_bytes());
        }
    }
}
