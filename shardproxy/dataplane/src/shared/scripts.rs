//! Scripts that clients have loaded: where a node may lack one, SCRIPT LOAD leaves before the EVALSHA that calls it. So a
//! script outlives restarts, promotions and reshards, in MULTI too, and its client's commands keep their order.
//!
//! ```text
//!   to a new connection     EVALSHA a …  GET k  EVALSHA a …
//!   what leaves on it       SCRIPT LOAD <a>  EVALSHA a …  GET k  EVALSHA a …      the first reply is dropped
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::Digest;

/// Bytes of scripts; applications have some dozens of a few KiB.
const CAPACITY: usize = 32 << 20;
/// Digests one connection remembers: more than any application has, however many it makes up.
pub const REMEMBERED: usize = 10_000;

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

    pub fn get(&self, cluster: usize, digest: Digest) -> Option<Arc<[u8]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).bodies.get(&(cluster, digest)).cloned()
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
}
