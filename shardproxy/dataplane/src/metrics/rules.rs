//! What became of requests that caching rules are about, by what the rules match.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{json, Map, Value};

use super::{ClusterMetrics, Counter};
use crate::sync::lock;

/// Of one worker.
#[derive(Default)]
pub struct RuleMetrics {
    /// Reads the engine had something for, and those handed over as it had not.
    pub hits: Counter,
    pub misses: Counter,
    /// Writes handed over unsent.
    pub writes: Counter,
    /// Leases deleted before other writes.
    pub cancelled: Counter,
    /// What could not be handed over: too much was already.
    pub unhanded: Counter,
}

/// The rules there are and were. They stay when a rule goes, so that counters never go backwards.
#[derive(Default)]
pub struct ByRule(Mutex<BTreeMap<Box<str>, Arc<RuleMetrics>>>);

impl ByRule {
    pub fn of(&self, rule: &str) -> Arc<RuleMetrics> {
        lock(&self.0).entry(rule.into()).or_default().clone()
    }
}

pub(super) fn collect(parts: &[Arc<ClusterMetrics>]) -> Value {
    let mut sums: BTreeMap<Box<str>, [u64; 5]> = BTreeMap::new();
    for part in parts {
        for (rule, metrics) in lock(&part.rules.0).iter() {
            let RuleMetrics { hits, misses, writes, cancelled, unhanded } = &**metrics;
            let sum = sums.entry(rule.clone()).or_default();
            for (sum, counter) in sum.iter_mut().zip([hits, misses, writes, cancelled, unhanded]) {
                *sum += counter.get();
            }
        }
    }
    let told = sums.into_iter().map(|(rule, [hits, misses, writes, cancelled, unhanded])| {
        let counts = json!({
            "hits": hits, "misses": misses, "writes": writes, "cancelled": cancelled, "unhanded": unhanded,
        });
        (rule.into(), counts)
    });
    Value::Object(told.collect::<Map<_, _>>())
}
