//! Clients that wait, and what is asked for them.

use std::time::Instant;

use crate::shared::{Entrant, Told};

/// A client that waits.
pub struct Waiter {
    pub entrant: Entrant,
    /// When it came, among all others.
    pub(super) ticket: u64,
    /// The lines it stands in, one for each key.
    pub lines: Box<[u32]>,
    /// What is asked for it now.
    pub attempt: Option<u32>,
    /// It was to be asked for while it was already.
    pub is_missed: bool,
    /// It was asked for, and there was nothing.
    pub is_settled: bool,
    /// Its wait is over as soon as what is asked for it now brings nothing.
    pub ending: Option<Ending>,
}

impl Waiter {
    pub fn new(entrant: Entrant, ticket: u64) -> Self {
        Self {
            entrant,
            ticket,
            lines: Box::default(),
            attempt: None,
            is_missed: false,
            is_settled: false,
            ending: None,
        }
    }

    /// Whether it may be asked for out of its turn: what it gets is taken from nobody.
    pub fn is_in_no_order(&self) -> bool {
        self.entrant.form.is_some_and(|form| !form.kind.is_taken())
    }

    /// It goes on at an engine, on a connection of its own.
    pub fn elsewhere(&self) -> Told {
        let Entrant { request, number, ends, .. } = &self.entrant;
        Told::Elsewhere { request: request.clone(), number: *number, ends: *ends }
    }
}

/// Why a wait ends though nothing came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    Timeout,
    Unblocked,
}

/// What is asked of a node for some clients, in one transaction.
pub struct Attempt {
    /// For whom, and which of its replies is theirs.
    pub asked: Vec<(u32, u16)>,
    /// The line they stand in; none when one is asked for with all its keys, for the first time.
    pub line: Option<u32>,
    /// So many last entries of streams are asked for besides.
    pub lasts: usize,
    pub(super) tag: u32,
}

/// What came of it.
pub enum Outcome {
    Reply(Vec<u8>),
    Failure(Vec<u8>),
    Cut,
}

/// The connection that tells of changes to a shard's keys.
pub struct Watcher {
    /// None while the shard has no primary.
    pub link: Option<usize>,
    /// The primary's address.
    pub label: String,
    /// Since when it hears nothing.
    pub deaf_since: Option<Instant>,
    /// Its node does not tell: when it was last asked to.
    pub refused: Option<Instant>,
}
