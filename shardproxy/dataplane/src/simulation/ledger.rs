//! What nodes have executed: no write twice.

use std::collections::HashSet;

#[derive(Default)]
pub struct Ledger {
    executed: HashSet<Vec<u8>>,
    messages: u64,
}

impl Ledger {
    /// A node has executed, or may have, the write that is known by this key of its own.
    pub fn execute(&mut self, key: &[u8]) {
        let is_new = self.executed.insert(key.to_vec());
        assert!(is_new, "a write was sent again though a node may have executed it: {}", String::from_utf8_lossy(key));
    }

    /// The number of the next message, which no other has.
    pub fn next_message(&mut self) -> u64 {
        self.messages += 1;
        self.messages
    }
}
