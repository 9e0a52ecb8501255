//! RESP2 replies.

use super::{line, number, Broken, Fault, Verdict};
use crate::workload::Expect;

const DEEPEST: usize = 8; // nesting; nothing asked for here nests deeper than 1

/// The length of the value at the start; `None` when more bytes are needed.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    frame_at(bytes, 0)
}

fn frame_at(bytes: &[u8], depth: usize) -> Result<Option<usize>, Broken> {
    let Some((head, mut at)) = line(bytes)? else {
        return if bytes.first().is_none_or(|b| b"+-:$*>".contains(b)) { Ok(None) } else { Err(Broken) };
    };
    match head.first() {
        Some(b'+' | b'-' | b':') => Ok(Some(at)),
        Some(b'$' | b'*') if &head[1..] == b"-1" => Ok(Some(at)),
        Some(b'$') => {
            let end = at + number(&head[1..])? + 2;
            match bytes.get(end - 2..end) {
                Some(b"\r\n") => Ok(Some(end)),
                Some(_) => Err(Broken),
                None => Ok(None),
            }
        }
        Some(b'*' | b'>') if depth < DEEPEST => {
            for _ in 0..number(&head[1..])? {
                match frame_at(&bytes[at..], depth + 1)? {
                    Some(length) => at += length,
                    None => return Ok(None),
                }
            }
            Ok(Some(at))
        }
        _ => Err(Broken),
    }
}

/// The elements of a framed array, or nothing for any other value.
pub fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = match line(array) {
        Ok(Some((head, length))) if matches!(head.first(), Some(b'*' | b'>')) => &array[length..],
        _ => &[],
    };
    std::iter::from_fn(move || {
        let length = frame(rest).ok()??;
        let (element, after) = rest.split_at(length);
        rest = after;
        (length > 0).then_some(element)
    })
}

/// The bytes of a framed bulk string; `None` for null and for any other value.
pub fn bulk(value: &[u8]) -> Option<&[u8]> {
    match line(value) {
        Ok(Some((head, length))) if head[0] == b'$' && head[1..] != b"-1"[..] => value.get(length..value.len() - 2),
        _ => None,
    }
}

pub(super) fn judge<'a>(
    expect: Expect,
    bytes: &[u8],
    key: impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<Option<Verdict>, Broken> {
    let Some(length) = frame(bytes)? else {
        return Ok(None);
    };
    let reply = &bytes[..length];
    if reply[0] == b'-' {
        return Ok(Some(Verdict::fault(length, Fault::Error)));
    }
    let mut verdict = Verdict { length, ..Verdict::default() };
    match expect {
        Expect::Value => verdict.value(reply, key(0)),
        Expect::Values(count) => {
            let mut seen = 0;
            for element in elements(reply) {
                verdict.value(element, key(seen));
                seen += 1;
            }
            verdict.require(seen == count);
        }
        Expect::Oks(count) => {
            let mut oks = 0;
            elements(reply).filter(|e| *e == b"+OK\r\n").for_each(|_| oks += 1);
            verdict.require(oks == count);
        }
        Expect::Line(_) | Expect::Items(_) => verdict.fault = Some(Fault::Wrong),
    }
    Ok(Some(verdict))
}

impl Verdict {
    fn value(&mut self, value: &[u8], key: Option<&[u8]>) {
        if value == b"$-1\r\n" {
            self.misses += 1;
        } else if let Some(content) = bulk(value) {
            self.hits += 1;
            self.require(key.is_none_or(|key| content.starts_with(key)));
        } else if value[0] == b'-' {
            self.fault = Some(Fault::Error);
        } else {
            self.fault = Some(Fault::Wrong);
        }
    }

    pub(super) fn require(&mut self, holds: bool) {
        if !holds && self.fault.is_none() {
            self.fault = Some(Fault::Wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{bulk, elements, frame};
    use crate::reply::{judge, Broken, Fault, Verdict};
    use crate::workload::Expect;

    /// What is due, what comes, and (hits, misses, fault) to find.
    type Row = (Expect, &'static [u8], (usize, usize, Option<Fault>));

    fn judged(expect: Expect, bytes: &[u8]) -> Verdict {
        let keys: [&[u8]; 2] = [b"k1", b"k2"];
        for cut in 0..bytes.len() {
            assert_eq!(judge(expect, &bytes[..cut], |n| Some(keys[n])), Ok(None), "cut at {cut}");
        }
        let followed = [bytes, b"+OK\r\n"].concat();
        let verdict = judge(expect, &followed, |n| Some(keys[n])).unwrap().unwrap();
        assert_eq!(verdict.length, bytes.len());
        verdict
    }

    #[test]
    fn replies_are_judged_by_what_was_due() {
        const OK: Expect = Expect::Line(b"+OK\r\n");
        let table: &[Row] = &[
            (OK, b"+OK\r\n", (0, 0, None)),
            (OK, b"-ERR no\r\n", (0, 0, Some(Fault::Error))),
            (OK, b"$1\r\nx\r\n", (0, 0, Some(Fault::Wrong))),
            (Expect::Value, b"$4\r\nk1xx\r\n", (1, 0, None)),
            (Expect::Value, b"$4\r\nk2xx\r\n", (1, 0, Some(Fault::Wrong))),
            (Expect::Value, b"$-1\r\n", (0, 1, None)),
            (Expect::Value, b":1\r\n", (0, 0, Some(Fault::Wrong))),
            (Expect::Values(2), b"*2\r\n$2\r\nk1\r\n$-1\r\n", (1, 1, None)),
            (Expect::Values(2), b"*2\r\n$2\r\nk2\r\n$2\r\nk1\r\n", (2, 0, Some(Fault::Wrong))),
            (Expect::Values(2), b"*1\r\n$2\r\nk1\r\n", (1, 0, Some(Fault::Wrong))),
            (Expect::Oks(2), b"*2\r\n+OK\r\n+OK\r\n", (0, 0, None)),
            (Expect::Oks(2), b"*2\r\n+OK\r\n:1\r\n", (0, 0, Some(Fault::Wrong))),
            (Expect::Oks(2), b"*-1\r\n", (0, 0, Some(Fault::Wrong))),
        ];
        for &(expect, bytes, (hits, misses, fault)) in table {
            let verdict = judged(expect, bytes);
            assert_eq!((verdict.hits, verdict.misses, verdict.fault), (hits, misses, fault), "{expect:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_reply_are_broken() {
        for bytes in
            [&b"x"[..], b"OK\r\n", b"$x\r\n", b"$1\r\nabc", b"*2\r\n+OK\r\nx\r\n", b"$99999999999\r\n", b"+a\n"]
        {
            assert_eq!(frame(bytes), Err(Broken), "{bytes:?}");
        }
        let nested = b"*1\r\n".repeat(100);
        assert_eq!(frame(&nested), Err(Broken));
    }

    #[test]
    fn arrays_are_walked() {
        let array = b"*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$-1\r\n";
        let parts: Vec<_> = elements(array).map(bulk).collect();
        assert_eq!(parts, [Some(&b"message"[..]), Some(b"ch"), None]);
        assert_eq!(elements(b"+OK\r\n").count(), 0);
    }
}
