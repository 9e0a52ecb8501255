//! A request as MONITOR shows it: `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`.

use std::io::Write;
use std::time::Duration;

use super::Request;

/// Bytes of a line, about; what is more of its arguments is told by its number, as SLOWLOG does.
const LINE: usize = 1 << 20;
/// The words in which the latter is told.
const REST: usize = 64;
const REDACTED: &[u8] = b"\"(redacted)\"";

/// Add a line for a request of `address` in that database, at that time. `is_secret`: which arguments nobody is to see.
pub fn write_line(
    out: &mut Vec<u8>,
    since_epoch: Duration,
    (db, address): (u32, &str),
    request: &Request,
    is_secret: impl Fn(usize) -> bool,
) {
    let end = out.len() + LINE;
    let (seconds, micros) = (since_epoch.as_secs(), since_epoch.subsec_micros());
    let _ = write!(out, "+{seconds}.{micros:06} [{db} {address}]"); // a vector takes all that is written to it
    for (at, argument) in request.arguments().enumerate() {
        out.push(b' ');
        if is_secret(at) {
            out.extend_from_slice(REDACTED);
        } else if out.len() + REST >= end {
            let _ = write!(out, "\"... ({} more arguments)\"", request.len() - at);
            break;
        } else {
            quote(out, argument, end - REST);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Bytes in quotes, as sds.c's `sdscatrepr` has them; where that makes `out` longer than `end`, only the first.
fn quote(out: &mut Vec<u8>, bytes: &[u8], end: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for (at, &byte) in bytes.iter().enumerate() {
        if out.len() >= end {
            let _ = write!(out, "... ({} more bytes)", bytes.len() - at);
            break;
        }
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(&[b'\\', b'x', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::resp::request::{RequestLimits, RequestParser};
    use crate::dialect::resp::write;

    fn line(words: &[&[u8]], secret: usize) -> String {
        let mut bytes = Vec::new();
        write::command(&mut bytes, words);
        let mut parser = RequestParser::new();
        parser.parse(&bytes, &RequestLimits::NONE).unwrap();
        let request = Request { bytes: &bytes, spans: parser.spans() };
        let mut out = Vec::new();
        write_line(&mut out, Duration::from_micros(1_339_518_083_007_412), (3, "1.2.3.4:5"), &request, |at| {
            at == secret
        });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn arguments_are_written_as_engines_write_them() {
        assert_eq!(
            line(&[b"SET", b"k", b"v\x00\xc3\xbf \"x\"\\\n\t\r\x07\x08", b"", b"secret"], 4),
            "+1339518083.007412 [3 1.2.3.4:5] \"SET\" \"k\" \"v\\x00\\xc3\\xbf \\\"x\\\"\\\\\\n\\t\\r\\a\\b\" \"\" \"(redacted)\"\r\n"
        );
    }

    #[test]
    fn a_line_is_bounded() {
        let long = vec![0; LINE];
        let text = line(&[b"SET", &long, b"a", b"b"], 9);
        assert!(text.len() < LINE + REST, "{}", text.len());
        let kept = text.matches("\\x00").count();
        let end = format!("... ({} more bytes)\" \"... (2 more arguments)\"\r\n", LINE - kept);
        assert!(kept > LINE / 5 && text.ends_with(&end), "{}", &text[text.len() - 100..]);
        let many = vec![&b"0123456789"[..]; LINE / 10];
        let text = line(&many, LINE);
        assert!(text.len() < LINE + REST && text.ends_with(" more arguments)\"\r\n"));
    }
}
