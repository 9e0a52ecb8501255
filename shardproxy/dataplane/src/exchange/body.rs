//! The bytes of a request that waits outside of a connection.

use std::ops::Deref;
use std::sync::Arc;

pub enum Body {
    Copied(Vec<u8>),
    /// A large one, alone in its buffer, which others may hold.
    Whole(Arc<Vec<u8>>),
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Whole(bytes) => bytes,
        }
    }
}
