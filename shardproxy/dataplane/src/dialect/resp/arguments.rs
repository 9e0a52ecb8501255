//! A framed request: bytes as they came, and where its arguments lie.

use crate::dialect::resp::request::Span;

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
