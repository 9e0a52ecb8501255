//! The one exit: replies of nodes, framed, matched with their requests, and handed to whom they are owed, in order.
//!
//! ```text
//!   bytes of a node ─> frame ─> whose? ─┬─> delivered, or held until replicas have the write (links/durable.rs)
//!                                       └─> an errand: not executed, to be healed, overtaken …  (recovery/)
//! ```

mod caching;
mod exec_reply;
mod fate;
mod look;
mod memcached;
mod near;
mod receivers;
mod resp;
mod written;

pub use exec_reply::BECAUSE;
pub use fate::{whose, Overtaker, Whose};
pub use written::{mark_loaded, mark_written};

use crate::clients::Clients;
use crate::exchange::{Body, BufferPool, Entry};
use crate::links::{Link, State};
use crate::metrics::CloseReason;
use crate::model::EngineKind;
use crate::turn::{Accounts, Outcome, Served, Told, Turn, Waits};

/// An incomplete reply beyond this is passed on in pieces rather than gathered.
const GATHER: usize = 64 * 1024;

/// A request that was not executed, with its bytes.
pub struct Unsettled {
    pub request: Entry,
    pub bytes: Body,
    pub cure: Cure,
}

/// What it takes for a request to be executed that was not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cure {
    /// That its shard is well again, or another node is its primary.
    Shard,
    /// That all keys of its slot are at one node again.
    Slot,
    /// To be sent to the node at this address, which serves its slot, or has the key already while the slot moves.
    Node { address: Box<str>, is_ask: bool },
}

/// A read of what is loaded where it is missing, and is.
pub struct Missed {
    pub request: Entry,
    pub bytes: Body,
    /// By the rules of now.
    pub rule: u16,
    /// What the engine said.
    pub reply: Vec<u8>,
}

/// What replies left to do, once all that came are delivered.
#[derive(Default)]
pub struct Errands {
    /// Requests that wrote late after they were routed.
    pub written: Vec<Vec<u8>>,
    pub refused: Vec<Unsettled>,
    /// Why the last of them was.
    pub said: Option<Vec<u8>>,
    pub overtakers: Vec<Overtaker>,
    pub healable: Vec<(Unsettled, Vec<u8>)>,
    pub unexecuted: Vec<Unsettled>,
    pub doubtful: Vec<(u16, Entry)>,
    pub missed: Vec<Missed>,
    /// Replicas are asked once more.
    pub asks_again: bool,
}

/// Deliver every complete reply in `data`; how much of it was taken, or why the connection can be used no more.
pub fn deliver_all(
    turn: &mut Turn,
    clients: &mut Clients,
    index: usize,
    data: &[u8],
    errands: &mut Errands,
) -> Result<usize, String> {
    match turn.links[index].engine {
        EngineKind::Redis => resp::deliver_all(turn, clients, index, data, errands),
        EngineKind::Memcached => memcached::deliver_all(turn, clients, index, data, errands),
    }
}

/// Give a complete reply to whom it is owed: a client, or some that wait.
#[inline]
fn hand_over(waits: &mut Waits, clients: &mut Clients, pool: &mut BufferPool, request: &Entry, reply: &[u8]) {
    if request.is_attempt() {
        waits.results.push((request.owed, Outcome::Reply(reply.to_vec())));
    } else {
        clients.deliver(pool, &request.owed, reply);
    }
}

/// Count a request that was answered. What clients wait for is counted when they get it.
#[inline]
fn count(served: &Served, link: &Link, request: &Entry, is_error: bool, now: u32) {
    if !request.is_attempt() {
        served.metrics.command(request.command, is_error);
        served.took(link.way.shard, request.class, now.wrapping_sub(request.since));
    }
    link.metrics.requests.increment();
    if is_error {
        link.metrics.errors.increment();
    }
}

/// Answer one request with an error of the proxy's own.
pub fn fail(turn: &mut Turn, clients: &mut Clients, cluster: usize, request: &Entry, text: &[u8]) {
    fail_whole(turn, clients, cluster, (request, &[]), text);
}

/// The same, of which the bytes are known.
pub fn fail_whole(
    turn: &mut Turn,
    clients: &mut Clients,
    cluster: usize,
    (request, bytes): (&Entry, &[u8]),
    text: &[u8],
) {
    let told = Told { bytes, length: bytes.len(), reply: text, is_error: true, elapsed: None };
    turn.note_answered(clients.owed(&request.owed).as_deref(), cluster, request, told);
    if request.is_attempt() {
        return turn.waits.results.push((request.owed, Outcome::Failure(text.to_vec())));
    }
    if let Some(served) = turn.served(cluster) {
        served.metrics.command(request.command, true);
        if clients.owed(&request.owed).is_some() {
            served.metrics.refusal(text);
        }
    }
    clients.deliver(&mut turn.pool, &request.owed, text);
}

/// A reply broke off after its first bytes went out.
pub fn cut(turn: &mut Turn, clients: &mut Clients, request: &Entry, reason: CloseReason) {
    if request.is_attempt() {
        return turn.waits.results.push((request.owed, Outcome::Cut));
    }
    clients.cut(&mut turn.pool, &request.owed, reason);
}

/// Whether the node may answer its oldest request now. Of a transaction the engine queues what it has read while the rest
/// is still to be sent: only EXEC's reply needs it whole.
#[inline]
fn is_asked(link: &Link) -> bool {
    link.exchange.asked().is_some()
        || link.exchange.begun().is_some_and(|request| link.redo.inner_seen < request.inner())
}

#[cold]
fn unasked(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(&reply[..reply.len().min(100)]);
    let line = text.lines().next().unwrap_or_default(); // who is told why hears one line
    format!("the node sent a reply nobody asked for: {line}")
}

/// So much is gathered of a reply that cannot leave in pieces, and why no more is: while buffers are over their cap only
/// closing its client frees them.
fn gathers_at_most(accounts: &Accounts, client_output: usize) -> (usize, CloseReason) {
    if accounts.is_over() {
        (GATHER, CloseReason::Buffers)
    } else {
        (client_output, CloseReason::Output)
    }
}

/// Take a reply to a greeting; whether it was one.
#[inline]
fn is_greeting(link: &mut Link, served: &Served, reply: &[u8], now: u32) -> Result<bool, String> {
    let State::Greeting(left) = link.state else { return Ok(false) };
    link.greeted(&served.cluster, left, reply)?;
    link.note_up(now);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_is_told_in_one_line() {
        for reply in [&b"VA 3\r\nxyz\r\n"[..], b"VALUE a 0 1\r\nx\r\nEND\r\n", b"$3\r\nxyz\r\n", b"\n"] {
            let text = unasked(reply);
            assert!(!text.contains(['\r', '\n']), "{text:?}");
        }
    }
}
