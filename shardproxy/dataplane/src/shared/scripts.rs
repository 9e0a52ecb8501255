//! Scripts that clients have loaded, or have run by EVAL: where a node may lack one, SCRIPT LOAD leaves before the EVALSHA
//! that calls it. So a script outlives restarts, promotions and reshards, in MULTI too, and its client's commands keep
//! their order.
//!
//! ```text
//!   to a new connection     EVALSHA a …  GET k  EVALSHA a …
//!   what leaves on it       SCRIPT LOAD <a>  EVALSHA a …  GET k  EVALSHA a …      the first reply is dropped
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::{digest_of_body, Digest};

/// Bytes of scripts that were loaded; applications have some dozens of a few KiB.
const LOADED: usize = 32 << 20;
/// Bytes of scripts that were only run: applications that make them up have ever new ones.
const RUN: usize = 4 << 20;
/// Digests one connection remembers: more than any application has, however many it makes up.
pub const REMEMBERED: usize = 10_000;

/// Scripts of all clusters. A worker asks once per connection and digest.
#[derive(Default)]
pub struct Scripts {
    known: RwLock<Known>,
    /// Changes when something was forgotten.
    forgotten: AtomicU64,
}

#[derive(Default)]
struct Known {
    loaded: Shelf,
    run: Shelf,
}

/// The newest scripts, up to some bytes.
#[derive(Default)]
struct Shelf {
    bodies: HashMap<(usize, Digest), Arc<[u8]>>,
    /// The oldest first.
    order: VecDeque<(usize, Digest)>,
    bytes: usize,
}

impl Scripts {
    /// Remember what the cluster's nodes were given; the oldest are forgotten when there are too many bytes.
    pub fn keep(&self, cluster: usize, digest: Digest, body: &[u8]) {
        self.write().loaded.put(cluster, digest, body, LOADED);
    }

    /// Remember what is run by EVAL, which leaves it at the node.
    pub fn keep_run(&self, cluster: usize, body: &[u8]) {
        let digest = digest_of_body(body);
        if self.get(cluster, digest).is_none() && self.write().run.put(cluster, digest, body, RUN) {
            self.forgotten.fetch_add(1, Relaxed);
        }
    }

    /// As SCRIPT FLUSH does.
    pub fn forget(&self, cluster: usize) {
        let mut known = self.write();
        known.loaded.forget(cluster);
        known.run.forget(cluster);
        self.forgotten.fetch_add(1, Relaxed);
    }

    pub fn get(&self, cluster: usize, digest: Digest) -> Option<Arc<[u8]>> {
        let known = self.read();
        let key = (cluster, digest);
        known.loaded.bodies.get(&key).or_else(|| known.run.bodies.get(&key)).cloned()
    }

    /// How often something was forgotten: what was known before may not be known now.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Whether another one had to go for it.
    fn put(&mut self, cluster: usize, digest: Digest, body: &[u8], most: usize) -> bool {
        if body.len() > most || self.bodies.insert((cluster, digest), body.into()).is_some() {
            return false;
        }
        self.order.push_back((cluster, digest));
        self.bytes += body.len();
        let is_full = self.bytes > most;
        while self.bytes > most {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.bodies.remove(&oldest).map_or(0, |body| body.len());
        }
        is_full
    }

    fn forget(&mut self, cluster: usize) {
        self.bodies.retain(|(of, _), _| *of != cluster);
        self.order.retain(|(of, _)| *of != cluster);
        self.bytes = self.bodies.values().map(|body| body.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_bounded_and_the_oldest_go_first() {
        let scripts = Scripts::default();
        let body = vec![b'x'; LOADED / 2];
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
    fn scripts_that_are_only_run_take_no_room_from_those_that_are_loaded() {
        let scripts = Scripts::default();
        scripts.keep(0, [b'a'; 40], b"loaded");
        let bodies: Vec<Vec<u8>> = (0..3).map(|byte| vec![byte; RUN / 2]).collect();
        let before = scripts.forgotten();
        for body in &bodies {
            scripts.keep_run(0, body);
        }
        assert_ne!(scripts.forgotten(), before, "who knew the first one is told");
        let found = bodies.iter().map(|body| scripts.get(0, digest_of_body(body)).is_some());
        assert_eq!(found.collect::<Vec<_>>(), [false, true, true]);
        scripts.keep_run(0, &vec![0; RUN + 1]);
        assert_eq!(scripts.get(0, [b'a'; 40]).as_deref(), Some(&b"loaded"[..]));
    }
}
