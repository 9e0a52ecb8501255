//! Commands that may wait. Those the proxy knows wait here (waiting/), and need no connection of their own. Those that only
//! an engine understands, and all where an engine does not tell what changes, wait there: each has a connection of its own
//! from a bounded pool, so that nobody else waits behind it. When the client goes, that connection is closed, and the engine
//! forgets the wait.
//!
//! ```text
//!   arrival ─> pool ─┬─ free ──────────────────────────────> engine ─> reply
//!                    ├─ used up: its turn comes ──────────>    │
//!                    └─ no primary takes it: looks again <─────┘ not executed: unblocked by a change of roles, lost before
//!                                                                it was sent, or lost while it only read
//! ```
//!
//! However long that takes, its own timeout counts from its arrival: an engine is told what is left of it.

use std::time::Duration;

use super::keyed::to_shard;
use super::{answer, answer_error, send, shard_of, slot_of_keys, transaction, unplaced, Next};
use crate::admit::Admitted;
use crate::clients::{Client, Flow, Waiting};
use crate::command::{streams, wait_of, Act, Command, Keys, Wait};
use crate::dialect::resp::{request::decimal, write, Request};
use crate::dialect::texts;
use crate::metrics::Class;
use crate::model::EndpointKind;
use crate::place::{lease, need, pass, Lease};
use crate::turn::Turn;
use crate::waiting;

pub fn serve(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    let &Admitted { command, request } = admitted;
    let words: Vec<&[u8]> = request.arguments().collect();
    let wait = wait_of(command, &words);
    if wait == Wait::Never {
        return to_shard(turn, client, admitted);
    }
    if client.endpoint == EndpointKind::Reader && !command.is_read() {
        return answer_error(turn, client, command, texts::READONLY);
    }
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    let resumed = client.waiting.take();
    let slot = match slot_of_keys(turn, client, command, request) {
        Ok(slot) => slot.unwrap_or(0),
        Err(text) => return answer_error(turn, client, command, &text),
    };
    need(turn, client.cluster, command.is_read(), turn.scratch.keys.iter().map(|&key| request.argument(key as usize)));
    let shard = match shard_of(turn, client, slot) {
        Ok(shard) => shard,
        Err(text) => return answer_error(turn, client, command, text),
    };
    let is_over = resumed.as_deref().is_some_and(|waiting| waiting.is_over(turn.now));
    if let Err(why) =
        pass(turn, client, (shard, slot), command.is_read()).or_else(|why| if is_over { Ok(()) } else { Err(why) })
    {
        let next = unplaced(turn, client, command, request.bytes.len(), why);
        client.waiting = resumed.filter(|_| next == Next::Queue);
        return next;
    }
    transaction::lose_moved(turn, client);
    let on_replica = client.endpoint == EndpointKind::Reader;
    if resumed.is_none() && command.waits_for_keys() && !on_replica && !overtakes(turn, client.cluster, shard) {
        let form = if let Wait::For(form) = wait { Some(form) } else { None };
        waiting::begin(turn, client, command, request, form, slot);
        return Next::Wait;
    }
    if client.lease.is_some_and(|leased| turn.links[leased as usize].way.shard != shard) {
        return answer_error(turn, client, command, texts::BLOCK_WHILE_WATCHING);
    }
    let timeout = timeout_of(command, request);
    let length = timeout.map(|timeout| timeout.length);
    let mut waiting = resumed.as_deref().copied().unwrap_or_else(|| Waiting::new(turn.now, turn.held.number(), length));
    if waiting.is_over(turn.now) {
        return answer_end(turn, client, command, &waiting);
    }
    let park = turn.cluster(client.cluster).map_or(Duration::ZERO, |cluster| cluster.spec.timeouts.park);
    if waiting.is_troubled_for(turn.now, park) {
        return answer_error(turn, client, command, &turn.waited_in_vain(client.cluster, shard, command.is_read()));
    }
    let link = match lease(turn, client, (shard, waiting.number), command.is_read(), on_replica) {
        Lease::Held(link) => link,
        Lease::Wait => return queue(client, waiting),
        Lease::Later => {
            waiting.begin_trouble(turn.now);
            turn.later.unplaced.push(client.ticket());
            return queue(client, waiting);
        }
        Lease::Refused(text) => return answer_error(turn, client, command, &text),
    };
    waiting.sent = turn.now;
    if let Some(leased) = turn.links[link].leased_mut() {
        leased.waiting = Some(waiting);
    }
    let rewritten = match (timeout, waiting.ends, resumed) {
        (Some(timeout), Some(ends), Some(_)) => Some(timeout.rewrite(request, ends.duration_since(turn.now))),
        _ => None,
    };
    let request = rewritten.as_ref().map_or(*request, |bytes| Request { bytes, spans: request.spans });
    send(turn, client, command, &request, link, |entry| (entry.class, entry.slot) = (Class::Block, slot));
    client.flow = Flow::Barrier;
    Next::Wait
}

/// Whether others wait for a connection because their engine does not tell what changes: who asks it what there is would
/// overtake them.
fn overtakes(turn: &Turn, cluster: usize, shard: u16) -> bool {
    let Some(served) = turn.served(cluster).filter(|_| waiting::is_refused(turn, (cluster, shard))) else {
        return false;
    };
    let node = served.cluster.shards[usize::from(shard)].primary.and_then(|node| served.nodes.get(usize::from(node)));
    node.is_some_and(|node| !node.queue.is_empty())
}

/// It is not taken now: it stays in the client's input, and is served again when it may be taken, or is over.
pub fn queue(client: &mut Client, waiting: Waiting) -> Next {
    client.waiting = Some(Box::new(waiting));
    client.flow = Flow::Queued;
    Next::Queue
}

/// As an engine answers who has waited long enough, or was unblocked.
fn answer_end(turn: &mut Turn, client: &mut Client, command: &Command, waiting: &Waiting) -> Next {
    if waiting.unblocked == Some(true) {
        return answer_error(turn, client, command, texts::UNBLOCKED);
    }
    let mut reply = Vec::new();
    write::null_array(&mut reply, client.resp);
    answer(turn, client, command, &reply)
}

/// How long a command wants to wait, and which argument says it.
#[derive(Debug, PartialEq, Clone, Copy)]
struct Timeout {
    length: Duration,
    at: usize,
    is_milliseconds: bool,
}

/// None where it waits for ever, or the engine will say what is wrong with its timeout.
fn timeout_of(command: &Command, request: &Request) -> Option<Timeout> {
    let at = match command.act {
        Act::WaitList | Act::WaitSortedSet | Act::WaitMove => request.len() - 1,
        Act::WaitListOf | Act::WaitSortedSetOf => 1,
        _ if command.keys == Keys::Streams => streams(request.arguments()).block?,
        _ => return None, // one of a newer engine, or of a module
    };
    let text = request.argument(at);
    let is_milliseconds = command.keys == Keys::Streams;
    let length = if is_milliseconds {
        Duration::from_millis(u64::try_from(decimal(text)?).ok()?)
    } else {
        Duration::try_from_secs_f64(std::str::from_utf8(text).ok()?.parse().ok()?).ok()?
    };
    (!length.is_zero()).then_some(Timeout { length, at, is_milliseconds })
}

impl Timeout {
    /// The request with so much time left.
    fn rewrite(&self, request: &Request, left: Duration) -> Vec<u8> {
        let milliseconds = left.as_millis().max(1); // 0 would be for ever
        let text = if self.is_milliseconds {
            milliseconds.to_string()
        } else {
            format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
        };
        let mut bytes = Vec::with_capacity(request.bytes.len() + text.len());
        write::array_header(&mut bytes, request.len());
        for (at, argument) in request.arguments().enumerate() {
            write::bulk(&mut bytes, if at == self.at { text.as_bytes() } else { argument });
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandTable;
    use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};

    /// What the command says its timeout is, and the request with 1.5 s left.
    fn read(line: &str) -> Option<(Duration, String)> {
        let mut parser = RequestParser::new();
        let limits = RequestLimits { max_request: 1024, max_bulk: 1024, max_arguments: 100, authenticated: true };
        let inline = format!("{line}\r\n").into_bytes();
        let Ok(Parsed::Inline { .. }) = parser.parse(&inline, &limits) else { panic!("{line}") };
        let request = Request { bytes: parser.inline(), spans: parser.spans() };
        let table = CommandTable::builtin().unwrap();
        let timeout = timeout_of(table.find(request.argument(0)).unwrap(), &request)?;
        let rewritten = timeout.rewrite(&request, Duration::from_millis(1500));
        let words = String::from_utf8(rewritten).unwrap();
        let words: Vec<&str> = words.split("\r\n").skip(2).step_by(2).collect();
        Some((timeout.length, words.join(" ")))
    }

    #[test]
    fn every_command_has_its_timeout_where_engines_look_for_it() {
        for (line, seconds, rewritten) in [
            ("BLPOP a b 2", 2.0, "BLPOP a b 1.500"),
            ("brpop a 0.25", 0.25, "brpop a 1.500"),
            ("BLMOVE a b LEFT RIGHT 3", 3.0, "BLMOVE a b LEFT RIGHT 1.500"),
            ("BRPOPLPUSH a b 3", 3.0, "BRPOPLPUSH a b 1.500"),
            ("BZPOPMIN a 3", 3.0, "BZPOPMIN a 1.500"),
            ("BZPOPMAX a 3", 3.0, "BZPOPMAX a 1.500"),
            ("BLMPOP 3 1 a LEFT", 3.0, "BLMPOP 1.500 1 a LEFT"),
            ("BZMPOP 3 1 a MIN", 3.0, "BZMPOP 1.500 1 a MIN"),
            ("XREAD COUNT 1 BLOCK 250 STREAMS s $", 0.25, "XREAD COUNT 1 BLOCK 1500 STREAMS s $"),
            ("XREADGROUP GROUP BLOCK c BLOCK 9 STREAMS s >", 0.009, "XREADGROUP GROUP BLOCK c BLOCK 1500 STREAMS s >"),
        ] {
            assert_eq!(read(line), Some((Duration::from_secs_f64(seconds), rewritten.to_owned())), "{line}");
        }
    }

    #[test]
    fn what_never_ends_or_is_no_time_is_left_to_the_engine() {
        for line in ["BLPOP a 0", "BLPOP a -1", "BLPOP a x", "BLPOP a inf", "BLPOP a nan", "XREAD BLOCK 0 STREAMS s $"]
        {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
