//! Where replies end.

use proptest::collection::vec;
use proptest::prelude::*;
use shardproxy_dataplane::dialect::resp::reply::{array_elements, integer, ReplyError, ReplyFramer, Scan};

/// Scan `reply` whole, byte by byte and with more behind it: it ends at its end.
fn assert_is_one_reply(reply: &[u8]) {
    let whole = Scan { consumed: reply.len(), complete: true };
    let mut framer = ReplyFramer::new();
    assert_eq!(framer.scan(reply), Ok(whole), "{}", reply.escape_ascii());
    assert!(framer.is_idle());

    let longer = [reply, b"+next\r\n"].concat();
    assert_eq!(framer.scan(&longer), Ok(whole), "{}", reply.escape_ascii());
    assert!(framer.is_idle());

    let mut start = 0;
    for end in 1..=reply.len() {
        let scan = framer.scan(&reply[start..end]).unwrap();
        start += scan.consumed;
        assert_eq!(scan.complete, end == reply.len(), "{} at {end}", reply.escape_ascii());
        assert!(end - start < 32, "{} bytes are held back", end - start);
        assert_eq!(framer.is_idle(), start == 0 || scan.complete);
    }
    assert_eq!(start, reply.len());
}

#[test]
fn replies_end_where_they_end() {
    let long_status = [&b"+"[..], &[b'x'; 5000], b"\r\n"].concat();
    let cases: &[&[u8]] = &[
        b"+OK\r\n",
        b"+\r\n",
        &long_status,
        b"+a\rb\nc\r\n",
        b"-ERR no\r\n",
        b":1\r\n",
        b":-9223372036854775808\r\n",
        b"$5\r\nhello\r\n",
        b"$0\r\n\r\n",
        b"$-1\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*2\r\n$1\r\na\r\n:5\r\n",
        b"*2\r\n*2\r\n+a\r\n*0\r\n*1\r\n$-1\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b",inf\r\n",
        b"(3492890328409238509324850943850943825024385\r\n",
        b"!11\r\nERR no such\r\n",
        b"=7\r\ntxt:abc\r\n",
        b"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:1\r\n:2\r\n",
        b"%0\r\n",
        b"~3\r\n:1\r\n:2\r\n~0\r\n",
        b">3\r\n+message\r\n$1\r\nc\r\n$1\r\nm\r\n",
        b"|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n",
        b"*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:1\r\n|0\r\n:2\r\n",
        b"|1\r\n|1\r\n+x\r\n+y\r\n+k\r\n+v\r\n%1\r\n+a\r\n|1\r\n+k\r\n+v\r\n+b\r\n",
    ];
    for reply in cases {
        assert_is_one_reply(reply);
    }
}

#[test]
fn what_stands_beside_a_reply_ends_before_it() {
    let cases: &[&[u8]] = &[
        b">3\r\n+message\r\n$1\r\nc\r\n$1\r\nm\r\n",
        b"|1\r\n+ttl\r\n:3600\r\n",
        b"|0\r\n",
        b"|2\r\n+a\r\n*1\r\n:1\r\n|1\r\n+x\r\n+y\r\n+b\r\n%1\r\n+k\r\n$-1\r\n",
    ];
    for aside in cases {
        let stream = [aside, &b"$1\r\na\r\n"[..]].concat();
        let whole = Scan { consumed: aside.len(), complete: true };
        assert_eq!(ReplyFramer::new().scan_aside(&stream), Ok(whole), "{}", aside.escape_ascii());
        let (mut framer, mut start) = (ReplyFramer::new(), 0);
        for end in 1..=aside.len() {
            let scan = framer.scan_aside(&stream[start..end]).unwrap();
            start += scan.consumed;
            assert_eq!(scan.complete, end == aside.len(), "{} at {end}", aside.escape_ascii());
        }
        assert!(framer.is_idle());
    }
}

#[test]
fn large_values_pass_in_pieces() {
    let mut framer = ReplyFramer::new();
    assert_eq!(framer.scan(b"$100000\r\n"), Ok(Scan { consumed: 9, complete: false }));
    assert_eq!(framer.scan(&vec![b'x'; 60_000]), Ok(Scan { consumed: 60_000, complete: false }));
    assert_eq!(framer.scan(&vec![b'x'; 40_000]), Ok(Scan { consumed: 40_000, complete: false }));
    assert_eq!(framer.scan(b"\r"), Ok(Scan { consumed: 0, complete: false }));
    assert_eq!(framer.scan(b"\r\n+OK\r\n"), Ok(Scan { consumed: 2, complete: true }));
}

#[test]
fn what_is_no_resp_is_an_error() {
    let cases: &[(&[u8], ReplyError)] = &[
        (b"HTTP/1.1 400 Bad Request\r\n", ReplyError::UnknownType(b'H')),
        (b"\r\n", ReplyError::UnknownType(b'\r')),
        (b"*1\r\n\0", ReplyError::UnknownType(0)),
        (b"$\r\n", ReplyError::BadLength),
        (b"$x\r\n", ReplyError::BadLength),
        (b"$-2\r\n", ReplyError::BadLength),
        (b"$5\n", ReplyError::BadLength),
        (b"$?\r\n", ReplyError::BadLength),
        (b"%-1\r\n", ReplyError::BadLength),
        (b"$99999999999\r\n", ReplyError::BadLength),
        (b"*1111111111111111111111111111111111", ReplyError::BadLength),
        (b"$5\r\nhelloxx", ReplyError::BadLength),
        (b"*2\r\n$5\r\nhello, world", ReplyError::BadLength),
    ];
    for &(input, error) in cases {
        assert_eq!(ReplyFramer::new().scan(input), Err(error), "{}", input.escape_ascii());
        let (mut framer, mut start) = (ReplyFramer::new(), 0);
        let first = (1..=input.len()).find_map(|end| match framer.scan(&input[start..end]) {
            Ok(scan) => {
                start += scan.consumed;
                None
            }
            Err(error) => Some(error),
        });
        assert_eq!(first, Some(error), "{}", input.escape_ascii());
    }
}

#[test]
fn elements_of_an_array() {
    let elements = |reply: &'static [u8]| array_elements(reply).map(Iterator::collect::<Vec<_>>);
    let reply = b"*4\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n:2\r\n_\r\n";
    let expected: [&[u8]; 4] = [b"$1\r\na\r\n", b"$-1\r\n", b"*2\r\n:1\r\n:2\r\n", b"_\r\n"];
    assert_eq!(elements(reply), Ok(expected.map(Ok).to_vec()));
    assert_eq!(elements(b"*0\r\n"), Ok(vec![]));
    assert_eq!(elements(b"*2\r\n:1\r\n"), Ok(vec![Ok(&b":1\r\n"[..]), Err(ReplyError::Unexpected)]));
    for other in [&b""[..], b":1\r\n", b"*-1\r\n", b"-ERR x\r\n"] {
        assert!(array_elements(other).is_err());
    }
}

#[test]
fn integers() {
    assert_eq!(integer(b":0\r\n"), Some(0));
    assert_eq!(integer(b":-42\r\n"), Some(-42));
    for other in [&b"+1\r\n"[..], b":\r\n", b":x\r\n", b":1", b"-ERR 1\r\n"] {
        assert_eq!(integer(other), None);
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let line = "[+:,(#_-][ -~]{0,40}".prop_map(|text| [text.as_bytes(), b"\r\n"].concat());
    let blob = |mark: char| {
        vec(any::<u8>(), 0..300)
            .prop_map(move |bytes| [format!("{mark}{}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat())
    };
    let leaf =
        prop_oneof![line, blob('$'), blob('!'), blob('='), Just(b"$-1\r\n".to_vec()), Just(b"*-1\r\n".to_vec()),];
    leaf.prop_recursive(4, 64, 6, |inner| {
        let many = |mark: char, per: usize, inner: BoxedStrategy<Vec<u8>>| {
            vec(vec(inner, per..=per), 0..6).prop_map(move |items| {
                [format!("{mark}{}\r\n", items.len()).into_bytes(), items.concat().concat()].concat()
            })
        };
        let inner = inner.boxed();
        let attribute = (many('|', 2, inner.clone()), inner.clone()).prop_map(|(a, b)| [a, b].concat());
        prop_oneof![many('*', 1, inner.clone()), many('~', 1, inner.clone()), many('%', 2, inner), attribute]
    })
}

/// The ends of the replies in `stream`, which comes in pieces that end at `cuts`; and how it failed.
fn ends(stream: &[u8], cuts: &[usize]) -> (Vec<usize>, Option<ReplyError>) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).chain([stream.len()]).collect();
    cuts.sort_unstable();
    let (mut framer, mut start, mut ends) = (ReplyFramer::new(), 0, Vec::new());
    for cut in cuts {
        while start < cut {
            match framer.scan(&stream[start..cut]) {
                Ok(scan) => {
                    start += scan.consumed;
                    if !scan.complete {
                        break;
                    }
                    ends.push(start);
                }
                Err(error) => return (ends, Some(error)),
            }
        }
    }
    (ends, None)
}

proptest! {
    #[test]
    fn random_replies_end_where_they_end(replies in vec(value(), 1..6), cuts in vec(any::<usize>(), 0..12)) {
        let expected = replies.iter().scan(0, |end, reply| { *end += reply.len(); Some(*end) }).collect();
        prop_assert_eq!(ends(&replies.concat(), &cuts), (expected, None));
    }

    #[test]
    fn garbage_is_the_same_garbage_in_any_cut(
        pieces in vec(prop_oneof![value(), vec(any::<u8>(), 0..8), "[$*|%][0-9]{0,11}(\r\n)?".prop_map(String::into_bytes)], 0..6),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let stream = pieces.concat();
        prop_assert_eq!(ends(&stream, &cuts), ends(&stream, &[]));
    }
}
