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
//! If a stranger was what WAIT counted, one more replica than those is asked for, within what is left of the time.

use std::mem;

use super::Link;
use crate::dialect::resp::role::Role;
use crate::dialect::resp::{reply::integer, write};
use crate::exchange::{Entry, Owed, WHOLE};
use crate::metrics::Class;
use crate::model::Terms;

/// The reply to a write that awaits its replicas.
pub struct Held {
    pub request: Entry,
    pub reply: Vec<u8>,
    /// Since when, on the worker's wrapping clock.
    since: u32,
    /// A replica that has confirmed so much has the write.
    mark: Option<i64>,
}

/// What one connection knows of its writes' replicas.
#[derive(Default)]
pub struct Votes {
    awaiting: Vec<Held>,
    /// Of the replies that are held.
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

    pub fn hold(&mut self, request: Entry, reply: &[u8], now: u32) {
        self.bytes += reply.len();
        self.awaiting.push(Held { request, reply: reply.to_vec(), since: now, mark: None });
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
    link.votes.questions += 1;
}

fn say(link: &mut Link, words: &[&[u8]], step: u16, replicas: u32, now: u32) {
    let owed = Owed { part: step, sequence: replicas, ..Owed::NOBODY };
    let entry = Entry { class: Class::Wait, owed, ..Entry::nobody(now) };
    link.exchange.push_with(entry, |sink| write::command(sink, words));
}

/// Whether the reply to this request of ours decides.
pub const fn is_decisive(request: &Entry) -> bool {
    matches!(request.owed.part, step::WAIT | step::JUDGE)
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
            decided.push(Held { reply: in_doubt(found, terms.wanted), ..held });
        }
    }
    let asks_again = !waiting.is_empty() && votes.questions == 0;
    if asks_again {
        let age = waiting.iter().map(|held| now.wrapping_sub(held.since)).min().unwrap_or(0);
        let furthest = waiting.iter().filter_map(|held| held.mark).max();
        let others = evidence.others(furthest, terms.voters);
        ask(link, terms, terms.wanted + others, terms.timeout - age, now);
    }
    link.votes.bytes = waiting.iter().map(|held| held.reply.len()).sum();
    link.votes.awaiting = waiting; // what another question is under way for, behind these
    (decided, asks_again)
}

fn is_reached(request: &Entry, reply: &[u8]) -> bool {
    integer(reply).is_some_and(|replicas| replicas >= i64::from(request.owed.sequence))
}

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

/// What a write is told that its primary has, and too few replicas.
pub fn in_doubt(replicas: i64, wanted: u32) -> Vec<u8> {
    let mut text = Vec::new();
    let what = "ERR INDOUBT written on primary, acknowledged by";
    write::error(&mut text, &format!("{what} {replicas} of {wanted} replicas"));
    text
}
