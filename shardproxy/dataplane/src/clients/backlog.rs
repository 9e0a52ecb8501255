//! What a client has not read yet, and what it will be owed when all that is under way is answered.

use super::{Client, Flow};
use crate::model::Limits;

/// With less than this unread, and fewer requests than so many under way, nobody looks.
const NOTICED: usize = 64 * 1024;
const DEEP: usize = 8;

/// How large its replies are.
#[derive(Clone, Copy, Default, Debug)]
pub struct Backlog {
    /// Of one that is under way, bytes.
    expected: usize,
    /// Replies, and bytes of them, when that was last looked at.
    replies: u32,
    bytes: usize,
}

impl Client {
    /// Bytes of replies and messages that are here.
    #[inline]
    pub fn unread(&self) -> usize {
        self.output.len() + self.replies.early()
    }

    /// Whether so much is under way for it that it is not read. Many applications write a whole pipeline before they read
    /// any of it: they get what they may be owed, and no request is sent for a reply that may be too much.
    #[inline]
    pub fn has_enough(&mut self, limits: &Limits, unread_at_most: usize) -> bool {
        if self.replies.len() == DEEP {
            self.measure_backlog();
        }
        self.replies.len() >= limits.in_flight || self.owes() > unread_at_most
    }

    /// Whether one that had may be read again.
    pub fn may_go_on(&self, limits: &Limits, unread_at_most: usize) -> bool {
        self.replies.len() <= limits.in_flight / 2 && self.owes() <= unread_at_most
    }

    #[inline]
    fn owes(&self) -> usize {
        self.unread() + self.replies.len().saturating_mul(self.backlog.expected)
    }

    /// Some replies came.
    #[inline]
    pub fn note_backlog(&mut self) {
        if self.unread() > NOTICED || self.flow == Flow::Paused {
            self.measure_backlog();
        }
    }

    #[cold]
    fn measure_backlog(&mut self) {
        let (replies, bytes) = self.replies.delivered();
        let (new, length) = (replies.wrapping_sub(self.backlog.replies), bytes.wrapping_sub(self.backlog.bytes));
        if new > 0 {
            // those that are under way may be as large as the last ones were
            let least = if self.unread() > NOTICED { self.backlog.expected / 4 * 3 } else { 0 };
            let expected = least.max(length / new as usize);
            self.backlog = Backlog { expected, replies, bytes };
        }
    }
}
