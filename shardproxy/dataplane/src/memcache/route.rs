//! From a key to the connection its request leaves on, and what happens when its node is down.

use super::kind::Kind;
use super::serve::count;
use super::spec::Action;
use super::wire::request::Request;
use super::wire::texts;
use super::wire::tokens::words;
use super::wire::verb::Verb;
use super::{ttl, FIRST_ID};
use crate::client::Client;
use crate::metrics::Class;
use crate::recent::NO_MARK;
use crate::topology::NO_SHARD;
use crate::upstream::{Pending, WHOLE};
use crate::worker::{Core, Need, Pressure};

/// The connection to a node that is up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    pub upstream: usize,
    /// The node is a spare one: lifetimes are cut to so many seconds.
    pub cap: Option<u32>,
}

/// Why a request does not leave.
pub enum Why {
    /// The node is down: its keys may go elsewhere.
    Down(String),
    /// Its keys stay with it.
    Busy(String),
}

impl Why {
    pub fn text(&self) -> &str {
        match self {
            Self::Down(text) | Self::Busy(text) => text,
        }
    }
}

/// A request about one key.
#[inline]
pub fn to_one(core: &mut Core, client: &mut Client, index: usize, request: &Request) {
    if core.pressure == Pressure::Full {
        return refuse(core, client, request, texts::OUT_OF_BUFFERS);
    }
    let Some(shard) =
        core.clusters[client.cluster].as_ref().map(|s| s.cluster.placement.shard_of(&s.cluster, request.key))
    else {
        return;
    };
    let quiet = quiet_flags(request);
    if quiet > 1 {
        let text = match request.verb {
            Verb::MetaGet | Verb::MetaSet => texts::DUPLICATE_FLAG,
            _ => texts::INVALID_OR_DUPLICATE_FLAG,
        };
        return refuse(core, client, request, text);
    }
    let kind = Kind { verb: request.verb, is_quiet: quiet > 0 };
    match place(core, client, request.key, shard) {
        Ok(placed) => send(core, client, index, request, kind, placed),
        Err(why) => refuse(core, client, request, &kind.failure(why.text())),
    }
}

/// The connection for a key of that shard, or why there is none.
#[inline]
pub fn place(core: &mut Core, client: &Client, key: &[u8], shard: u16) -> Result<Placed, Why> {
    match up(core, client, shard) {
        Ok(upstream) => Ok(Placed { upstream, cap: None }),
        Err(Why::Down(why)) => instead(core, client, key, shard).ok_or(Why::Down(why)),
        Err(busy) => Err(busy),
    }
}

/// The connection to a shard's node, unless that is down.
pub fn up(core: &mut Core, client: &Client, shard: u16) -> Result<usize, Why> {
    if shard == NO_SHARD {
        return Err(Why::Down("no node owns this key's slot".into()));
    }
    match core.place(client, shard, Need::Write) {
        Ok(upstream) if !core.upstreams[upstream].is_out => Ok(upstream),
        Ok(upstream) => Err(Why::Down(why_out(core, upstream))),
        Err(text) => {
            let text = String::from_utf8_lossy(&text);
            let text = text.trim_end().trim_start_matches("-TRYAGAIN ").trim_start_matches("-ERR ").to_owned();
            Err(if core.is_full(client.cluster, shard) { Why::Busy(text) } else { Why::Down(text) })
        }
    }
}

fn why_out(core: &Core, upstream: usize) -> String {
    let upstream = &core.upstreams[upstream];
    let label = core.clusters[upstream.cluster]
        .as_ref()
        .and_then(|s| s.cluster.nodes.get(usize::from(upstream.node)))
        .map_or("", |node| &node.label);
    format!("node {label} is down: {}; command not executed", upstream.why_down)
}

/// Where a key goes whose node is down.
#[cold]
fn instead(core: &mut Core, client: &Client, key: &[u8], shard: u16) -> Option<Placed> {
    let cluster = core.clusters[client.cluster].as_ref()?.cluster.clone();
    let spec = &cluster.spec.memcached;
    let nodes = cluster.shards.len() - spec.gutter;
    match spec.on_failure.action {
        Action::Miss => None,
        Action::Rehash => {
            let mut out = vec![false; nodes];
            let mut shard = shard;
            while shard != NO_SHARD && !std::mem::replace(out.get_mut(usize::from(shard))?, true) {
                shard = cluster.placement.shard_of_but(&cluster, key, &out);
                match up(core, client, shard) {
                    Ok(upstream) => return Some(Placed { upstream, cap: None }),
                    Err(Why::Busy(_)) => return None,
                    Err(Why::Down(_)) => {}
                }
            }
            None
        }
        Action::Gutter => {
            for turn in 0..spec.gutter {
                let place = (usize::from(crate::hash::slot(key)) + turn) % spec.gutter;
                match up(core, client, (nodes + place) as u16) {
                    Ok(upstream) => return Some(Placed { upstream, cap: Some(spec.on_failure.gutter_ttl) }),
                    Err(Why::Busy(_)) => return None,
                    Err(Why::Down(_)) => {}
                }
            }
            None
        }
    }
}

/// Flags that take the ordinary reply away, among the words of a meta command behind its key.
fn quiet_flags(request: &Request) -> usize {
    match request.verb {
        Verb::MetaGet | Verb::MetaSet | Verb::MetaDelete | Verb::MetaArithmetic => {
            words(request.line).skip(2).filter(|word| word[0] == b'q').count()
        }
        _ => 0,
    }
}

#[inline]
pub fn send(core: &mut Core, client: &mut Client, index: usize, request: &Request, kind: Kind, placed: Placed) {
    let sequence = client.replies.expect(request.noreply);
    let link = &mut core.upstreams[placed.upstream];
    let sink = link.window.sink();
    let start = sink.len();
    if request.noreply || kind.is_quiet || placed.cap.is_some() {
        write_changed(sink, request, kind, placed.cap);
    } else {
        sink.extend_from_slice(request.bytes);
    }
    let length = (sink.len() - start) as u32;
    let is_read = request.verb.is_read();
    link.pending.push_back(Pending {
        client: index as u32,
        tag: client.tag(),
        sequence,
        part: WHOLE,
        inner: kind.pack(),
        command: FIRST_ID + request.verb as u16,
        length,
        since: core.micros,
        class: if is_read { Class::Read } else { Class::Write },
        is_read,
        is_write: false,
        is_program: false,
        is_retry: false,
        mark: NO_MARK,
    });
    core.mark_dirty(placed.upstream);
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
pub fn refuse(core: &mut Core, client: &mut Client, request: &Request, text: &[u8]) {
    count(core, client, request.verb, true);
    if !request.noreply {
        client.replies.answer(&mut client.output, &mut core.pool, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcache::wire::request::{parse, Parsed};

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
            let kind = Kind { verb: request.verb, is_quiet: quiet_flags(&request) > 0 };
            assert!(kind.is_quiet || request.noreply, "{bytes}");
            write_changed(&mut sink, &request, kind, None);
            assert_eq!(String::from_utf8(sink).unwrap(), expected);
        }
        let Parsed::Request(request) = parse(b"mg quick v\r\n", 0, 100) else { panic!() };
        assert_eq!(quiet_flags(&request), 0);
    }
}
