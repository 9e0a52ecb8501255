//! Locks of data that a panic cannot leave half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock whose owner panicked still holds plain numbers and handles: use them.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
