//! Bytes on their way out of one socket.
//!
//! ```text
//!   | queue: own bytes, a message of many, own bytes, ... | bytes: what comes last |
//!   ^ written so far
//! ```
//!
//! Replies are appended to `bytes`, and while there is nothing else they leave from there, in one write.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use super::pool::{BufferPool, KEEP};
use super::run::LARGE;

#[derive(Default)]
pub struct Output {
    /// The last of what is to leave.
    pub bytes: Vec<u8>,
    /// So much of the first of it has left.
    written: usize,
    /// All that has left so far; wraps.
    left: usize,
    /// What leaves before `bytes`.
    queue: Option<Box<Queue>>,
}

#[derive(Default)]
struct Queue {
    segments: VecDeque<Segment>,
    /// Bytes of all segments, and those that are this output's own.
    length: usize,
    own: usize,
}

enum Segment {
    Own(Vec<u8>),
    Static(&'static [u8]),
    /// What is behind so many bytes of a message.
    Message(Rc<Message>, usize),
}

/// A message that many clients are to have; it counts once for all of them.
pub struct Message {
    bytes: Box<[u8]>,
    gauge: Gauge,
}

/// Bytes of all messages of a worker that are not out yet.
pub type Gauge = Rc<Cell<usize>>;

impl Message {
    pub fn new(bytes: &[u8], gauge: &Gauge) -> Rc<Self> {
        gauge.set(gauge.get() + bytes.len());
        Rc::new(Self { bytes: bytes.into(), gauge: gauge.clone() })
    }

    pub const fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A message on its way to one of many clients.
pub enum Parcel<'a> {
    /// Each has a copy.
    Copied(&'a [u8]),
    Shared(Rc<Message>),
}

impl Drop for Message {
    fn drop(&mut self) {
        self.gauge.set(self.gauge.get() - self.bytes.len());
    }
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Static(bytes) => bytes,
            Self::Message(message, start) => &message.bytes[*start..],
        }
    }

    /// Bytes nobody else holds.
    fn own(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Static(_) | Self::Message(..) => 0,
        }
    }
}

impl Output {
    /// What leaves next: all there is, unless a message of many is among it.
    #[inline]
    pub fn unwritten(&self) -> &[u8] {
        let first = match &self.queue {
            None => &self.bytes,
            Some(queue) => queue.segments.front().map_or(&self.bytes[..], Segment::bytes),
        };
        &first[self.written..]
    }

    /// Whether more leaves behind `unwritten`.
    #[inline]
    pub fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    /// What leaves next, as far as there are slices for it, and no more than so many bytes; how many slices it takes.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>], mut at_most: usize) -> usize {
        let segments = self.queue.iter().flat_map(|queue| &queue.segments).map(Segment::bytes);
        let mut written = self.written;
        let mut used = 0;
        for (slice, bytes) in slices.iter_mut().zip(segments.chain([&self.bytes[..]])) {
            if at_most == 0 {
                break;
            }
            let next = &bytes[written..];
            let next = &next[..next.len().min(at_most)];
            *slice = IoSlice::new(next);
            at_most -= next.len();
            written = 0;
            used += 1;
        }
        used
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.queue.as_ref().map_or(0, |queue| queue.length) - self.written
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes that have left so far; wraps.
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Bytes of memory only this client needs.
    #[inline]
    pub fn held(&self) -> usize {
        self.bytes.capacity() + self.queue.as_ref().map_or(0, |queue| queue.held())
    }

    /// `n` more bytes left through the socket.
    #[inline]
    pub fn advance(&mut self, n: usize, pool: &mut BufferPool) {
        self.written += n;
        self.left = self.left.wrapping_add(n);
        if self.queue.is_some() {
            self.advance_queue(pool);
        } else if self.written == self.bytes.len() {
            self.written = 0;
            pool.take_back(&mut self.bytes);
        } else if self.written > KEEP && self.written * 2 > self.bytes.len() {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    fn advance_queue(&mut self, pool: &mut BufferPool) {
        let Some(queue) = &mut self.queue else { return };
        while let Some(first) = queue.segments.front().filter(|first| first.bytes().len() <= self.written) {
            self.written -= first.bytes().len();
            queue.length -= first.bytes().len();
            queue.own -= first.own();
            if let Some(Segment::Own(mut bytes)) = queue.segments.pop_front() {
                pool.take_back(&mut bytes);
            }
        }
        if queue.segments.is_empty() {
            self.queue = None;
            self.advance(0, pool);
        }
    }

    /// A message of many comes next; its first bytes are other ones for this client.
    pub fn push(&mut self, head: &'static [u8], message: &Rc<Message>) {
        let queue = self.queue.get_or_insert_default();
        if !self.bytes.is_empty() {
            queue.push(Segment::Own(std::mem::take(&mut self.bytes)));
        }
        if !head.is_empty() {
            queue.push(Segment::Static(head));
        }
        queue.push(Segment::Message(message.clone(), head.len()));
    }

    /// All of another one comes next.
    pub fn append(&mut self, other: &mut Self, pool: &mut BufferPool) {
        debug_assert_eq!(other.written, 0, "nothing of it has left");
        if let Some(taken) = other.queue.take() {
            let queue = self.queue.get_or_insert_default();
            if !self.bytes.is_empty() {
                queue.push(Segment::Own(std::mem::take(&mut self.bytes)));
            }
            taken.segments.into_iter().for_each(|segment| queue.push(segment));
        }
        if !other.bytes.is_empty() {
            pool.lend(&mut self.bytes);
            self.bytes.extend_from_slice(&other.bytes);
        }
        pool.take_back(&mut other.bytes);
    }

    /// Where the next piece of a large reply goes: it is kept in pieces, so that it is never moved or freed as a whole.
    pub fn sink(&mut self, pool: &mut BufferPool) -> &mut Vec<u8> {
        if self.bytes.len() > LARGE {
            self.bytes.shrink_to_fit();
            self.queue.get_or_insert_default().push(Segment::Own(std::mem::take(&mut self.bytes)));
        }
        pool.lend(&mut self.bytes);
        &mut self.bytes
    }

    /// Bytes that are nobody else's come next; large ones are not copied.
    pub fn take_over(&mut self, bytes: &mut Vec<u8>, pool: &mut BufferPool) {
        if bytes.len() <= LARGE {
            pool.lend(&mut self.bytes);
            self.bytes.append(bytes);
            return;
        }
        let queue = self.queue.get_or_insert_default();
        if !self.bytes.is_empty() {
            queue.push(Segment::Own(std::mem::take(&mut self.bytes)));
        }
        queue.push(Segment::Own(std::mem::take(bytes)));
    }

    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.written = 0;
        self.queue = None;
        pool.take_back(&mut self.bytes);
    }
}

impl Queue {
    fn push(&mut self, segment: Segment) {
        self.length += segment.bytes().len();
        self.own += segment.own();
        self.segments.push_back(segment);
    }

    fn held(&self) -> usize {
        size_of::<Self>() + self.own + self.segments.capacity() * size_of::<Segment>()
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

    fn unwritten(output: &Output) -> String {
        let mut slices = [IoSlice::new(b""); 16];
        let used = output.slices(&mut slices, usize::MAX);
        let whole: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
        assert_eq!(whole.len(), output.len());
        assert!(whole.starts_with(output.unwritten()));
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn messages_of_many_stand_between_own_bytes_wherever_a_write_ends() {
        let gauge = Gauge::default();
        let message = Message::new(b"*message", &gauge);
        for at_once in 1..30 {
            let (mut pool, mut output, mut later) = (BufferPool::default(), Output::default(), Output::default());
            output.bytes.extend_from_slice(b"own");
            output.push(b"", &message);
            output.push(b">", &message);
            later.bytes.extend_from_slice(b"later");
            later.push(b">", &message);
            later.bytes.extend_from_slice(b"last");
            output.bytes.extend_from_slice(b"more");
            output.append(&mut later, &mut pool);
            assert!(later.is_empty());
            let mut left = "own*message>messagemorelater>messagelast".to_owned();
            assert_eq!(Rc::strong_count(&message), 4);
            while !left.is_empty() {
                assert_eq!(unwritten(&output), left);
                let n = at_once.min(left.len());
                output.advance(n, &mut pool);
                left.drain(..n);
                output.held();
            }
            assert!(output.is_empty() && !output.has_queue() && output.held() == 0);
        }
        assert_eq!((Rc::strong_count(&message), gauge.get()), (1, 8));
        drop(message);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn own_bytes_that_have_left_in_part_are_followed_by_a_message() {
        let (mut pool, mut output) = (BufferPool::default(), Output::default());
        output.bytes.extend_from_slice(b"hello");
        output.advance(3, &mut pool);
        output.push(b"", &Message::new(b" world", &Gauge::default()));
        assert_eq!(unwritten(&output), "lo world");
        output.clear(&mut pool);
        assert!(output.is_empty() && output.held() == 0);
    }
}
