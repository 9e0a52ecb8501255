//! Tables of bytes; what memcached 1.6.18 answers to each was asked of memcached itself.

use proptest::prelude::*;

use super::*;

/// Take everything off the buffer; one line of text per request.
fn all(mut buffer: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        match parse(buffer, 0, 1 << 20) {
            _ if buffer.is_empty() => return found,
            Parsed::Incomplete { .. } => {
                found.push("incomplete".into());
                return found;
            }
            Parsed::Request(request) => {
                let key = String::from_utf8_lossy(request.key);
                let silence = if request.noreply { " noreply" } else { "" };
                found.push(format!("{:?} {key} {}{silence}", request.verb, request.data.len()));
                buffer = &buffer[request.bytes.len()..];
            }
            Parsed::Refused { text, consumed, swallow, noreply } => {
                let silence = if noreply { " noreply" } else { "" };
                found.push(format!("{}{silence}", String::from_utf8_lossy(text).trim_end()));
                buffer = &buffer[(consumed + swallow as usize).min(buffer.len())..];
            }
            Parsed::TooLarge { request, swallow } => {
                found.push(format!("{:?} {} too large", request.verb, String::from_utf8_lossy(request.key)));
                buffer = &buffer[(request.bytes.len() + swallow as usize).min(buffer.len())..];
            }
            Parsed::Close(why) => {
                found.push(format!("{why:?}"));
                return found;
            }
        }
    }
}

#[test]
fn requests_end_where_memcached_ends_them() {
    let long = "x".repeat(251);
    let table: &[(&str, &[&str])] = &[
        ("get a\r\n", &["Get a 0"]),
        ("get a\nget b\n", &["Get a 0", "Get b 0"]),
        ("  get  a  b \r\n", &["Get a 0"]),
        ("gat 5 a b\r\n", &["Gat a 0"]),
        ("gat 5\r\n", &["END"]),
        ("gat a\r\n", &["CLIENT_ERROR invalid exptime argument"]),
        ("get\r\n", &["ERROR"]),
        ("\r\n\n \r\n", &["ERROR", "ERROR", "ERROR"]),
        ("GET a\r\n", &["ERROR"]),
        ("set k 0 0 5\r\nhello\r\n", &["Set k 7"]),
        ("set k 0 0 5\nhello\r\nget k\n", &["Set k 7", "Get k 0"]),
        ("set k 0 0 0\r\n\r\n", &["Set k 2"]),
        ("set k 1 -1 1 noreply\r\na\r\n", &["Set k 3 noreply"]),
        ("set k 0 0 1 foo\r\na\r\n", &["Set k 3"]),
        ("set k 0 0 1\r\nab\r\n", &["CLIENT_ERROR bad data chunk", "ERROR"]),
        ("set k 0 0 1 noreply\r\nabc\r\n", &["CLIENT_ERROR bad data chunk noreply", "ERROR"]),
        ("set k 0 0 -1\r\nmn\r\n", &["CLIENT_ERROR bad command line format", "MetaNoop  0"]),
        ("set k 0 0 2147483646\r\n", &["CLIENT_ERROR bad command line format"]),
        ("set k 0 0 99999999999\r\nmn\r\n", &["CLIENT_ERROR bad command line format", "MetaNoop  0"]),
        ("set k 0 0 x noreply\r\nmn\r\n", &["CLIENT_ERROR bad command line format noreply", "MetaNoop  0"]),
        ("set k 0 4294967295 1\r\na\r\n", &["Set k 3"]),
        ("set k 0 99999999999 1\r\na\r\n", &["Set k 3"]),
        ("set k 4294967296 0 1\r\na\r\n", &["Set k 3"]),
        ("set k 0\t -1\r 1\r\na\r\n", &["Set k 3"]),
        ("set k 0 9223372036854775808 1\r\na\r\nmn\r\n", &["CLIENT_ERROR bad command line format", "MetaNoop  0"]),
        ("set k -1 0 1\r\na\r\nmn\r\n", &["CLIENT_ERROR bad command line format", "MetaNoop  0"]),
        ("set k 0 0 1\0\r\na\r\nmn\r\n", &["CLIENT_ERROR bad command line format", "MetaNoop  0"]),
        ("set k 0 0 99999999\r\nab", &["Set k too large"]),
        ("set k 0 0\r\n", &["ERROR"]),
        ("cas k 0 0 1\r\na\r\n", &["ERROR", "ERROR"]),
        ("cas k 0 0 1 7\r\na\r\n", &["Cas k 3"]),
        ("cas k 0 0 1 7 noreply\r\na\r\n", &["Cas k 3 noreply"]),
        ("set k 0 0 5\r\nhel", &["incomplete"]),
        ("delete k noreply\r\ndelete noreply\r\n", &["Delete k 0 noreply", "Delete noreply 0"]),
        ("incr k 1\r\nincr k\r\n", &["Incr k 0", "ERROR"]),
        ("flush_all\r\nflush_all 1 noreply\r\n", &["FlushAll  0", "FlushAll  0 noreply"]),
        ("verbosity\r\nverbosity 1\r\n", &["ERROR", "Verbosity  0"]),
        ("mg a v q\r\nmn\r\n", &["MetaGet a 0", "MetaNoop  0"]),
        (
            "mg\r\nms\r\nme\r\nms a\r\n",
            &["ERROR", "ERROR", "CLIENT_ERROR bad command line format", "CLIENT_ERROR bad command line format"],
        ),
        ("ms a 2 T9\r\nhi\r\n", &["MetaSet a 4"]),
        ("ms a x\r\nmn\r\n", &["CLIENT_ERROR bad command line format", "MetaNoop  0"]),
        ("ms a -1 q\r\nmn\r\n", &["CLIENT_ERROR bad command line format", "MetaNoop  0"]),
        ("get a\0b c\r\n", &["Get a 0"]),
        ("set k\0 0 0 1\r\na\r\n", &["ERROR", "ERROR"]),
        ("\x01", &["incomplete"]),
    ];
    for (bytes, expected) in table {
        assert_eq!(all(bytes.as_bytes()), *expected, "{bytes:?}");
    }
    for line in
        [format!("get {long}\r\n"), format!("get a {long}\r\n"), format!("mg {long}\r\n"), format!("delete {long}\r\n")]
    {
        assert_eq!(all(line.as_bytes()), ["CLIENT_ERROR bad command line format"]);
    }
    assert_eq!(all(b"\x80abc"), ["Binary"]);
    assert_eq!(all(&vec![b'x'; MAX_LINE + 1]), ["LineTooLong"]);
    assert_eq!(all(&[&b"get "[..], &vec![b'x'; MAX_LINE * 4]].concat()), ["incomplete"]);
    // a node would close the connection these come on, if they come in pieces
    let keys = " key".repeat(MAX_LINE);
    assert_eq!(all(format!("get{keys}\r\n").as_bytes()), ["Get key 0"]);
    assert_eq!(all(format!("gat 0{keys}\r\n").as_bytes()), ["LineTooLong"]);
    assert_eq!(all(format!("mg k O{}\r\n", "x".repeat(MAX_LINE)).as_bytes()), ["LineTooLong"]);
    assert_eq!(all(b"POST / HTTP/1.1\r\nset k 0 0 1\r\na\r\n"), ["Http"]);
    // newer memcached does not read such lengths; what they may mean goes with the line
    for length in ["+1", "00000000001", "1\t"] {
        for line in [format!("set k 0 0 {length}"), format!("ms k {length}")] {
            let found = all(format!("{line}\r\na\r\nmn\r\n").as_bytes());
            assert_eq!(found, ["CLIENT_ERROR bad command line format", "MetaNoop  0"], "{line}");
        }
    }
}

#[test]
fn keys_stand_in_the_clients_order() {
    let Parsed::Request(request) = parse(b"gets b  a c \r\n", 0, 100) else { panic!() };
    assert_eq!(request.keys().collect::<Vec<_>>(), [b"b", b"a", b"c"]);
    assert!(request.has_many_keys());
    let Parsed::Request(request) = parse(b"get b \r\n", 0, 100) else { panic!() };
    assert!(!request.has_many_keys());
}

proptest! {
    /// Whatever comes, nothing is taken twice, nothing panics, and something is taken or more is asked for.
    #[test]
    fn any_bytes_are_taken_or_waited_for(bytes in any_requests()) {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match parse(rest, 0, 4096) {
                Parsed::Incomplete { scanned } => {
                    prop_assert!(!rest[..scanned].contains(&b'\n'));
                    break;
                }
                Parsed::Request(request) => {
                    prop_assert!(!request.bytes.is_empty() && request.bytes.len() <= rest.len());
                    prop_assert!(request.keys().all(|key| key.len() <= MAX_KEY || !request.verb.is_get()));
                    rest = &rest[request.bytes.len()..];
                }
                Parsed::Refused { consumed, .. } => {
                    prop_assert!(consumed > 0 && consumed <= rest.len());
                    rest = &rest[consumed..];
                }
                Parsed::TooLarge { request, .. } => rest = &rest[request.bytes.len()..],
                Parsed::Close(_) => break,
            }
        }
    }

    /// Bytes that come later change nothing about the request before them.
    #[test]
    fn a_request_does_not_depend_on_what_follows(bytes in any_requests(), more in any_requests()) {
        let alone = match parse(&bytes, 0, 4096) {
            Parsed::Request(request) => Some(request.bytes.len()),
            _ => None,
        };
        if let Some(length) = alone {
            let both = [bytes, more].concat();
            let Parsed::Request(request) = parse(&both, 0, 4096) else { panic!() };
            prop_assert_eq!(request.bytes.len(), length);
        }
    }
}

fn any_requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"get "[..]),
        Just(&b"gat 1 "[..]),
        Just(&b"set k 0 0 3\r\nabc\r\n"[..]),
        Just(&b"set k 0 0 "[..]),
        Just(&b"ms k 2 "[..]),
        Just(&b"mg k v"[..]),
        Just(&b"key"[..]),
        Just(&b" "[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\n"[..]),
        Just(&b"\0"[..]),
        Just(&b"noreply"[..]),
        Just(&b"-1"[..]),
        Just(&b"99999999999"[..]),
    ];
    let noise = proptest::collection::vec(any::<u8>(), 0..6);
    proptest::collection::vec(prop_oneof![4 => piece.prop_map(<[u8]>::to_vec), 1 => noise], 0..30)
        .prop_map(|p| p.concat())
}
