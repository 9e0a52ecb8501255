//! How a copy comes by a source: which node it reads, and how it joins its stream of commands without a fork.
//!
//! ```text
//!   INFO ─> has a backlog? ─ yes ─> PSYNC <replid> <offset + 1> ─> +CONTINUE, then the stream
//!                          └ no ──> rdb-filter-only "", PSYNC ? -1 ─> +FULLRESYNC, an RDB that is passed over, the stream
//! ```
//!
//! It attaches as a replica that confirms nothing: no write waits for it and none is taken for safe because of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::end::End;
use super::history::{Facts, Place};
use super::node::{Node, NodeError, Stop};
use super::value::Value;

/// For one node: to connect, log in, and be answered.
const WITHIN: Duration = Duration::from_secs(2);
/// For a source without a backlog: until its RDB begins, and between two of its pieces.
const FORKS: Duration = Duration::from_secs(90);
/// A node that is behind a copy of its history may come to where that is before all is copied anew.
const CATCHES_UP: Duration = Duration::from_secs(5);
/// The form of an RDB that a source writes straight to the socket ends with the mark that it begins with.
const MARK: usize = 40;
/// Shows that somebody reads. The offset is none: nothing is ever confirmed.
pub const SIGN_OF_LIFE: [&[u8]; 3] = [b"REPLCONF", b"ACK", b"0"];

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
    /// How long there has been no source.
    pub away: Duration,
}

/// A node that is to be attached to.
struct Candidate<'a> {
    at: usize,
    end: &'a End,
    asker: Node,
    facts: Facts,
}

/// Attach to a node that can tell what came since, or else to the first replica that can be read, or else to a primary.
/// `Refused` is final: every source refuses, each in its words.
pub fn attach(wishes: &Wishes, stop: &Stop) -> Result<Attached, NodeError> {
    let mut refusals = BTreeMap::new();
    loop {
        let known = refusals.len();
        match attempt(wishes, stop, &mut refusals) {
            Err(NodeError::Refused(_)) if refusals.len() > known && refusals.len() < wishes.sources.len() => {}
            Err(NodeError::Refused(_)) if !refusals.is_empty() => {
                return Err(NodeError::Refused(refusals.into_values().collect::<Vec<_>>().join("; ")));
            }
            other => return other,
        }
    }
}

/// The same, leaving out those who refuse; others who do are added to them.
fn attempt(wishes: &Wishes, stop: &Stop, refusals: &mut BTreeMap<usize, String>) -> Result<Attached, NodeError> {
    let mut passing = None;
    let mut found = Vec::new();
    for (at, end) in wishes.sources.iter().enumerate() {
        if refusals.contains_key(&at) {
            continue;
        }
        match look(end, wishes, stop) {
            Ok((asker, facts)) => {
                if let Some(reason) = facts.why_no_source().or_else(|| why_another(end, &facts, wishes)) {
                    passing = Some(asker.lost(reason));
                } else if wishes.follows && facts.needs_replicas {
                    let why =
                        "it refuses writes without replicas (min-replicas-to-write), and a reader would count as one";
                    refusals.insert(at, format!("{end}: {why}: attach a replica to it"));
                } else {
                    let is_best = !facts.is_primary && wishes.from.is_none_or(|from| tells(&facts, from));
                    found.push(Candidate { at, end, asker, facts });
                    if is_best {
                        break;
                    }
                }
            }
            Err(NodeError::Stopped) => return Err(NodeError::Stopped),
            Err(NodeError::Refused(why)) => drop(refusals.insert(at, why)),
            Err(error) => passing = Some(error),
        }
    }
    let Some(best) = choose(&found, wishes)? else {
        return Err(passing.unwrap_or_else(|| {
            if refusals.is_empty() {
                NodeError::Lost("there is no source".into())
            } else {
                NodeError::Refused(String::new()) // the words are with the others
            }
        }));
    };
    let Candidate { at, end, asker, facts } = found.swap_remove(best);
    let attached = follow(end, asker, facts, wishes, stop);
    if let Err(NodeError::Refused(why)) = &attached {
        refusals.insert(at, why.clone());
    }
    attached
}

/// Why it is not who it was to be: an address may be another's by now, and what that has is no part of the source. Who can
/// go on with the history that was read is, whatever process it is.
fn why_another(end: &End, facts: &Facts, wishes: &Wishes) -> Option<&'static str> {
    if wishes.from.is_some_and(|from| tells(facts, from)) {
        return None;
    }
    if end.is_another(&facts.run_id) {
        return Some("another process is there than keys are to be copied from");
    }
    let has_named = wishes.sources.iter().any(|one| one.process.is_some());
    (has_named && end.process.is_none() && facts.is_primary).then_some("it is a primary, and not its shard's")
}

fn tells(facts: &Facts, from: &Place) -> bool {
    facts.can_tell(&from.replid, from.offset)
}

/// Which one, if any. `Lost` for some seconds where one of them is only not as far yet.
fn choose(found: &[Candidate], wishes: &Wishes) -> Result<Option<usize>, NodeError> {
    let best = |is_one: &dyn Fn(&Facts) -> bool| {
        let replica = found.iter().position(|one| !one.facts.is_primary && is_one(&one.facts));
        replica.or_else(|| found.iter().position(|one| is_one(&one.facts)))
    };
    if let Some(from) = wishes.from {
        if let Some(at) = best(&|facts| tells(facts, from)) {
            return Ok(Some(at));
        }
        if let Some(at) = best(&|facts| facts.is_behind(&from.replid, from.offset)).filter(|_| wishes.away < CATCHES_UP)
        {
            return Err(found[at].asker.lost("it is not yet where the copy is"));
        }
    }
    Ok(best(&|_| true))
}

fn follow(end: &End, mut asker: Node, facts: Facts, wishes: &Wishes, stop: &Stop) -> Result<Attached, NodeError> {
    asker.takes_values();
    let clock = if facts.version < (7, 0) { Some(ask_clock(&mut asker)?) } else { None };
    let only = facts.only_database(wishes.database);
    if !wishes.follows {
        let place = Place { replid: facts.replid.as_str().into(), offset: facts.offset };
        return Ok(Attached { stream: None, asker, facts, place, is_resumed: false, database: only, clock });
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
    match clock_of(&reply) {
        Some(micros) => Ok((micros / 1000, Instant::now())),
        None => Err(node.refused(&reply)),
    }
}

/// What an engine's clock shows, in microseconds since 1970, by its reply to TIME.
pub fn clock_of(reply: &[u8]) -> Option<i64> {
    let value = Value::read(reply)?;
    let part = |at: usize| std::str::from_utf8(value.array()?.get(at)?.text()?).ok()?.parse::<i64>().ok();
    Some(part(0)?.saturating_mul(1_000_000).saturating_add(part(1)?))
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
    node.send(&[b"PSYNC", place.replid.as_bytes(), place.offset.saturating_add(1).to_string().as_bytes()]);
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// An engine that says so of itself, and goes on with every stream.
    fn engine(role: &str, replid: &str, offset: i64, more: &str) -> End {
        let info = format!(
            "redis_version:7.2.0\r\nrole:{role}\r\nmaster_link_status:up\r\nmaster_replid:{replid}\r\n\
             master_repl_offset:{offset}\r\nrepl_backlog_active:1\r\nrepl_backlog_first_byte_offset:1\r\n\
             repl_backlog_histlen:{offset}\r\n{more}"
        );
        says(move |asked| match asked {
            asked if asked.contains("INFO") => format!("${}\r\n{info}\r\n", info.len()),
            asked if asked.contains("PSYNC") => "+CONTINUE\r\n".into(),
            _ => "+OK\r\n".into(),
        })
    }

    fn says(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> End {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = End::plain(&listener.local_addr().unwrap().to_string()).unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let answer = answer.clone();
                thread::spawn(move || {
                    let mut asked = [0; 4096];
                    while let Ok(n @ 1..) = stream.read(&mut asked) {
                        let told = answer(&String::from_utf8_lossy(&asked[..n]));
                        if stream.write_all(told.as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        end
    }

    fn attached(sources: &[&End], from: Option<i64>, away: u64) -> Result<(String, bool), NodeError> {
        let sources: Vec<End> = sources.iter().copied().cloned().collect();
        let from = from.map(|offset| Place { replid: "h".into(), offset });
        let away = Duration::from_secs(away);
        let wishes = Wishes { sources: &sources, database: 0, follows: true, from: from.as_ref(), away };
        let attached = attach(&wishes, &Stop::new().unwrap())?;
        Ok((attached.asker.address().to_string(), attached.is_resumed))
    }

    const NEEDS: &str = "min_slaves_good_slaves:0\r\n";

    #[test]
    fn who_needs_replicas_is_final_only_if_there_is_nobody_else() {
        let needs = engine("master", "h", 100, NEEDS);
        let loads = engine("slave", "h", 100, "loading:1\r\n");
        let gone = End::plain("127.0.0.1:1").unwrap();
        assert!(
            matches!(attached(&[&needs], None, 0), Err(NodeError::Refused(why)) if why.contains("attach a replica"))
        );
        for other in [&loads, &gone] {
            for sources in [[&needs, other], [other, &needs]] {
                let error = attached(&sources, None, 0).unwrap_err();
                assert!(matches!(error, NodeError::Lost(_)), "{error:?}");
            }
        }
        let replica = engine("slave", "h", 100, "");
        assert_eq!(attached(&[&needs, &replica], None, 0), Ok((replica.to_string(), false)));
    }

    #[test]
    fn who_refuses_is_left_for_others_and_all_their_words_are_told() {
        let refuses = || says(|_| "-NOPERM no\r\n".into());
        let (first, second) = (refuses(), refuses());
        let primary = engine("master", "h", 100, "");
        assert_eq!(attached(&[&first, &primary], None, 0), Ok((primary.to_string(), false)));
        let error = attached(&[&first, &second], None, 0).unwrap_err();
        let NodeError::Refused(why) = error else { panic!("{error:?}") };
        assert!(why.contains(&first.to_string()) && why.contains(&second.to_string()), "{why}");
        let error = attached(&[], None, 0).unwrap_err();
        assert!(matches!(error, NodeError::Lost(_)), "{error:?}");
    }

    #[test]
    fn who_can_tell_what_came_since_goes_before_the_first_replica() {
        let behind = engine("slave", "h", 99, "");
        let other = engine("slave", "other", 500, "");
        let there = engine("slave", "h", 100, "");
        let primary = engine("master", "h", 120, "");
        for (sources, best) in
            [([&behind, &there], &there), ([&behind, &primary], &primary), ([&other, &primary], &primary)]
        {
            assert_eq!(attached(&sources, Some(100), 0), Ok((best.to_string(), true)));
        }
        assert_eq!(attached(&[&behind, &there], None, 0), Ok((behind.to_string(), false)));
    }

    fn meant(end: &End, process: &str) -> End {
        let mut end = end.clone();
        end.process = Some(process.into());
        end
    }

    #[test]
    fn another_process_at_the_address_is_no_source() {
        let primary = engine("master", "h", 100, "run_id:new\r\n");
        for (process, is_meant) in [("new", true), ("old", false)] {
            let attached = attached(&[&meant(&primary, process)], None, 0);
            if is_meant {
                assert_eq!(attached, Ok((primary.to_string(), false)));
            } else {
                assert!(matches!(&attached, Err(NodeError::Lost(why)) if why.contains("another process")));
            }
        }
        // but it is who goes on with what was read
        assert_eq!(attached(&[&meant(&primary, "old")], Some(90), 0), Ok((primary.to_string(), true)));
    }

    #[test]
    fn a_primary_beside_the_shards_own_is_no_source() {
        let stranger = engine("master", "other", 500, "");
        let primary = engine("master", "h", 100, "run_id:new\r\n");
        let own = meant(&primary, "new");
        assert_eq!(attached(&[&stranger, &own], None, 0), Ok((primary.to_string(), false)));
        assert_eq!(attached(&[&stranger, &primary], None, 0), Ok((stranger.to_string(), false)), "nobody is meant");
        // nor one that took over, before its shard says so, but for who goes on with what was read
        let promoted = engine("master", "h", 100, "");
        let gone = meant(&End::plain("127.0.0.1:1").unwrap(), "old");
        assert!(matches!(attached(&[&promoted, &gone], None, 0), Err(NodeError::Lost(_))));
        assert_eq!(attached(&[&promoted, &gone], Some(90), 0), Ok((promoted.to_string(), true)));
    }

    #[test]
    fn who_is_one_command_behind_is_given_some_seconds() {
        let behind = engine("slave", "h", 99, "");
        let error = attached(&[&behind], Some(100), 1).unwrap_err();
        assert!(matches!(&error, NodeError::Lost(why) if why.contains("not yet")), "{error:?}");
        assert_eq!(attached(&[&behind], Some(100), 6), Ok((behind.to_string(), false)));
        let other = engine("slave", "other", 99, "");
        assert_eq!(attached(&[&other], Some(100), 1), Ok((other.to_string(), false)));
    }
}
