//! Empty buffers, and queues that give their room back.

use std::collections::VecDeque;

use super::Join;
use crate::command::Join as Kind;

/// Buffers larger than this are freed rather than kept.
pub const KEEP: usize = 64 * 1024;
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
    /// The fewest that were free since the last look: nobody needed those.
    fewest: usize,
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
        self.free.iter().map(Vec::capacity).sum::<usize>()
            + self.joins.iter().map(|join| join.capacity()).sum::<usize>()
    }
}
