//! What nodes have executed: no write twice.

use std::collections::{HashMap, HashSet};

use super::token;

#[derive(Default)]
pub struct Ledger {
    executed: HashSet<Vec<u8>>,
    messages: u64,
    /// Keys of lists that have an element.
    pub there: HashSet<Vec<u8>>,
    /// Who asks, by token.
    askers: HashMap<u64, u64>,
    /// Of each client and hash tag the last write that was executed.
    last: HashMap<(u64, Vec<u8>), u64>,
}

impl Ledger {
    /// Writes so far may be executed after later ones.
    pub fn forget_order(&mut self) {
        self.askers.clear();
    }

    pub fn asks(&mut self, token: u64, client: u64) {
        self.askers.insert(token, client);
    }

    /// A node has executed, or may have, the write that is known by this key of its own. `is_late`: it does so when the
    /// proxy has given up the connection that the write came on.
    pub fn execute(&mut self, key: &[u8], is_late: bool) {
        let (token, tag) = (token::first(key), key.split(|&byte| byte == b'}').next());
        if let (Some(token), Some(tag), false) = (token, tag.filter(|tag| tag.starts_with(b"{")), is_late) {
            if let Some(&client) = self.askers.get(&token) {
                let last = self.last.entry((client, tag.to_vec())).or_insert(0);
                assert!(*last < token, "client {client}: write {token} was executed after {last}");
                *last = token;
            }
        }
        let is_new = self.executed.insert(key.to_vec());
        assert!(is_new, "a write was sent again though a node may have executed it: {}", String::from_utf8_lossy(key));
    }

    /// The number of the next message, which no other has.
    pub fn next_message(&mut self) -> u64 {
        self.messages += 1;
        self.messages
    }
}
