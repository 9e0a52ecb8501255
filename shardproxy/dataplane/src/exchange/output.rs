//! Bytes on their way out of one socket.

use super::pool::{BufferPool, KEEP};

#[cfg(test)]
mod random;

/// Bytes on their way out of one socket.
#[derive(Default)]
pub struct Output {
    pub bytes: Vec<u8>,
    written: usize,
}

impl Output {
    #[inline]
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `n` more bytes left through the socket.
    #[inline]
    pub fn advance(&mut self, n: usize, pool: &mut BufferPool) {
        self.written += n;
        if self.written == self.bytes.len() {
            self.written = 0;
            pool.take_back(&mut self.bytes);
        } else if self.written > KEEP && self.written * 2 > self.bytes.len() {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.written = 0;
        pool.take_back(&mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_remembers_how_far_it_got() {
        let mut pool = BufferPool::default();
        let mut output = Output::default();
        pool.lend(&mut output.bytes);
        output.bytes.extend_from_slice(b"hello");
        output.advance(2, &mut pool);
        assert_eq!(output.unwritten(), b"llo");
        output.advance(3, &mut pool);
        assert!(output.is_empty());
        assert_eq!(output.bytes.capacity(), 0);
        assert!(pool.bytes() > 0);
    }
}
