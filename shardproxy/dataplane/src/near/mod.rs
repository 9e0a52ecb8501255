//! The near cache: replies of hot keys, kept by the worker that may be asked for them again.
//!
//! ```text
//!   GET k ─> kept, and nobody has counted a change since? ── yes ─> answered here
//!               │ no: asked for often lately (sketch)? ─> sent, its reply is a candidate, PTTL behind it ─> kept
//!
//!   a write was executed, and its client was not told yet ─> changes.rs: counters that all workers see
//!   this worker's feed names the key, or is lost ─> it goes
//! ```
//!
//! A reply is kept under the counters of the moment when its request was sent: what changed the key since then has counted,
//! or was executed before and is in the reply, or will be named by the feed, which names every change at its node.
//! While a shard's feed is not live nothing of the shard is kept or served.

mod changes;
mod entries;
mod sketch;

pub use changes::{Changes, Since};
pub use entries::Kept;

use std::sync::Arc;

use entries::Entries;
use sketch::Sketch;

use crate::maps::Map;

/// Larger replies are not kept: one would drive out hundreds.
const LARGEST: usize = 64 * 1024;
/// A key that was asked for so often lately is worth a place.
const HOT: u8 = 2;
/// Requests under way whose replies are candidates.
const CANDIDATES: usize = 1024;
/// Nobody waits longer for one, in milliseconds.
const LOST_AFTER: u64 = 10_000;
/// What cannot be kept, as the key is gone or its value too large, is asked for no sooner again, in milliseconds.
const UNFIT_FOR: u64 = 1000;
/// Those that are over are looked for no more often, in milliseconds.
const SWEPT_EVERY: u64 = 100;
/// Bytes a reply takes, about: so many keys are counted as have room four times over.
const USUAL: usize = 512;

/// FNV-1a of what is asked of a key, mixed: the sketch and the entries go by it.
#[inline]
pub fn hash_of(kind: u8, key: &[u8]) -> u64 {
    let first = 0xcbf2_9ce4_8422_2325 ^ u64::from(kind);
    let hash = key.iter().fold(first, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

/// What is asked of a key, and what the reply is written in: the same in both versions of RESP, or not.
pub type Kind = u8;
pub const GET: Kind = 0;
pub const HGETALL: [Kind; 2] = [1, 2];
const KINDS: [Kind; 3] = [GET, HGETALL[0], HGETALL[1]];

/// The command's name.
pub const fn name_of(kind: Kind) -> &'static [u8] {
    match kind {
        GET => b"GET",
        _ => b"HGETALL",
    }
}

/// Whom a shard's replies are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub shard: u16,
    /// Which connection told of the shard's changes (`Feeds::hearing`); a later one may have missed some.
    pub hearing: u64,
}

/// One cluster's, of one worker.
pub struct Near {
    changes: Arc<Changes>,
    entries: Entries,
    sketch: Sketch,
    candidates: Map<u64, Candidate>,
    /// Of the last request.
    serial: u32,
    /// When those that are over were last looked for.
    swept: u64,
}

/// A request under way whose reply may be kept.
struct Candidate {
    /// Of the request that asks for it: a reply to one before that may be older than what was counted since.
    serial: u32,
    since: Since,
    origin: Origin,
    /// When it was sent, in milliseconds on the plane's clock: how long the key lives is told later than that.
    asked: u64,
    reply: Option<Box<[u8]>>,
    /// Nothing is to come of it after that: the key may be asked for anew.
    until: u64,
}

impl Candidate {
    const fn is_over(&self, now: u64) -> bool {
        now > self.until
    }
}

/// What is known of a key without asking its node.
pub enum Found<'a> {
    Reply(&'a [u8]),
    /// Nothing, and it is worth a place: `expect` it.
    Wanted,
    Nothing,
}

impl Near {
    /// With so many bytes for replies.
    pub fn new(changes: Arc<Changes>, bytes: usize) -> Self {
        let sketch = Sketch::new(bytes / USUAL * 4);
        let (entries, candidates) = (Entries::new(bytes), Map::default());
        Self { changes, entries, sketch, candidates, serial: 0, swept: 0 }
    }

    /// Whether it has so many bytes, and hears of these changes.
    pub fn is_like(&self, changes: &Arc<Changes>, bytes: usize) -> bool {
        self.entries.most() == bytes && Arc::ptr_eq(&self.changes, changes)
    }

    /// What was read of the shard may be old, also what is under way: nobody heard of all changes.
    pub fn drop_shard(&mut self, shard: u16) {
        self.entries.retain(|kept| kept.shard != shard);
        self.candidates.retain(|_, candidate| candidate.origin.shard != shard);
    }

    /// Shards are others.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.candidates = Map::default();
    }

    /// The key is another now, as the feed says: other workers have feeds of their own.
    pub fn changed(&mut self, key: &[u8]) {
        for kind in KINDS {
            let hash = hash_of(kind, key);
            self.entries.remove(hash);
            self.candidates.remove(&hash);
        }
    }

    /// Bytes of memory it takes.
    pub fn held(&self) -> usize {
        self.entries.bytes() + self.sketch.held() + self.candidates.held()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Look for a reply. `mark`: the key's, as writes count it; `now`: milliseconds on the plane's clock.
    #[inline]
    pub fn find(&mut self, kind: Kind, key: &[u8], mark: u32, origin: Origin, now: u64) -> Found<'_> {
        let hash = hash_of(kind, key);
        let times = self.sketch.count(hash);
        let since = self.changes.since(mark);
        let is_good = match self.entries.get(hash, kind, key) {
            Some(kept) => {
                let is_of = kept.shard == origin.shard && kept.hearing == origin.hearing;
                Some(is_of && kept.since == since && now < kept.expires)
            }
            None => None,
        };
        match is_good {
            Some(true) => self.entries.get(hash, kind, key).map_or(Found::Nothing, |kept| Found::Reply(&kept.reply)),
            Some(false) => {
                self.entries.remove(hash);
                Found::Wanted
            }
            None if times >= HOT && self.is_worth_it(times) => Found::Wanted,
            None => Found::Nothing,
        }
    }

    /// Its request is sent now, by this number: the reply is a candidate. None if another one's is, or was unfit a moment
    /// ago, or there are too many.
    pub fn expect(&mut self, kind: Kind, key: &[u8], mark: u32, origin: Origin, now: u64) -> Option<u32> {
        let hash = hash_of(kind, key);
        if self.candidates.get(&hash).is_some_and(|candidate| !candidate.is_over(now)) || !self.has_room(now) {
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        let (serial, since) = (self.serial, self.changes.since(mark));
        self.candidates
            .insert(hash, Candidate { serial, since, origin, asked: now, reply: None, until: now + LOST_AFTER });
        Some(serial)
    }

    fn has_room(&mut self, now: u64) -> bool {
        if self.candidates.len() >= CANDIDATES && now >= self.swept + SWEPT_EVERY {
            self.candidates.retain(|_, candidate| !candidate.is_over(now));
            self.swept = now;
        }
        self.candidates.len() < CANDIDATES
    }

    /// The reply to the request of that number is in, None: too large to be looked at. Its age is asked behind it.
    pub fn replied(&mut self, kind: Kind, key: &[u8], serial: u32, reply: Option<&[u8]>, now: u64) {
        let Some(candidate) = self.candidate(hash_of(kind, key), serial) else { return };
        match reply.filter(|reply| is_fit(reply)) {
            Some(reply) => candidate.reply = Some(reply.into()),
            None => candidate.until = now + UNFIT_FOR,
        }
    }

    /// How long the key lives after that, as PTTL says, in milliseconds: -1 for ever, -2 it is gone. `mark` and `origin` as
    /// they are now: what changed on the way is not kept.
    pub fn aged(&mut self, (kind, key, mark): (Kind, &[u8], u32), serial: u32, age: i64, origin: Option<Origin>) {
        let hash = hash_of(kind, key);
        let Some(candidate) = self.candidate(hash, serial) else { return };
        let Some(reply) = candidate.reply.take() else { return }; // it was unfit, and is that for a while
        let (since, read_of, asked) = (candidate.since, candidate.origin, candidate.asked);
        self.candidates.remove(&hash);
        let expires = match age {
            -1 => u64::MAX,
            1.. => asked.saturating_add(age as u64),
            _ => return,
        };
        if origin != Some(read_of) || self.changes.since(mark) != since {
            return;
        }
        let Origin { shard, hearing } = read_of;
        self.entries.insert(hash, Kept { kind, key: key.into(), reply, since, shard, hearing, expires });
    }

    fn candidate(&mut self, hash: u64, serial: u32) -> Option<&mut Candidate> {
        self.candidates.get_mut(&hash).filter(|candidate| candidate.serial == serial)
    }

    /// Whether what is asked for so often is worth more than what would give way.
    fn is_worth_it(&self, times: u8) -> bool {
        self.entries.victim(USUAL).is_none_or(|victim| times > self.sketch.estimate(victim))
    }
}

/// Whether it is a value, and not too large.
fn is_fit(reply: &[u8]) -> bool {
    reply.len() <= LARGEST && matches!(reply.first(), Some(b'$' | b'*' | b'%')) && reply.get(1) != Some(&b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Origin = Origin { shard: 3, hearing: 1 };

    fn near() -> Near {
        Near::new(Arc::default(), 1 << 20)
    }

    fn keep(near: &mut Near, key: &[u8], age: i64) {
        let serial = near.expect(GET, key, 5, HERE, 0).unwrap();
        near.replied(GET, key, serial, Some(b"$1\r\nx\r\n"), 1000);
        near.aged((GET, key, 5), serial, age, Some(HERE));
    }

    fn has(near: &mut Near, key: &[u8], origin: Origin, now: u64) -> bool {
        matches!(near.find(GET, key, 5, origin, now), Found::Reply(b"$1\r\nx\r\n"))
    }

    #[test]
    fn a_key_is_wanted_once_it_is_asked_for_again() {
        let mut near = near();
        assert!(matches!(near.find(GET, b"k", 5, HERE, 0), Found::Nothing));
        assert!(matches!(near.find(GET, b"k", 5, HERE, 0), Found::Wanted));
        keep(&mut near, b"k", -1);
        assert!(has(&mut near, b"k", HERE, 2000));
        assert!(!matches!(near.find(1, b"k", 5, HERE, 2000), Found::Reply(_)), "another command's reply");
    }

    #[test]
    fn a_change_ends_it() {
        for change in [|changes: &Changes| changes.note(5), Changes::note_all] {
            let mut near = near();
            keep(&mut near, b"k", -1);
            change(&near.changes);
            assert!(!has(&mut near, b"k", HERE, 2000));
        }
    }

    #[test]
    fn what_the_feed_names_goes() {
        let mut near = near();
        keep(&mut near, b"k", -1);
        keep(&mut near, b"other", -1);
        near.changed(b"k");
        assert!(!has(&mut near, b"k", HERE, 2000));
        assert!(has(&mut near, b"other", HERE, 2000));
    }

    #[test]
    fn what_changed_on_the_way_is_not_kept() {
        for step in 0..4 {
            let mut near = near();
            let serial = near.expect(GET, b"k", 5, HERE, 0).unwrap();
            match step {
                0 => near.changes.note(5),
                1 => near.changed(b"k"),
                _ => {}
            }
            near.replied(GET, b"k", serial, Some(b"$1\r\nx\r\n"), 1000);
            match step {
                2 => near.changes.note(5),
                3 => near.changed(b"k"),
                _ => {}
            }
            near.aged((GET, b"k", 5), serial, -1, Some(HERE));
            assert!(!has(&mut near, b"k", HERE, 1000));
        }
    }

    #[test]
    fn what_is_under_way_is_lost_with_its_shard() {
        let mut near = near();
        let serial = near.expect(GET, b"k", 5, HERE, 0).unwrap();
        near.drop_shard(3);
        near.replied(GET, b"k", serial, Some(b"$1\r\nx\r\n"), 1000);
        near.aged((GET, b"k", 5), serial, -1, Some(HERE));
        assert!(!has(&mut near, b"k", HERE, 1000));
    }

    #[test]
    fn lost_candidates_make_room() {
        let mut near = near();
        (0..CANDIDATES).for_each(|n| assert!(near.expect(GET, format!("{n}").as_bytes(), 5, HERE, 0).is_some()));
        assert_eq!(near.expect(GET, b"one more", 5, HERE, 100), None);
        assert!(near.expect(GET, b"one more", 5, HERE, LOST_AFTER + 1).is_some());
        assert_eq!(near.expect(GET, b"one more", 5, HERE, LOST_AFTER + 2), None, "it is under way");
    }

    /// The key is written after the first request was answered, and the feed is heard before that answer.
    #[test]
    fn a_reply_is_kept_only_for_the_request_that_asked_for_it() {
        for is_dropped in [false, true] {
            let mut near = near();
            let first = near.expect(GET, b"k", 5, HERE, 0).unwrap();
            if is_dropped {
                near.drop_shard(3);
            } else {
                near.changed(b"k");
            }
            let second = near.expect(GET, b"k", 5, HERE, 0).unwrap();
            near.replied(GET, b"k", first, Some(b"$3\r\nold\r\n"), 1000);
            near.aged((GET, b"k", 5), first, -1, Some(HERE));
            assert_eq!(near.len(), 0);
            near.replied(GET, b"k", second, Some(b"$1\r\nx\r\n"), 1000);
            near.aged((GET, b"k", 5), second, -1, Some(HERE));
            assert!(has(&mut near, b"k", HERE, 1000));
        }
    }

    #[test]
    fn what_cannot_be_kept_is_not_asked_for_again_and_again() {
        let mut near = near();
        let serial = near.expect(GET, b"k", 5, HERE, 0).unwrap();
        near.replied(GET, b"k", serial, Some(b"$-1\r\n"), 1000);
        near.aged((GET, b"k", 5), serial, -2, Some(HERE));
        assert_eq!(near.expect(GET, b"k", 5, HERE, 1000 + UNFIT_FOR), None);
        assert!(near.expect(GET, b"k", 5, HERE, 1001 + UNFIT_FOR).is_some());
        near.changed(b"k");
        assert!(near.expect(GET, b"k", 5, HERE, 1001 + UNFIT_FOR).is_some(), "it may be there now");
    }

    #[test]
    fn it_ends_with_the_feed_and_with_the_slot() {
        let mut near = near();
        keep(&mut near, b"k", -1);
        assert!(!has(&mut near, b"k", Origin { hearing: 2, ..HERE }, 2000), "another connection of the feed");
        keep(&mut near, b"k", -1);
        assert!(!has(&mut near, b"k", Origin { shard: 4, ..HERE }, 2000), "another owner");
        let serial = near.expect(GET, b"k", 5, HERE, 0).unwrap();
        near.replied(GET, b"k", serial, Some(b"$1\r\nx\r\n"), 1000);
        near.aged((GET, b"k", 5), serial, -1, None);
        assert!(!has(&mut near, b"k", HERE, 1000), "the feed is down");
    }

    #[test]
    fn it_lives_no_longer_than_its_key() {
        let mut near = near();
        keep(&mut near, b"k", 500);
        assert!(has(&mut near, b"k", HERE, 499));
        assert!(!has(&mut near, b"k", HERE, 500));
        for age in [-2, 0] {
            keep(&mut near, b"gone", age);
            assert!(!has(&mut near, b"gone", HERE, 1000));
        }
    }

    #[test]
    fn only_values_are_kept() {
        let large = [b"$70000\r\n".as_slice(), &vec![b'x'; 70_000], b"\r\n"].concat();
        for reply in [&b"$-1\r\n"[..], b"_\r\n", b"-WRONGTYPE x\r\n", b":1\r\n", b"*-1\r\n", b"", &large] {
            let mut near = near();
            let serial = near.expect(GET, b"k", 5, HERE, 0).unwrap();
            near.replied(GET, b"k", serial, Some(reply), 1000);
            near.aged((GET, b"k", 5), serial, -1, Some(HERE));
            assert_eq!(near.len(), 0, "{:?}", &reply[..reply.len().min(20)]);
        }
    }

    #[test]
    fn what_is_hotter_drives_out_what_is_not() {
        let mut near = Near::new(Arc::default(), 20 * USUAL);
        let value = [b"$300\r\n".as_slice(), &[b'x'; 300], b"\r\n"].concat();
        let ask = |near: &mut Near, key: &[u8]| match near.find(GET, key, 5, HERE, 0) {
            Found::Reply(_) => true,
            Found::Nothing => false,
            Found::Wanted => {
                if let Some(serial) = near.expect(GET, key, 5, HERE, 0) {
                    near.replied(GET, key, serial, Some(&value), 0);
                    near.aged((GET, key, 5), serial, -1, Some(HERE));
                }
                false
            }
        };
        for round in 0..200 {
            (0..10).for_each(|n| {
                ask(&mut near, format!("hot:{n}").as_bytes());
            });
            ask(&mut near, format!("once:{round}").as_bytes());
            ask(&mut near, format!("once:{round}").as_bytes());
        }
        let hits = (0..10).filter(|n| ask(&mut near, format!("hot:{n}").as_bytes())).count();
        assert_eq!(hits, 10);
        assert!(near.held() < 20 * USUAL + (64 << 10));
    }
}
