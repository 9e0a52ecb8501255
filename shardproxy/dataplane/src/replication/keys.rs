//! The keys that are under way: changed at the source, and not with their target yet. Pure.
//!
//! ```text
//!          mark                next               arrived              answered
//!   (none) ───> Waiting ─────────────> Reading ───────────> Writing ───────────> (none)
//!                  ^  └─ big, by its ─> Exact ── settled ─> Shipped: its own commands follow it, until one of them
//!                  │     own commands                          │     cannot, or a connection is lost
//!                  └───────────── marked meanwhile ────────────┘
//! ```
//!
//! A reading has a ticket: of an answer that comes after its key was begun anew nothing is taken.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

pub type Key = Arc<[u8]>;

/// Commands held for one key until it is known which of them its value has: bytes.
const HELD: usize = 4 << 20;
/// Keys that are shipped at once.
const SHIPPED: usize = 4096;
/// Keys known as big.
const BIG: usize = 65_536;

#[derive(Debug)]
enum State {
    Waiting,
    Reading(u64),
    Writing(u64),
    Exact(u64, Held),
    /// Its value is as of that offset.
    Shipped(i64),
}

#[derive(Debug, Default)]
struct Held {
    commands: Vec<(i64, Vec<u8>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// The offset of the oldest change that is not with the target.
    since: i64,
    /// Of the oldest that came while it was read or written.
    again: Option<i64>,
}

/// What to do about a command that can be sent on.
#[derive(Debug, PartialEq, Eq)]
pub enum Sending {
    /// Send it behind the value.
    Now,
    /// The key was marked, or the command is held: nothing.
    Not,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Read its value, as it is when it is read.
    Plain(Key, u64),
    /// Read its value and at which offset it was that.
    Exact(Key, u64),
}

#[derive(Debug, Default)]
pub struct Keys {
    entries: HashMap<Key, Entry>,
    waiting: VecDeque<Key>,
    /// Large, without a time to live, and of a type whose commands can be sent on.
    big: HashSet<Key>,
    tickets: u64,
    shipped: usize,
    bytes: usize,
}

impl Keys {
    /// A key is another now. At 0: nobody knows since when.
    pub fn mark(&mut self, key: &[u8], at: i64) {
        let Some(entry) = self.entries.get_mut(key) else {
            let key: Key = key.into();
            self.bytes += key.len();
            self.waiting.push_back(key.clone());
            self.entries.insert(key, Entry { state: State::Waiting, since: at, again: None });
            return;
        };
        match &mut entry.state {
            State::Waiting => {}
            State::Reading(_) | State::Writing(_) => entry.again = entry.again.or(Some(at)),
            State::Exact(_, held) => {
                *held = Held::default();
                entry.again = entry.again.or(Some(at));
            }
            State::Shipped(from) if at > 0 && at <= *from => {} // its value has that
            State::Shipped(_) => {
                entry.state = State::Waiting;
                entry.since = at;
                self.shipped -= 1;
                self.waiting.push_back(key.into());
            }
        }
    }

    /// A key is another now, by a command that could be sent on.
    pub fn command(&mut self, key: &[u8], request: &[u8], at: i64) -> Sending {
        match self.entries.get_mut(key) {
            Some(Entry { state: State::Shipped(from), .. }) => {
                return if at > *from { Sending::Now } else { Sending::Not };
            }
            Some(Entry { state: State::Exact(_, held), again: None, .. }) if held.bytes + request.len() <= HELD => {
                held.bytes += request.len();
                held.commands.push((at, request.to_vec()));
            }
            _ => self.mark(key, at),
        }
        Sending::Not
    }

    /// The key that has waited longest.
    pub fn next(&mut self) -> Option<Next> {
        while let Some(key) = self.waiting.pop_front() {
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| matches!(entry.state, State::Waiting)) else {
                continue;
            };
            self.tickets += 1;
            if self.shipped < SHIPPED && self.big.contains(&key) {
                entry.state = State::Exact(self.tickets, Held::default());
                return Some(Next::Exact(key, self.tickets));
            }
            entry.state = State::Reading(self.tickets);
            return Some(Next::Plain(key, self.tickets));
        }
        None
    }

    /// Read a key that was found, not marked; none if it is under way anyway.
    pub fn begin(&mut self, key: &[u8], at: i64) -> Option<(Key, u64)> {
        if self.entries.contains_key(key) {
            return None;
        }
        let key: Key = key.into();
        self.tickets += 1;
        self.bytes += key.len();
        self.entries.insert(key.clone(), Entry { state: State::Reading(self.tickets), since: at, again: None });
        Some((key, self.tickets))
    }

    /// Its value has come and is sent to its target, if this is true.
    pub fn arrived(&mut self, key: &[u8], ticket: u64) -> bool {
        match self.entries.get_mut(key) {
            Some(entry) if matches!(entry.state, State::Reading(asked) if asked == ticket) => {
                entry.state = State::Writing(ticket);
                true
            }
            _ => false,
        }
    }

    /// Its value has come as it was at that offset: the commands that follow it, if it is sent on from now on; none if it is
    /// sent as any other; an error if this is no news of it.
    pub fn settled(
        &mut self,
        key: &[u8],
        ticket: u64,
        offset: i64,
        is_shipped: bool,
    ) -> Result<Option<Vec<Vec<u8>>>, ()> {
        let entry = self.entries.get_mut(key).ok_or(())?;
        let State::Exact(asked, held) = &mut entry.state else { return Err(()) };
        if *asked != ticket {
            return Err(());
        }
        let later: Vec<(i64, Vec<u8>)> =
            std::mem::take(held).commands.into_iter().filter(|(at, _)| *at > offset).collect();
        if is_shipped && entry.again.is_none() {
            entry.state = State::Shipped(offset);
            self.shipped += 1;
            return Ok(Some(later.into_iter().map(|(_, request)| request).collect()));
        }
        entry.again = entry.again.or(later.first().map(|(at, _)| *at));
        entry.state = State::Writing(ticket);
        if !is_shipped {
            self.big.remove(key);
        }
        Ok(None)
    }

    /// Its target has it.
    pub fn answered(&mut self, key: &[u8], ticket: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !matches!(entry.state, State::Writing(sent) if sent == ticket) {
            return;
        }
        if let Some(at) = entry.again.take() {
            entry.state = State::Waiting;
            entry.since = at;
            let known = self.entries.get_key_value(key).map(|(key, _)| key.clone());
            self.waiting.extend(known);
        } else if self.entries.remove(key).is_some() {
            self.bytes -= key.len();
        }
    }

    /// Its commands cannot be sent on any more.
    pub fn unship(&mut self, key: &[u8], at: i64) {
        if self.entries.get(key).is_some_and(|entry| matches!(entry.state, State::Shipped(_))) {
            self.mark(key, at);
        }
    }

    /// What was sent of it is lost.
    pub fn lost(&mut self, key: &[u8]) {
        self.unship(key, 0);
        let Some(entry) = self.entries.get_mut(key).filter(|entry| matches!(entry.state, State::Writing(_))) else {
            return;
        };
        entry.state = State::Waiting;
        entry.again = None;
        let known = self.entries.get_key_value(key).map(|(key, _)| key.clone());
        self.waiting.extend(known);
    }

    /// It is large: when it changes, its commands are sent on.
    pub fn note_big(&mut self, key: &Key) {
        if self.big.len() < BIG {
            self.big.insert(key.clone());
        }
    }

    /// A connection was lost: read again whatever was asked, and send values in place of commands. `is_lost` says of whom
    /// what was sent is lost too.
    pub fn again(&mut self, at: i64, is_lost: impl Fn(&Key) -> bool, reads: bool) {
        for (key, entry) in &mut self.entries {
            let is_anew = match entry.state {
                State::Waiting => false,
                State::Reading(_) | State::Exact(..) => reads,
                State::Writing(_) => is_lost(key),
                State::Shipped(_) => {
                    let is_anew = reads || is_lost(key);
                    if is_anew {
                        entry.since = at;
                        self.shipped -= 1;
                    }
                    is_anew
                }
            };
            if is_anew {
                entry.state = State::Waiting;
                entry.again = None;
                self.waiting.push_back(key.clone());
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Self { tickets: self.tickets, ..Self::default() };
    }

    /// Whether its target has all of a key that is known of, or will have when all that was sent is answered.
    pub fn is_with_target(&self, key: &[u8]) -> bool {
        self.entries.get(key).is_none_or(|entry| matches!(entry.state, State::Shipped(_)))
    }

    /// Keys that are not with their targets.
    pub fn dirty(&self) -> usize {
        self.entries.len() - self.shipped
    }

    pub const fn shipped(&self) -> usize {
        self.shipped
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Bytes of names.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the oldest change is that is not with its target.
    pub fn oldest(&self) -> Option<i64> {
        let is_open = |entry: &&Entry| !matches!(entry.state, State::Shipped(_));
        self.entries.values().filter(is_open).map(|entry| entry.since).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(keys: &mut Keys) -> (Key, u64) {
        match keys.next() {
            Some(Next::Plain(key, ticket)) => (key, ticket),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_read_once_however_often_it_is_marked() {
        let mut keys = Keys::default();
        keys.mark(b"a", 10);
        keys.mark(b"a", 20);
        let (key, ticket) = plain(&mut keys);
        assert_eq!((keys.next(), keys.oldest(), keys.dirty()), (None, Some(10), 1));
        assert!(keys.arrived(&key, ticket));
        keys.answered(&key, ticket);
        assert_eq!((keys.dirty(), keys.oldest(), keys.bytes()), (0, None, 0));
    }

    #[test]
    fn what_is_marked_while_it_is_under_way_is_read_again() {
        for is_written in [false, true] {
            let mut keys = Keys::default();
            keys.mark(b"a", 10);
            let (key, ticket) = plain(&mut keys);
            if is_written {
                assert!(keys.arrived(&key, ticket));
            }
            keys.mark(b"a", 30);
            if !is_written {
                assert!(keys.arrived(&key, ticket));
            }
            assert_eq!((keys.next(), keys.oldest()), (None, Some(10)));
            keys.answered(&key, ticket);
            assert_eq!(keys.oldest(), Some(30));
            assert_eq!(plain(&mut keys).0, key);
        }
    }

    #[test]
    fn an_answer_to_an_old_question_is_none() {
        let mut keys = Keys::default();
        let (key, old) = keys.begin(b"a", 1).unwrap();
        keys.clear();
        let (_, new) = keys.begin(b"a", 2).unwrap();
        assert!(!keys.arrived(&key, old));
        assert!(keys.arrived(&key, new));
        keys.answered(&key, old);
        assert_eq!(keys.dirty(), 1);
    }

    fn big(keys: &mut Keys) -> (Key, u64) {
        keys.note_big(&Key::from(&b"z"[..]));
        keys.mark(b"z", 10);
        match keys.next() {
            Some(Next::Exact(key, ticket)) => (key, ticket),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_behind_the_value_follow_it_and_those_before_do_not() {
        let mut keys = Keys::default();
        let (key, ticket) = big(&mut keys);
        for at in [20, 30, 40] {
            assert_eq!(keys.command(b"z", &[at as u8], at), Sending::Not);
        }
        assert_eq!(keys.settled(&key, ticket, 30, true), Ok(Some(vec![vec![40]])));
        assert_eq!(keys.command(b"z", b"30", 30), Sending::Not, "the stream may be behind the value");
        keys.mark(b"z", 30);
        assert_eq!(keys.shipped(), 1);
        assert_eq!(keys.command(b"z", b"50", 50), Sending::Now);
        assert_eq!((keys.dirty(), keys.shipped(), keys.oldest()), (0, 1, None));
        keys.mark(b"z", 60);
        assert_eq!((keys.dirty(), keys.shipped(), keys.oldest()), (1, 0, Some(60)));
        assert_eq!(keys.command(b"z", b"70", 70), Sending::Not);
    }

    #[test]
    fn a_big_key_whose_value_does_not_do_is_sent_as_any_other() {
        let mut keys = Keys::default();
        let (key, ticket) = big(&mut keys);
        keys.command(b"z", b"40", 40);
        assert_eq!(keys.settled(&key, ticket, 30, false), Ok(None));
        keys.answered(&key, ticket);
        assert_eq!((keys.oldest(), keys.shipped()), (Some(40), 0));
        assert_eq!(plain(&mut keys).0, key, "it is not known as big any more");

        let mut keys = Keys::default();
        let (key, ticket) = big(&mut keys);
        keys.command(b"z", b"40", 40);
        keys.mark(b"z", 50);
        keys.command(b"z", b"60", 60);
        assert_eq!(keys.settled(&key, ticket, 30, true), Ok(None));
        keys.answered(&key, ticket);
        assert_eq!(keys.oldest(), Some(50), "what it was marked with is behind the value");
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut keys = Keys::default();
        let (key, ticket) = big(&mut keys);
        let request = vec![b'x'; HELD / 2];
        for at in 20..25 {
            keys.command(b"z", &request, at);
        }
        assert_eq!(keys.settled(&key, ticket, 10, true), Ok(None));
        keys.answered(&key, ticket);
        assert_eq!(keys.dirty(), 1);
    }

    #[test]
    fn with_a_connection_goes_what_was_sent_on_it() {
        let mut keys = Keys::default();
        let (read, _) = keys.begin(b"read", 1).unwrap();
        let (written, ticket) = keys.begin(b"written", 1).unwrap();
        keys.arrived(&written, ticket);
        let (shipped, ticket) = big(&mut keys);
        keys.settled(&shipped, ticket, 30, true).unwrap();
        keys.again(50, |key| *key == written, false);
        assert_eq!((plain(&mut keys).0, keys.next(), keys.shipped()), (written, None, 1));
        keys.again(50, |_| false, true);
        let mut anew: Vec<Key> = std::iter::from_fn(|| keys.next())
            .map(|next| match next {
                Next::Plain(key, _) | Next::Exact(key, _) => key,
            })
            .collect();
        anew.sort();
        assert_eq!(anew, [read, Key::from(&b"written"[..]), shipped]);
        assert_eq!(keys.shipped(), 0);
    }

    #[test]
    fn what_one_key_was_sent_is_lost_alone() {
        let mut keys = Keys::default();
        for name in [&b"a"[..], b"b"] {
            let (key, ticket) = keys.begin(name, 1).unwrap();
            keys.arrived(&key, ticket);
        }
        let (shipped, ticket) = big(&mut keys);
        keys.settled(&shipped, ticket, 30, true).unwrap();
        keys.mark(b"a", 5);
        for name in [&b"a"[..], b"z", b"none"] {
            keys.lost(name);
        }
        assert_eq!((keys.dirty(), keys.shipped()), (3, 0));
        let (key, ticket) = plain(&mut keys);
        assert_eq!(&*key, b"a");
        assert!(keys.arrived(&key, ticket));
        keys.answered(&key, ticket);
        assert!(matches!(keys.next(), Some(Next::Exact(key, _)) if key == shipped));
        assert_eq!(keys.next(), None);
    }

    /// A source, its stream, a target and one connection to each, all as simple as can be.
    #[derive(Default)]
    struct World {
        keys: Keys,
        source: HashMap<u8, Vec<i64>>,
        target: HashMap<u8, Vec<i64>>,
        /// What was executed and not read of the stream: the key, and whether the command can be sent on.
        stream: VecDeque<(u8, i64, bool)>,
        offset: i64,
        reads: VecDeque<(Next, Vec<i64>, i64)>,
        writes: VecDeque<(Key, u64, Write)>,
    }

    enum Write {
        Value(Vec<i64>),
        Command(i64),
    }

    impl World {
        fn execute(&mut self, key: u8, repeats: bool) {
            self.offset += 1;
            let value = self.source.entry(key).or_default();
            if !repeats {
                value.clear();
            }
            value.push(self.offset);
            self.stream.push_back((key, self.offset, repeats));
        }

        fn hear(&mut self) {
            let Some((key, at, repeats)) = self.stream.pop_front() else { return };
            if !repeats {
                self.keys.mark(&[key], at);
            } else if self.keys.command(&[key], &at.to_le_bytes(), at) == Sending::Now {
                self.writes.push_back((Key::from(&[key][..]), 0, Write::Command(at)));
            }
        }

        fn read(&mut self) {
            if let Some(next) = self.keys.next() {
                let key = match &next {
                    Next::Plain(key, _) | Next::Exact(key, _) => key[0],
                };
                self.reads.push_back((next, self.source.get(&key).cloned().unwrap_or_default(), self.offset));
            }
        }

        fn arrive(&mut self) {
            let Some((next, value, at)) = self.reads.pop_front() else { return };
            match next {
                Next::Plain(key, ticket) => {
                    if self.keys.arrived(&key, ticket) {
                        self.keys.note_big(&key);
                        self.writes.push_back((key, ticket, Write::Value(value)));
                    }
                }
                Next::Exact(key, ticket) => {
                    if let Ok(commands) = self.keys.settled(&key, ticket, at, at % 7 != 0) {
                        self.writes.push_back((key.clone(), ticket, Write::Value(value)));
                        for command in commands.into_iter().flatten() {
                            let at = i64::from_le_bytes(command.try_into().unwrap());
                            self.writes.push_back((key.clone(), 0, Write::Command(at)));
                        }
                    }
                }
            }
        }

        fn answer(&mut self) {
            let Some((key, ticket, write)) = self.writes.pop_front() else { return };
            match write {
                Write::Value(value) => drop(self.target.insert(key[0], value)),
                Write::Command(at) => self.target.entry(key[0]).or_default().push(at),
            }
            if ticket > 0 {
                self.keys.answered(&key, ticket);
            }
        }

        /// What was on the way to the target may have arrived, or not.
        fn lose(&mut self, arrived: usize) {
            for _ in 0..arrived {
                self.answer();
            }
            self.writes.clear();
            self.keys.again(self.offset, |_| true, false);
        }

        fn lose_source(&mut self) {
            self.reads.clear();
            self.keys.again(self.offset, |_| false, true);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn whatever_the_order_the_target_ends_as_the_source(steps in proptest::collection::vec((0u8..8, 0u8..3), 1..120)) {
            let mut world = World::default();
            for (step, key) in steps {
                match step {
                    0 => world.execute(key, false),
                    1 => world.execute(key, true),
                    2 | 3 => world.hear(),
                    4 => world.read(),
                    5 => world.arrive(),
                    6 => world.answer(),
                    _ if key == 0 => world.lose_source(),
                    _ => world.lose(usize::from(key) - 1),
                }
            }
            for _ in 0..1000 {
                world.hear();
                world.read();
                world.arrive();
                world.answer();
            }
            prop_assert_eq!(&world.source, &world.target);
            prop_assert_eq!((world.keys.dirty(), world.keys.oldest()), (0, None));
        }
    }
}
