//! What becomes of a request that was answered by an error, or after one that was refused.

use std::borrow::Cow;
use std::time::Instant;

use super::exec_reply::BECAUSE;
use super::{Cure, Errands, Unsettled};
use crate::dialect::resp::redirect::{is_elsewhere, is_split, Redirect};
use crate::dialect::resp::refusals::Refusal;
use crate::exchange::{Asked, Entry, WHOLE};
use crate::links::Link;
use crate::metrics::Class;
use crate::model::NO_SLOT;
use crate::turn::Served;

/// A client, and one of its slots where order matters within each alone.
pub type Whose = (u32, u32, u16);

/// Among whose requests this one must not pass another. Engines in cluster mode refuse by slot.
pub const fn whose(request: &Entry, is_clustered: bool) -> Whose {
    (request.owed.client, request.owed.tag, if is_clustered { request.slot } else { NO_SLOT })
}

/// A write that was executed although earlier requests of its client, sent with it, were refused.
#[derive(Clone, Copy)]
pub struct Overtaker(Entry);

impl Overtaker {
    pub const fn of(request: &Entry) -> Self {
        Self(*request)
    }

    /// Whose it is, and which of that client's it is.
    pub const fn whose(&self, is_clustered: bool) -> Whose {
        whose(&self.0, is_clustered)
    }

    pub const fn sequence(&self) -> u32 {
        self.0.owed.sequence
    }

    pub const fn slot(&self) -> u16 {
        self.0.slot
    }
}

#[derive(PartialEq, Eq)]
pub enum Fate {
    Deliver,
    /// As well, and it was executed although an earlier request of its client was refused: that one must not be any more.
    DeliverPast,
    /// It was not executed, or is a read behind one that was not: again, when that is cured.
    Redo(Cure),
    /// What its client watched was elsewhere when it came to execute: as if it had changed.
    Unwatched,
    /// The control plane can load what the node lacks.
    Heal,
    /// It waited in vain: it waits again, at another connection.
    WaitElsewhere,
    /// It was executed by a primary of an older epoch; or it is a script that was sent on, and is to be once more.
    Doubt,
}

/// Its request is still the oldest of the link.
#[cold]
pub fn fate_of(served: &Served, now: Instant, link: &mut Link, request: &Entry, reply: &[u8], is_error: bool) -> Fate {
    let may_be_cured = |link: &Link, refusal| served.may_be_cured(&link.way, refusal, now);
    let is_clustered = served.cluster.spec.clustered;
    if link.is_leased() {
        let is_elsewhere = is_clustered && is_error && is_elsewhere(&reason(request, reply));
        return match request.class {
            Class::Block => {
                let is_refused =
                    is_error && Refusal::of(reply, false).is_some_and(|refusal| may_be_cured(link, refusal));
                fate_of_wait(link, request, reply, is_error, is_refused || is_elsewhere)
            }
            _ if !is_elsewhere || request.is_nobodys() => Fate::Deliver,
            _ if request.is_exec() => Fate::Unwatched,
            _ => Fate::WaitElsewhere,
        };
    }
    let is_error = is_error && request.class != Class::Wait; // the writes it is for were executed all the same
    let reason = if is_error { reason(request, reply) } else { Cow::Borrowed(&b""[..]) };
    let redirect = Redirect::of(&reason).filter(|r| is_clustered && r.slot == request.slot);
    let refusal = if is_error { Refusal::of(&reason, request.is_program) } else { None };
    let is_refused = refusal.is_some_and(|refusal| may_be_cured(link, refusal));
    let is_slots = is_clustered && request.slot != NO_SLOT && is_split(&reason);
    if link.is_deposed() && !request.is_nobodys() {
        // its successor knows better where that is to go, and its requests stay in their order
        return fate_of_late(link, request, is_error, is_refused || redirect.is_some());
    }
    let whose = whose(request, is_clustered);
    let (is_deposed, is_streaming) = (link.is_deposed(), link.is_streaming);
    let redo = &mut link.redo;
    if is_refused {
        redo.left = redo.left.max(link.exchange.len());
        redo.refused.insert(whose, is_slots);
    }
    let mut deliver = Fate::Deliver;
    if redo.left > 0 && !is_deposed {
        let cure = |is_slots| if is_slots { Cure::Slot } else { Cure::Shard };
        let behind = if is_refused { None } else { redo.refused.get(&whose).copied() };
        redo.count_down();
        if is_refused {
            return Fate::Redo(cure(is_slots));
        }
        let is_followed = redirect.is_some() && !(request.is_program && request.is_redirected);
        let is_again = is_followed || request.is_read && !is_error && !is_streaming;
        if let Some(is_slots) = behind.filter(|_| is_again) {
            return Fate::Redo(cure(is_slots));
        }
        if behind.is_some() && !request.is_read {
            deliver = Fate::DeliverPast;
        }
    }
    if let Some(redirect) = redirect {
        let by = served.cluster.nodes.get(usize::from(link.way.node)).map_or("", |node| &node.label);
        let address = redirect.address_by(by);
        let is_its_own = || served.cluster.node_at(&address) == Some(link.way.node);
        if request.is_program && (request.is_redirected || is_its_own()) {
            return Fate::Doubt; // a script may say that of what it has done: once it is believed
        }
        return Fate::Redo(Cure::Node { address, is_ask: redirect.is_ask });
    }
    let is_alone = matches!(request.asked, Asked::Reply | Asked::After(_));
    if is_error && request.owed.part == WHOLE && is_alone && is_healable(reply) {
        link.scripts.clear(); // whoever flushed them, the next call brings its script
        return Fate::Heal;
    }
    deliver
}

/// Of a primary that is none any more, and says otherwise.
fn fate_of_late(link: &Link, request: &Entry, is_error: bool, is_refused: bool) -> Fate {
    if is_refused || request.is_read && !is_error && !link.is_streaming {
        Fate::Redo(Cure::Shard)
    } else if is_error || link.is_streaming {
        Fate::Deliver
    } else {
        Fate::Doubt
    }
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
pub fn set_aside(link: &mut Link, request: Entry, reply: &[u8], fate: Fate, errands: &mut Errands) {
    let mut unsettled = Unsettled { request, bytes: link.exchange.head_body(), cure: Cure::Shard };
    link.exchange.pop();
    if matches!(fate, Fate::Redo(Cure::Shard | Cure::Slot) | Fate::WaitElsewhere) && reply[0] == b'-' {
        let said = reason(&unsettled.request, reply).into_owned();
        unsettled.request.is_redirected |= request.is_program && Redirect::of(&said).is_some();
        errands.said = Some(said);
    }
    match fate {
        Fate::Heal => errands.healable.push((unsettled, reply.to_vec())),
        Fate::WaitElsewhere => errands.unexecuted.push(unsettled),
        Fate::Doubt => errands.doubtful.push((link.way.shard, unsettled.request)),
        Fate::Redo(cure) => {
            unsettled.cure = cure;
            errands.refused.push(unsettled);
        }
        Fate::Deliver | Fate::DeliverPast | Fate::Unwatched => errands.refused.push(unsettled),
    }
}
