//! Requests of one connection to a node, as bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chain::Chain;
use super::pool::KEEP;
use super::run::{Run, LARGE};

#[cfg(test)]
mod random;

/// Requests of one upstream connection, kept until their reply is in, so that what was not executed can be sent again.
///
/// ```text
///   | older: a run of requests, a large one, ... | replied (forgotten) | sent, no reply yet | not sent |
///                                                0                   head                 sent     bytes.len()
/// ```
///
/// Usually nothing is older, and all that is to be sent leaves in one write.
#[derive(Default)]
pub struct Window {
    bytes: Vec<u8>,
    head: usize,
    sent: usize,
    older: Chain,
}

impl Window {
    #[inline]
    pub fn len(&self) -> usize {
        self.older.len() + self.bytes.len() - self.head
    }

    /// Bytes of memory it takes.
    pub fn capacity(&self) -> usize {
        self.older.held() + self.bytes.capacity()
    }

    /// What is to be sent, or the first of it.
    #[inline]
    pub fn unsent(&self) -> &[u8] {
        if !self.older.is_empty() {
            let unsent = self.older.unsent();
            if !unsent.is_empty() {
                return unsent;
            }
        }
        &self.bytes[self.sent..]
    }

    #[inline]
    pub fn in_flight(&self) -> usize {
        self.older.in_flight() + self.sent - self.head
    }

    #[inline]
    pub fn sink(&mut self) -> &mut Vec<u8> {
        if self.bytes.len() > KEEP {
            self.make_room();
        }
        &mut self.bytes
    }

    /// What is at the end moves to the front, or starts anew where that would be much.
    fn make_room(&mut self) {
        if self.head * 2 > self.bytes.len() {
            self.compact();
        } else if self.bytes.len() > 2 * LARGE {
            self.close_run();
        }
    }

    #[inline]
    /// As `sink`, without moving anything: positions taken from it stay right.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Add a request that is alone in its buffer.
    pub fn push_whole(&mut self, bytes: Arc<Vec<u8>>) {
        self.push_run(Run { bytes, head: 0, sent: 0 });
    }

    pub fn push_run(&mut self, run: Run) {
        self.close_run();
        self.older.push(run);
    }

    #[cold]
    fn close_run(&mut self) {
        if self.head < self.bytes.len() {
            let bytes = Arc::new(std::mem::take(&mut self.bytes));
            self.older.push(Run { bytes, head: std::mem::take(&mut self.head), sent: std::mem::take(&mut self.sent) });
        }
    }

    #[inline]
    pub fn mark_sent(&mut self, n: usize) {
        let n = if self.older.is_empty() { n } else { self.older.mark_sent(n) };
        self.sent += n;
    }

    /// The oldest `n` bytes have their reply.
    #[inline]
    pub fn forget(&mut self, n: usize) {
        let n = if self.older.is_empty() { n } else { self.older.forget(n) };
        self.head += n;
        debug_assert!(self.head <= self.sent);
        if self.head == self.bytes.len() {
            self.bytes.clear();
            self.head = 0;
            self.sent = 0;
            if self.bytes.capacity() > KEEP * 4 {
                self.bytes = Vec::new();
            }
        }
    }

    /// The oldest `n` bytes, which stay: one request, or some of it.
    #[inline]
    pub fn oldest(&self, n: usize) -> &[u8] {
        if self.older.is_empty() {
            &self.bytes[self.head..self.head + n]
        } else {
            &self.older.oldest()[..n]
        }
    }

    /// The buffer of the oldest request of `n` bytes, if that is alone in it, and large.
    pub fn oldest_whole(&self, n: usize) -> Option<&Arc<Vec<u8>>> {
        self.older.first().and_then(|run| run.whole(self.oldest(n)))
    }

    /// Empty the window; its runs, the oldest first.
    pub fn take(&mut self) -> VecDeque<Run> {
        let mut runs = self.older.take();
        if self.head < self.bytes.len() {
            let bytes = Arc::new(std::mem::take(&mut self.bytes));
            runs.push_back(Run { bytes, head: self.head, sent: self.sent });
        }
        self.bytes = Vec::new();
        (self.head, self.sent) = (0, 0);
        runs
    }

    #[inline]
    pub fn has_spent(&self) -> bool {
        self.older.has_spent()
    }

    /// Large buffers it needs no more.
    pub fn take_spent(&mut self) -> Vec<Arc<Vec<u8>>> {
        self.older.take_spent()
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.head);
        self.sent -= self.head;
        self.head = 0;
        if self.bytes.capacity() > KEEP * 4 && self.bytes.len() * 4 < self.bytes.capacity() {
            self.bytes.shrink_to(self.bytes.len() * 2); // it may never run dry
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(window: &mut Window) -> (Vec<u8>, usize) {
        let runs = window.take();
        let sent = runs.iter().map(|run| run.sent - run.head).sum();
        (runs.iter().map(Run::left).collect::<Vec<_>>().concat(), sent)
    }

    #[test]
    fn a_window_keeps_what_has_no_reply() {
        let mut window = Window::default();
        window.sink().extend_from_slice(b"aabbbcc");
        window.mark_sent(5);
        window.forget(2);
        assert_eq!(window.oldest(3), b"bbb");
        assert_eq!(window.unsent(), b"cc");
        assert_eq!((window.len(), window.in_flight()), (5, 3));
        assert_eq!(taken(&mut window), (b"bbbcc".to_vec(), 3));
        assert_eq!(window.len(), 0);
    }

    #[test]
    fn a_large_request_stays_where_it_is() {
        let mut window = Window::default();
        let whole = Arc::new(vec![b'x'; LARGE + 1]);
        window.sink().extend_from_slice(b"before");
        window.push_whole(whole.clone());
        window.sink().extend_from_slice(b"behind");
        assert_eq!(window.unsent(), b"before");
        window.mark_sent(6);
        assert_eq!(window.unsent().as_ptr(), whole.as_ptr());
        window.mark_sent(LARGE);
        assert_eq!(window.unsent(), b"x");
        window.mark_sent(1);
        assert_eq!(window.unsent(), b"behind");
        window.forget(6);
        assert!(Arc::ptr_eq(window.oldest_whole(LARGE + 1).unwrap(), &whole));
        assert_eq!(window.oldest(LARGE + 1), &whole[..]);
        window.forget(LARGE + 1);
        assert!(Arc::ptr_eq(&window.take_spent()[0], &whole) && !window.has_spent());
        assert_eq!((window.len(), window.in_flight(), window.capacity() < KEEP), (6, 0, true));
        assert_eq!(taken(&mut window), (b"behind".to_vec(), 0));
    }

    #[test]
    fn a_deep_queue_is_moved_in_small_pieces_only() {
        let mut window = Window::default();
        for _ in 0..64 {
            window.sink().extend_from_slice(&vec![b'x'; LARGE / 2]);
        }
        assert_eq!(window.len(), 32 * LARGE);
        while window.len() > 0 {
            assert!(window.bytes.len() <= 3 * LARGE && window.unsent().len() <= 3 * LARGE);
            window.mark_sent(LARGE / 2);
            window.forget(LARGE / 2);
        }
        assert!(window.capacity() <= KEEP * 4);
    }

    #[test]
    fn a_window_that_never_runs_dry_stays_small() {
        let mut window = Window::default();
        window.sink().extend_from_slice(&vec![b'x'; 8 << 20]);
        window.mark_sent(8 << 20);
        for _ in 0..100 {
            window.sink().extend_from_slice(&[b'y'; 1000]);
            window.mark_sent(1000);
            window.forget((8 << 20) / 100);
        }
        window.forget((8 << 20) % 100);
        assert!(window.capacity() <= 1 << 20 && window.len() == 100_000, "{} of {}", window.len(), window.capacity());
    }
}
