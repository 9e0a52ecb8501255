//! Times by family of keys, of the requests that were looked at; each counts for as many as it stands for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};

use super::histogram::Sum;
use super::{ClusterMetrics, Histogram};
use crate::sync::lock;

/// What families that are none of these are called together.
const OTHER: &str = "other";

/// Of one worker. They stay when a family is asked for no more, so that counters never go backwards.
#[derive(Default)]
pub struct ByFamily(Mutex<BTreeMap<Box<str>, Arc<Histogram>>>);

impl ByFamily {
    pub fn of(&self, family: &str) -> Arc<Histogram> {
        lock(&self.0).entry(family.into()).or_default().clone()
    }

    pub fn find(&self, family: &str) -> Option<Arc<Histogram>> {
        lock(&self.0).get(family).cloned()
    }
}

pub(super) fn collect(parts: &[Arc<ClusterMetrics>]) -> Value {
    let mut found: BTreeMap<Box<str>, Vec<Arc<Histogram>>> = BTreeMap::new();
    for part in parts {
        for (family, times) in lock(&part.families.0).iter() {
            found.entry(family.clone()).or_default().push(times.clone());
        }
    }
    let told = found.into_iter().map(|(family, times)| (family.into(), Sum::of(times.iter().map(|one| &**one)).told()));
    let mut told: Map<String, Value> = told.collect();
    let other = Sum::of(parts.iter().map(|part| &part.other_families));
    if told.is_empty() && other.is_empty() {
        return Value::Object(told);
    }
    told.insert(OTHER.to_owned(), other.told());
    Value::Object(told)
}
