//! Memcached requests framed in pieces are those framed whole, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardproxy_dataplane::dialect::memcached::request::{parse, Parsed};

/// What was framed: the bytes of a request, or the answer to a line that is refused.
fn feed(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let (mut start, mut scanned, mut swallow, mut framed) = (0, 0, 0, Vec::new());
    for end in (0..stream.len()).step_by(piece).chain([stream.len()]) {
        while start < end {
            if swallow > 0 {
                let here = swallow.min((end - start) as u64);
                swallow -= here;
                start += here as usize;
                continue;
            }
            match parse(&stream[start..end], scanned, 4096) {
                Parsed::Incomplete { scanned: so_far } => {
                    scanned = so_far;
                    break;
                }
                Parsed::Request(request) => {
                    assert!(!request.bytes.is_empty());
                    assert!(request.keys().all(|key| !key.is_empty()));
                    framed.push(request.bytes.to_vec());
                    start += request.bytes.len();
                }
                Parsed::Refused { text, consumed, swallow: data, .. } => {
                    assert!(consumed > 0);
                    framed.push(text.to_vec());
                    start += consumed;
                    swallow = data;
                }
                Parsed::Close(why) => {
                    framed.push(format!("{why:?}").into_bytes());
                    return framed;
                }
            }
            scanned = 0;
        }
    }
    framed
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let whole = feed(stream, stream.len().max(1));
    assert_eq!(feed(stream, usize::from(piece).max(1)), whole);
});
