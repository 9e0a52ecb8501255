//! Who waits for a key, in the order they came, and whose turn it is. Knows nothing of sockets.
//!
//! ```text
//!   spot  a key, by its name; watched so that whatever changes it is heard of
//!   line  who waits there for the same: elements of a list in database 3, entries for a group
//!           | a | b | c | d | ...   a is its head
//!            └ attempt ┘            those asked for now, in one transaction: none overtakes another
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::command::Kind;
use crate::model::Speech;

/// Whether a key's changes are heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watch {
    No,
    /// Its node is asked soon.
    Wanted,
    /// Its node was asked, and has not answered.
    Asked,
    Yes,
}

/// A key that somebody waits for, in whatever database.
pub struct Spot {
    pub cluster: usize,
    /// The shard whose node is asked.
    pub shard: u16,
    pub slot: u16,
    pub key: Arc<[u8]>,
    pub watch: Watch,
    pub asked: Instant,
    /// It is asked only to be sure.
    pub is_routine: bool,
    pub lines: Vec<u32>,
}

impl Spot {
    /// Nothing is heard of it from now on, and nobody is asked: whatever is told next is news.
    pub const fn unwatch(&mut self) {
        self.watch = Watch::No;
        self.is_routine = false;
    }
}

/// What is waited for in a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    pub db: u32,
    pub kind: Kind,
    pub group: Option<Box<[u8]>>,
}

/// Those who wait for the same.
pub struct Line {
    pub spot: u32,
    pub wish: Wish,
    /// By their tickets.
    pub queue: BTreeMap<u64, u32>,
    /// An attempt is due: there may be something.
    pub is_ready: bool,
    pub is_queued: bool,
    /// The attempt under way.
    pub attempt: Option<u32>,
    /// The key was seen to hold something else: it is the engine's to say so to whoever comes.
    pub is_amiss: bool,
    /// How many may be asked for at once.
    pub width: usize,
    /// Where everyone is asked for: whose turn is next, and whether all are to be asked for again.
    pub next: u64,
    pub begins_anew: bool,
}

/// How many are asked for at once where the others are not to get what one gets, at most.
pub const WIDEST: usize = 64;
/// What those asked for may get together for more of them to be asked for the next time: it is all in one reply.
pub const MODEST: usize = 32 * 1024;
/// And where everyone is to get it.
pub const CROWD: usize = 512;

impl Line {
    pub const fn new(spot: u32, wish: Wish) -> Self {
        Self {
            spot,
            wish,
            queue: BTreeMap::new(),
            is_ready: false,
            is_queued: false,
            attempt: None,
            is_amiss: false,
            width: 1,
            next: 0,
            begins_anew: false,
        }
    }

    pub fn head(&self) -> Option<u32> {
        self.queue.first_key_value().map(|(_, &waiter)| waiter)
    }

    /// Bytes it takes beside what it shares.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.wish.group.as_ref().map_or(0, |group| group.len())
    }

    /// Those whose turn it is. `ask` tells how each may be asked for: not now, or as which connection is spoken to.
    pub fn choose(&mut self, mut ask: impl FnMut(u32) -> Option<Speech>) -> Vec<u32> {
        self.is_ready = false;
        if self.wish.kind.is_taken() {
            return self.choose_heads(ask);
        }
        let mut chosen: Vec<u32> = Vec::new();
        let mut spoken = None;
        for (&ticket, &waiter) in self.queue.range(self.next..) {
            let Some(speech) = ask(waiter) else { continue }; // it looks again when it is back
            if chosen.len() >= CROWD || spoken.is_some_and(|spoken| spoken != speech) {
                self.is_ready = true;
                self.next = ticket;
                return chosen;
            }
            spoken = Some(speech);
            chosen.push(waiter);
        }
        self.next = 0;
        chosen
    }

    /// The first ones. While the first of all is asked for elsewhere nobody is: it would be overtaken.
    fn choose_heads(&mut self, mut ask: impl FnMut(u32) -> Option<Speech>) -> Vec<u32> {
        let mut chosen = Vec::new();
        let mut spoken = None;
        for &waiter in self.queue.values().take(self.width) {
            let speech = ask(waiter);
            if speech.is_none() || spoken.is_some_and(|spoken| Some(spoken) != speech) {
                break;
            }
            spoken = speech;
            chosen.push(waiter);
        }
        self.is_ready = chosen.is_empty() && !self.queue.is_empty();
        chosen
    }

    /// Of so many asked for so many got something, of so many bytes; `may_have_more`: the key still holds something of the
    /// kind.
    pub fn learn(&mut self, (asked, served): (usize, usize), bytes: usize, may_have_more: bool) {
        if std::mem::take(&mut self.begins_anew) {
            self.next = 0;
            self.is_ready = true;
        }
        if !self.wish.kind.is_taken() {
            return;
        }
        if served == asked && may_have_more {
            if bytes < MODEST {
                self.width = (self.width * 2).min(WIDEST);
            }
            self.is_ready = true;
        } else {
            self.width = 1;
        }
    }

    /// There may be something.
    pub fn wake(&mut self) {
        let is_within = !self.wish.kind.is_taken() && (self.attempt.is_some() || self.next > 0);
        self.begins_anew |= is_within;
        self.is_ready = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_are_asked_for_at_once_while_all_get_something_and_not_too_much() {
        let mut line = Line::new(0, Wish { db: 0, kind: Kind::List, group: None });
        let mut widths = Vec::new();
        for (served, bytes) in [(1, 10), (2, MODEST - 1), (4, MODEST), (4, MODEST - 1), (8, 10), (15, 10), (1, MODEST)]
        {
            line.learn((line.width, served), bytes, true);
            widths.push(line.width);
        }
        assert_eq!(widths, [2, 4, 4, 8, 16, 1, 1]);
        (0..10).for_each(|_| line.learn((line.width, line.width), 10, true));
        assert_eq!(line.width, WIDEST);
        line.learn((WIDEST, WIDEST), 10, false);
        assert_eq!(line.width, 1);
    }
}
