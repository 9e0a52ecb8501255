//! A framed request: bytes as they came, and where its arguments lie.

use crate::dialect::resp::request::{decimal, Span};

#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The whole request as a RESP array.
    pub bytes: &'a [u8],
    pub spans: &'a [Span],
}

impl<'a> Request<'a> {
    /// How many arguments, the command's name included.
    #[inline]
    pub const fn len(&self) -> usize {
        self.spans.len()
    }

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    #[inline]
    pub fn argument(&self, index: usize) -> &'a [u8] {
        self.spans.get(index).map_or(&[], |span| span.of(self.bytes))
    }

    pub fn arguments(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.spans.iter().map(|span| span.of(self.bytes))
    }
}

/// The arguments of a whole request, found without a parser; none behind what is no bulk string.
pub fn arguments_of(request: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest =
        request.get(memchr::memchr(b'\n', request).map_or(request.len(), |end| end + 1)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let line = rest.strip_prefix(b"$")?;
        let end = memchr::memchr(b'\n', line)?;
        let length = usize::try_from(decimal(line[..end].strip_suffix(b"\r")?)?).ok()?;
        let behind = &line[end + 1..];
        let argument = behind.get(..length)?;
        rest = behind.get(length + 2..)?;
        Some(argument)
    })
}

#[cfg(test)]
mod tests {
    use super::arguments_of;

    #[test]
    fn arguments_are_found_whatever_is_in_them() {
        let words = |request: &'static [u8]| arguments_of(request).collect::<Vec<_>>();
        assert_eq!(words(b"*3\r\n$3\r\nSET\r\n$3\r\n\r\n$\r\n$0\r\n\r\n"), [&b"SET"[..], b"\r\n$", b""]);
        for broken in [&b""[..], b"*1", b"*1\r\n", b"*1\r\n$3\r\nGE", b"*1\r\n$x\r\nGET\r\n", b"*1\r\n:1\r\n"] {
            assert!(words(broken).is_empty(), "{broken:?}");
        }
    }
}
