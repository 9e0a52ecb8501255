//! Which scripts a worker has seen run: what is run again and again is looked up without a lock.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::shared::{Scripts, REMEMBERED};

#[derive(Default)]
pub struct RunScripts {
    /// Of cluster and body.
    seen: HashSet<u64>,
    hasher: RandomState,
    /// As of when they are known.
    forgotten: u64,
}

impl RunScripts {
    /// EVAL is on its way with this body: let all workers know it, unless that was seen to.
    pub fn see(&mut self, scripts: &Scripts, cluster: usize, body: &[u8]) {
        let forgotten = scripts.forgotten();
        if forgotten != self.forgotten || self.seen.len() >= REMEMBERED {
            self.seen.clear();
            self.forgotten = forgotten;
        }
        if self.seen.insert(self.hasher.hash_one((cluster, body))) {
            scripts.keep_run(cluster, body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest_of_body;

    #[test]
    fn a_script_is_known_again_when_it_is_run_after_a_flush() {
        let (scripts, mut run) = (Scripts::default(), RunScripts::default());
        let is_known = || scripts.get(1, digest_of_body(b"return 1")).is_some();
        for _ in 0..2 {
            run.see(&scripts, 1, b"return 1");
            run.see(&scripts, 1, b"return 1");
            assert!(is_known());
            scripts.forget(1);
            assert!(!is_known());
        }
    }
}
