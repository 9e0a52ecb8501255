//! What EXEC's reply says that only the proxy knows right: how many clients heard a message, and cursors of SCAN, which
//! have the shard in their lowest bits (shardproxy/commands/keyspace.py). And why it was refused.

use super::receivers::count_receivers;
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::write;
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::exchange::Entry;
use crate::shared::Shared;

const SHARD_BITS: u32 = 8;
/// What an engine says of a transaction that it refuses at EXEC; the reason follows.
pub const BECAUSE: &[u8] = b"-EXECABORT Transaction discarded because of: ";
/// Of an error that is kept: engines' own are shorter.
const KEPT: usize = 1024;

/// Keep the first error among the replies that the client has seen already, as QUEUED.
#[cold]
pub fn note_error(kept: &mut Option<Box<[u8]>>, reply: &[u8]) {
    let line = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    kept.get_or_insert_with(|| line[1..line.len().min(KEPT)].into());
}

/// EXEC's error with the reason why a command before it was not queued: its client has seen no other. Redis says it so where
/// EXEC itself finds the reason.
#[inline]
pub fn explained(request: &Entry, kept: &mut Option<Box<[u8]>>, reply: &[u8], is_error: bool) -> Option<Vec<u8>> {
    if kept.is_none() || !request.is_exec() {
        return None;
    }
    let why = kept.take()?;
    let mut text = Vec::new();
    if is_error && reply == texts::EXECABORT {
        write::error_of(&mut text, &[&BECAUSE[1..], &why]);
    } else if is_error && reply == texts::EXEC_WITHOUT_MULTI {
        let what = b"ERR INDOUBT commands were executed one by one, as the node refused MULTI: ";
        write::error_of(&mut text, &[what, &why]);
    }
    (!text.is_empty()).then_some(text)
}

/// The reply as its client is to see it. `requests` are MULTI, the commands it answers in their order, and EXEC.
#[cold]
pub fn corrected(asker: (&Shared, usize), cluster: usize, requests: &[u8], reply: &[u8]) -> Option<Vec<u8>> {
    let mut parser = RequestParser::new();
    let Ok(Parsed::Request { consumed }) = parser.parse(requests, &RequestLimits::NONE) else { return None };
    let (mut requests, start) = (&requests[consumed..], memchr::memchr(b'\n', reply)? + 1);
    let (mut whole, mut rest) = (reply[..start].to_vec(), &reply[start..]);
    while !rest.is_empty() {
        let Ok(Parsed::Request { consumed }) = parser.parse(requests, &RequestLimits::NONE) else { return None };
        let request = Request { bytes: &requests[..consumed], spans: parser.spans() };
        let scan = ReplyFramer::new().scan(rest).ok().filter(|scan| scan.complete)?;
        let element = &rest[..scan.consumed];
        let correct = match request.argument(0) {
            name if is_any(name, &[b"PUBLISH", b"SPUBLISH"]) => count_receivers(asker, cluster, request.bytes, element),
            name if is_any(name, &[b"SCAN"]) => cursor_for_client(element),
            _ => None,
        };
        whole.extend_from_slice(correct.as_deref().unwrap_or(element));
        (requests, rest) = (&requests[consumed..], &rest[scan.consumed..]);
    }
    Some(whole)
}

fn is_any(name: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// A reply to SCAN, of the only shard: its cursor as clients of the proxy have it.
fn cursor_for_client(reply: &[u8]) -> Option<Vec<u8>> {
    let start = b"*2\r\n".len();
    let scan = ReplyFramer::new().scan(reply.strip_prefix(b"*2\r\n")?).ok()?;
    let cursor = reply[start..start + scan.consumed].strip_suffix(b"\r\n")?;
    let cursor: u64 = std::str::from_utf8(&cursor[memchr::memchr(b'\n', cursor)? + 1..]).ok()?.parse().ok()?;
    let mut correct = b"*2\r\n".to_vec();
    write::bulk(&mut correct, (u128::from(cursor) << SHARD_BITS).to_string().as_bytes());
    correct.extend_from_slice(&reply[start + scan.consumed..]);
    Some(correct)
}
