//! Until when what is known of a cluster's primaries counts: past that others may have made another one primary without us.
//!
//! A process that was frozen finds out by itself: whoever reads a primary's reply looks at the clock *behind* the read.
//! What was read before the deadline is of the time before it; what is read later acknowledges nothing.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::net::boot_time;
use crate::sync::lock;

const FOR_EVER: u64 = u64::MAX;

/// That of one cluster, in nanoseconds of the boot clock.
pub struct Lease(AtomicU64);

impl Default for Lease {
    fn default() -> Self {
        Self(AtomicU64::new(FOR_EVER))
    }
}

impl Lease {
    /// What is known counts until then; without a deadline for ever. Whether it counted no more.
    pub fn set(&self, until: Option<u64>) -> bool {
        self.0.swap(until.unwrap_or(FOR_EVER), SeqCst) <= boot_time()
    }

    /// Whether it counts no more. The clock is read only where there is a deadline.
    #[inline]
    pub fn is_over(&self) -> bool {
        let until = self.0.load(SeqCst);
        until != FOR_EVER && boot_time() >= until
    }
}

/// Of all clusters, by their numbers.
#[derive(Default)]
pub struct Leases(Mutex<Vec<Arc<Lease>>>);

impl Leases {
    /// That of a cluster, the same in all epochs.
    pub fn of(&self, cluster: usize) -> Arc<Lease> {
        let mut all = lock(&self.0);
        while all.len() <= cluster {
            all.push(Arc::default());
        }
        all[cluster].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_from_its_deadline_on() {
        let leases = Leases::default();
        let lease = leases.of(2);
        assert!(!lease.is_over() && !lease.set(Some(boot_time() + 60_000_000_000)) && !lease.is_over());
        assert!(!lease.set(Some(boot_time())) && lease.is_over() && leases.of(2).is_over());
        assert!(!leases.of(0).is_over() && !leases.of(3).is_over());
        assert!(lease.set(None) && !lease.is_over());
    }
}
