//! When writes to a shard are acknowledged.

/// When writes to a shard are acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// So many replicas must have them.
    pub wanted: u32,
    /// The addresses of those that may vouch for them; without it whoever is attached.
    pub voters: Option<&'a [String]>,
    /// So long they have, microseconds.
    pub timeout: u32,
    /// The script that its primary has to have, and the one that it must not have, by their SHA1: only then its slots are
    /// still as known here.
    pub seal: Option<&'a [String; 2]>,
}

/// Writes are acknowledged as they come.
pub const NONE: Terms = Terms { wanted: 0, voters: None, timeout: 0, seal: None };
