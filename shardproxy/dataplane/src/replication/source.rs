//! The node a copy reads: what it was asked, in the order of its replies, and its stream of commands.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::attach::{Attached, SIGN_OF_LIFE};
use super::history::{Facts, Place};
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
/// While somebody waits for a history that it may yet tell of.
const LOOKS_SOON: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub enum Asked {
    /// What its clock shows, before and after all others: so long its clients waited for these.
    Clock,
    /// Whether a key is there that a target has.
    Exists(Vec<u8>),
    /// How many bytes a key found takes.
    Weight(Vec<u8>),
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
    Scan,
    Size,
    /// What it says counts no more.
    Forgotten,
}

pub struct Source {
    pub asker: Node,
    pub stream: Option<Node>,
    pub asked: VecDeque<Asked>,
    pub clock: Option<(i64, Instant)>,
    /// When the key of the next value ends, as it was told.
    pub ends: i64,
    /// What its clock showed before it looked at what it was asked, and how long it took; none if it may not say.
    began: Option<i64>,
    spent: Option<Duration>,
    /// When it last answered, or was asked with nothing owed.
    since: Instant,
    /// When anything last came of its stream; none before that.
    heard: Option<Instant>,
    attached: Instant,
    lived: Instant,
    looked: Instant,
    /// Since when it does not hear its primary.
    unlinked: Option<Instant>,
    /// What it said last of itself.
    facts: Facts,
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
            began: None,
            spent: None,
            since: now,
            heard: None,
            attached: now,
            lived: now.checked_sub(LIVES_EVERY).unwrap_or(now),
            looked: now,
            unlinked: None,
            facts: attached.facts,
        }
    }

    pub fn ask(&mut self, words: &[&[u8]], asked: Asked, now: Instant) {
        if self.asked.is_empty() {
            self.since = now;
            self.ask_clock();
        }
        self.asker.send(words);
        self.asked.push_back(asked);
    }

    /// That was all, for now.
    pub fn ask_no_more(&mut self) {
        self.ask_clock();
    }

    /// All is begun anew: what was asked of a walk counts no more. Values have tickets of their own.
    pub fn forget_walk(&mut self) {
        for asked in &mut self.asked {
            if matches!(asked, Asked::Exists(_) | Asked::Weight(_) | Asked::Scan | Asked::Size) {
                *asked = Asked::Forgotten;
            }
        }
    }

    fn ask_clock(&mut self) {
        self.asker.send(&[b"TIME"]);
        self.asked.push_back(Asked::Clock);
    }

    /// Its clock showed so many microseconds, between what it answered and what it is still asked.
    pub fn clock_showed(&mut self, at: Option<i64>) {
        if self.asked.is_empty() {
            let spent = self.began.take().zip(at).and_then(|(began, at)| u64::try_from(at - began).ok());
            self.spent = spent.map(Duration::from_micros);
        } else {
            self.began = at;
        }
    }

    /// How long it took for what it was asked, by its own clock.
    pub const fn spent(&mut self) -> Option<Duration> {
        self.spent.take()
    }

    /// The command that tells when a key ends: engines know different ones.
    pub const fn ends_by(&self) -> &'static [u8] {
        if self.clock.is_some() {
            b"PTTL"
        } else {
            b"PEXPIRETIME"
        }
    }

    /// Ask for a value and when it ends.
    pub fn ask_value(&mut self, key: &Key, ticket: u64, is_first: bool, now: Instant) {
        self.ask(&[self.ends_by(), key], Asked::Ends, now);
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

    pub fn is_look_due(&self, hurries: bool, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= if hurries { LOOKS_SOON } else { LOOKS_EVERY }
    }

    /// Read what has come of its replies, up to about so many bytes; whether there may be more. Each byte shows that it
    /// answers: a large value takes a slow network long.
    pub fn fill(&mut self, most: usize, now: Instant) -> Result<bool, NodeError> {
        let before = self.asker.untaken().len();
        let more = self.asker.fill(most)?;
        if self.asker.untaken().len() > before {
            self.since = now;
        }
        Ok(more)
    }

    /// The same of its stream. What came before, and is no whole command, shows nothing.
    pub fn fill_stream(&mut self, most: usize, now: Instant) -> Result<bool, NodeError> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let before = stream.untaken().len();
        let more = stream.fill(most)?;
        if stream.untaken().len() > before {
            self.heard = Some(now);
        }
        Ok(more)
    }

    /// It said how far it is, and whether it hears its primary.
    pub fn told(&mut self, facts: Facts, now: Instant) {
        self.offset = facts.offset;
        let is_linked = facts.is_primary || facts.is_linked;
        self.unlinked = if is_linked { None } else { self.unlinked.or(Some(now)) };
        self.facts = facts;
    }

    /// Whether this place of a history that has another name now is one of its own.
    pub fn has_passed(&self, place: &Place) -> bool {
        self.facts.was_called(&place.replid, place.offset)
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::replication::end::End;
    use crate::replication::node::Stop;

    const WITHIN: Duration = Duration::from_secs(5);

    /// A source, and the other sides of its stream and of who asks it.
    fn source(now: Instant) -> (Source, [TcpStream; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = End::plain(&listener.local_addr().unwrap().to_string()).unwrap();
        let mut ends = [0, 1].map(|_| {
            let node = Node::connect(&end, &Stop::new().unwrap(), WITHIN).unwrap();
            (Some(node), listener.accept().unwrap().0)
        });
        let place = Place { replid: "a".into(), offset: 0 };
        let (stream, asker) = (ends[0].0.take(), ends[1].0.take().unwrap());
        let facts = Facts::default();
        let attached = Attached { stream, asker, facts, place, is_resumed: false, database: None, clock: None };
        (Source::new(attached, now), ends.map(|(_, side)| side))
    }

    /// Have it come, and wait until it is there.
    fn comes(side: &mut TcpStream, node: &Node, bytes: &[u8]) {
        side.write_all(bytes).unwrap();
        node.wait(Instant::now() + WITHIN).unwrap();
    }

    #[test]
    fn who_sends_a_large_value_slowly_is_not_silent() {
        let start = Instant::now();
        let (mut source, [_, mut side]) = source(start);
        source.ask(&[b"DUMP", b"k"], Asked::Scan, start);
        source.flush().unwrap();
        for (seconds, bytes) in [(8, &b"$1000000\r\n"[..]), (16, b"xxxx"), (24, b"xx")] {
            comes(&mut side, &source.asker, bytes);
            let now = start + Duration::from_secs(seconds);
            source.fill(1 << 20, now).unwrap();
            assert_eq!(source.why_lost(0, false, now + Duration::from_secs(8)), None);
        }
        let now = start + Duration::from_secs(33);
        source.fill(1 << 20, now).unwrap();
        assert_eq!(source.why_lost(0, false, now + Duration::from_secs(2)), Some("it does not answer"));
    }

    #[test]
    fn a_stream_that_stands_still_within_a_command_stands_still() {
        let start = Instant::now();
        let (mut source, [mut side, _]) = source(start);
        source.offset = 100;
        let command = b"*3\r\n$3\r\nSET\r\n";
        for seconds in [4, 8] {
            comes(&mut side, source.stream.as_ref().unwrap(), command);
            let now = start + Duration::from_secs(seconds);
            source.fill_stream(1 << 20, now).unwrap();
            assert_eq!(source.why_lost(0, false, now), None, "there is more of it");
        }
        let now = start + Duration::from_secs(14);
        source.fill_stream(1 << 20, now).unwrap();
        assert_eq!(source.why_lost(0, false, now), Some("its stream stands still"));
    }
}
