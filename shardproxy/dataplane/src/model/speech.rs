//! What a shared connection to a node is told from others to that node by.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Speech {
    pub resp: u8,
    pub db: u32,
    pub lane: Lane,
}

/// Whose requests a shared connection carries: what waits behind a large value waits until that has passed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum Lane {
    #[default]
    Usual,
    /// Of clients that move large values, one behind the other.
    Large,
    /// Those whose answers a client may have written into: what looks like the next reply must be no other client's.
    Apart,
}
