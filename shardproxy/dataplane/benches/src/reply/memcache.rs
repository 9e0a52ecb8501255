//! Memcached text replies.

use super::{line, number, Broken, Fault, Verdict};

/// A reply of one line that is not the one that was due.
pub(super) fn judge_line(bytes: &[u8]) -> Result<Option<Verdict>, Broken> {
    let Some((head, length)) = line(bytes)? else {
        return Ok(None);
    };
    if is_error(head) {
        Ok(Some(Verdict::fault(length, Fault::Error)))
    } else if [&b"NOT_STORED"[..], b"EXISTS", b"NOT_FOUND", b"OK", b"END"].contains(&head) {
        Ok(Some(Verdict::fault(length, Fault::Wrong)))
    } else {
        Err(Broken)
    }
}

/// `VALUE <key> <flags> <bytes>` blocks up to `END`. Their order is free: a proxy may put shard after shard.
pub(super) fn judge_items<'a>(
    keys: usize,
    bytes: &[u8],
    key: impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<Option<Verdict>, Broken> {
    let mut verdict = Verdict::default();
    loop {
        let Some((head, length)) = line(&bytes[verdict.length..])? else {
            return Ok(None);
        };
        let at = verdict.length + length;
        if head == b"END" {
            verdict.length = at;
            verdict.require(verdict.hits <= keys);
            verdict.misses = keys.saturating_sub(verdict.hits);
            return Ok(Some(verdict));
        }
        if is_error(head) {
            return Ok(Some(Verdict::fault(at, Fault::Error)));
        }
        let (name, size) = value_head(head)?;
        let end = at + size + 2;
        match bytes.get(at..end) {
            None => return Ok(None),
            Some(data) if data.ends_with(b"\r\n") => {
                let expected = |n| key(n).is_none_or(|key| key == name && data.starts_with(key));
                verdict.require(expected(verdict.hits.min(keys - 1)) || (0..keys).any(expected));
            }
            Some(_) => return Err(Broken),
        }
        verdict.hits += 1;
        verdict.length = end;
    }
}

fn value_head(head: &[u8]) -> Result<(&[u8], usize), Broken> {
    let mut words = head.split(|b| *b == b' ');
    match (words.next(), words.next(), words.next(), words.next(), words.next()) {
        (Some(b"VALUE"), Some(name), Some(_flags), Some(size), None) => Ok((name, number(size)?)),
        _ => Err(Broken),
    }
}

fn is_error(head: &[u8]) -> bool {
    head == b"ERROR" || head.starts_with(b"SERVER_ERROR") || head.starts_with(b"CLIENT_ERROR")
}

#[cfg(test)]
mod tests {
    use crate::reply::{judge, Broken, Fault, Verdict};
    use crate::workload::Expect;

    /// What is due, what comes, and (hits, misses, fault) to find.
    type Row = (Expect, &'static [u8], (usize, usize, Option<Fault>));

    const STORED: Expect = Expect::Line(b"STORED\r\n");

    fn judged(expect: Expect, bytes: &[u8]) -> Result<Option<Verdict>, Broken> {
        let keys: [&[u8]; 2] = [b"k1", b"k2"];
        judge(expect, bytes, |n| Some(keys[n]))
    }

    #[test]
    fn replies_are_judged_by_what_was_due() {
        let table: &[Row] = &[
            (STORED, b"STORED\r\n", (0, 0, None)),
            (STORED, b"NOT_STORED\r\n", (0, 0, Some(Fault::Wrong))),
            (STORED, b"SERVER_ERROR out of memory\r\n", (0, 0, Some(Fault::Error))),
            (Expect::Items(1), b"END\r\n", (0, 1, None)),
            (Expect::Items(1), b"ERROR\r\n", (0, 0, Some(Fault::Error))),
            (Expect::Items(1), b"VALUE k1 0 3\r\nk1x\r\nEND\r\n", (1, 0, None)),
            (Expect::Items(1), b"VALUE k1 0 3\r\nk2x\r\nEND\r\n", (1, 0, Some(Fault::Wrong))),
            (Expect::Items(2), b"VALUE k2 0 2\r\nk2\r\nVALUE k1 0 2\r\nk1\r\nEND\r\n", (2, 0, None)),
            (Expect::Items(1), b"VALUE k1 0 2\r\nk1\r\nVALUE k1 0 2\r\nk1\r\nEND\r\n", (2, 0, Some(Fault::Wrong))),
        ];
        for &(expect, bytes, (hits, misses, fault)) in table {
            for cut in 0..bytes.len() {
                assert_eq!(judged(expect, &bytes[..cut]), Ok(None), "{expect:?} cut at {cut}");
            }
            let verdict = judged(expect, &[bytes, b"END\r\n"].concat()).unwrap().unwrap();
            let length = bytes.len();
            assert_eq!(verdict, Verdict { length, hits, misses, fault }, "{expect:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_reply_are_broken() {
        for bytes in [&b"+OK\r\n"[..], b"VALUE k1 0 x\r\n", b"VALUE k1 0 1\r\nabcd", b"VALUE k1 0\r\n", b"HELLO\r\n"] {
            assert_eq!(judged(Expect::Items(1), bytes), Err(Broken), "{bytes:?}");
        }
        assert_eq!(judged(STORED, b"STORE\r\n"), Err(Broken));
    }
}
