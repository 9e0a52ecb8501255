//! What becomes of a request that was answered by an error, or after one that was refused.

use std::borrow::Cow;
use std::time::Instant;

use super::exec_reply::BECAUSE;
use super::{Errands, Unsettled};
use crate::dialect::resp::refusals::Refusal;
use crate::exchange::{Asked, Entry, Owed, WHOLE};
use crate::links::Link;
use crate::metrics::Class;
use crate::turn::Served;

/// A write that was executed although earlier requests of its client, sent with it, were refused.
#[derive(Clone, Copy)]
pub struct Overtaker(Owed);

impl Overtaker {
    pub const fn of(request: &Entry) -> Self {
        Self(request.owed)
    }

    /// Whose it is, and which of that client's it is.
    pub const fn client(&self) -> (u32, u32) {
        (self.0.client, self.0.tag)
    }

    pub const fn sequence(&self) -> u32 {
        self.0.sequence
    }
}

#[derive(PartialEq, Eq)]
pub enum Fate {
    Deliver,
    /// As well, and it was executed although an earlier request of its client was refused: that one must not be any more.
    DeliverPast,
    /// It was not executed, or is a read behind one that was not: again, on whoever is primary then.
    Redo,
    /// The control plane can load what the node lacks.
    Heal,
    /// It waited in vain: it waits again, at another connection.
    WaitElsewhere,
    /// It was executed by a primary of an older epoch.
    Doubt,
}

/// Its request is still the oldest of the link.
#[cold]
pub fn fate_of(served: &Served, now: Instant, link: &mut Link, request: &Entry, reply: &[u8], is_error: bool) -> Fate {
    let may_be_cured = |link: &Link, refusal| served.may_be_cured(&link.way, refusal, now);
    if link.is_leased() {
        return if request.class == Class::Block {
            let is_refused = is_error && Refusal::of(reply, false).is_some_and(|refusal| may_be_cured(link, refusal));
            fate_of_wait(link, request, reply, is_error, is_refused)
        } else {
            Fate::Deliver
        };
    }
    let is_error = is_error && request.class != Class::Wait; // the writes it is for were executed all the same
    let refusal = if is_error { Refusal::of(&reason(request, reply), request.is_program) } else { None };
    let is_refused = refusal.is_some_and(|refusal| may_be_cured(link, refusal));
    let whose = (request.owed.client, request.owed.tag);
    let redo = &mut link.redo;
    if is_refused {
        redo.left = redo.left.max(link.exchange.len());
        redo.refused.insert(whose);
    }
    let mut deliver = Fate::Deliver;
    if redo.left > 0 {
        redo.left -= 1;
        let is_behind = !is_refused && redo.refused.contains(&whose);
        if redo.left == 0 {
            redo.refused.clear();
        }
        if is_refused || is_behind && request.is_read && !is_error && !link.is_streaming {
            return Fate::Redo;
        }
        if is_behind && !request.is_read {
            deliver = Fate::DeliverPast;
        }
    }
    if is_error && request.owed.part == WHOLE && request.asked == Asked::Reply && is_healable(reply) {
        link.scripts.clear(); // whoever flushed them, the next call brings its script
        return Fate::Heal;
    }
    deliver
}

/// What a primary says to those who wait when it becomes a replica. Other words, as of CLIENT UNBLOCK or of a stream that is
/// no more, are the answer.
const DEMOTED: &[u8] = b"instance state changed";

fn fate_of_wait(link: &Link, request: &Entry, reply: &[u8], is_error: bool, is_refused: bool) -> Fate {
    let moves = link.leased().is_some_and(|leased| leased.moves) && reply.starts_with(b"-UNBLOCKED");
    let is_demotion = reply.starts_with(b"-UNBLOCKED") && memchr::memmem::find(reply, DEMOTED).is_some();
    if is_refused || is_error && (is_demotion || moves) {
        return Fate::WaitElsewhere;
    }
    let is_nothing = matches!(reply, b"_\r\n" | b"*-1\r\n" | b"$-1\r\n");
    if link.is_deposed() && !is_error && !is_nothing && !request.is_read {
        return Fate::Doubt;
    }
    Fate::Deliver
}

/// The error that kept the request from being executed, as it would stand alone.
fn reason<'r>(request: &Entry, reply: &'r [u8]) -> Cow<'r, [u8]> {
    match reply.strip_prefix(BECAUSE).filter(|_| request.inner() > 0) {
        Some(why) => Cow::Owned([b"-", why].concat()),
        None => Cow::Borrowed(reply),
    }
}

/// The node lacks a script or function that another node, or this one before its restart, was given.
fn is_healable(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOSCRIPT") || reply.starts_with(b"-ERR Function not found")
}

/// Keep the oldest request of the link, whose reply its client is not to see.
#[cold]
pub fn set_aside(link: &mut Link, request: Entry, reply: &[u8], fate: &Fate, errands: &mut Errands) {
    let unsettled = Unsettled { request, bytes: link.exchange.head_body() };
    link.exchange.pop();
    if matches!(fate, Fate::Redo | Fate::WaitElsewhere) && reply[0] == b'-' {
        errands.said = Some(reason(&unsettled.request, reply).into_owned());
    }
    match fate {
        Fate::Heal => errands.healable.push((unsettled, reply.to_vec())),
        Fate::WaitElsewhere => errands.unexecuted.push(unsettled),
        Fate::Doubt => errands.doubtful.push((link.way.shard, unsettled.request)),
        Fate::Deliver | Fate::DeliverPast | Fate::Redo => errands.refused.push(unsettled),
    }
}
