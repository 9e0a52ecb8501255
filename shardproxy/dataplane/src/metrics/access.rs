//! Who came in, and who was kept out.

use serde_json::{json, Value};

use super::Counter;

#[derive(Default)]
pub struct AccessCounts {
    pub logins: Counter,
    pub logins_refused: Counter,
    /// Commands of clients that had not said who they are.
    pub strangers: Counter,
    pub denied_commands: Counter,
    pub denied_keys: Counter,
    pub denied_channels: Counter,
    pub sessions_ended: Counter,
}

/// The sums over workers.
pub fn collect(parts: &[&AccessCounts]) -> Value {
    let sum = |pick: fn(&AccessCounts) -> &Counter| parts.iter().map(|counts| pick(counts).get()).sum::<u64>();
    json!({
        "logins": sum(|c| &c.logins), "logins_refused": sum(|c| &c.logins_refused),
        "unauthenticated": sum(|c| &c.strangers), "denied_commands": sum(|c| &c.denied_commands),
        "denied_keys": sum(|c| &c.denied_keys), "denied_channels": sum(|c| &c.denied_channels),
        "sessions_ended": sum(|c| &c.sessions_ended),
    })
}
