//! What is wrong with a request, in Redis' words (networking.c). After any of these the connection is closed.

use super::write;

const PROTOCOL: &[u8] = b"ERR Protocol error: ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    TooBigInline,
    UnbalancedQuotes,
    TooBigCount,
    InvalidCount,
    UnauthenticatedCount,
    TooBigLength,
    InvalidLength,
    /// The cluster's nodes would close the connection over so long an argument: they take this.
    BeyondNodes(usize),
    UnauthenticatedLength,
    /// Another byte where an argument should begin.
    ExpectedBulk(u8),
    /// Larger than `RequestLimits::max_request`.
    TooLarge,
    /// `POST` or `Host:` as a command: a browser was made to speak to us. It gets no reply.
    HttpAttack,
    /// A client that speaks TLS where it is not spoken.
    Tls,
}

impl RequestError {
    /// Append the reply, if there is one.
    pub fn write(self, out: &mut Vec<u8>) {
        if let Some(text) = self.text() {
            write::error_of(out, &[PROTOCOL, text]);
        } else if let Self::BeyondNodes(most) = self {
            let limit = most.to_string();
            let limits: &[u8] = b" bytes (proto-max-bulk-len, client-query-buffer-limit)";
            write::error_of(out, &[PROTOCOL, b"invalid bulk length: the nodes take ", limit.as_bytes(), limits]);
        } else if let Self::ExpectedBulk(byte) = self {
            write::error_of(out, &[PROTOCOL, b"expected '$', got '", &[byte], b"'"]);
        }
    }

    const fn text(self) -> Option<&'static [u8]> {
        Some(match self {
            Self::TooBigInline => b"too big inline request",
            Self::UnbalancedQuotes => b"unbalanced quotes in request",
            Self::TooBigCount => b"too big mbulk count string",
            Self::InvalidCount => b"invalid multibulk length",
            Self::UnauthenticatedCount => b"unauthenticated multibulk length",
            Self::TooBigLength => b"too big bulk count string",
            Self::InvalidLength => b"invalid bulk length",
            Self::UnauthenticatedLength => b"unauthenticated bulk length",
            Self::Tls => b"this endpoint does not speak TLS",
            Self::TooLarge => b"request larger than limits.request",
            Self::ExpectedBulk(_) | Self::BeyondNodes(_) | Self::HttpAttack => return None,
        })
    }
}
