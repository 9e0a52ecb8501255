//! Commands that took long lately, beside those that may by their nature.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// By cluster; ids in their order.
#[derive(Default)]
pub struct SlowCommands(Mutex<HashMap<String, Arc<[u16]>>>);

impl SlowCommands {
    pub fn set(&self, cluster: &str, mut ids: Vec<u16>) {
        ids.sort_unstable();
        lock(&self.0).insert(cluster.to_owned(), ids.into());
    }

    pub fn of(&self, cluster: &str) -> Arc<[u16]> {
        lock(&self.0).get(cluster).cloned().unwrap_or_default()
    }
}
