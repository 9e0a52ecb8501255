//! RESP written into a buffer, without formatting machinery. `resp` is the client's version, 2 or 3.

const DIGITS: usize = 20; // of u64::MAX

/// `n` in decimal digits.
#[inline]
pub fn decimal(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; DIGITS];
    let mut at = DIGITS;
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[inline]
fn header(out: &mut Vec<u8>, mark: u8, n: usize) {
    out.push(mark);
    decimal(out, n as u64);
    out.extend_from_slice(b"\r\n");
}

#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + DIGITS + 5);
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A bulk string of several pieces.
pub fn array_item(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    header(out, b'$', pieces.iter().map(|piece| piece.len()).sum());
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"\r\n");
}

pub fn integer(out: &mut Vec<u8>, n: i64) {
    out.push(b':');
    if n < 0 {
        out.push(b'-');
    }
    decimal(out, n.unsigned_abs());
    out.extend_from_slice(b"\r\n");
}

#[inline]
pub fn array_header(out: &mut Vec<u8>, n: usize) {
    header(out, b'*', n);
}

/// A map in RESP3, its flat array in RESP2.
pub fn map_header(out: &mut Vec<u8>, pairs: usize, resp: u8) {
    if resp == 3 {
        header(out, b'%', pairs);
    } else {
        header(out, b'*', pairs * 2);
    }
}

/// A set in RESP3, an array in RESP2.
pub fn set_header(out: &mut Vec<u8>, n: usize, resp: u8) {
    header(out, if resp == 3 { b'~' } else { b'*' }, n);
}

/// A push in RESP3, an array in RESP2.
pub fn push_header(out: &mut Vec<u8>, n: usize, resp: u8) {
    header(out, if resp == 3 { b'>' } else { b'*' }, n);
}

pub fn null(out: &mut Vec<u8>, resp: u8) {
    out.extend_from_slice(if resp == 3 { b"_\r\n" } else { b"$-1\r\n" });
}

pub fn null_array(out: &mut Vec<u8>, resp: u8) {
    out.extend_from_slice(crate::dialect::texts::null_array(resp));
}

/// A boolean in RESP3, 1 or 0 in RESP2.
pub fn boolean(out: &mut Vec<u8>, value: bool, resp: u8) {
    out.extend_from_slice(match (resp == 3, value) {
        (true, true) => b"#t\r\n",
        (true, false) => b"#f\r\n",
        (false, true) => b":1\r\n",
        (false, false) => b":0\r\n",
    });
}

pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', &[text.as_bytes()]);
}

/// `text` starts with its code.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', &[text.as_bytes()]);
}

/// An error of pieces that need not be text; the first starts with its code.
pub fn error_of(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    line(out, b'-', pieces);
}

/// Line ends within become spaces, as in Redis (addReplyErrorFormat), so that it stays one line.
fn line(out: &mut Vec<u8>, mark: u8, pieces: &[&[u8]]) {
    out.push(mark);
    for piece in pieces {
        out.extend(piece.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    }
    out.extend_from_slice(b"\r\n");
}

/// A request: an array of bulk strings.
pub fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    array_header(out, arguments.len());
    for argument in arguments {
        bulk(out, argument);
    }
}
