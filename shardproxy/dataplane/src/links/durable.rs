//! Durable writes: a write is acknowledged when so many replicas have it. One question covers all writes of a batch; their
//! replies are held until it is answered.
//!
//! ```text
//!   window   SET SET GET SET WAIT        replies   +OK +OK $1 +OK :1
//!            └── one batch ──┘                     └─ held ─┘ (the GET's is not)  └─ enough: let them out
//! ```
//!
//! WAIT counts whoever is attached to the primary. Where only some may vouch, it does no more than take the time, and ROLE
//! tells who has confirmed what: before it how far the writes have got, behind it which replica is at least there. So
//! nobody else's confirmation ever counts, whoever comes and goes meanwhile.
//!
//! ```text
//!   SET SET ROLE WAIT ROLE     +OK +OK [master 70 …] :1 [master 99 [a 70] [stranger 99]]
//!           └─ the mark: 70                              └─ a is a voter, and has reached the mark: let them out
//! ```
//!
//! Who is out of touch with those that move slots asks the primary, too, whether some have left it: a shard's slots have a seal,
//! a script that the primary has, and before any leave it gets that of the next one. What was done before the answer was still
//! there to be moved; what was done later may be nowhere that anybody looks.
//!
//! ```text
//!   SET SET SCRIPT EXISTS <seal> <next>     +OK +OK [1 0]
//! ```
//!
//! If a stranger was what WAIT counted, one more replica than those is asked for, within what is left of the time.

use std::mem;

use super::Link;
use crate::dialect::resp::role::Role;
use crate::dialect::resp::{reply::integer, write};
use crate::exchange::{Entry, Head, Owed, WHOLE};
use crate::metrics::Class;
use crate::model::Terms;

/// The reply to a write that awaits its replicas.
pub struct Held {
    pub request: Entry,
    /// The reply, and behind it the beginning of the request.
    bytes: Vec<u8>,
    reply: usize,
    /// Bytes that the whole request has.
    pub length: usize,
    /// Since when, on the worker's wrapping clock.
    since: u32,
    /// A replica that has confirmed so much has the write.
    mark: Option<i64>,
}

impl Held {
    fn new(request: Entry, head: &[u8], reply: &[u8], now: u32) -> Self {
        let kept = Head::kept(head);
        let mut bytes = Vec::with_capacity(reply.len() + kept.len());
        bytes.extend_from_slice(reply);
        bytes.extend_from_slice(kept);
        Self { request, bytes, reply: reply.len(), length: head.len(), since: now, mark: None }
    }

    pub fn reply(&self) -> &[u8] {
        &self.bytes[..self.reply]
    }

    pub fn head(&self) -> &[u8] {
        &self.bytes[self.reply..]
    }

    pub fn into_reply(mut self) -> Vec<u8> {
        self.bytes.truncate(self.reply);
        self.bytes
    }

    /// The same with another reply.
    fn with(mut self, reply: &[u8]) -> Self {
        self.bytes.splice(..self.reply, reply.iter().copied());
        self.reply = reply.len();
        self
    }
}

/// What one connection knows of its writes' replicas.
#[derive(Default)]
pub struct Votes {
    awaiting: Vec<Held>,
    /// Of the replies that are held, and of what is kept of their requests.
    bytes: usize,
    /// Questions under way. What is replied to before the last one is answered can be held.
    questions: u32,
    /// The last WAIT has found as many as it asked for.
    is_reached: bool,
}

impl Votes {
    /// Whether the reply to a write that comes now is held.
    #[inline]
    pub const fn is_asking(&self) -> bool {
        self.questions > 0
    }

    /// `bytes`: the request's.
    pub fn hold(&mut self, request: Entry, bytes: &[u8], reply: &[u8], now: u32) {
        let held = Held::new(request, bytes, reply, now);
        self.bytes += held.bytes.len();
        self.awaiting.push(held);
    }

    /// The connection is gone, and with it the answers.
    pub fn disconnect(&mut self) {
        self.questions = 0;
        self.is_reached = false;
    }

    pub fn take(&mut self) -> Vec<Held> {
        self.bytes = 0;
        mem::take(&mut self.awaiting)
    }

    /// Bytes of memory they take.
    pub fn held(&self) -> usize {
        self.bytes + self.awaiting.capacity() * size_of::<Held>()
    }
}

/// Which of our questions a reply answers, kept as the part of a request of ours.
mod step {
    pub const WAIT: u16 = super::WHOLE;
    pub const MARK: u16 = 0;
    pub const COUNT: u16 = 1;
    pub const JUDGE: u16 = 2;
    /// Whether slots may have left; others follow, or none.
    pub const SEAL: u16 = 3;
    pub const SEAL_ALONE: u16 = 4;
}

/// Close a batch that has writes by a question.
pub fn close_batch(link: &mut Link, terms: &Terms, now: u32) {
    let mut batch = link.exchange.newest_first().take_while(|request| request.class != Class::Wait);
    let has_writes = batch.any(Entry::is_durable);
    drop(batch);
    if has_writes {
        ask(link, terms, terms.wanted, terms.timeout, now);
    }
}

fn ask(link: &mut Link, terms: &Terms, replicas: u32, timeout: u32, now: u32) {
    link.votes.questions += 1;
    if let Some([seal, next]) = terms.seal {
        let step = if replicas > 0 { step::SEAL } else { step::SEAL_ALONE };
        say(link, &[b"SCRIPT", b"EXISTS", seal.as_bytes(), next.as_bytes()], step, 0, now);
    }
    if replicas == 0 {
        return;
    }
    let milliseconds = (timeout / 1000).max(1).to_string();
    let count = replicas.to_string();
    let wait: [&[u8]; 3] = [b"WAIT", count.as_bytes(), milliseconds.as_bytes()];
    if terms.voters.is_some() {
        say(link, &[b"ROLE"], step::MARK, 0, now);
        say(link, &wait, step::COUNT, replicas, now);
        say(link, &[b"ROLE"], step::JUDGE, 0, now);
    } else {
        say(link, &wait, step::WAIT, replicas, now);
    }
}

fn say(link: &mut Link, words: &[&[u8]], step: u16, replicas: u32, now: u32) {
    let owed = Owed { part: step, sequence: replicas, ..Owed::NOBODY };
    let entry = Entry { class: Class::Wait, owed, ..Entry::nobody(now) };
    link.exchange.push_with(entry, |sink| write::command(sink, words));
}

/// Whether the reply to this request of ours decides.
pub const fn is_decisive(request: &Entry) -> bool {
    matches!(request.owed.part, step::WAIT | step::JUDGE | step::SEAL_ALONE)
}

/// A question, or a part of it, is answered: the held replies that go out now, each as its client is to see it. Whether
/// another question was put to the window besides.
pub fn answered(link: &mut Link, terms: &Terms, request: &Entry, reply: &[u8], now: u32) -> (Vec<Held>, bool) {
    let votes = &mut link.votes;
    match request.owed.part {
        step::MARK => {
            let mark = Role::of_primary(reply).map(|role| role.offset);
            votes.awaiting.iter_mut().filter(|held| held.mark.is_none()).for_each(|held| held.mark = mark);
            return (Vec::new(), false);
        }
        step::COUNT => {
            votes.is_reached = is_reached(request, reply);
            return (Vec::new(), false);
        }
        step::SEAL | step::SEAL_ALONE => {
            let is_alone = request.owed.part == step::SEAL_ALONE;
            votes.questions -= u32::from(is_alone);
            let is_whole = is_whole(reply);
            if is_whole && !is_alone {
                return (Vec::new(), false);
            }
            let held = votes.take().into_iter();
            let settled = held.map(|held| if is_whole { held } else { held.with(UNSEALED) });
            return (settled.collect(), false);
        }
        step::JUDGE => {}
        _ => votes.is_reached = is_reached(request, reply),
    }
    votes.questions -= 1;
    let evidence = if request.owed.part == step::JUDGE {
        Role::of_primary(reply).map_or(Evidence::Nothing, Evidence::Places)
    } else {
        Evidence::Count(integer(reply).unwrap_or(0))
    };
    let has_hope = votes.is_reached && !matches!(evidence, Evidence::Nothing);
    let (mut decided, mut waiting) = (Vec::new(), Vec::new());
    for held in votes.take() {
        let found = evidence.votes(held.mark, terms.voters);
        if found >= i64::from(terms.wanted) {
            decided.push(held);
        } else if has_hope && now.wrapping_sub(held.since) < terms.timeout {
            waiting.push(held);
        } else {
            decided.push(held.with(&in_doubt(found, terms.wanted)));
        }
    }
    let asks_again = !waiting.is_empty() && votes.questions == 0;
    if asks_again {
        let age = waiting.iter().map(|held| now.wrapping_sub(held.since)).min().unwrap_or(0);
        let furthest = waiting.iter().filter_map(|held| held.mark).max();
        let others = evidence.others(furthest, terms.voters);
        ask(link, terms, terms.wanted + others, terms.timeout - age, now);
    }
    link.votes.bytes = waiting.iter().map(|held| held.bytes.len()).sum();
    link.votes.awaiting = waiting; // what another question is under way for, behind these
    (decided, asks_again)
}

fn is_reached(request: &Entry, reply: &[u8]) -> bool {
    integer(reply).is_some_and(|replicas| replicas >= i64::from(request.owed.sequence))
}

/// Whether the seal says that no slots have left. Where scripts are forbidden no slots are moved either.
fn is_whole(reply: &[u8]) -> bool {
    reply == b"*2\r\n:1\r\n:0\r\n" || is_forbidden(reply)
}

fn is_forbidden(reply: &[u8]) -> bool {
    [&b"-NOPERM"[..], b"-ERR unknown command"].iter().any(|word| reply.starts_with(word))
}

/// What a write is told that was done where its slot may not be any more.
const UNSEALED: &[u8] =
    b"-ERR INDOUBT written, but slots of the shard may have moved: the proxy is out of touch with its store\r\n";

/// What an answer says of replicas.
enum Evidence {
    /// So many that are attached have all that was written.
    Count(i64),
    Places(Role),
    Nothing,
}

impl Evidence {
    /// How many voters have what was written up to the mark.
    fn votes(&self, mark: Option<i64>, voters: Option<&[String]>) -> i64 {
        match (self, mark, voters) {
            (Self::Count(replicas), _, None) => *replicas,
            (Self::Places(role), Some(mark), None) => {
                role.replicas.iter().filter(|&&(_, at)| at >= mark).count() as i64
            }
            (Self::Places(role), Some(mark), Some(voters)) => {
                let has_it = |voter: &&String| role.replicas.iter().any(|(of, at)| of == *voter && *at >= mark);
                voters.iter().filter(has_it).count() as i64
            }
            _ => 0,
        }
    }

    /// How many more WAIT counts, up to the mark, than there are votes: others, and a voter that is listed twice.
    fn others(&self, mark: Option<i64>, voters: Option<&[String]>) -> u32 {
        let (Self::Places(role), Some(mark)) = (self, mark) else { return 0 };
        let counted = role.replicas.iter().filter(|&&(_, at)| at >= mark).count() as i64;
        (counted - self.votes(Some(mark), voters)) as u32
    }
}

/// What a write is told whose connection was lost before its question was answered.
pub fn lost(wanted: u32) -> Vec<u8> {
    if wanted > 0 {
        return in_doubt(0, wanted);
    }
    let mut text = Vec::new();
    write::error(
        &mut text,
        "ERR INDOUBT written, and the connection lost before it was known that slots had not moved",
    );
    text
}

/// What a write is told that its primary has, and too few replicas.
fn in_doubt(replicas: i64, wanted: u32) -> Vec<u8> {
    let mut text = Vec::new();
    let what = "ERR INDOUBT written on primary, acknowledged by";
    write::error(&mut text, &format!("{what} {replicas} of {wanted} replicas"));
    text
}
