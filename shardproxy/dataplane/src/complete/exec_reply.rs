//! What EXEC's reply says that only the proxy knows right: how many clients heard a message, and cursors of SCAN, which
//! have the shard in their lowest bits (shardproxy/commands/keyspace.py).

use super::receivers::count_receivers;
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::write;
use crate::dialect::resp::Request;
use crate::shared::Shared;

const SHARD_BITS: u32 = 8;

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
