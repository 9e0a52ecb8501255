//! What is remembered of keys that are asked for often, and of large ones.

use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotSpec {
    /// One of so many requests is looked at; 0 = none.
    pub sample: u32,
    /// So many keys are told.
    pub keys: usize,
}

impl Default for HotSpec {
    fn default() -> Self {
        Self { sample: 16, keys: 100 }
    }
}
