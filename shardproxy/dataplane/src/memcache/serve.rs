//! The client side of a turn: frame memcached requests, answer what needs no node, hand on the rest.

use super::auth::{attempt, Attempt};
use super::discovery::{self, LEGACY_KEY};
use super::gather::Gathered;
use super::wire::request::{parse, Close, Parsed, Request};
use super::wire::texts;
use super::wire::tokens::words;
use super::wire::verb::Verb;
use super::{route, scatter, statistics, FIRST_ID};
use crate::client::{Client, Flow};
use crate::metrics::CloseReason;
use crate::topology::EndpointKind;
use crate::worker::Core;

/// A client with more unread replies than this is not read until it has taken some.
const OUTPUT_HIGH: usize = 1024 * 1024;

/// Take requests off `data` until it is used up or the client must wait; how much was taken, and whether it must wait.
pub fn serve(core: &mut Core, client: &mut Client, index: usize, data: &[u8]) -> (usize, bool) {
    let Some(limits) = core.clusters[client.cluster].as_ref().map(|s| s.cluster.spec.limits) else {
        client.closing = Some(CloseReason::Drain);
        return (data.len(), true);
    };
    let most = if limits.request == 0 { usize::MAX } else { limits.request };
    let mut taken = 0;
    while taken < data.len() {
        if client.memcache.swallow > 0 {
            let here = client.memcache.swallow.min((data.len() - taken) as u64);
            client.memcache.swallow -= here;
            taken += here as usize;
            continue;
        }
        let rest = &data[taken..];
        if !client.memcache.is_authenticated {
            match authenticate(core, client, rest) {
                Some(consumed) => taken += consumed,
                None => return (taken, false),
            }
            if client.closing.is_some() {
                return (data.len(), true);
            }
            continue;
        }
        match parse(rest, client.memcache.scanned as usize, most) {
            Parsed::Incomplete { scanned } => {
                client.memcache.scanned = scanned as u32;
                return (taken, false);
            }
            Parsed::Request(request) => {
                taken += request.bytes.len();
                dispatch(core, client, index, &request);
            }
            Parsed::Refused { text, consumed, swallow, noreply } => {
                taken += consumed;
                client.memcache.swallow = swallow;
                count(core, client, Verb::Unknown, true);
                if !noreply {
                    client.replies.answer(&mut client.output, &mut core.pool, text);
                }
            }
            Parsed::Close(why) => close(core, client, why),
        }
        client.memcache.scanned = 0;
        if client.closing.is_some() {
            return (data.len(), true);
        }
        if client.replies.len() >= limits.in_flight || client.output.len() > OUTPUT_HIGH {
            client.flow = Flow::Paused;
            return (taken, true);
        }
    }
    (taken, false)
}

fn dispatch(core: &mut Core, client: &mut Client, index: usize, request: &Request) {
    client.last_command = FIRST_ID + request.verb as u16;
    match request.verb {
        Verb::Get | Verb::Gets if request.key == LEGACY_KEY && tells(client) => answer_discovery(core, client, request),
        verb if verb.is_get() && request.has_many_keys() => scatter::get(core, client, index, request),
        Verb::FlushAll | Verb::Verbosity => scatter::everywhere(core, client, index, request, Gathered::Line),
        Verb::Stats => match statistics::gathered(request.line) {
            Some(kind) => scatter::everywhere(core, client, index, request, kind),
            None => route::refuse(core, client, request, texts::REFUSED),
        },
        Verb::MetaNoop => answer(core, client, Verb::MetaNoop, texts::MN),
        Verb::Version => answer_version(core, client),
        Verb::Config => answer_discovery(core, client, request),
        Verb::Quit => {
            client.closing = Some(CloseReason::Quit);
            count(core, client, Verb::Quit, false);
        }
        _ => route::to_one(core, client, index, request),
    }
}

fn answer(core: &mut Core, client: &mut Client, verb: Verb, text: &[u8]) {
    count(core, client, verb, false);
    client.replies.answer(&mut client.output, &mut core.pool, text);
}

pub fn count(core: &Core, client: &Client, verb: Verb, is_error: bool) {
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.command(FIRST_ID + verb as u16, is_error);
    }
}

/// Discovery clients want exactly two words.
fn answer_version(core: &mut Core, client: &mut Client) {
    let Some(served) = &core.clusters[client.cluster] else { return };
    let text = format!("VERSION {}\r\n", served.cluster.spec.version);
    answer(core, client, Verb::Version, text.as_bytes());
}

const fn tells(client: &Client) -> bool {
    matches!(client.endpoint, EndpointKind::Configuration)
}

fn answer_discovery(core: &mut Core, client: &mut Client, request: &Request) {
    let is_legacy = request.verb != Verb::Config;
    let is_asked = is_legacy || words(request.line).eq([&b"config"[..], b"get", b"cluster"]);
    if !is_asked || !tells(client) {
        count(core, client, request.verb, true);
        return client.replies.answer(&mut client.output, &mut core.pool, texts::ERROR);
    }
    let Some(served) = &core.clusters[client.cluster] else { return };
    let text = discovery::reply(&served.cluster.spec.memcached.discovery, &client.stream.local(), is_legacy);
    answer(core, client, request.verb, &text);
}

/// Who has not said who it is says it now; how many bytes that took, none when more are needed.
#[cold]
fn authenticate(core: &mut Core, client: &mut Client, rest: &[u8]) -> Option<usize> {
    let served = core.clusters[client.cluster].as_ref()?;
    let Some(wanted) = &served.cluster.spec.memcached.client_auth else {
        client.memcache.is_authenticated = true;
        return Some(0);
    };
    let (consumed, text) = match attempt(rest, wanted) {
        Attempt::Incomplete => return None,
        Attempt::Refused(consumed, text) => (consumed, text),
        Attempt::Accepted(consumed) => {
            client.memcache.is_authenticated = true;
            (consumed, texts::STORED)
        }
        Attempt::Close(why) => {
            close(core, client, why);
            return Some(rest.len());
        }
    };
    client.replies.answer(&mut client.output, &mut core.pool, text);
    Some(consumed)
}

/// What cannot be understood ends the connection, when the replies before it are out.
#[cold]
fn close(core: &mut Core, client: &mut Client, why: Close) {
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.protocol_errors.increment();
    }
    client.flow = Flow::Open;
    match why {
        Close::Binary => {
            client.closing = Some(CloseReason::Binary);
            let cluster = core.clusters[client.cluster].as_ref().map_or("", |s| &s.cluster.spec.name);
            core.shared.offloads.report(cluster, &client.stream.peer(), "binary protocol");
        }
        Close::Http => client.closing = Some(CloseReason::Protocol),
        Close::LineTooLong | Close::BadLength => {
            let text = if why == Close::BadLength { texts::BAD_FORMAT } else { texts::LINE_TOO_LONG };
            client.replies.answer(&mut client.output, &mut core.pool, text);
            client.closing = Some(CloseReason::Protocol);
        }
    }
}
