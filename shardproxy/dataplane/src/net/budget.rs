//! How many connections of one kind the whole process may have, and which errors say that it may open no more of any.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use super::EventFd;

/// Connections that all workers together may have.
#[derive(Default)]
pub struct Budget {
    /// 0 = no limit.
    most: AtomicUsize,
    taken: AtomicUsize,
}

impl Budget {
    pub fn limit(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// Those there are.
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }

    /// How many more there may be.
    pub fn room(&self) -> usize {
        match self.most.load(Relaxed) {
            0 => usize::MAX,
            most => most.saturating_sub(self.taken()),
        }
    }

    /// Count one more, unless there are as many as may be.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let most = self.most.load(Relaxed);
        let add = |taken| (most == 0 || taken < most).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, add).ok()?;
        Some(Permit(self.clone()))
    }
}

/// For one connection; given back however that ends: in a panic, too.
pub struct Permit(Arc<Budget>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// Whether what failed did for want of a file descriptor: our own lack, and nobody else's fault.
pub fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Whether none can be opened now. Libraries that need one do not always say so.
pub fn is_out_of_descriptors() -> bool {
    EventFd::new().is_err_and(|error| lacks_descriptors(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_than_may_be() {
        let budget: Arc<Budget> = Arc::default();
        let many: Vec<Permit> = (0..9).filter_map(|_| budget.take()).collect();
        assert_eq!((many.len(), budget.taken(), budget.room()), (9, 9, usize::MAX));
        budget.limit(3);
        assert!(budget.take().is_none() && budget.room() == 0, "those that are there stay");
        drop(many);
        let few: Vec<Permit> = (0..9).filter_map(|_| budget.take()).collect();
        assert_eq!((few.len(), budget.room()), (3, 0));
    }
}
