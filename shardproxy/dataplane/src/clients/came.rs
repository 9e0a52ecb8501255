//! A request that was not taken when it came.

use crate::exchange::Head;

/// When a client's next request came, that has to wait before it is taken.
#[derive(Debug)]
pub struct Came {
    /// Microseconds on the worker's clock, as if that did not wrap.
    pub at: u64,
    /// The place among the client's replies that it would have.
    pub sequence: u32,
    /// It waits for its shard, or for the end of a pause; not for those before it, or for room.
    pub is_parked: bool,
    /// Of what it says, where that is known.
    pub request: Head,
    /// The error that it was answered by when it was taken.
    pub refusal: Option<Box<[u8]>>,
}

impl Came {
    /// One that is sent again: it came when it came first.
    pub fn again(at: u64, sequence: u32) -> Self {
        Self { at, sequence, is_parked: true, request: Head::default(), refusal: None }
    }
}
