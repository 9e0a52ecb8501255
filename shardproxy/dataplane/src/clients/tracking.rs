//! CLIENT TRACKING: what a client wants to hear of, and what it is told once the replies under way are out. A value that is
//! told to be old before it is read would be kept for ever.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::Client;
use crate::dialect::resp::write;

/// So much waits for replies under way; of more it is told that all it has may be old.
const PUT_OFF: usize = 10_000;

/// So many of its own writes are known to who wants no loop, of values no longer than this; it is told of others.
const OWN: usize = 128;
pub const OWN_VALUE: usize = 1024;

const NOT_OPTIONAL: &str =
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled";
const NOT_OPTIN: &str = "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
const NOT_OPTOUT: &str = "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Of each key it has read.
    #[default]
    Default,
    /// Of those that it reads behind CLIENT CACHING YES.
    OptIn,
    /// But those that it reads behind CLIENT CACHING NO.
    OptOut,
    /// Of every key with one of its prefixes.
    Broadcast,
}

/// Another client is told instead, which may be another worker's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redirect {
    pub client: u64,
    pub worker: u16,
}

#[derive(Default)]
pub struct Tracking {
    pub mode: Mode,
    pub is_noloop: bool,
    pub prefixes: BTreeSet<Box<[u8]>>,
    pub redirect: Option<Redirect>,
    /// Nobody is there to be told instead.
    pub is_broken: bool,
    /// CLIENT CACHING was said: its next command is not as its others. And it was queued in a transaction.
    pub is_caching: bool,
    pub is_caching_queued: bool,
    /// What its transaction reads.
    pub queued: Vec<Box<[u8]>>,
    /// It may have something since it was last told that all may be old.
    pub may_keep: bool,
    /// The newest of its requests, of those that end soon, and of these the newest that reads.
    newest: Option<u32>,
    newest_read: Option<u32>,
    /// What it is told when replies are out.
    late: VecDeque<Late>,
    late_bytes: usize,
    /// So many of the first of these waited when that was last looked at; and so many were told before their reply, too.
    late_seen: usize,
    late_told: usize,
    /// What it has set itself, and has not been told of since.
    own: VecDeque<Own>,
}

/// What a client is told when the reply to that request is out: these keys, an array, or that all may be old.
#[derive(PartialEq, Eq, Debug)]
pub struct Late {
    sequence: u32,
    pub keys: Option<Box<[u8]>>,
}

/// A key, and the value it was given.
type Own = (Box<[u8]>, Arc<[u8]>);

impl Tracking {
    pub fn new(mode: Mode, is_noloop: bool, prefixes: BTreeSet<Box<[u8]>>) -> Self {
        Self { mode, is_noloop, prefixes, ..Self::default() }
    }

    /// Whether the keys of a command that reads are kept in mind.
    pub const fn keeps(&self) -> bool {
        match self.mode {
            Mode::Default => true,
            Mode::OptIn => self.is_caching || self.is_caching_queued,
            Mode::OptOut => !self.is_caching,
            Mode::Broadcast => false,
        }
    }

    pub fn has_prefix_of(&self, key: &[u8]) -> bool {
        self.mode != Mode::Broadcast || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }

    /// It has given the key a value, or has written it otherwise.
    pub fn note_own(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.own.retain(|(known, _)| **known != *key);
        if let Some(value) = value {
            if self.own.len() >= OWN {
                self.own.pop_front();
            }
            self.own.push_back((key.into(), value.into()));
        }
    }

    /// It has written nobody knows what.
    pub fn forget_own(&mut self) {
        self.own = VecDeque::new();
    }

    /// The value it has given the key.
    pub fn own(&self, key: &[u8]) -> Option<&Arc<[u8]>> {
        self.own.iter().find(|(known, _)| **known == *key).map(|(_, value)| value)
    }

    pub const fn note_request(&mut self, sequence: u32, is_read: bool) {
        self.newest = Some(sequence);
        if is_read {
            self.newest_read = Some(sequence);
        }
    }

    pub fn held(&self) -> usize {
        let prefixes: usize = self.prefixes.iter().map(|prefix| size_of::<Box<[u8]>>() + prefix.len()).sum();
        let queued: usize = self.queued.iter().map(|key| key.len()).sum();
        let lists = self.queued.capacity() * size_of::<Box<[u8]>>() + self.late.capacity() * size_of::<Late>();
        let own: usize = self.own.iter().map(|(key, value)| key.len() + value.len() + size_of::<[usize; 6]>()).sum();
        own + size_of::<Self>() + prefixes + queued + lists + self.late_bytes
    }

    /// What one before it was to tell is told all the same.
    pub fn take_over(&mut self, before: &mut Self) {
        self.late = std::mem::take(&mut before.late);
        (self.late_bytes, self.late_seen, self.late_told) = (before.late_bytes, before.late_seen, before.late_told);
        self.is_caching = before.is_caching;
        (self.newest, self.newest_read) = (before.newest, before.newest_read);
    }

    /// It is told so when this reply is out.
    pub fn put_off(&mut self, sequence: u32, keys: Option<Box<[u8]>>) {
        if self.late.len() >= PUT_OFF {
            self.late.clear();
            (self.late_bytes, self.late_seen, self.late_told) = (0, 0, 0);
            self.late.push_back(Late { sequence, keys: None });
        } else {
            self.late_bytes += keys.as_ref().map_or(0, |keys| keys.len());
            self.late.push_back(Late { sequence, keys });
        }
    }
}

impl Client {
    /// The request behind whose reply it is told of changes, if that is not out.
    pub fn tells_behind(&self) -> Option<u32> {
        let tracking = self.tracking.as_deref()?;
        tracking.newest.filter(|&sequence| self.replies.owes(sequence))
    }

    /// Whether it may be about to get what it reads.
    pub fn awaits_read(&self) -> bool {
        let newest = self.tracking.as_deref().and_then(|tracking| tracking.newest_read);
        newest.is_some_and(|sequence| self.replies.owes(sequence))
    }

    /// The next of what was put off that it is told now.
    pub fn take_late(&mut self) -> Option<Late> {
        let tracking = self.tracking.as_deref_mut()?;
        let sequence = tracking.late.front()?.sequence;
        if self.replies.owes(sequence) {
            return None;
        }
        let late = tracking.late.pop_front()?;
        tracking.late_bytes -= late.keys.as_ref().map_or(0, |keys| keys.len());
        tracking.late_seen = tracking.late_seen.saturating_sub(1);
        tracking.late_told = tracking.late_told.saturating_sub(1);
        if tracking.late.is_empty() {
            tracking.late = VecDeque::new();
        }
        Some(late)
    }

    /// What has waited since this was last asked: a reply that is long in coming, as one of a shard without a primary, does not
    /// keep what changes elsewhere from being told. Behind the reply it is told again.
    pub fn take_overdue(&mut self) -> Vec<Option<Box<[u8]>>> {
        let Some(tracking) = self.tracking.as_deref_mut() else { return Vec::new() };
        let due = tracking.late.range(tracking.late_told..tracking.late_seen.max(tracking.late_told));
        let due: Vec<_> = due.map(|late| late.keys.clone()).collect();
        tracking.late_told = tracking.late_seen.max(tracking.late_told);
        tracking.late_seen = tracking.late.len();
        due
    }

    pub fn trackinginfo(&self) -> Vec<u8> {
        let mut reply = Vec::new();
        let mut flags = Vec::new();
        match self.tracking.as_deref() {
            None => flags.push("off"),
            Some(tracking) => {
                flags.push("on");
                match tracking.mode {
                    Mode::Default => {}
                    Mode::OptIn => {
                        flags.extend(["optin", "caching-yes"].iter().take(1 + usize::from(tracking.is_caching)));
                    }
                    Mode::OptOut => {
                        flags.extend(["optout", "caching-no"].iter().take(1 + usize::from(tracking.is_caching)));
                    }
                    Mode::Broadcast => flags.push("bcast"),
                }
                flags.extend(tracking.is_noloop.then_some("noloop"));
                flags.extend(tracking.is_broken.then_some("broken_redirect"));
            }
        }
        write::map_header(&mut reply, 3, self.resp);
        write::bulk(&mut reply, b"flags");
        write::set_header(&mut reply, flags.len(), self.resp);
        for flag in flags {
            write::bulk(&mut reply, flag.as_bytes());
        }
        write::bulk(&mut reply, b"redirect");
        write::integer(&mut reply, self.redirects_to());
        write::bulk(&mut reply, b"prefixes");
        let prefixes = self.tracking.iter().flat_map(|tracking| &tracking.prefixes);
        write::array_header(&mut reply, prefixes.clone().count());
        prefixes.for_each(|prefix| write::bulk(&mut reply, prefix));
        reply
    }

    /// As CLIENT GETREDIR says: 0 for nobody else, -1 where it does not track.
    pub fn redirects_to(&self) -> i64 {
        let to = |tracking: &Tracking| tracking.redirect.map_or(0, |redirect| redirect.client as i64);
        self.tracking.as_deref().map_or(-1, to)
    }

    /// CLIENT CACHING, or what is wrong with it.
    pub fn caching(&mut self, wanted: &[u8]) -> Result<(), &'static str> {
        let optional = |tracking: &&mut Box<Tracking>| matches!(tracking.mode, Mode::OptIn | Mode::OptOut);
        let Some(tracking) = self.tracking.as_mut().filter(optional) else { return Err(NOT_OPTIONAL) };
        match tracking.mode {
            Mode::OptIn if wanted.eq_ignore_ascii_case(b"yes") => {}
            Mode::OptOut if wanted.eq_ignore_ascii_case(b"no") => {}
            _ if wanted.eq_ignore_ascii_case(b"yes") => return Err(NOT_OPTIN),
            _ if wanted.eq_ignore_ascii_case(b"no") => return Err(NOT_OPTOUT),
            _ => return Err("ERR syntax error"),
        }
        tracking.is_caching = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_no_loop_knows_its_last_writes() {
        let mut tracking = Tracking::default();
        for number in 0..=OWN {
            tracking.note_own(number.to_string().as_bytes(), Some(b"v"));
        }
        assert!(tracking.own(b"0").is_none() && tracking.own(b"1").is_some());
        tracking.note_own(b"1", Some(b"w"));
        assert_eq!(tracking.own(b"1").map(|value| &**value), Some(&b"w"[..]));
        tracking.note_own(b"1", None);
        assert!(tracking.own(b"1").is_none());
    }

    #[test]
    fn what_waits_for_too_many_replies_becomes_one_word_for_all() {
        let mut tracking = Tracking::default();
        for sequence in 0..=PUT_OFF as u32 {
            tracking.put_off(sequence, Some(Box::from(&b"*1\r\n$1\r\nk\r\n"[..])));
        }
        assert_eq!((tracking.late.len(), tracking.late_bytes), (1, 0));
        assert_eq!(tracking.late.front(), Some(&Late { sequence: PUT_OFF as u32, keys: None }));
    }

    #[test]
    fn prefixes_say_what_is_meant() {
        let prefixes = [&b"a:"[..], b"b"].map(Box::from);
        let tracking = Tracking::new(Mode::Broadcast, false, prefixes.into());
        assert!(tracking.has_prefix_of(b"a:1") && tracking.has_prefix_of(b"b") && !tracking.has_prefix_of(b"a"));
        assert!(Tracking::default().has_prefix_of(b"a"));
    }
}
