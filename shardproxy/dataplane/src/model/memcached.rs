//! What only memcached clusters have in the JSON of the control plane.

use std::time::Duration;

use serde::Deserialize;

use super::durations::seconds;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemcachedSpec {
    /// Hash function of keys, where the method has a choice.
    pub hash: Option<String>,
    /// Two characters; the part of a key between them is hashed.
    pub tag: Option<String>,
    pub on_failure: OnFailure,
    /// How many of the shards, the last ones, are the gutter.
    pub gutter: usize,
    pub discovery: Discovery,
}

/// What happens to the keys of a node that is down.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnFailure {
    pub action: Action,
    /// So many failures in a row: connections refused, lost or not opened in time, replies overdue.
    pub failures: u32,
    /// Between probes of a node that is down.
    #[serde(deserialize_with = "seconds")]
    pub retry: Duration,
    /// Seconds that keys in the gutter live at most.
    pub gutter_ttl: u32,
}

impl Default for OnFailure {
    fn default() -> Self {
        Self { action: Action::Miss, failures: 2, retry: Duration::from_secs(1), gutter_ttl: 10 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// They stay where they are: gets miss, writes fail.
    #[default]
    Miss,
    /// The other nodes take them until the node is back.
    Rehash,
    /// Spare nodes take them, for a short time each.
    Gutter,
}

/// What Auto Discovery tells.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    pub version: u64,
    /// Host, IP address and port of each; none: the address the client is connected to.
    pub nodes: Vec<(String, String, u16)>,
}
