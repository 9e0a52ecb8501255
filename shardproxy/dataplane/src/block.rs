//! Commands that may wait at the engine: each gets a connection of its own from a bounded pool, so that nobody else
//! waits behind it. When the client goes, that connection is closed, and the engine forgets the wait.
//!
//! ```text
//!   arrival ─> pool ─┬─ free ──────────────────────────────> engine ─> reply
//!                    ├─ used up: its turn comes ──────────>    │
//!                    └─ no primary takes it: looks again <─────┘ not executed: unblocked by a change of roles, lost before
//!                                                                it was sent, or lost while it only read
//! ```
//!
//! However long that takes, its own timeout counts from its arrival: an engine is told what is left of it.

use std::time::{Duration, Instant};

use crate::client::{Client, Flow};
use crate::command::{streams, Command, Keys};
use crate::metrics::Class;
use crate::protocol::resp::{request::decimal, write};
use crate::protocol::texts;
use crate::request::Request;
use crate::route::{self, answer_error, answer_own, Next};
use crate::topology::{EndpointKind, NO_SHARD};
use crate::worker::{failing_over, Core, Lease};

/// What was taken for longer than this was no trouble: the next one begins then.
const SETTLED: Duration = Duration::from_secs(1);

/// A command on its way to a connection of its own, or waiting there.
#[derive(Clone, Copy)]
pub struct Waiting {
    /// When its own timeout ends it.
    ends: Option<Instant>,
    /// Since when no primary takes it.
    troubled: Option<Instant>,
    /// When it was last sent.
    sent: Instant,
    /// CLIENT UNBLOCK ended it, with an error or as its timeout would.
    pub unblocked: Option<bool>,
    /// Not of the kind that CLIENT UNBLOCK ends.
    pub is_watch: bool,
}

impl Waiting {
    pub fn new(now: Instant, timeout: Option<Duration>) -> Self {
        let ends = timeout.and_then(|timeout| now.checked_add(timeout));
        Self { ends, troubled: None, sent: now, unblocked: None, is_watch: false }
    }

    pub fn to_watch(now: Instant, limit: Duration) -> Self {
        Self { is_watch: true, ..Self::new(now, Some(limit)) }
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.unblocked.is_some() || self.ends.is_some_and(|ends| ends <= now)
    }

    /// Whether its engine should have ended it so long ago.
    pub fn is_overdue(&self, now: Instant, by: Duration) -> bool {
        self.ends.is_some_and(|ends| now.saturating_duration_since(ends) > by)
    }

    pub fn has_trouble(&self) -> bool {
        self.troubled.is_some()
    }

    /// Whether no primary took it for longer than `limit`.
    fn is_troubled_for(&self, now: Instant, limit: Duration) -> bool {
        self.troubled.is_some_and(|since| now.duration_since(since) > limit)
    }

    /// No primary takes it now.
    pub fn begin_trouble(&mut self, now: Instant) {
        self.troubled.get_or_insert(now);
    }

    /// It comes back from an engine, unexecuted.
    pub fn returned(&mut self, now: Instant) {
        let is_new = now.duration_since(self.sent) > SETTLED;
        self.troubled = self.troubled.filter(|_| !is_new).or(Some(now));
    }
}

pub fn serve(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    // XREAD and XREADGROUP wait only with BLOCK.
    if command.keys == Keys::Streams && streams(request.arguments()).block.is_none() {
        return route::to_shard(core, client, index, command, request);
    }
    if client.endpoint == EndpointKind::Reader && !command.is_read() {
        return answer_error(core, client, command, texts::READONLY);
    }
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    let resumed = client.waiting.take();
    let slot = match route::slot_of_keys(core, client, command, request) {
        Ok(slot) => slot.unwrap_or(0),
        Err(text) => return answer_error(core, client, command, &text),
    };
    core.need(client.cluster, command.is_read(), core.keys.iter().map(|&key| request.argument(key as usize)));
    let shard = core.clusters[client.cluster].as_ref().map_or(NO_SHARD, |s| s.cluster.shard_of(slot));
    if shard == NO_SHARD {
        return answer_error(core, client, command, texts::CLUSTERDOWN);
    }
    if client.lease.is_some_and(|leased| core.upstreams[leased as usize].shard != shard) {
        return answer_error(core, client, command, texts::BLOCK_WHILE_WATCHING);
    }
    let timeout = timeout_of(command, request);
    let mut waiting = match &resumed {
        Some(resumed) => **resumed,
        None => Waiting::new(core.now, timeout.map(|timeout| timeout.length)),
    };
    if waiting.is_over(core.now) {
        return answer_end(core, client, command, &waiting);
    }
    let park = core.clusters[client.cluster].as_ref().map_or(Duration::ZERO, |s| s.cluster.spec.timeouts.park);
    if waiting.is_troubled_for(core.now, park) {
        return answer_error(core, client, command, &failing_over(&core.label(client.cluster, shard)));
    }
    let on_replica = client.endpoint == EndpointKind::Reader;
    let upstream = match core.lease(client, index, shard, on_replica) {
        Lease::Held(upstream) => upstream,
        Lease::Wait => return queue(client, waiting),
        Lease::Later => {
            waiting.begin_trouble(core.now);
            core.unplaced.push((index, client.tag()));
            return queue(client, waiting);
        }
        Lease::Refused(text) => return answer_error(core, client, command, &text),
    };
    waiting.sent = core.now;
    core.upstreams[upstream].waiting = Some(waiting);
    let rewritten = match (timeout, waiting.ends, resumed) {
        (Some(timeout), Some(ends), Some(_)) => Some(timeout.rewrite(request, ends.duration_since(core.now))),
        _ => None,
    };
    let request = rewritten.as_ref().map_or(*request, |bytes| Request { bytes, spans: request.spans });
    route::send(core, client, index, command, &request, upstream, |pending| pending.class = Class::Block);
    client.flow = Flow::Barrier;
    Next::Wait
}

/// It is not taken now: it stays in the client's input, and is served again when it may be taken, or is over.
pub fn queue(client: &mut Client, waiting: Waiting) -> Next {
    client.waiting = Some(Box::new(waiting));
    client.flow = Flow::Queued;
    Next::Queue
}

/// As an engine answers who has waited long enough, or was unblocked.
fn answer_end(core: &mut Core, client: &mut Client, command: &Command, waiting: &Waiting) -> Next {
    if waiting.unblocked == Some(true) {
        return answer_error(core, client, command, texts::UNBLOCKED);
    }
    let mut reply = Vec::new();
    write::null_array(&mut reply, client.resp);
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.command(command.id, false);
    }
    answer_own(core, client, &reply);
    Next::Go
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
    let at = match &*command.name {
        "blpop" | "brpop" | "blmove" | "brpoplpush" | "bzpopmin" | "bzpopmax" => request.len() - 1,
        "blmpop" | "bzmpop" => 1,
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
    use crate::protocol::resp::request::{Parsed, RequestLimits, RequestParser};

    /// What the command says its timeout is, and the request with 1.5 s left.
    fn read(line: &str) -> Option<(Duration, String)> {
        let mut parser = RequestParser::new();
        let limits = RequestLimits { max_request: 1024, max_arguments: 100, authenticated: true };
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
