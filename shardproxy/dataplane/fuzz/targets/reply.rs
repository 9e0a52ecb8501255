//! Replies end in the same places however they are cut, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardproxy_dataplane::dialect::resp::reply::{array_elements, integer, ReplyError, ReplyFramer};

fn ends(stream: &[u8], piece: usize) -> (Vec<usize>, Option<ReplyError>) {
    let (mut framer, mut start, mut ends) = (ReplyFramer::new(), 0, Vec::new());
    for end in (0..stream.len()).step_by(piece).chain([stream.len()]) {
        while start < end {
            match framer.scan(&stream[start..end]) {
                Ok(scan) => {
                    assert!(scan.consumed <= end - start);
                    start += scan.consumed;
                    if !scan.complete {
                        break;
                    }
                    assert!(framer.is_idle());
                    ends.push(start);
                }
                Err(error) => return (ends, Some(error)),
            }
        }
    }
    (ends, None)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let whole = ends(stream, stream.len().max(1));
    assert_eq!(ends(stream, usize::from(piece).max(1)), whole);
    integer(stream);
    if let Ok(elements) = array_elements(stream) {
        for element in elements.flatten() {
            assert!(!element.is_empty());
        }
    }
});
