//! Empty buffers, and queues that give their room back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::run::LARGE;

use super::Join;
use crate::command::Join as Kind;

/// Buffers larger than this are freed rather than kept.
pub const KEEP: usize = 64 * 1024;
/// Bytes of large buffers that are given back in one turn: it takes 0.25 ms.
const FREED: usize = 4 * 1024 * 1024;
/// How many empty buffers a worker keeps: more than can be dirty in an ordinary turn.
pub const POOLED: usize = 256;

/// Places of a queue that it may keep though it does not need them.
const ROOM: usize = 16;

/// Give back the room of a queue that uses little of it.
pub fn trim<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > ROOM && queue.len() * 4 < queue.capacity() {
        queue.shrink_to(queue.len() * 2);
    }
}

/// How many joins that are done a worker keeps, and of what size.
const JOINS: usize = 64;
const JOIN: usize = 4096;

/// Empty buffers, so that idle clients hold none and busy ones allocate none.
#[derive(Default)]
pub struct BufferPool {
    free: Vec<Vec<u8>>,
    /// Large ones that nobody needs: they shrink turn by turn.
    spent: Vec<Vec<u8>>,
    /// The fewest that were free since the last look: nobody needed those.
    fewest: usize,
    #[allow(clippy::vec_box)] // they stay where they are, in a reply queue as here
    joins: Vec<Box<Join>>,
}

impl BufferPool {
    /// Give `buffer` room if it has none.
    #[inline]
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() == 0 {
            *buffer = self.free.pop().unwrap_or_else(|| Vec::with_capacity(4096));
            self.fewest = self.fewest.min(self.free.len());
        }
    }

    /// Take an empty or finished buffer back.
    #[inline]
    pub fn take_back(&mut self, buffer: &mut Vec<u8>) {
        if buffer.capacity() > LARGE {
            return self.discard(std::mem::take(buffer));
        }
        let mut taken = std::mem::take(buffer);
        if taken.capacity() != 0 && taken.capacity() <= KEEP && self.free.len() < POOLED {
            taken.clear();
            self.free.push(taken);
        }
    }

    /// Give back half of those that nobody needed lately.
    pub fn trim(&mut self) {
        self.free.truncate(self.free.len() - self.fewest.div_ceil(2));
        self.fewest = self.free.len();
    }

    /// A join that begins; one that is done serves again.
    pub fn join(&mut self, kind: Kind, parts: usize, order: &[u16], is_silent: bool) -> Box<Join> {
        match self.joins.pop() {
            Some(mut join) => {
                join.begin(kind, parts, order, is_silent);
                join
            }
            None => Box::new(Join::new(kind, parts, order, is_silent)),
        }
    }

    /// Take a join back that is done.
    pub fn take_join(&mut self, join: Box<Join>) {
        if self.joins.len() < JOINS && join.capacity() <= JOIN {
            self.joins.push(join);
        }
    }

    pub fn bytes(&self) -> usize {
        self.free.iter().chain(&self.spent).map(Vec::capacity).sum::<usize>()
            + self.joins.iter().map(|join| join.capacity()).sum::<usize>()
    }

    /// Bytes of buffers that nobody needs, and that are being freed.
    pub fn spent(&self) -> usize {
        self.spent.iter().map(Vec::capacity).sum()
    }

    /// Free a buffer that nobody needs, a large one piece by piece.
    #[cold]
    pub fn discard(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > LARGE {
            self.spent.push(buffer);
        }
    }

    /// The same of one that others may still hold.
    pub fn discard_shared(&mut self, buffer: Arc<Vec<u8>>) {
        if let Some(buffer) = Arc::into_inner(buffer) {
            self.discard(buffer);
        }
    }

    /// Whether there is something to free.
    #[inline]
    pub fn has_spent(&self) -> bool {
        !self.spent.is_empty()
    }

    /// Free a turn's share of it.
    #[cold]
    pub fn free_some(&mut self) {
        let mut share = FREED;
        while let Some(buffer) = self.spent.last_mut().filter(|_| share > 0) {
            let kept = buffer.capacity().saturating_sub(share);
            share -= buffer.capacity() - kept;
            buffer.truncate(kept);
            buffer.shrink_to(kept);
            if kept == 0 {
                self.spent.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_freed_turn_by_turn() {
        let mut pool = BufferPool::default();
        pool.take_back(&mut vec![1; 6 * LARGE]);
        let shared = Arc::new(vec![2; 3 * LARGE]);
        pool.discard_shared(shared.clone());
        assert_eq!(pool.bytes(), 6 * LARGE, "somebody holds the other one");
        pool.discard_shared(shared);
        let mut left = vec![pool.bytes()];
        while pool.has_spent() {
            pool.free_some();
            left.push(pool.bytes());
        }
        assert_eq!(left, [9 * LARGE, 5 * LARGE, LARGE, 0]);
        pool.discard(vec![3; LARGE]);
        assert!(!pool.has_spent(), "a small one is freed at once");
    }
}
