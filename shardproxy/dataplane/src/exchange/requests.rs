//! The requests on one connection to a node, in their order, with their bytes: kept until their replies are in, so that
//! what was not executed can be sent again.
//!
//! ```text
//!   entries   |  a  |  b  |   c   |  d  |      the bytes of all entries are the bytes of the window,
//!   window    | sent, no reply |  not sent  |  whoever comes and goes
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use super::body::Body;
use super::pool::{trim, BufferPool};
use super::run::{Run, LARGE};
use super::window::Window;
use super::Entry;

/// A request with the length of its bytes.
#[derive(Clone, Copy)]
struct Queued {
    entry: Entry,
    length: u32,
}

#[derive(Default)]
pub struct Exchange {
    window: Window,
    entries: VecDeque<Queued>,
    /// The first one has its answer, and some of it is still to be sent: the node reads to its end what it refused.
    is_head_answered: bool,
    /// Where the request begins that is being written.
    opened: usize,
}

impl Exchange {
    /// How many requests there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all requests.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.window.len()
    }

    /// Bytes of memory they take.
    pub fn held(&self) -> usize {
        self.window.capacity() + self.entries.capacity() * size_of::<Queued>()
    }

    /// Give back the room that a deep queue took.
    pub fn trim(&mut self) {
        trim(&mut self.entries);
    }

    /// Add a request that is written by `write`.
    #[inline]
    pub fn push_with(&mut self, entry: Entry, write: impl FnOnce(&mut Vec<u8>)) {
        let sink = self.window.sink();
        let start = sink.len();
        write(sink);
        let length = (sink.len() - start) as u32;
        self.entries.push_back(Queued { entry, length });
    }

    /// Add a request.
    #[inline]
    pub fn push(&mut self, entry: Entry, bytes: &[u8]) {
        self.window.sink().extend_from_slice(bytes);
        self.entries.push_back(Queued { entry, length: bytes.len() as u32 });
    }

    /// Add a large request that is alone in its buffer, and stays there.
    pub fn push_whole(&mut self, entry: Entry, bytes: Arc<Vec<u8>>) {
        self.entries.push_back(Queued { entry, length: bytes.len() as u32 });
        self.window.push_whole(bytes);
    }

    /// Add a request that waited outside of a connection.
    pub fn push_body(&mut self, entry: Entry, body: Body) {
        match body {
            Body::Whole(bytes) => self.push_whole(entry, bytes),
            Body::Copied(bytes) => self.push(entry, &bytes),
        }
    }

    /// Add one that is among what was taken off a connection.
    pub fn push_part(&mut self, entry: Entry, part: &Part) {
        match part.run.whole(part.bytes) {
            Some(whole) => self.push_whole(entry, whole.clone()),
            None => self.push(entry, part.bytes),
        }
    }

    /// Begin a request that is written piece by piece: nothing else is added until `close`.
    pub fn open(&mut self) -> &mut Vec<u8> {
        let sink = self.window.sink();
        self.opened = sink.len();
        sink
    }

    /// Where its next piece goes.
    pub fn opened(&mut self) -> &mut Vec<u8> {
        self.window.tail()
    }

    /// It is complete.
    pub fn close(&mut self, entry: Entry) {
        let length = (self.window.tail().len() - self.opened) as u32;
        self.entries.push_back(Queued { entry, length });
    }

    /// Add a request before all others, none of which was sent.
    #[cold]
    pub fn push_first(&mut self, entry: Entry, body: Body) {
        let others = self.take();
        self.push_body(entry, body);
        others.parts().for_each(|part| self.push_part(part.entry, &part));
    }

    /// Take the first request, none of which was sent.
    #[cold]
    pub fn take_first(&mut self) -> Option<(Entry, Body)> {
        let all = self.take();
        let mut parts = all.parts();
        let first = parts.next().map(|part| (part.entry, part.body()));
        parts.for_each(|part| self.push_part(part.entry, &part));
        first
    }

    /// Add all requests of another one, none of which was sent: they have waited for this.
    pub fn append(&mut self, other: &mut Self) {
        other.entries.iter_mut().for_each(|queued| queued.entry.is_parked = true);
        for run in other.window.take() {
            if run.left().len() > LARGE {
                self.window.push_run(run);
            } else {
                self.window.sink().extend_from_slice(run.left());
            }
        }
        self.entries.append(&mut other.entries);
    }

    /// The oldest request without an answer.
    #[inline]
    pub fn head(&self) -> Option<&Entry> {
        if self.is_head_answered {
            return None; // no other can have one before this one is sent whole
        }
        self.entries.front().map(|queued| &queued.entry)
    }

    /// The oldest request that is like that, among those that have left whole.
    pub fn oldest_sent(&self, mut is_like: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        let mut left = self.window.in_flight();
        let sent = self.entries.iter().map_while(|queued| {
            left = left.checked_sub(queued.length as usize)?;
            Some(&queued.entry)
        });
        sent.skip(usize::from(self.is_head_answered)).find(|entry| is_like(entry))
    }

    pub fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().map(|queued| &queued.entry)
    }

    /// How many bytes `head` has.
    #[inline]
    pub fn head_length(&self) -> usize {
        self.entries.front().map_or(0, |queued| queued.length as usize)
    }

    /// The bytes of `head`.
    #[inline]
    pub fn head_bytes(&self) -> &[u8] {
        self.entries.front().map_or(&[], |entry| self.window.oldest(entry.length as usize))
    }

    /// The same, to be kept.
    pub fn head_body(&self) -> Body {
        let bytes = self.head_bytes();
        let whole = self.window.oldest_whole(bytes.len()).cloned();
        whole.map_or_else(|| Body::Copied(bytes.to_vec()), Body::Whole)
    }

    /// The oldest request, if it has left whole: what comes before that answers nobody.
    #[inline]
    pub fn asked(&self) -> Option<&Entry> {
        let queued = self.entries.front().filter(|queued| queued.length as usize <= self.window.in_flight())?;
        Some(&queued.entry).filter(|_| !self.is_head_answered)
    }

    /// The oldest request, if some of it has left: a node may answer what it has read the beginning of.
    pub fn begun(&self) -> Option<&Entry> {
        self.head().filter(|_| self.window.in_flight() > 0)
    }

    /// The oldest request is answered. If some of it is still to be sent, it is, before anything else.
    #[inline]
    pub fn pop(&mut self) {
        let Some(entry) = self.entries.front() else { return };
        let length = entry.length as usize;
        if length > self.window.in_flight() {
            self.is_head_answered = true;
            return;
        }
        self.entries.pop_front();
        self.window.forget(length);
    }

    /// Drop the oldest request, which was not sent.
    pub fn pop_unsent(&mut self) -> Option<Entry> {
        let Queued { entry, length } = self.entries.pop_front()?;
        self.window.mark_sent(length as usize);
        self.window.forget(length as usize);
        Some(entry)
    }

    /// Drop the unsent requests that are not `wanted`; who they were.
    pub fn retain_unsent(&mut self, mut wanted: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        let mut dropped = Vec::new();
        let taken = self.take();
        for part in taken.parts() {
            if wanted(&part.entry) {
                self.push_part(part.entry, &part);
            } else {
                dropped.push(part.entry);
            }
        }
        dropped
    }

    /// Take the requests that are like that off what has not begun to leave, in their order.
    #[cold]
    pub fn take_unsent(&mut self, mut is_like: impl FnMut(&Entry) -> bool) -> Vec<(Entry, Body)> {
        debug_assert!(!self.is_head_answered);
        let in_flight = self.window.in_flight();
        let all = self.take();
        let mut found = Vec::new();
        for part in all.parts() {
            if part.has_left || !is_like(&part.entry) {
                self.push_part(part.entry, &part);
            } else {
                found.push((part.entry, part.body()));
            }
        }
        self.window.mark_sent(in_flight);
        found
    }

    /// Whether one that is like that has left, or begun to.
    pub fn has_begun(&self, is_like: impl Fn(&Entry) -> bool) -> bool {
        let mut left = self.window.in_flight();
        let begun = self.entries.iter().take_while(|queued| {
            let has_begun = left > 0;
            left = left.saturating_sub(queued.length as usize);
            has_begun
        });
        begun.skip(usize::from(self.is_head_answered)).any(|queued| is_like(&queued.entry))
    }

    /// Whether some of a request is still to be sent that has its answer.
    pub const fn is_head_answered(&self) -> bool {
        self.is_head_answered
    }

    /// What is to be sent.
    #[inline]
    pub fn unsent(&self) -> &[u8] {
        self.window.unsent()
    }

    /// `n` more bytes have left.
    #[inline]
    pub fn sent(&mut self, n: usize) {
        self.window.mark_sent(n);
        if self.is_head_answered {
            self.end_answered();
        }
    }

    #[cold]
    fn end_answered(&mut self) {
        let is_sent = self.entries.front().is_some_and(|entry| entry.length as usize <= self.window.in_flight());
        if is_sent {
            self.is_head_answered = false;
            self.pop();
        }
    }

    /// Whether some of the oldest request is still to be sent.
    #[inline]
    pub fn is_sending_oldest(&self) -> bool {
        self.entries.front().is_some_and(|queued| queued.length as usize > self.window.in_flight())
    }

    /// Whether anything has left that is not answered.
    #[inline]
    pub fn is_in_flight(&self) -> bool {
        self.window.in_flight() > 0
    }

    /// What is said without an answer of its own, on a connection where nothing else is.
    pub fn say(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.entries.is_empty());
        self.window.sink()
    }

    /// `n` bytes that were said have left.
    pub fn said(&mut self, n: usize) {
        self.window.mark_sent(n);
        self.window.forget(n);
    }

    /// Whether it has large buffers that it needs no more.
    #[inline]
    pub fn has_spent(&self) -> bool {
        self.window.has_spent()
    }

    pub fn take_spent(&mut self) -> Vec<Arc<Vec<u8>>> {
        self.window.take_spent()
    }

    /// Empty it: what was not answered, the oldest first.
    pub fn take(&mut self) -> Taken {
        let runs = self.window.take();
        let is_head_answered = std::mem::take(&mut self.is_head_answered);
        Taken { entries: std::mem::take(&mut self.entries), runs, is_head_answered }
    }
}

/// Requests that were taken off a connection.
pub struct Taken {
    entries: VecDeque<Queued>,
    runs: VecDeque<Run>,
    is_head_answered: bool,
}

/// One of them.
pub struct Part<'a> {
    pub entry: Entry,
    pub bytes: &'a [u8],
    /// It is the oldest.
    pub is_first: bool,
    /// Some of it, or all, was sent.
    pub has_left: bool,
    pub is_sent: bool,
    run: &'a Run,
}

impl Part<'_> {
    /// Its bytes, to be kept.
    pub fn body(&self) -> Body {
        let whole = self.run.whole(self.bytes).cloned();
        whole.map_or_else(|| Body::Copied(self.bytes.to_vec()), Body::Whole)
    }
}

impl Taken {
    /// Nobody needs them.
    pub fn discard(self, pool: &mut BufferPool) {
        self.runs.into_iter().for_each(|run| pool.discard_shared(run.bytes));
    }

    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let mut runs = self.runs.iter();
        let mut run = runs.next();
        let mut start = run.map_or(0, |run| run.head);
        let parts = self.entries.iter().enumerate().map_while(move |(place, &Queued { entry, length })| {
            if run.is_some_and(|run| start == run.bytes.len()) {
                run = runs.next();
                start = run.map_or(0, |run| run.head);
            }
            let run = run?;
            let end = start + length as usize;
            let (has_left, is_sent) = (start < run.sent, end <= run.sent);
            let bytes = run.bytes.get(start..end)?;
            start = end;
            Some(Part { entry, bytes, is_first: place == 0, has_left, is_sent, run })
        });
        parts.skip(usize::from(self.is_head_answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(requests: &[&str]) -> Exchange {
        let mut exchange = Exchange::default();
        for request in requests {
            exchange.push(Entry::nobody(0), request.as_bytes());
        }
        exchange
    }

    fn parts(exchange: &mut Exchange) -> Vec<(String, bool, bool)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        exchange.take().parts().map(|part| (text(part.bytes), part.has_left, part.is_sent)).collect()
    }

    #[test]
    fn what_is_answered_before_it_was_sent_is_sent_all_the_same() {
        let mut exchange = exchange(&["aaaa", "bb"]);
        exchange.sent(1);
        assert!(exchange.asked().is_none() && exchange.begun().is_some());
        exchange.pop();
        assert!(exchange.begun().is_none(), "nothing else has an answer before that");
        assert_eq!(exchange.unsent(), b"aaabb");
        exchange.sent(2);
        assert!(exchange.begun().is_none());
        exchange.sent(3);
        assert_eq!((exchange.head_bytes(), exchange.len(), exchange.bytes()), (&b"bb"[..], 1, 2));
        assert!(exchange.asked().is_some());
    }

    #[test]
    fn what_was_answered_is_not_among_what_is_taken() {
        let mut exchange = exchange(&["aaaa", "bb", "c"]);
        exchange.sent(3);
        exchange.pop();
        assert_eq!(parts(&mut exchange), [("bb".into(), false, false), ("c".into(), false, false)]);
        exchange.push(Entry::nobody(0), b"dd");
        exchange.sent(2);
        assert!(exchange.asked().is_some(), "the next connection begins anew");
    }

    #[test]
    fn what_is_taken_tells_how_far_it_got() {
        let mut exchange = exchange(&["aa", "bb", "cc"]);
        exchange.sent(3);
        let expected = [("aa".into(), true, true), ("bb".into(), true, false), ("cc".into(), false, false)];
        assert_eq!(parts(&mut exchange), expected);
        assert_eq!((exchange.len(), exchange.bytes()), (0, 0));
    }

    #[test]
    fn a_large_request_is_taken_and_pushed_without_a_copy() {
        let large = Arc::new(vec![b'x'; LARGE + 1]);
        let mut first = exchange(&["aa"]);
        first.push_whole(Entry::nobody(0), large.clone());
        first.push(Entry::nobody(0), b"bb");
        first.sent(3);
        let taken = first.take();
        let found: Vec<_> = taken.parts().map(|p| (p.bytes.len(), p.has_left, p.is_sent)).collect();
        assert_eq!(found, [(2, true, true), (LARGE + 1, true, false), (2, false, false)]);
        let mut second = exchange(&["cc"]);
        taken.parts().for_each(|part| second.push_part(part.entry, &part));
        drop(taken);
        let mut third = exchange(&["dd"]);
        third.append(&mut second);
        third.sent(6);
        (0..3).for_each(|_| third.pop());
        assert!(matches!(third.head_body(), Body::Whole(bytes) if Arc::ptr_eq(&bytes, &large)));
        third.sent(LARGE + 1);
        assert!(third.asked().is_some());
        third.pop();
        assert_eq!((third.head_bytes(), third.len(), third.bytes()), (&b"bb"[..], 1, 2));
        assert!(third.has_spent() && third.take_spent().len() == 1);
    }

    #[test]
    fn one_may_go_ahead_and_come_back() {
        let mut exchange = exchange(&["aa", "b", "cc"]);
        let (entry, body) = exchange.take_first().unwrap();
        assert_eq!((exchange.head_bytes(), exchange.len()), (&b"b"[..], 2));
        exchange.push_first(entry, body);
        let expected = ["aa", "b", "cc"].map(|text| (text.to_owned(), false, false));
        assert_eq!(parts(&mut exchange), expected);
        assert!(exchange.take_first().is_none());
    }

    #[test]
    fn what_has_not_left_may_be_taken_from_between() {
        let mut exchange = exchange(&["aaaa", "b", "cc", "b", "dd"]);
        exchange.sent(6);
        let mut length = 0;
        let of = |lengths: &[usize]| lengths.to_vec();
        assert!(exchange.has_begun(|_| true));
        let taken = exchange.take_unsent(|_| {
            length += 1;
            length != 1
        });
        let lengths: Vec<usize> =
            taken.iter().map(|(_, body)| if let Body::Copied(bytes) = body { bytes.len() } else { 0 }).collect();
        assert_eq!(lengths, of(&[2]), "the first two have left, the third in part, the next stays");
        assert_eq!((exchange.len(), exchange.bytes(), exchange.unsent()), (4, 8, &b"cb"[..]));
        exchange.sent(2);
        (0..4).for_each(|_| exchange.pop());
        assert!(exchange.is_empty() && !exchange.has_begun(|_| true));
    }

    #[test]
    fn pieces_are_one_request() {
        let mut exchange = exchange(&["aa"]);
        exchange.open().extend_from_slice(b"b");
        exchange.opened().extend_from_slice(b"bb");
        exchange.close(Entry::nobody(0));
        assert_eq!(exchange.len(), 2);
        exchange.pop_unsent();
        assert_eq!(exchange.head_bytes(), b"bbb");
    }
}
