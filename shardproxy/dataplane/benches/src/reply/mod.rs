//! Replies: framed, then judged against what was due. Knows nothing of sockets.

mod memcache;
pub mod resp;

use crate::workload::Expect;

/// Bytes that cannot be framed: where the next reply starts is unknown, so the connection is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Bytes of the reply.
    pub length: usize,
    pub hits: usize,
    pub misses: usize,
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server said so: `-ERR ...`, `SERVER_ERROR ...`.
    Error,
    /// Well framed, but not an answer to what was asked.
    Wrong,
}

/// Judge the first reply in `bytes`; `None` when more bytes are needed.
///
/// `key(n)` is the n-th key of the request, or `None` when values are not to be compared with keys.
pub fn judge<'a>(
    expect: Expect,
    bytes: &[u8],
    key: impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<Option<Verdict>, Broken> {
    match expect {
        Expect::Line(line) if bytes.starts_with(line) => Ok(Some(Verdict { length: line.len(), ..Verdict::default() })),
        Expect::Line([b'+', ..]) | Expect::Value | Expect::Values(_) | Expect::Oks(_) => {
            resp::judge(expect, bytes, key)
        }
        Expect::Line(_) => memcache::judge_line(bytes),
        Expect::Items(keys) => memcache::judge_items(keys, bytes, key),
    }
}

impl Verdict {
    fn fault(length: usize, fault: Fault) -> Self {
        Self { length, fault: Some(fault), ..Self::default() }
    }
}

/// The line at the start, without its end, and its length with it.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Broken> {
    const LONGEST: usize = 4096; // no status, error or header line is longer
    match bytes.iter().take(LONGEST).position(|b| *b == b'\n') {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => Ok(Some((&bytes[..end - 1], end + 1))),
        None if bytes.len() < LONGEST => Ok(None),
        _ => Err(Broken),
    }
}

fn number(digits: &[u8]) -> Result<usize, Broken> {
    if digits.is_empty() || digits.len() > 10 {
        return Err(Broken);
    }
    digits.iter().try_fold(
        0,
        |sum, d| {
            if d.is_ascii_digit() {
                Ok(sum * 10 + usize::from(d - b'0'))
            } else {
                Err(Broken)
            }
        },
    )
}
