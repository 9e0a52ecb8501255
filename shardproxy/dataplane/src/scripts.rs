//! Scripts that clients have loaded: where a node may lack one, SCRIPT LOAD leaves before the EVALSHA that calls it. So a
//! script outlives restarts, promotions and reshards, in MULTI too, and its client's commands keep their order.
//!
//! ```text
//!   to a new connection     EVALSHA a …  GET k  EVALSHA a …
//!   what leaves on it       SCRIPT LOAD <a>  EVALSHA a …  GET k  EVALSHA a …      the first reply is dropped
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use crate::protocol::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::protocol::resp::write;
use crate::request::Request;
use crate::upstream::Pending;
use crate::worker::Core;

/// Bytes of scripts; applications have some dozens of a few KiB.
const CAPACITY: usize = 32 << 20;
/// Digests one connection remembers: more than any application has, however many it makes up.
const REMEMBERED: usize = 10_000;

/// A script's SHA1 as EVALSHA has it: hex, in lower case.
pub type Digest = [u8; 40];

/// Scripts of all clusters. A worker asks once per connection and digest.
#[derive(Default)]
pub struct Scripts(RwLock<Known>);

#[derive(Default)]
struct Known {
    bodies: HashMap<(usize, Digest), Arc<[u8]>>,
    /// The oldest first.
    order: VecDeque<(usize, Digest)>,
    bytes: usize,
}

impl Scripts {
    /// Remember what the cluster's nodes were given; the oldest are forgotten when there are too many bytes.
    pub fn keep(&self, cluster: usize, digest: Digest, body: &[u8]) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.bodies.insert((cluster, digest), body.into()).is_some() {
            return;
        }
        known.order.push_back((cluster, digest));
        known.bytes += body.len();
        while known.bytes > CAPACITY {
            let Some(oldest) = known.order.pop_front() else { return };
            known.bytes -= known.bodies.remove(&oldest).map_or(0, |body| body.len());
        }
    }

    /// As SCRIPT FLUSH does.
    pub fn forget(&self, cluster: usize) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.bodies.retain(|(of, _), _| *of != cluster);
        known.order.retain(|(of, _)| *of != cluster);
        known.bytes = known.bodies.values().map(|body| body.len()).sum();
    }

    fn get(&self, cluster: usize, digest: Digest) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).bodies.get(&(cluster, digest)).cloned()
    }
}

pub fn digest_of(word: &[u8]) -> Option<Digest> {
    let mut digest: Digest = word.try_into().ok()?;
    digest.make_ascii_lowercase();
    Some(digest)
}

/// A script is about to be called on this connection: have it loaded if that was not seen to there.
#[cold]
pub fn precede(core: &mut Core, upstream: usize, word: &[u8]) {
    let Some(digest) = digest_of(word) else { return };
    let link = &mut core.upstreams[upstream];
    if link.scripts.len() >= REMEMBERED {
        link.scripts.clear();
    }
    if !link.scripts.insert(digest) {
        return;
    }
    let Some(body) = core.shared.scripts.get(link.cluster, digest) else { return };
    let sink = link.window.sink();
    let start = sink.len();
    write::command(sink, &[b"SCRIPT", b"LOAD", &body]);
    let length = sink.len() - start;
    // no replica need have it before a write counts: it changes no data
    link.pending.push_back(Pending { is_read: true, ..Pending::nobody(length, core.micros) });
}

/// The same for all scripts that these requests call.
#[cold]
pub fn precede_all(core: &mut Core, upstream: usize, requests: &[u8]) {
    let mut parser = RequestParser::new();
    let limits = RequestLimits { max_request: usize::MAX, max_arguments: usize::MAX >> 1, authenticated: true };
    let mut rest = requests;
    while let Ok(Parsed::Request { consumed }) = parser.parse(rest, &limits) {
        let request = Request { bytes: &rest[..consumed], spans: parser.spans() };
        let name = request.argument(0);
        if name.eq_ignore_ascii_case(b"EVALSHA") || name.eq_ignore_ascii_case(b"EVALSHA_RO") {
            precede(core, upstream, request.argument(1));
        }
        rest = &rest[consumed..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_bounded_and_the_oldest_go_first() {
        let scripts = Scripts::default();
        let body = vec![b'x'; CAPACITY / 2];
        for byte in *b"abc" {
            scripts.keep(0, [byte; 40], &body);
            scripts.keep(0, [byte; 40], &body);
        }
        assert!(scripts.get(0, [b'a'; 40]).is_none());
        assert!(scripts.get(0, [b'b'; 40]).is_some() && scripts.get(0, [b'c'; 40]).is_some());
        scripts.forget(1);
        assert!(scripts.get(1, [b'c'; 40]).is_none() && scripts.get(0, [b'c'; 40]).is_some());
        scripts.forget(0);
        assert!(scripts.get(0, [b'c'; 40]).is_none());
    }

    #[test]
    fn a_digest_has_any_case_and_forty_digits() {
        assert_eq!(digest_of(&[b'A'; 40]), Some([b'a'; 40]));
        assert_eq!(digest_of(&[b'a'; 39]), None);
    }
}
