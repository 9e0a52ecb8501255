//! How a copy comes by a source: which node it reads, and how it joins its stream of commands without a fork.
//!
//! ```text
//!   INFO ─> has a backlog? ─ yes ─> PSYNC <replid> <offset + 1> ─> +CONTINUE, then the stream
//!                          └ no ──> rdb-filter-only "", PSYNC ? -1 ─> +FULLRESYNC, an RDB that is passed over, the stream
//! ```
//!
//! It attaches as a replica that confirms nothing: no write waits for it and none is taken for safe because of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::end::End;
use super::history::Facts;
use super::node::{Node, NodeError, Stop};
use super::value::Value;

/// For one node: to connect, log in, and be answered.
const WITHIN: Duration = Duration::from_secs(2);
/// For a source without a backlog: until its RDB begins, and between two of its pieces.
const FORKS: Duration = Duration::from_secs(90);
/// The form of an RDB that a source writes straight to the socket ends with the mark that it begins with.
const MARK: usize = 40;
/// Shows that somebody reads. The offset is none: nothing is ever confirmed.
pub const SIGN_OF_LIFE: [&[u8]; 3] = [b"REPLCONF", b"ACK", b"0"];

/// Where a copy is in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub replid: Arc<str>,
    pub offset: i64,
}

pub struct Attached {
    /// Its stream of commands; none where it is not followed.
    pub stream: Option<Node>,
    /// To ask it.
    pub asker: Node,
    pub facts: Facts,
    pub place: Place,
    /// It goes on where the last one ended.
    pub is_resumed: bool,
    /// What its stream is about until it says so; none if that cannot be known.
    pub database: Option<u32>,
    /// Its clock: milliseconds since 1970, and when it showed that. Only of engines that do not tell when a key ends.
    pub clock: Option<(i64, Instant)>,
}

pub struct Wishes<'a> {
    pub sources: &'a [End],
    pub database: u32,
    pub follows: bool,
    /// Go on from here, where that can be.
    pub from: Option<&'a Place>,
}

/// Attach to the first replica that can be read, or else to the first primary. `Refused` is final.
pub fn attach(wishes: &Wishes, stop: &Stop) -> Result<Attached, NodeError> {
    let mut found = Vec::new();
    let mut why = NodeError::Lost("there is no source".into());
    for end in wishes.sources {
        match look(end, wishes, stop) {
            Ok((asker, facts)) => match facts.why_no_source() {
                None => {
                    let is_replica = !facts.is_primary;
                    found.push((end, asker, facts));
                    if is_replica {
                        break;
                    }
                }
                Some(reason) => why = asker.lost(reason),
            },
            Err(NodeError::Stopped) => return Err(NodeError::Stopped),
            Err(error) => why = error,
        }
    }
    let best = found.iter().position(|(_, _, facts)| !facts.is_primary).unwrap_or(0);
    if best >= found.len() {
        return Err(why);
    }
    let (end, mut asker, facts) = found.swap_remove(best);
    let clock = if facts.version < (7, 0) { Some(ask_clock(&mut asker)?) } else { None };
    let only = facts.only_database(wishes.database);
    if !wishes.follows {
        let place = Place { replid: facts.replid.as_str().into(), offset: facts.offset };
        return Ok(Attached { stream: None, asker, facts, place, is_resumed: false, database: only, clock });
    }
    if facts.needs_replicas {
        let why = "it refuses writes without replicas (min-replicas-to-write), and a reader would count as one";
        return Err(NodeError::Refused(format!("{end}: {why}: attach a replica to it")));
    }
    let (stream, place, is_resumed) = join(end, &facts, wishes.from, stop)?;
    let database = if is_resumed { None } else { only };
    Ok(Attached { stream: Some(stream), asker, facts, place, is_resumed, database, clock })
}

fn look(end: &End, wishes: &Wishes, stop: &Stop) -> Result<(Node, Facts), NodeError> {
    let mut node = Node::connect(end, stop, WITHIN)?;
    let facts = Facts::read(&node.ask_text(&[b"INFO"], WITHIN)?);
    if wishes.database > 0 {
        node.send(&[b"SELECT", wishes.database.to_string().as_bytes()]);
        node.accepted(Instant::now() + WITHIN)?;
    }
    if facts.is_clustered {
        node.send(&[b"READONLY"]); // else a replica sends every read on to its primary
        node.accepted(Instant::now() + WITHIN)?;
    }
    Ok((node, facts))
}

fn ask_clock(node: &mut Node) -> Result<(i64, Instant), NodeError> {
    let reply = node.ask(&[b"TIME"], WITHIN)?;
    let value = Value::read(&reply);
    let part = |at: usize| {
        let text = value.as_ref()?.array()?.get(at)?.text()?;
        std::str::from_utf8(text).ok()?.parse::<i64>().ok()
    };
    match (part(0), part(1)) {
        (Some(seconds), Some(micros)) => Ok((seconds * 1000 + micros / 1000, Instant::now())),
        _ => Err(node.refused(&reply)),
    }
}

/// Join its stream where the last one ended, else where it is now.
fn join(end: &End, facts: &Facts, from: Option<&Place>, stop: &Stop) -> Result<(Node, Place, bool), NodeError> {
    let resumed = from.filter(|place| facts.can_tell(&place.replid, place.offset));
    let now = Place { replid: facts.replid.as_str().into(), offset: facts.offset };
    let place = resumed.or_else(|| facts.can_tell(&now.replid, now.offset).then_some(&now));
    let mut node = Node::connect(end, stop, WITHIN)?;
    let words: [&[u8]; 9] =
        [b"REPLCONF", b"listening-port", b"0", b"ip-address", b"shardproxy", b"capa", b"eof", b"capa", b"psync2"];
    let reply = node.ask(&words, WITHIN)?;
    // who may not say it is taken for a replica that can less
    if reply.starts_with(b"-") && !reply.starts_with(b"-NOPERM") {
        return Err(node.refused(&reply));
    }
    let Some(place) = place else { return begin(node, facts) };
    node.send(&[b"PSYNC", place.replid.as_bytes(), (place.offset + 1).to_string().as_bytes()]);
    let line = line(&mut node, Instant::now() + WITHIN)?;
    if let Some(rest) = line.strip_prefix("+CONTINUE") {
        let replid = match rest.trim() {
            "" => place.replid.clone(),
            renamed => renamed.into(),
        };
        return Ok((node, Place { replid, offset: place.offset }, resumed.is_some()));
    }
    Err(refusal(&node, &line))
}

fn refusal(node: &Node, line: &str) -> NodeError {
    if line.starts_with("+FULLRESYNC") {
        return node.lost("its backlog does not go back so far any more"); // the connection goes before it has forked
    }
    let why = format!("{}: {}", node.address(), line.trim_start_matches('-'));
    let is_final = ["-NOPERM", "-NOAUTH", "-ERR unknown command"].iter().any(|word| line.starts_with(word));
    if is_final {
        NodeError::Refused(why)
    } else {
        NodeError::Lost(why)
    }
}

/// Join a source that has no backlog: it begins one for its first replica, with an RDB. Keys are left out of it where it
/// knows how to.
fn begin(mut node: Node, facts: &Facts) -> Result<(Node, Place, bool), NodeError> {
    if facts.version >= (7, 0) {
        node.send(&[b"REPLCONF", b"rdb-filter-only", b""]);
        node.reply(Instant::now() + WITHIN)?;
    }
    node.send(&[b"PSYNC", b"?", b"-1"]);
    let told = line(&mut node, Instant::now() + FORKS)?;
    let mut words = told.split(' ');
    let (Some("+FULLRESYNC"), Some(replid), Some(Ok(offset))) =
        (words.next(), words.next(), words.next().map(str::parse::<i64>))
    else {
        return Err(refusal(&node, &told));
    };
    pass_over(&mut node)?;
    Ok((node, Place { replid: replid.into(), offset }, false))
}

/// Read an RDB to its end and keep nothing of it.
fn pass_over(node: &mut Node) -> Result<(), NodeError> {
    let head = line(node, Instant::now() + FORKS)?;
    let Some(form) = head.strip_prefix('$') else { return Err(refusal(node, &head)) };
    let mut counted = form.parse::<u64>().ok();
    let mark = form.strip_prefix("EOF:").map(|mark| mark.as_bytes().to_vec());
    if counted.is_none() && mark.as_ref().is_none_or(|mark| mark.len() != MARK) {
        return Err(node.lost("what it sends is no RDB"));
    }
    loop {
        let there = node.untaken().len();
        match (&mut counted, &mark) {
            (Some(left), _) => {
                let taken = (*left).min(there as u64);
                node.take_bytes(taken as usize);
                *left -= taken;
                if *left == 0 {
                    return Ok(());
                }
            }
            (None, Some(mark)) => {
                // nothing comes behind the mark until the source is told that it was read
                if node.untaken().ends_with(mark) {
                    node.take_bytes(there);
                    return Ok(());
                }
                node.take_bytes(there.saturating_sub(MARK));
            }
            (None, None) => return Err(node.lost("what it sends is no RDB")),
        }
        if node.is_ended() {
            return Err(node.lost("it closed the connection"));
        }
        node.wait(Instant::now() + FORKS)?;
        node.fill(1 << 20)?;
    }
}

/// The next line; those that are empty only show that the source lives.
fn line(node: &mut Node, until: Instant) -> Result<String, NodeError> {
    loop {
        let there = node.untaken();
        let empty = there.iter().take_while(|&&byte| byte == b'\n').count();
        let rest = &there[empty..];
        if let Some(end) = memchr::memchr(b'\n', rest) {
            let line = String::from_utf8_lossy(&rest[..end]).trim_end().to_owned();
            node.take_bytes(empty + end + 1);
            return Ok(line);
        }
        if rest.len() > 1024 {
            return Err(node.lost("it does not answer as a source does"));
        }
        node.take_bytes(empty);
        node.flush()?;
        if node.is_ended() {
            return Err(node.lost("it closed the connection"));
        }
        node.wait(until)?;
        node.fill(1 << 16)?;
    }
}
