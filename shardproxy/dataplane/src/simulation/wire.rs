//! Writing requests and replies: as few forms as needed.

pub fn command<A: AsRef<[u8]>>(arguments: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bulk(&mut bytes, argument.as_ref());
    }
    bytes
}

pub fn bulk(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub fn bulk_of(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 16);
    bulk(&mut bytes, value);
    bytes
}

/// Values have no more bytes: more than what is large to the proxy.
pub const LONGEST: usize = 1_100_000;

/// The text, made so long, if it is not longer.
pub fn padded(text: &str, length: usize) -> Vec<u8> {
    static PADDING: [u8; LONGEST] = [b'.'; LONGEST];
    let mut value = Vec::with_capacity(length.max(text.len()));
    value.extend_from_slice(text.as_bytes());
    value.extend_from_slice(&PADDING[..length.saturating_sub(text.len())]);
    value
}
