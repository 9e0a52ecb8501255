//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): what a load balancer says of
//! its client before the client's own bytes.
//!
//! ```text
//!  v1  PROXY TCP4 192.0.2.7 10.0.0.1 50000 6379\r\n
//!  v2  signature (12) | version, command (1) | family, transport (1) | length (2) | addresses | TLVs, passed over
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const V1: &[u8] = b"PROXY ";
/// All of a version 1 header, its line end included.
const MAX_V1: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What stands before the addresses of version 2.
const FIXED: usize = 16;
/// Addresses and TLVs of version 2: a certificate, which some balancers pass on, has room.
const MAX_V2: usize = 4096;
/// No header is longer.
pub const MAX_HEADER: usize = FIXED + MAX_V2;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// That of a client there.
    Client(SocketAddr),
    /// The balancer's own, as its health checks are, or that of a client it has no address of.
    Balancer,
}

/// Why it is no header that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    Missing,
    Line,
    TooLong,
    Version,
    Command,
    Family,
    TooShort,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no PROXY protocol header",
            Self::Line => "not a line of version 1",
            Self::TooLong => "a header that is too long",
            Self::Version => "a version that is not known",
            Self::Command => "a command that is not known",
            Self::Family => "addresses of a kind that is not known",
            Self::TooShort => "a header that is too short for its addresses",
        })
    }
}

/// Read the header at the start of `bytes`: whose connection it is, and how many bytes said so. None while some are missing.
pub fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, HeaderError> {
    if starts_alike(bytes, SIGNATURE) {
        parse_v2(bytes)
    } else if starts_alike(bytes, V1) {
        parse_v1(bytes)
    } else {
        Err(HeaderError::Missing)
    }
}

/// Whether they may become, or are, followed by more, the start.
fn starts_alike(bytes: &[u8], start: &[u8]) -> bool {
    let known = bytes.len().min(start.len());
    bytes[..known] == start[..known]
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Source, usize)>, HeaderError> {
    let shown = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = shown.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_V1 { Ok(None) } else { Err(HeaderError::TooLong) };
    };
    let line = std::str::from_utf8(&bytes[V1.len()..end]).map_err(|_| HeaderError::Line)?;
    Ok(Some((read_line(line).ok_or(HeaderError::Line)?, end + 2)))
}

/// What stands behind `PROXY `.
fn read_line(line: &str) -> Option<Source> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Source::Balancer); // whatever follows
    }
    let is_of = |address: &IpAddr| match family {
        "TCP4" => address.is_ipv4(),
        "TCP6" => address.is_ipv6(),
        _ => false,
    };
    let mut address = || words.next()?.parse::<IpAddr>().ok().filter(is_of);
    let (source, _) = (address()?, address()?);
    let mut port = || read_port(words.next()?);
    let (source_port, _) = (port()?, port()?);
    words.next().is_none().then(|| client(source, source_port))
}

/// Without a sign, and without a zero in front.
fn read_port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn client(address: IpAddr, port: u16) -> Source {
    Source::Client(SocketAddr::new(address.to_canonical(), port))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Source, usize)>, HeaderError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let &[.., command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err(HeaderError::Version);
    }
    if length > MAX_V2 {
        return Err(HeaderError::TooLong);
    }
    let is_local = match command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(HeaderError::Command),
    };
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let source = if is_local { Source::Balancer } else { read_addresses(family, body)? };
    Ok(Some((source, FIXED + length)))
}

/// Source and destination, then their ports; what follows are TLVs.
fn read_addresses(family: u8, body: &[u8]) -> Result<Source, HeaderError> {
    let port = |at: usize| body.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or(HeaderError::TooShort);
    match family {
        0x11 => {
            let port = port(8)?;
            let address: [u8; 4] = *body.first_chunk().ok_or(HeaderError::TooShort)?;
            let _to = body.get(..12).ok_or(HeaderError::TooShort)?;
            Ok(client(Ipv4Addr::from(address).into(), port))
        }
        0x21 => {
            let port = port(32)?;
            let address: [u8; 16] = *body.first_chunk().ok_or(HeaderError::TooShort)?;
            let _to = body.get(..36).ok_or(HeaderError::TooShort)?;
            Ok(client(Ipv6Addr::from(address).into(), port))
        }
        // a unix socket of the balancer's machine, or of no kind
        0x31 if body.len() >= 216 => Ok(Source::Balancer),
        0x31 => Err(HeaderError::TooShort),
        0x00 => Ok(Source::Balancer),
        _ => Err(HeaderError::Family),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(address: &str) -> Source {
        Source::Client(address.parse().unwrap())
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn ipv4(tlvs: &[u8]) -> Vec<u8> {
        [&[192, 0, 2, 7, 10, 0, 0, 1, 0xc3, 0x50, 0x18, 0xeb][..], tlvs].concat()
    }

    fn ipv6(address: &str) -> Vec<u8> {
        let octets = address.parse::<Ipv6Addr>().unwrap().octets();
        [&octets[..], &Ipv6Addr::LOCALHOST.octets(), &[0xc3, 0x50, 0x18, 0xeb]].concat()
    }

    /// A header, and whose connection it is.
    fn good() -> Vec<(Vec<u8>, Source)> {
        let line = |text: &str| text.as_bytes().to_vec();
        let longest =
            "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535 ".to_owned() + &"f".repeat(47) + "\r\n";
        assert_eq!(longest.len(), 107);
        vec![
            (line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), from("255.255.255.255:65535")),
            (line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), from("192.168.0.1:56324")),
            (line("PROXY TCP4 192.0.2.7 10.0.0.1 0 1\r\n"), from("192.0.2.7:0")),
            (
                line("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
                from("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            (line("PROXY TCP6 2001:db8::1 ::1 5000 6379\r\n"), from("[2001:db8::1]:5000")),
            (line("PROXY TCP6 ::ffff:192.0.2.7 ::1 5000 6379\r\n"), from("192.0.2.7:5000")),
            (line("PROXY UNKNOWN\r\n"), Source::Balancer),
            (
                line("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
                Source::Balancer,
            ),
            (line(&longest), Source::Balancer),
            (v2(0x21, 0x11, &ipv4(b"")), from("192.0.2.7:50000")),
            (v2(0x21, 0x11, &ipv4(b"\x04\0\x03abc\x03\0\x04\x12\x34\x56\x78")), from("192.0.2.7:50000")),
            (v2(0x21, 0x11, &ipv4(&[0; MAX_V2 - 12])), from("192.0.2.7:50000")),
            (v2(0x21, 0x21, &ipv6("2001:db8::1")), from("[2001:db8::1]:50000")),
            (v2(0x21, 0x21, &ipv6("::ffff:192.0.2.7")), from("192.0.2.7:50000")),
            (v2(0x21, 0x31, &[0; 216]), Source::Balancer),
            (v2(0x21, 0x00, b""), Source::Balancer),
            (v2(0x21, 0x00, b"tlvs"), Source::Balancer),
            (v2(0x20, 0x00, b""), Source::Balancer),
            (v2(0x20, 0x11, &ipv4(b"")), Source::Balancer),
            (v2(0x20, 0xff, b"any"), Source::Balancer),
        ]
    }

    #[test]
    fn headers_are_read_whole_in_pieces_and_before_what_follows() {
        for (header, source) in good() {
            let shown = header.escape_ascii().to_string();
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(None), "{end} bytes of {shown}");
            }
            for after in [&b""[..], b"*1\r\n$4\r\nPING\r\n", b"\r\n", b"PROXY TCP4 ", b"\x16\x03\x01"] {
                let bytes = [&header, after].concat();
                assert_eq!(parse(&bytes), Ok(Some((source, header.len()))), "{shown}");
            }
            assert!(header.len() <= MAX_HEADER);
        }
    }

    #[test]
    fn what_is_no_header_is_known_at_its_first_wrong_byte() {
        for (bytes, wrong_at) in [
            (&b"*1\r\n$4\r\nPING\r\n"[..], 0),
            (b"PING\r\n", 1),
            (b"PROXZ", 4),
            (b"\r\n\r\n\0\r\nQUIT\r", 11),
            (b"\r\nPING", 2),
        ] {
            for end in 0..=bytes.len() {
                let expected = if end <= wrong_at { Ok(None) } else { Err(HeaderError::Missing) };
                assert_eq!(parse(&bytes[..end]), expected, "{}", bytes[..end].escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in [
            "TCP4 192.0.2.7 10.0.0.1 1 65536",
            "TCP4 192.0.2.7 10.0.0.1 01 1",
            "TCP4 192.0.2.7 10.0.0.1 +1 1",
            "TCP4 192.0.2.7 10.0.0.1  1",
            "TCP4 192.0.2.7 10.0.0.1 1",
            "TCP4 192.0.2.7 10.0.0.1 1 1 ",
            "TCP4 192.0.2.7 10.0.0.1 1 1 1",
            "TCP4  192.0.2.7 10.0.0.1 1 1",
            "TCP4 192.0.2.07 10.0.0.1 1 1",
            "TCP4 192.0.2.256 10.0.0.1 1 1",
            "TCP4 192.0.2 10.0.0.1 1 1",
            "TCP4 ::1 ::1 1 1",
            "TCP4 192.0.2.7 ::1 1 1",
            "TCP6 192.0.2.7 10.0.0.1 1 1",
            "TCP6 ::1%lo ::1 1 1",
            "TCP6 [::1] ::1 1 1",
            "tcp4 192.0.2.7 10.0.0.1 1 1",
            "UDP4 192.0.2.7 10.0.0.1 1 1",
            "UNKNOWNS",
            "unknown",
            "",
            "\n",
            "TCP4 \u{661} 10.0.0.1 1 1",
        ] {
            let bytes = format!("PROXY {line}\r\n");
            assert_eq!(parse(bytes.as_bytes()), Err(HeaderError::Line), "{line:?}");
        }
        let body = ipv4(b"");
        for (bytes, expected) in [
            (b"PROXY \xff\r\n".to_vec(), HeaderError::Line),
            (b"PROXY UNKNOWN ".iter().copied().chain([b'x'; 93]).collect(), HeaderError::TooLong),
            ([b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat(), HeaderError::TooLong),
            (v2(0x11, 0x11, &body), HeaderError::Version),
            (v2(0x31, 0x11, &body), HeaderError::Version),
            (v2(0x22, 0x11, &body), HeaderError::Command),
            (v2(0x21, 0x12, &body), HeaderError::Family),
            (v2(0x21, 0x10, &body), HeaderError::Family),
            (v2(0x21, 0x41, &body), HeaderError::Family),
            (v2(0x21, 0x11, &body[..11]), HeaderError::TooShort),
            (v2(0x21, 0x11, b""), HeaderError::TooShort),
            (v2(0x21, 0x21, &ipv6("::1")[..35]), HeaderError::TooShort),
            (v2(0x21, 0x31, &[0; 215]), HeaderError::TooShort),
            (v2(0x21, 0x11, &[0; MAX_V2 + 1]), HeaderError::TooLong),
            (v2(0x20, 0x00, &[0; MAX_V2 + 1]), HeaderError::TooLong),
        ] {
            assert_eq!(parse(&bytes), Err(expected), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        /// What was said of some bytes stays true of them with more.
        #[test]
        fn more_bytes_change_no_verdict(bytes in near_headers(), more in prop::collection::vec(any::<u8>(), 0..40)) {
            let whole = [&bytes[..], &more].concat();
            match parse(&bytes) {
                Ok(None) => prop_assert!(bytes.len() < MAX_HEADER),
                Ok(Some((_, length))) => {
                    prop_assert!(length <= bytes.len() && length <= MAX_HEADER);
                    prop_assert_eq!(parse(&whole), parse(&bytes));
                    prop_assert_eq!(parse(&bytes[..length - 1]), Ok(None));
                }
                Err(_) => prop_assert!(parse(&whole).is_err()),
            }
        }

        #[test]
        fn a_line_that_was_written_is_read(address in any::<IpAddr>(), to in any::<[u8; 16]>(), port in any::<u16>()) {
            let (family, to): (_, IpAddr) = match address {
                IpAddr::V4(_) => ("TCP4", [to[0], to[1], to[2], to[3]].into()),
                IpAddr::V6(_) => ("TCP6", to.into()),
            };
            let line = format!("PROXY {family} {address} {to} {port} 6379\r\n");
            prop_assert_eq!(parse(line.as_bytes()), Ok(Some((client(address, port), line.len()))));
        }
    }

    /// Any bytes, and headers of which one byte is another.
    fn near_headers() -> impl Strategy<Value = Vec<u8>> {
        let broken = (0..good().len(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(number, at, byte)| {
            let mut header = good().swap_remove(number).0;
            let at = at.index(header.len().min(160));
            header[at] = byte;
            header
        });
        prop_oneof![prop::collection::vec(any::<u8>(), 0..140), broken]
    }
}
