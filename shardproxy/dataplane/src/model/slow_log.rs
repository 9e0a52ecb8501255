//! Which requests are kept as slow.

use std::time::Duration;

use serde::Deserialize;

use super::durations::{seconds, wrapping_micros};

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, from = "Told")]
pub struct SlowLogSpec {
    /// Those that take so many microseconds; none = no request.
    pub from: Option<u32>,
    /// How many each worker keeps.
    pub entries: usize,
    /// With all their arguments, but for secrets.
    pub values: bool,
}

/// As the control plane tells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    #[serde(deserialize_with = "seconds")]
    threshold: Duration,
    entries: usize,
    #[serde(default)]
    values: bool,
}

impl From<Told> for SlowLogSpec {
    fn from(Told { threshold, entries, values }: Told) -> Self {
        Self { from: Some(wrapping_micros(threshold)), entries, values }
    }
}

impl SlowLogSpec {
    /// From so many microseconds on a request is worth a look.
    pub fn looks_from(&self) -> u32 {
        self.from.unwrap_or(u32::MAX)
    }
}
