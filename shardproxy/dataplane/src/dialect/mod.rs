//! What is spoken with clients and nodes, sans I/O.

pub mod memcached;
pub mod proxy_protocol;
pub mod resp;
pub mod texts;

use crate::model::EngineKind;

/// How a client that speaks TLS begins: a record of a handshake. No request begins so.
pub const TLS_HELLO: &[u8] = &[0x16, 3];
/// How a node that speaks TLS answers one who does not: a record that tells of an alarm.
const TLS_ALERT: &[u8] = &[0x15, 3];

/// How far a reply is framed.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Scan {
    /// These bytes belong to the current reply and need not be shown again.
    pub consumed: usize,
    /// They are its last.
    pub complete: bool,
}

/// Finds the end of a node's replies.
#[derive(Clone, Copy, Debug)]
pub enum Framer {
    Resp(resp::reply::ReplyFramer),
    Memcached(memcached::reply::ReplyFramer),
}

impl Framer {
    pub fn of(engine: EngineKind) -> Self {
        match engine {
            EngineKind::Redis => Self::Resp(resp::reply::ReplyFramer::new()),
            EngineKind::Memcached => Self::Memcached(memcached::reply::ReplyFramer::default()),
        }
    }

    /// Look at more bytes of a reply; what a node did wrong if that is none.
    #[inline]
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Scan, String> {
        let invalid = |error: &dyn std::fmt::Display| invalid(bytes, error);
        match self {
            Self::Resp(framer) => framer.scan(bytes).map_err(|e| invalid(&e)),
            Self::Memcached(framer) => framer.scan(bytes).map_err(|e| invalid(&e)),
        }
    }

    /// Whether what begins with this byte is no reply, but stands beside them: an attribute, or a push nobody asked for.
    #[inline]
    pub const fn is_aside(&self, first: u8) -> bool {
        matches!(first, b'|' | b'>') && matches!(self, Self::Resp(framer) if framer.is_idle())
    }

    /// Look at more bytes of such.
    pub fn scan_aside(&mut self, bytes: &[u8]) -> Result<Scan, String> {
        match self {
            Self::Resp(framer) => framer.scan_aside(bytes).map_err(|e| invalid(bytes, &e)),
            Self::Memcached(_) => self.scan(bytes),
        }
    }
}

#[cold]
fn invalid(bytes: &[u8], error: &dyn std::fmt::Display) -> String {
    if bytes.starts_with(TLS_ALERT) {
        return "the node speaks TLS (node_tls)".into();
    }
    format!("the node sent no valid reply: {error}")
}
