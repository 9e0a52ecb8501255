//! Replies leave in the order of their requests, whatever order they arrive in.
//!
//! ```text
//!   requests   1     2      3     4            reply 1 goes straight to the output
//!   slots   [wait][stashed][wait][join]        reply 2 came early: its bytes lie in the stash
//! ```

use std::collections::VecDeque;

use crate::exchange::Join;
use crate::exchange::{trim, BufferPool, Output, Parcel};

#[cfg(test)]
mod random;

/// One reply a client is owed.
enum Slot {
    Waiting,
    /// The client asked for no reply: whatever comes is dropped.
    Silent,
    /// Complete, early: its bytes in the stash.
    Stashed {
        start: usize,
        end: usize,
    },
    /// Large and early: bytes of its own, still growing until complete.
    Growing {
        bytes: Vec<u8>,
        is_complete: bool,
    },
    Join(Box<Join>),
}

impl Slot {
    /// Bytes of memory it takes of its own.
    fn room(&self) -> usize {
        match self {
            Self::Growing { bytes, .. } => bytes.capacity(),
            Self::Join(join) => join.room(),
            Self::Waiting | Self::Silent | Self::Stashed { .. } => 0,
        }
    }
}

pub struct ReplyQueue {
    slots: VecDeque<Slot>,
    /// Sequence number of the first slot.
    first: u32,
    stash: Vec<u8>,
    /// Bytes of the stash that still wait.
    stashed: usize,
    /// Bytes of large replies that came early.
    grown: usize,
    /// Bytes of what joined replies note about their parts.
    noted: usize,
    /// The first reply is partly out: nothing may stand between its pieces.
    is_within: bool,
    /// Messages that came meanwhile.
    held_back: Output,
    /// Whole replies that came, early ones too, and their bytes; and those of the first one, as far as it is out.
    came: u32,
    bytes: usize,
    out: usize,
}

const COMPACT_AT: usize = 64 * 1024;

impl ReplyQueue {
    pub fn new() -> Self {
        Self {
            slots: VecDeque::new(),
            first: 0,
            stash: Vec::new(),
            stashed: 0,
            grown: 0,
            noted: 0,
            is_within: false,
            held_back: Output::default(),
            came: 0,
            bytes: 0,
            out: 0,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn held(&self) -> usize {
        let slots = self.slots.capacity() * size_of::<Slot>();
        let large = if self.grown > 0 { self.slots.iter().map(Slot::room).sum() } else { 0 };
        slots + self.stash.capacity() + self.held_back.held() + large + self.noted
    }

    /// Give back the room that a deep pipeline took.
    pub fn trim(&mut self) {
        trim(&mut self.slots);
    }

    /// Bytes of replies that wait for an earlier one, and of messages that wait for a reply's end.
    pub fn early(&self) -> usize {
        self.stashed + self.grown + self.held_back.len()
    }

    /// Whole replies that came so far, and their bytes; both wrap.
    pub const fn delivered(&self) -> (u32, usize) {
        (self.came, self.bytes)
    }

    #[inline]
    const fn count(&mut self, bytes: usize) {
        self.came = self.came.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// Whether this reply is not out yet.
    pub fn owes(&self, sequence: u32) -> bool {
        (sequence.wrapping_sub(self.first) as usize) < self.slots.len()
    }

    /// The sequence number of the next one.
    pub fn next(&self) -> u32 {
        self.first.wrapping_add(self.slots.len() as u32)
    }

    /// Owe one more reply; its sequence number.
    #[inline]
    pub fn expect(&mut self, silent: bool) -> u32 {
        let sequence = self.next();
        self.slots.push_back(if silent { Slot::Silent } else { Slot::Waiting });
        sequence
    }

    /// Owe the newest reply no more: its request is routed again. Whether it was to be a silent one.
    pub fn withdraw_last(&mut self, sequence: u32) -> bool {
        self.is_last(sequence) && matches!(self.slots.pop_back(), Some(Slot::Silent))
    }

    /// Whether nothing is owed behind this one.
    pub fn is_last(&self, sequence: u32) -> bool {
        sequence.wrapping_sub(self.first) as usize + 1 == self.slots.len()
    }

    pub fn expect_join(&mut self, join: Box<Join>) -> u32 {
        let sequence = self.next();
        self.noted += join.noted();
        self.slots.push_back(Slot::Join(join));
        sequence
    }

    /// What was owed as one reply is joined of several parts.
    pub fn join_later(&mut self, sequence: u32, mut join: Box<Join>) {
        let index = sequence.wrapping_sub(self.first) as usize;
        if let Some(slot @ (Slot::Waiting | Slot::Silent)) = self.slots.get_mut(index) {
            join.is_silent = matches!(slot, Slot::Silent);
            self.noted += join.noted();
            *slot = Slot::Join(join);
        }
    }

    /// What is known of a joined reply beforehand.
    pub fn foretell(&mut self, sequence: u32, reply: &[u8]) {
        let index = sequence.wrapping_sub(self.first) as usize;
        if let Some(Slot::Join(join)) = self.slots.get_mut(index) {
            let before = join.held();
            join.foretell(reply);
            self.grown = self.grown + join.held() - before; // it may hold less than before
        }
    }

    /// Where an answer of the proxy's own goes: the output, if nothing is owed before it.
    pub fn answer(&mut self, output: &mut Output, pool: &mut BufferPool, reply: &[u8]) {
        self.count(reply.len());
        if self.slots.is_empty() {
            pool.lend(&mut output.bytes);
            output.bytes.extend_from_slice(reply);
        } else {
            let slot = self.stash(pool, reply);
            self.slots.push_back(slot);
        }
    }

    /// A message that is no reply goes to the output, unless a reply is partly out: then it follows that.
    pub fn push(&mut self, output: &mut Output, pool: &mut BufferPool, resp: u8, parcel: &Parcel) {
        let sink = if self.is_within { &mut self.held_back } else { output };
        match parcel {
            Parcel::Copied(raw) => {
                pool.lend(&mut sink.bytes);
                let start = sink.bytes.len();
                sink.bytes.extend_from_slice(raw);
                if resp == 3 {
                    sink.bytes[start] = b'>';
                }
            }
            Parcel::Shared(message) => sink.push(if resp == 3 { b">" } else { b"" }, message),
        }
    }

    #[cold]
    fn end_within(&mut self, output: &mut Output, pool: &mut BufferPool) {
        self.is_within = false;
        self.bytes = self.bytes.wrapping_add(std::mem::take(&mut self.out));
        if !self.held_back.is_empty() {
            output.append(&mut self.held_back, pool);
        }
    }

    /// A complete reply, or the last piece of one.
    #[inline]
    pub fn deliver(&mut self, sequence: u32, reply: &[u8], output: &mut Output, pool: &mut BufferPool) {
        self.count(reply.len());
        if sequence == self.first {
            match self.slots.front_mut() {
                Some(Slot::Waiting) => {
                    pool.lend(&mut output.bytes);
                    output.bytes.extend_from_slice(reply);
                    if self.is_within {
                        self.end_within(output, pool);
                    }
                }
                Some(Slot::Growing { bytes, is_complete }) => {
                    self.bytes = self.bytes.wrapping_add(bytes.len());
                    bytes.extend_from_slice(reply);
                    self.grown += reply.len();
                    *is_complete = true;
                    self.drain(output, pool);
                    return;
                }
                _ => {}
            }
            self.pop();
            if !self.slots.is_empty() {
                self.drain(output, pool);
            }
            return;
        }
        let index = sequence.wrapping_sub(self.first) as usize;
        let Some(slot) = self.slots.get_mut(index) else { return };
        match slot {
            Slot::Waiting => {
                let stashed = self.stash(pool, reply);
                self.slots[index] = stashed;
            }
            Slot::Silent => *slot = Slot::Stashed { start: 0, end: 0 },
            Slot::Growing { bytes, is_complete } => {
                self.bytes = self.bytes.wrapping_add(bytes.len());
                bytes.extend_from_slice(reply);
                self.grown += reply.len();
                *is_complete = true;
            }
            Slot::Stashed { .. } | Slot::Join(_) => {}
        }
    }

    /// A piece of a reply that is not complete yet.
    pub fn deliver_piece(&mut self, sequence: u32, piece: &[u8], output: &mut Output, pool: &mut BufferPool) {
        let index = sequence.wrapping_sub(self.first) as usize;
        match self.slots.get_mut(index) {
            Some(Slot::Waiting) if index == 0 => {
                self.is_within = true;
                self.out += piece.len();
                output.sink(pool).extend_from_slice(piece);
            }
            Some(slot @ Slot::Waiting) => {
                self.grown += piece.len();
                *slot = Slot::Growing { bytes: piece.to_vec(), is_complete: false };
            }
            Some(Slot::Growing { bytes, .. }) if index == 0 => {
                self.grown -= bytes.len();
                self.is_within = true;
                self.out += bytes.len() + piece.len();
                output.take_over(bytes, pool);
                output.sink(pool).extend_from_slice(piece);
            }
            Some(Slot::Growing { bytes, .. }) => {
                self.grown += piece.len();
                bytes.extend_from_slice(piece);
            }
            _ => {}
        }
    }

    /// One part of a scatter-gathered reply; the whole leaves when its last part is in.
    pub fn deliver_part(&mut self, sequence: u32, part: u16, reply: &[u8], output: &mut Output, pool: &mut BufferPool) {
        let index = sequence.wrapping_sub(self.first) as usize;
        let Some(Slot::Join(join)) = self.slots.get_mut(index) else { return };
        let before = join.held();
        let is_last = join.deliver(part, reply);
        self.grown = self.grown + join.held() - before; // it may hold less than before
        if !is_last {
            return;
        }
        self.grown -= join.held();
        self.noted -= join.noted();
        // an empty place holds on to no stash: it may outlive this one
        let done = std::mem::replace(&mut self.slots[index], Slot::Stashed { start: 0, end: 0 });
        let Slot::Join(mut join) = done else { return };
        let is_head = index == 0;
        if !join.is_silent {
            let sink = if is_head { &mut output.bytes } else { &mut self.stash };
            pool.lend(sink);
            let start = sink.len();
            join.write(sink);
            let end = sink.len();
            self.came = self.came.wrapping_add(1);
            self.bytes = self.bytes.wrapping_add(end - start);
            if !is_head && end > start {
                self.stashed += end - start;
                self.slots[index] = Slot::Stashed { start, end };
            }
        }
        pool.take_join(join);
        if is_head {
            self.pop();
            self.drain(output, pool);
        }
    }

    fn stash(&mut self, pool: &mut BufferPool, reply: &[u8]) -> Slot {
        pool.lend(&mut self.stash);
        let start = self.stash.len();
        self.stash.extend_from_slice(reply);
        self.stashed += reply.len();
        Slot::Stashed { start, end: self.stash.len() }
    }

    #[inline]
    fn pop(&mut self) {
        self.slots.pop_front();
        self.first = self.first.wrapping_add(1);
    }

    /// Let out what is complete at the head.
    fn drain(&mut self, output: &mut Output, pool: &mut BufferPool) {
        self.release(output, pool);
        if self.stashed == 0 {
            pool.take_back(&mut self.stash);
        } else if self.stash.len() > COMPACT_AT && self.stashed * 2 < self.stash.len() {
            self.compact();
        }
    }

    fn release(&mut self, output: &mut Output, pool: &mut BufferPool) {
        loop {
            match self.slots.front_mut() {
                Some(&mut Slot::Stashed { start, end }) => {
                    if end > start {
                        pool.lend(&mut output.bytes);
                        output.bytes.extend_from_slice(&self.stash[start..end]);
                        self.stashed -= end - start;
                    }
                }
                Some(Slot::Growing { bytes, is_complete }) => {
                    self.grown -= bytes.len();
                    if !*is_complete {
                        self.out += bytes.len();
                    }
                    output.take_over(bytes, pool);
                    if !*is_complete {
                        self.is_within = true;
                        return;
                    }
                    if self.is_within {
                        self.end_within(output, pool);
                    }
                }
                _ => return,
            }
            self.pop();
        }
    }

    /// A pipeline that never runs dry would let the stash grow for ever: keep only what still waits.
    fn compact(&mut self) {
        let mut kept = Vec::with_capacity(self.stashed);
        for slot in &mut self.slots {
            if let Slot::Stashed { start, end } = slot {
                let from = kept.len();
                kept.extend_from_slice(&self.stash[*start..*end]);
                (*start, *end) = (from, kept.len());
            }
        }
        self.stash = kept;
    }

    /// The client has gone.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.slots.clear();
        self.stashed = 0;
        self.grown = 0;
        self.noted = 0;
        self.is_within = false;
        self.out = 0;
        self.held_back.clear(pool);
        pool.take_back(&mut self.stash);
    }
}
