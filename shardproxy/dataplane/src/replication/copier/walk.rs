//! A walk through an engine's keys.

use crate::replication::value::Value;

/// A walk through an engine's keys.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) cursor: Vec<u8>,
    pub(super) is_asked: bool,
    pub(super) is_over: bool,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { cursor: b"0".to_vec(), ..Self::default() }
    }

    /// What a step brought.
    pub(super) fn take<'a>(&mut self, reply: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let value = Value::read(reply)?;
        let parts = value.array()?;
        self.cursor = parts.first()?.text()?.to_vec();
        self.is_asked = false;
        self.is_over = self.cursor == b"0";
        parts.get(1)?.array()?.iter().map(Value::text).collect()
    }
}
