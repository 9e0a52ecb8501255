//! What EXEC's reply says that only the proxy knows right: how many clients heard a message, and cursors of SCAN, which
//! have the shard in their lowest bits (shardproxy/commands/keyspace.py).

use crate::plane::Shared;
use crate::protocol::resp::reply::ReplyFramer;
use crate::protocol::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::protocol::resp::write;
use crate::pubsub::count_receivers;
use crate::request::Request;

const SHARD_BITS: u32 = 8;

/// The reply as its client is to see it. `requests` are MULTI, the commands it answers in their order, and EXEC.
#[cold]
pub fn corrected(shared: &Shared, cluster: usize, requests: &[u8], reply: &[u8]) -> Option<Vec<u8>> {
    let mut parser = RequestParser::new();
    let limits = RequestLimits { max_request: usize::MAX, max_arguments: usize::MAX >> 1, authenticated: true };
    let Ok(Parsed::Request { consumed }) = parser.parse(requests, &limits) else { return None };
    let (mut requests, start) = (&requests[consumed..], memchr::memchr(b'\n', reply)? + 1);
    let (mut whole, mut rest) = (reply[..start].to_vec(), &reply[start..]);
    while !rest.is_empty() {
        let Ok(Parsed::Request { consumed }) = parser.parse(requests, &limits) else { return None };
        let request = Request { bytes: &requests[..consumed], spans: parser.spans() };
        let scan = ReplyFramer::new().scan(rest).ok().filter(|scan| scan.complete)?;
        let element = &rest[..scan.consumed];
        let correct = match request.argument(0) {
            name if is_any(name, &[b"PUBLISH", b"SPUBLISH"]) => {
                count_receivers(shared, cluster, request.bytes, element)
            }
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

/// SCAN as the only shard is to see it; none when its cursor is no number.
pub fn scan_for_engine(request: &Request) -> Option<Vec<u8>> {
    let cursor: u64 = std::str::from_utf8(request.argument(1)).ok()?.parse().ok()?;
    let cursor = (cursor >> SHARD_BITS).to_string();
    let mut bytes = Vec::with_capacity(request.bytes.len());
    write::array_header(&mut bytes, request.len());
    for (at, argument) in request.arguments().enumerate() {
        write::bulk(&mut bytes, if at == 1 { cursor.as_bytes() } else { argument });
    }
    Some(bytes)
}
