//! From a key to the connection its request leaves on, and what happens when its node is down.

use super::caching;
use super::serve::count;
use super::ttl;
use crate::clients::Client;
use crate::dialect::memcached::base64;
use crate::dialect::memcached::kind::Kind;
use crate::dialect::memcached::request::{parse, Parsed, Request, MAX_LINE};
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::words;
use crate::dialect::memcached::verb::Verb;
use crate::exchange::{Asked, Entry};
use crate::model::{Action, Lane, Speech, NO_SHARD, NO_SLOT};
use crate::place::{self, Need, Unplaced};
use crate::serve::caching::Ruled;
use crate::serve::hold;
use crate::turn::{Pressure, Turn};

/// The connection to a node that is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    pub link: usize,
    /// The node is a spare one: lifetimes are cut to so many seconds.
    pub cap: Option<u32>,
}

/// Why a request does not leave.
pub enum Why {
    /// The node is down: its keys may go elsewhere.
    Down(String),
    /// This connection has as much to send as it may: whoever asks waits.
    Full(usize),
}

/// A request about one key; whether it was taken.
#[inline]
pub fn to_one(turn: &mut Turn, client: &mut Client, request: &Request) -> bool {
    to_node(turn, client, request, true)
}

/// `is_ruled`: by the cluster's caching rules, if it has such.
#[inline]
fn to_node(turn: &mut Turn, client: &mut Client, request: &Request, is_ruled: bool) -> bool {
    if turn.accounts.pressure == Pressure::Full {
        return refuse(turn, client, request, texts::OUT_OF_BUFFERS);
    }
    let Flags { quiet, is_encoded } = flags(request);
    let decoded = if is_encoded { base64::Key::decode(request.key) } else { None };
    let key = decoded.as_ref().map_or(request.key, base64::Key::bytes); // what cannot be decoded is refused by any node
    let Some(shard) = turn.cluster(client.cluster).map(|cluster| cluster.placement.shard_of(cluster, key)) else {
        return true;
    };
    if quiet > 1 {
        let text = match request.verb {
            Verb::MetaGet | Verb::MetaSet => texts::DUPLICATE_FLAG,
            _ => texts::INVALID_OR_DUPLICATE_FLAG,
        };
        return refuse(turn, client, request, text);
    }
    let kind = Kind { verb: request.verb, is_quiet: quiet > 0 };
    let ruled = if is_ruled { caching::rule(turn, client, request, std::iter::once(key)) } else { Some(Ruled::Not) };
    let Some(ruled) = ruled else { return caching::wait(client) };
    match (place_key(turn, client, key, shard), ruled) {
        (Ok(_), Ruled::Handed(rule)) => caching::hand_over(turn, client, request, kind, rule),
        (Ok(placed), _) => send(turn, client, request, caching::asked(kind, ruled), placed),
        (Err(Why::Down(why)), _) => refuse(turn, client, request, &kind.failure(&why)),
        (Err(Why::Full(link)), _) => wait(turn, client, request, link),
    }
}

/// It is not taken: its client is held until the connection has room.
#[cold]
pub fn wait(turn: &mut Turn, client: &mut Client, request: &Request, link: usize) -> bool {
    match hold(turn, client, link, request.bytes.len()) {
        Some(text) => refuse(turn, client, request, &Kind::new(request.verb).failure(&reason(&text))),
        None => false,
    }
}

/// The connection for a key of that shard, or why there is none.
#[inline]
pub fn place_key(turn: &mut Turn, client: &Client, key: &[u8], shard: u16) -> Result<Placed, Why> {
    match up(turn, client, shard) {
        Ok(link) => Ok(Placed { link, cap: None }),
        Err(Why::Down(why)) => instead(turn, client, key)?.ok_or(Why::Down(why)),
        Err(full) => Err(full),
    }
}

/// The connection to a shard's node, unless that is down.
pub fn up(turn: &mut Turn, client: &Client, shard: u16) -> Result<usize, Why> {
    if shard == NO_SHARD {
        return Err(Why::Down("no node owns this key's slot".into()));
    }
    let found = place::place(turn, client, (shard, NO_SLOT), Need::Write);
    unless_out(turn, found)
}

/// The same in a lane of the request's own.
#[cold]
pub fn up_in(turn: &mut Turn, client: &Client, shard: u16, lane: Lane) -> Result<usize, Why> {
    let found = place::primary(turn, client.cluster, shard, Speech { lane, ..client.speech() });
    unless_out(turn, found)
}

#[inline]
fn unless_out(turn: &Turn, found: Result<usize, Unplaced>) -> Result<usize, Why> {
    match found {
        Ok(link) if !turn.links[link].trouble.is_out => Ok(link),
        Ok(link) => Err(Why::Down(why_out(turn, link))),
        Err(Unplaced::Full(link)) => Err(Why::Full(link)),
        Err(Unplaced::Refused(text)) => Err(Why::Down(reason(&text))),
        Err(Unplaced::Behind | Unplaced::Closed(_)) => Err(Why::Down("its slot moves".into())),
    }
}

/// What an error says, without its kind.
fn reason(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim_end().trim_start_matches("-TRYAGAIN ").trim_start_matches("-ERR ").to_owned()
}

fn why_out(turn: &Turn, link: usize) -> String {
    let link = &turn.links[link];
    let label = turn.node_label(link.way.cluster, link.way.node);
    format!("node {label} is down: {}; command not executed", link.trouble.why_down)
}

/// Where a key goes whose node is down.
#[cold]
fn instead(turn: &mut Turn, client: &Client, key: &[u8]) -> Result<Option<Placed>, Why> {
    let Some(served) = &turn.clusters[client.cluster] else { return Ok(None) };
    let cluster = served.cluster.clone();
    let is_spare = cluster.spec.memcached.on_failure.action == Action::Gutter;
    let cap = is_spare.then_some(cluster.spec.memcached.on_failure.gutter_ttl);
    for shard in cluster.placement.stand_ins(&cluster, key) {
        match up(turn, client, shard) {
            Ok(link) => return Ok(Some(Placed { link, cap })),
            Err(Why::Full(link)) => return Err(Why::Full(link)),
            Err(Why::Down(_)) => {}
        }
    }
    Ok(None)
}

/// What the words behind its key say of a meta command.
#[derive(Clone, Copy, Default)]
struct Flags {
    /// How often they take the ordinary reply away.
    quiet: usize,
    /// The key is written in base64.
    is_encoded: bool,
}

fn flags(request: &Request) -> Flags {
    let mut flags = Flags::default();
    match request.verb {
        Verb::MetaGet | Verb::MetaSet | Verb::MetaDelete | Verb::MetaArithmetic => {
            for word in words(request.line).skip(2) {
                flags.quiet += usize::from(word[0] == b'q');
                flags.is_encoded |= word[0] == b'b';
            }
        }
        Verb::MetaDebug => flags.is_encoded = words(request.line).nth(2) == Some(b"b"),
        _ => {}
    }
    flags
}

/// Whether its key is written in base64.
pub fn is_encoded(request: &Request) -> bool {
    flags(request).is_encoded
}

/// It is taken, and so is one that is refused.
#[inline]
pub fn send(turn: &mut Turn, client: &mut Client, request: &Request, asked: Asked, placed: Placed) -> bool {
    let sequence = client.replies.expect(request.noreply);
    let (Asked::Memcached(kind) | Asked::MemcachedLoads(kind, _)) = asked else { return true };
    let entry = Entry::memcached(client.owed(sequence), kind, request.verb.command(), turn.micros);
    let entry = Entry { asked, ..entry };
    let exchange = &mut turn.links[placed.link].exchange;
    if request.noreply || kind.is_quiet || placed.cap.is_some() {
        exchange.push_with(entry, |sink| write_changed(sink, request, kind, placed.cap));
    } else {
        exchange.push(entry, request.bytes);
    }
    turn.links.mark(placed.link);
    true
}

/// The request without what would keep its reply away, and with a shorter life in the gutter.
#[cold]
pub fn write_changed(sink: &mut Vec<u8>, request: &Request, kind: Kind, cap: Option<u32>) {
    let mut line = Vec::with_capacity(request.line.len());
    if kind.is_quiet {
        for (place, word) in words(request.line).enumerate() {
            if place < 2 || word[0] != b'q' {
                if place > 0 {
                    line.push(b' ');
                }
                line.extend_from_slice(word);
            }
        }
    } else if request.noreply {
        line.extend_from_slice(without_last_word(request.line));
    } else {
        line.extend_from_slice(request.line);
    }
    match cap {
        Some(most) => ttl::write_capped(sink, &line, request, most),
        None => sink.extend_from_slice(&line),
    }
    sink.extend_from_slice(b"\r\n");
    sink.extend_from_slice(request.data);
}

fn without_last_word(line: &[u8]) -> &[u8] {
    let line = line.trim_ascii_end();
    let start = line.iter().rposition(|&byte| byte == b' ').unwrap_or(0);
    &line[..start]
}

/// An answer of the proxy's own to a request that no node gets.
#[cold]
pub fn refuse(turn: &mut Turn, client: &mut Client, request: &Request, text: &[u8]) -> bool {
    count(turn, client, request.verb, true);
    if !request.noreply {
        client.replies.answer(&mut client.output, &mut turn.pool, text);
    }
    true
}

/// The answer to a value that is too much for this proxy. As in memcached, what a set cannot replace is not kept either.
#[cold]
pub fn refuse_value(turn: &mut Turn, client: &mut Client, request: &Request) -> bool {
    let Some(line) = removal(request) else { return refuse(turn, client, request, texts::TOO_LARGE) };
    if let Parsed::Request(removal) = parse(&line, 0, MAX_LINE) {
        // what is behind the cache keeps what it has
        if !to_node(turn, client, &Request { noreply: true, ..removal }, false) {
            return false; // it waits for room
        }
    }
    refuse(turn, client, request, texts::TOO_LARGE)
}

/// What takes away the value that a set would replace, and is not answered.
fn removal(request: &Request) -> Option<Vec<u8>> {
    let modes = || words(request.line).skip(3).filter(|word| word[0] == b'M');
    match request.verb {
        Verb::Set => Some([b"delete ", request.key, b" noreply\r\n"].concat()),
        Verb::MetaSet if modes().all(|mode| matches!(mode, b"MS" | b"Ms")) => {
            let encoded: &[u8] = if flags(request).is_encoded { b" b" } else { b"" };
            Some([b"md ", request.key, encoded, b" noreply\r\n"].concat())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_is_refused_takes_the_old_value_away() {
        let table = [
            ("set k 0 0 9000", Some("delete k noreply\r\n")),
            ("ms azE= 9000 T1 b", Some("md azE= b noreply\r\n")),
            ("ms k 9000 MS", Some("md k noreply\r\n")),
            ("ms k 9000 MA", None),
            ("add k 0 0 9000", None),
        ];
        for (line, expected) in table {
            let bytes = format!("{line}\r\n");
            let Parsed::TooLarge { request, .. } = parse(bytes.as_bytes(), 0, 100) else { panic!("{line}") };
            assert_eq!(removal(&request), expected.map(|text| text.as_bytes().to_vec()), "{line}");
        }
    }

    #[test]
    fn every_request_leaves_so_that_it_is_answered() {
        let table = [
            ("set k 0 0 2 noreply\r\nhi\r\n", "set k 0 0 2\r\nhi\r\n"),
            ("delete k noreply \n", "delete k\r\n"),
            ("mg k q v\r\n", "mg k v\r\n"),
            ("ms q 2 T5 q\r\nhi\r\n", "ms q 2 T5\r\nhi\r\n"),
            ("md q q\r\n", "md q\r\n"),
        ];
        for (bytes, expected) in table {
            let Parsed::Request(request) = parse(bytes.as_bytes(), 0, 100) else { panic!("{bytes}") };
            let mut sink = Vec::new();
            let kind = Kind { verb: request.verb, is_quiet: flags(&request).quiet > 0 };
            assert!(kind.is_quiet || request.noreply, "{bytes}");
            write_changed(&mut sink, &request, kind, None);
            assert_eq!(String::from_utf8(sink).unwrap(), expected);
        }
        let Parsed::Request(request) = parse(b"mg quick v\r\n", 0, 100) else { panic!() };
        assert_eq!(flags(&request).quiet, 0);
    }
}
