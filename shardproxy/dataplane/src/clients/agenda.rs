//! Who is to be looked at later.

use std::collections::VecDeque;

/// Clients to be looked at later in this turn, each once.
#[derive(Default)]
pub struct Agenda(VecDeque<usize>);

impl Agenda {
    #[inline]
    pub fn push(&mut self, index: usize) {
        self.0.push_back(index);
    }

    #[inline]
    pub fn pop(&mut self) -> Option<usize> {
        self.0.pop_front()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
