//! What a node owes its workers that may take seconds, as of their last ticks: while it is silent for that, nobody takes
//! it for dead.

use std::sync::Mutex;

use super::{Counter, Registry};
use crate::sync::lock;

/// A request that may take long, and that its node has not answered. Times are milliseconds on the plane's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    pub command: u16,
    pub since: u64,
    /// Who asked: the CLIENT ID, 0 when it has gone; its address and name.
    pub client: u64,
    pub address: String,
    pub name: Vec<u8>,
}

/// How a node stands with one worker, which alone writes it.
#[derive(Default)]
pub struct Stance {
    /// The oldest that it owes.
    slow: Mutex<Option<Slow>>,
    /// When it last sent anything; 0 = never.
    heard: Counter,
}

impl Stance {
    /// It has sent something. What is told of that is never later than it was: what it was sent since may be why it is
    /// silent now.
    #[inline]
    pub fn hear(&self, now: u64) {
        self.heard.set(now);
    }

    pub fn owes(&self, slow: Option<Slow>) {
        *lock(&self.slow) = slow;
    }
}

/// How a node stands with all workers together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub heard: Option<u64>,
    pub slow: Option<Slow>,
}

impl Registry {
    pub fn standing(&self, cluster: &str, address: &str) -> Standing {
        let mut found = Standing::default();
        for metrics in self.of_node(cluster, address) {
            let stance = &metrics.stance;
            found.heard = found.heard.max(Some(stance.heard.get()).filter(|&heard| heard > 0));
            if let Some(slow) = lock(&stance.slow).as_ref() {
                if found.slow.as_ref().is_none_or(|oldest| slow.since < oldest.since) {
                    found.slow = Some(slow.clone());
                }
            }
        }
        found
    }

    /// Whether a node owes any worker what may take long.
    pub fn owes_slow(&self, cluster: &str, address: &str) -> bool {
        self.of_node(cluster, address).iter().any(|metrics| lock(&metrics.stance.slow).is_some())
    }

    /// Until then no connection to that node is given up for its silence: it is known to be only busy.
    pub fn spare(&self, cluster: &str, address: &str, until: u64) {
        lock(&self.spared).insert((cluster.to_owned(), address.to_owned()), until);
    }

    pub fn is_spared(&self, cluster: &str, address: &str, now: u64) -> bool {
        lock(&self.spared).get(&(cluster.to_owned(), address.to_owned())).is_some_and(|&until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(since: u64) -> Slow {
        Slow { command: 1, since, client: 7, address: "c".into(), name: Vec::new() }
    }

    #[test]
    fn the_oldest_of_all_workers_counts_and_the_latest_sign_of_life() {
        let registry = Registry::default();
        let [first, second] = [0, 1].map(|worker| registry.node("main", "a:1", worker));
        assert_eq!(registry.standing("main", "a:1"), Standing::default());
        first.stance.owes(Some(slow(30)));
        second.stance.owes(Some(slow(20)));
        first.stance.hear(40);
        second.stance.hear(10);
        assert_eq!(registry.standing("main", "a:1"), Standing { heard: Some(40), slow: Some(slow(20)) });
        assert_eq!(registry.standing("main", "b:1"), Standing::default());
        registry.forget_worker(1);
        assert_eq!(registry.standing("main", "a:1").slow, Some(slow(30)));
        first.stance.owes(None);
        assert!(!registry.owes_slow("main", "a:1"));
    }

    #[test]
    fn a_node_is_spared_until_then() {
        let registry = Registry::default();
        registry.spare("main", "a:1", 100);
        assert!(registry.is_spared("main", "a:1", 99));
        assert!(!registry.is_spared("main", "a:1", 100));
        assert!(!registry.is_spared("main", "a:2", 99));
    }
}
