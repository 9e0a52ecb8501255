//! What Redis accepts is framed as Redis frames it; what it refuses is refused in its words.

use shardproxy_dataplane::dialect::resp::request::{Parsed, RequestError, RequestLimits, RequestParser};

pub const LIMITS: RequestLimits =
    RequestLimits { max_request: 512 << 20, max_bulk: 512 << 20, max_arguments: 1024 * 1024, authenticated: true };
pub const STRANGER: RequestLimits = RequestLimits { authenticated: false, ..LIMITS };

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Arguments(Vec<Vec<u8>>, usize),
    Skip(usize),
    Incomplete,
}

pub fn words<T: AsRef<[u8]>>(words: &[T]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_ref().to_vec()).collect()
}

pub fn frame(parser: &mut RequestParser, buf: &[u8], limits: &RequestLimits) -> Result<Outcome, RequestError> {
    let (bytes, consumed) = match parser.parse(buf, limits)? {
        Parsed::Incomplete { wanted } => {
            assert!(wanted > 0);
            return Ok(Outcome::Incomplete);
        }
        Parsed::Skip { consumed } => return Ok(Outcome::Skip(consumed)),
        Parsed::Request { consumed } => (&buf[..consumed], consumed),
        Parsed::Inline { consumed } => (parser.inline(), consumed),
    };
    assert!(parser.is_idle());
    let arguments: Vec<&[u8]> = parser.spans().iter().map(|span| span.of(bytes)).collect();
    Ok(Outcome::Arguments(words(&arguments), consumed))
}

/// Frame `input` whole, then byte by byte with the same parser, then with more behind it: the outcome is the same.
fn frame_all_ways(input: &[u8], limits: &RequestLimits) -> Result<Outcome, RequestError> {
    let mut parser = RequestParser::new();
    let whole = frame(&mut parser, input, limits);
    parser.reset();
    for end in 0..=input.len() {
        let piece = frame(&mut parser, &input[..end], limits);
        if piece != Ok(Outcome::Incomplete) || end == input.len() {
            assert_eq!(piece, whole, "byte by byte: {}", input.escape_ascii());
            break;
        }
    }
    if whole != Ok(Outcome::Incomplete) {
        let longer = [input, b"*1\r\n$4\r\nPING\r\n"].concat();
        assert_eq!(frame(&mut parser, &longer, limits), whole, "with more: {}", input.escape_ascii());
    }
    whole
}

#[test]
fn requests_are_framed() {
    let cases: &[(&[u8], &[&[u8]])] = &[
        (b"*1\r\n$4\r\nPING\r\n", &[b"PING"]),
        (b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000001234\r\n", &[b"GET", b"key:000000001234"]),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", &[b"SET", b"k", b""]),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\n\r\n\r\n\r\n", &[b"SET", b"k", b"\r\n\r\n"]),
        (b"*2\r\n$4\r\nECHO\r\n$3\r\n\0\xff*\r\n", &[b"ECHO", b"\0\xff*"]),
        (b"*1\r\n$0\r\n\r\n", &[b""]),
        (b"PING\r\n", &[b"PING"]),
        (b"PING\n", &[b"PING"]),
        (b"  set \t k   v \r\n", &[b"set", b"k", b"v"]),
        (b"set k \"a b\"\r\n", &[b"set", b"k", b"a b"]),
        (b"set k 'a \\'b\\n'\r\n", &[b"set", b"k", b"a 'b\\n"]),
        (b"set k \"\\x41\\xfg\\n\\r\\t\\b\\a\\\"\\\\\"\r\n", &[b"set", b"k", b"Axfg\n\r\t\x08\x07\"\\"]),
        (b"set \"\" ''\r\n", &[b"set", b"", b""]),
        (b"set pre\"fix\" k\r\n", &[b"set", b"prefix", b"k"]),
        (b"\"quoted\"\tget\r\n", &[b"quoted", b"get"]),
        (b"set k\\x41 \\\"\"\r\n", &[b"set", b"k\\x41", b"\\"]),
    ];
    for &(input, expected) in cases {
        let outcome = frame_all_ways(input, &LIMITS);
        assert_eq!(outcome, Ok(Outcome::Arguments(words(expected), input.len())), "{}", input.escape_ascii());
    }
}

#[test]
fn lengths_have_up_to_nine_digits() {
    for size in [1, 9, 10, 99, 100, 999, 1000, 4096, 9999, 10_000, 123_456] {
        let value = vec![b'v'; size];
        let input = [format!("*2\r\n$4\r\nECHO\r\n${size}\r\n").as_bytes(), &value, b"\r\n"].concat();
        let expected = Outcome::Arguments(words(&[b"ECHO".to_vec(), value]), input.len());
        assert_eq!(frame(&mut RequestParser::new(), &input, &LIMITS), Ok(expected));
    }
    for count in [1, 9, 10, 11, 99, 100, 1000] {
        let input = [format!("*{count}\r\n").into_bytes(), b"$1\r\nx\r\n".repeat(count)].concat();
        let outcome = frame_all_ways(&input, &LIMITS);
        assert_eq!(outcome, Ok(Outcome::Arguments(words(&vec!["x"; count]), input.len())));
    }
}

#[test]
fn what_says_nothing_is_skipped() {
    for input in [&b"*0\r\n"[..], b"*-1\r\n", b"*-10\r\n", b"\r\n", b"\n", b"  \r\n", b" \t \n"] {
        assert_eq!(frame_all_ways(input, &LIMITS), Ok(Outcome::Skip(input.len())), "{}", input.escape_ascii());
    }
}

#[test]
fn errors_are_those_of_redis() {
    let long_count = [&b"*"[..], &vec![b'1'; 70_000]].concat();
    let long_length = [&b"*1\r\n$"[..], &vec![b'1'; 70_000]].concat();
    let cases: &[(&[u8], &str)] = &[
        (b"*x\r\n", "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*1 \r\n", "invalid multibulk length"),
        (b"*-0\r\n", "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*99999999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\rX", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$x\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$4\r\nPINGxx", "invalid bulk length"),
        (b"*1\r\n$4\rXPING\r\n", "invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n:1\r\n", "expected '$', got ':'"),
        (b"*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (&long_count, "too big mbulk count string"),
        (&long_length, "too big bulk count string"),
        (&vec![b'x'; 70_000], "too big inline request"),
        (b"set k \"a\r\n", "unbalanced quotes in request"),
        (b"set k 'a\r\n", "unbalanced quotes in request"),
        (b"set k \"a\"b\r\n", "unbalanced quotes in request"),
    ];
    for &(input, text) in cases {
        let mut reply = Vec::new();
        frame_all_ways(input, &LIMITS).unwrap_err().write(&mut reply);
        let expected = format!("-ERR Protocol error: {text}\r\n");
        assert_eq!(String::from_utf8_lossy(&reply), expected, "{}", input.escape_ascii());
    }
}

#[test]
fn a_stranger_may_say_little() {
    let ten = [b"*10\r\n".to_vec(), b"$1\r\nx\r\n".repeat(10)].concat();
    assert!(matches!(frame_all_ways(&ten, &STRANGER), Ok(Outcome::Arguments(..))));
    assert_eq!(frame_all_ways(b"*11\r\n", &STRANGER), Err(RequestError::UnauthenticatedCount));
    let most = [b"*1\r\n$16384\r\n".to_vec(), vec![b'x'; 16384], b"\r\n".to_vec()].concat();
    assert!(matches!(frame_all_ways(&most, &STRANGER), Ok(Outcome::Arguments(..))));
    assert_eq!(frame_all_ways(b"*1\r\n$16385\r\n", &STRANGER), Err(RequestError::UnauthenticatedLength));
}

#[test]
fn a_request_beyond_its_limit_is_refused_by_its_header() {
    let limits = RequestLimits { max_request: 30, ..LIMITS };
    let exactly = b"*2\r\n$4\r\nECHO\r\n$9\r\n123456789\r\n";
    assert_eq!(exactly.len(), 29);
    assert!(matches!(frame_all_ways(exactly, &limits), Ok(Outcome::Arguments(..))));
    for beyond in [&b"*2\r\n$4\r\nECHO\r\n$11\r\n"[..], b"*2\r\n$4\r\nECHO\r\n$500000000\r\n"] {
        assert_eq!(frame_all_ways(beyond, &limits), Err(RequestError::TooLarge));
    }
}

#[test]
fn a_browser_gets_no_reply() {
    for input in
        [&b"POST / HTTP/1.1\r\n"[..], b"Host: localhost\r\n", b"*1\r\n$4\r\npost\r\n", b"*1\r\n$5\r\nhost:\r\n"]
    {
        assert_eq!(frame_all_ways(input, &LIMITS), Err(RequestError::HttpAttack));
    }
    let mut reply = Vec::new();
    RequestError::HttpAttack.write(&mut reply);
    assert!(reply.is_empty());
}

#[test]
fn what_is_wanted_is_what_is_missing() {
    let input = [&b"*2\r\n$4\r\nECHO\r\n$100\r\n"[..], &[b'x'; 100], b"\r\n"].concat();
    let mut parser = RequestParser::new();
    let header = input.len() - 102;
    assert_eq!(parser.parse(&input[..header], &LIMITS), Ok(Parsed::Incomplete { wanted: 102 }));
    assert_eq!(parser.parse(&input[..header + 40], &LIMITS), Ok(Parsed::Incomplete { wanted: 62 }));
    assert_eq!(parser.parse(&input[..input.len() - 1], &LIMITS), Ok(Parsed::Incomplete { wanted: 1 }));
    assert_eq!(parser.parse(&input, &LIMITS), Ok(Parsed::Request { consumed: input.len() }));
}

#[test]
fn an_error_leaves_nothing_behind() {
    let mut parser = RequestParser::new();
    for bad in [&b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n:1\r\n"[..], &[&b"*1\r\n$"[..], &vec![b'9'; 70_000]].concat()] {
        assert!(parser.parse(bad, &LIMITS).is_err());
        assert!(parser.is_idle());
        let next = frame(&mut parser, b"*1\r\n$4\r\nPING\r\n", &LIMITS);
        assert_eq!(next, Ok(Outcome::Arguments(words(&["PING"]), 14)));
    }
}

#[test]
fn a_million_arguments_byte_by_byte_take_linear_time() {
    // at 7 bytes an argument, quadratic work would be 10^13 steps and never end
    let count = 300_000;
    let input = [format!("*{count}\r\n").into_bytes(), b"$1\r\nx\r\n".repeat(count)].concat();
    let mut parser = RequestParser::new();
    for end in 0..input.len() {
        assert!(matches!(parser.parse(&input[..end], &LIMITS), Ok(Parsed::Incomplete { .. })));
    }
    assert_eq!(parser.parse(&input, &LIMITS), Ok(Parsed::Request { consumed: input.len() }));
    assert_eq!(parser.spans().len(), count);
}
