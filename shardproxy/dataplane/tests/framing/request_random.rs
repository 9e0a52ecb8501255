//! Random requests in random cuts come out as they went in; garbage does no harm.

use proptest::collection::vec;
use proptest::prelude::*;
use shardproxy_dataplane::dialect::resp::request::{RequestLimits, RequestParser};
use shardproxy_dataplane::dialect::resp::write;

use crate::request::{frame, Outcome, LIMITS, STRANGER};

fn arguments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let argument = prop_oneof![4 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 0..3000)];
    vec(argument, 1..12).prop_filter("no browser", |words| !matches!(words[0].len(), 4 | 5))
}

/// Bytes that look like RESP now and then.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"*".to_vec()),
        Just(b"$".to_vec()),
        Just(b"*3\r\n$3\r\n".to_vec()),
        Just(b"\"".to_vec()),
        "-?[0-9]{1,20}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..30),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Feed `stream` in pieces that end at `cuts`, as a connection would; everything that was framed.
fn feed(stream: &[u8], cuts: &[usize], limits: &RequestLimits) -> (Vec<Vec<Vec<u8>>>, bool) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).chain([stream.len()]).collect();
    cuts.sort_unstable();
    let (mut parser, mut start, mut requests) = (RequestParser::new(), 0, Vec::new());
    for end in cuts {
        while start < end {
            match frame(&mut parser, &stream[start..end], limits) {
                Ok(Outcome::Incomplete) => break,
                Ok(Outcome::Skip(consumed)) => start += consumed,
                Ok(Outcome::Arguments(arguments, consumed)) => {
                    requests.push(arguments);
                    start += consumed;
                }
                Err(_) => return (requests, false),
            }
        }
    }
    (requests, true)
}

proptest! {
    #[test]
    fn requests_come_out_as_they_went_in(requests in vec(arguments(), 1..8), cuts in vec(any::<usize>(), 0..10)) {
        let mut stream = Vec::new();
        for request in &requests {
            let arguments: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
            write::command(&mut stream, &arguments);
        }
        prop_assert_eq!(feed(&stream, &cuts, &LIMITS), (requests, true));
    }

    #[test]
    fn garbage_is_the_same_garbage_in_any_cut(stream in garbage(), cuts in vec(any::<usize>(), 0..10)) {
        for limits in [&LIMITS, &STRANGER] {
            prop_assert_eq!(feed(&stream, &cuts, limits), feed(&stream, &[], limits));
        }
    }
}
