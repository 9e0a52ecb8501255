//! Requests framed in pieces are those framed whole, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardproxy_dataplane::dialect::resp::request::{Parsed, RequestError, RequestLimits, RequestParser};

type Framed = (Vec<Vec<Vec<u8>>>, Option<RequestError>);

fn feed(stream: &[u8], piece: usize, limits: &RequestLimits) -> Framed {
    let (mut parser, mut start, mut requests) = (RequestParser::new(), 0, Vec::new());
    for end in (0..stream.len()).step_by(piece).chain([stream.len()]) {
        while start < end {
            let buf = &stream[start..end];
            let (bytes, consumed) = match parser.parse(buf, limits) {
                Ok(Parsed::Incomplete { wanted }) => {
                    assert!(wanted > 0);
                    break;
                }
                Ok(Parsed::Skip { consumed }) => {
                    start += consumed;
                    continue;
                }
                Ok(Parsed::Request { consumed }) => (&buf[..consumed], consumed),
                Ok(Parsed::Inline { consumed }) => (parser.inline(), consumed),
                Err(error) => return (requests, Some(error)),
            };
            assert!(consumed > 0 && consumed <= buf.len());
            requests.push(parser.spans().iter().map(|span| span.of(bytes).to_vec()).collect());
            start += consumed;
        }
    }
    (requests, None)
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (piece, authenticated, stream) = input;
    let limits = RequestLimits { max_request: 1 << 20, max_bulk: 1 << 20, max_arguments: 1024 * 1024, authenticated };
    let whole = feed(stream, stream.len().max(1), &limits);
    assert_eq!(feed(stream, usize::from(piece).max(1), &limits), whole);
});
