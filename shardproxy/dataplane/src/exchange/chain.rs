//! What comes before the last run of a window: nothing, but for a while after a large request or a deep queue.

use std::collections::VecDeque;
use std::sync::Arc;

use super::run::{Run, LARGE};

/// Runs of requests, the oldest first; no request lies in two.
#[derive(Default)]
pub struct Chain {
    runs: VecDeque<Run>,
    /// Of all runs: bytes without a reply, those of them that were sent, and the memory they take.
    len: usize,
    in_flight: usize,
    held: usize,
    /// Large buffers whose requests all have their replies.
    spent: Vec<Arc<Vec<u8>>>,
}

impl Chain {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub const fn held(&self) -> usize {
        self.held
    }

    pub fn push(&mut self, run: Run) {
        self.len += run.bytes.len() - run.head;
        self.in_flight += run.sent - run.head;
        self.held += run.bytes.capacity();
        self.runs.push_back(run);
    }

    /// What is to be sent next; empty if it comes behind the chain.
    pub fn unsent(&self) -> &[u8] {
        if self.in_flight == self.len {
            return &[];
        }
        let run = self.runs.iter().find(|run| run.sent < run.bytes.len());
        run.map_or(&[], |run| &run.bytes[run.sent..])
    }

    /// `n` more bytes have left; how many of them come behind the chain.
    pub fn mark_sent(&mut self, mut n: usize) -> usize {
        for run in self.runs.iter_mut().skip_while(|run| run.sent == run.bytes.len()) {
            let here = n.min(run.bytes.len() - run.sent);
            run.sent += here;
            self.in_flight += here;
            n -= here;
            if n == 0 {
                break;
            }
        }
        n
    }

    /// The oldest `n` bytes have their reply; how many of them come behind the chain.
    pub fn forget(&mut self, mut n: usize) -> usize {
        while let Some(run) = self.runs.front_mut() {
            let here = n.min(run.sent - run.head);
            run.head += here;
            n -= here;
            self.len -= here;
            self.in_flight -= here;
            if run.head < run.bytes.len() {
                debug_assert_eq!(n, 0);
                return 0;
            }
            self.pop();
            if n == 0 {
                return 0;
            }
        }
        n
    }

    fn pop(&mut self) {
        let Some(run) = self.runs.pop_front() else { return };
        self.held -= run.bytes.capacity();
        if run.bytes.capacity() > LARGE {
            self.spent.push(run.bytes);
        }
        if self.runs.is_empty() {
            self.runs = VecDeque::new();
        }
    }

    /// The oldest bytes.
    pub fn oldest(&self) -> &[u8] {
        self.runs.front().map_or(&[], Run::left)
    }

    /// The oldest run, if the oldest request is in it.
    pub fn first(&self) -> Option<&Run> {
        self.runs.front()
    }

    pub fn take(&mut self) -> VecDeque<Run> {
        (self.len, self.in_flight, self.held) = (0, 0, 0);
        std::mem::take(&mut self.runs)
    }

    #[inline]
    pub fn has_spent(&self) -> bool {
        !self.spent.is_empty()
    }

    pub fn take_spent(&mut self) -> Vec<Arc<Vec<u8>>> {
        std::mem::take(&mut self.spent)
    }
}
