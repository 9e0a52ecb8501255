//! The node a copy reads: what it was asked, in the order of its replies, and its stream of commands.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::attach::{Attached, SIGN_OF_LIFE};
use super::history::Facts;
use super::keys::Key;
use super::node::{Node, NodeError};

/// A source that owes an answer for so long is lost.
const SILENT: Duration = Duration::from_secs(10);
/// A stream that is behind its node, and of which nothing comes for so long, is lost.
const STUCK: Duration = Duration::from_secs(5);
/// A replica that does not hear its primary for so long is left for another node.
const UNLINKED: Duration = Duration::from_secs(5);
const LIVES_EVERY: Duration = Duration::from_secs(1);
/// A fork that is not reaped yet hears no sign: until the stream begins it is repeated sooner.
const LIVES_FIRST: Duration = Duration::from_millis(400);
const LOOKS_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub enum Asked {
    /// Whether a key is there that a target has.
    Exists(Vec<u8>),
    /// When the key of the next value ends.
    Ends,
    Value {
        key: Key,
        ticket: u64,
        is_first: bool,
    },
    /// Part of a transaction.
    Queued,
    Exact {
        key: Key,
        ticket: u64,
    },
    /// How far it is; those keys' values came before.
    Info(Vec<Key>),
    Scan {
        pass: u64,
    },
    Size {
        pass: u64,
    },
}

pub struct Source {
    pub asker: Node,
    pub stream: Option<Node>,
    pub asked: VecDeque<Asked>,
    pub clock: Option<(i64, Instant)>,
    /// When the key of the next value ends, as it was told.
    pub ends: i64,
    /// When it last answered, or was asked with nothing owed.
    since: Instant,
    /// When anything last came of its stream; none before that.
    heard: Option<Instant>,
    attached: Instant,
    lived: Instant,
    looked: Instant,
    /// Since when it does not hear its primary.
    unlinked: Option<Instant>,
    /// How far it was when it was asked last.
    pub offset: i64,
}

impl Source {
    pub fn new(attached: Attached, now: Instant) -> Self {
        Self {
            asker: attached.asker,
            stream: attached.stream,
            asked: VecDeque::new(),
            offset: attached.place.offset,
            clock: attached.clock,
            ends: -1,
            since: now,
            heard: None,
            attached: now,
            lived: now.checked_sub(LIVES_EVERY).unwrap_or(now),
            looked: now,
            unlinked: None,
        }
    }

    pub fn ask(&mut self, words: &[&[u8]], asked: Asked, now: Instant) {
        if self.asked.is_empty() {
            self.since = now;
        }
        self.asker.send(words);
        self.asked.push_back(asked);
    }

    /// Ask for a value and when it ends.
    pub fn ask_value(&mut self, key: &Key, ticket: u64, is_first: bool, now: Instant) {
        let ends: &[u8] = if self.clock.is_some() { b"PTTL" } else { b"PEXPIRETIME" };
        self.ask(&[ends, key], Asked::Ends, now);
        self.ask(&[b"DUMP", key], Asked::Value { key: key.clone(), ticket, is_first }, now);
    }

    /// Ask for a value, when it ends, and at which offset it was that: nothing is executed between these.
    pub fn ask_exact(&mut self, key: &Key, ticket: u64, now: Instant) {
        self.ask(&[b"MULTI"], Asked::Queued, now);
        self.ask(&[b"INFO", b"replication"], Asked::Queued, now);
        self.ask(&[b"PTTL", key], Asked::Queued, now);
        self.ask(&[b"DUMP", key], Asked::Queued, now);
        self.ask(&[b"EXEC"], Asked::Exact { key: key.clone(), ticket }, now);
    }

    /// Ask how far it is, once all of these keys have come.
    pub fn ask_offset(&mut self, fresh: Vec<Key>, now: Instant) {
        self.looked = now;
        self.ask(&[b"INFO", b"replication"], Asked::Info(fresh), now);
    }

    pub fn is_look_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= LOOKS_EVERY
    }

    /// Replies came.
    pub const fn answered(&mut self, now: Instant) {
        self.since = now;
    }

    pub const fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// It said how far it is, and whether it hears its primary.
    pub fn told(&mut self, facts: &Facts, now: Instant) {
        self.offset = facts.offset;
        let is_linked = facts.is_primary || facts.is_linked;
        self.unlinked = if is_linked { None } else { self.unlinked.or(Some(now)) };
    }

    /// Show that somebody reads. No offset is ever confirmed: to whom writes wait for this is nobody.
    pub fn live(&mut self, now: Instant) {
        let every = if self.heard.is_some() { LIVES_EVERY } else { LIVES_FIRST };
        if let Some(stream) = self.stream.as_mut().filter(|_| now.saturating_duration_since(self.lived) >= every) {
            self.lived = now;
            stream.send(&SIGN_OF_LIFE);
        }
    }

    /// Why it is of no use any more, though its connections are there. `offset` is how far the stream was read.
    pub fn why_lost(&self, offset: i64, has_others: bool, now: Instant) -> Option<&'static str> {
        let past = |since: Instant, most: Duration| now.saturating_duration_since(since) > most;
        if !self.asked.is_empty() && past(self.since, SILENT) {
            return Some("it does not answer");
        }
        let heard = self.heard.unwrap_or(self.attached);
        if self.stream.is_some() && self.offset > offset && past(heard, STUCK) {
            return Some("its stream stands still");
        }
        if has_others && self.unlinked.is_some_and(|since| past(since, UNLINKED)) {
            return Some("it does not hear its primary");
        }
        None
    }

    pub fn flush(&mut self) -> Result<(), NodeError> {
        self.asker.flush()?;
        self.stream.as_mut().map_or(Ok(()), Node::flush)
    }
}
