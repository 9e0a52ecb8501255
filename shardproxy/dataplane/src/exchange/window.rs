//! Requests of one connection to a node, as bytes.

use super::pool::KEEP;

#[cfg(test)]
mod random;

/// Requests of one upstream connection, kept until their reply is in, so that what was not executed can be sent again.
///
/// ```text
///   | replied (forgotten) | sent, no reply yet | not sent |
///   0                   head                 sent     bytes.len()
/// ```
#[derive(Default)]
pub struct Window {
    bytes: Vec<u8>,
    head: usize,
    sent: usize,
}

impl Window {
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    #[inline]
    pub fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    #[inline]
    pub fn in_flight(&self) -> usize {
        self.sent - self.head
    }

    #[inline]
    pub fn sink(&mut self) -> &mut Vec<u8> {
        if self.head > KEEP && self.head * 2 > self.bytes.len() {
            self.compact();
        }
        &mut self.bytes
    }

    #[inline]
    /// As `sink`, without moving anything: positions taken from it stay right.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    #[inline]
    pub fn mark_sent(&mut self, n: usize) {
        self.sent += n;
    }

    /// The oldest `n` bytes have their reply.
    #[inline]
    pub fn forget(&mut self, n: usize) {
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

    /// The oldest `n` bytes, which stay.
    pub fn oldest(&self, n: usize) -> &[u8] {
        &self.bytes[self.head..self.head + n]
    }

    /// Empty the window; return its bytes, oldest first, and how many of them were sent.
    pub fn take(&mut self) -> (Vec<u8>, usize) {
        self.compact();
        let taken = std::mem::take(self);
        (taken.bytes, taken.sent)
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

    #[test]
    fn a_window_keeps_what_has_no_reply() {
        let mut window = Window::default();
        window.sink().extend_from_slice(b"aabbbcc");
        window.mark_sent(5);
        window.forget(2);
        assert_eq!(window.oldest(3), b"bbb");
        assert_eq!(window.unsent(), b"cc");
        assert_eq!((window.len(), window.in_flight()), (5, 3));
        let (bytes, sent) = window.take();
        assert_eq!((bytes.as_slice(), sent), (&b"bbbcc"[..], 3));
        assert_eq!(window.len(), 0);
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
        assert!(window.capacity() <= 1 << 20 && window.len() > 100_000, "{} of {}", window.len(), window.capacity());
    }
}
