//! The client side of a turn: frame memcached requests, answer what needs no node, hand on the rest.

use super::auth::{attempt, Attempt};
use super::discovery::{self, LEGACY_KEY};
use super::{access, route, scatter};
use crate::clients::{Client, Flow};
use crate::dialect::memcached::request::{parse, Close, Parsed, Request};
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::words;
use crate::dialect::memcached::verb::Verb;
use crate::exchange::{asked_for, Gathered, Statistic};
use crate::metrics::CloseReason;
use crate::model::{EndpointKind, Lane};
use crate::serve::{follow, login, refuse_tls};
use crate::shared::ClientDid;
use crate::turn::Turn;

/// Take requests off `data` until it is used up or the client must wait; how much was taken, and whether it must wait.
pub fn serve(turn: &mut Turn, client: &mut Client, data: &[u8]) -> (usize, bool) {
    let Some(limits) = turn.clusters[client.cluster].as_ref().map(|s| s.cluster.spec.limits) else {
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
        if client.is_judged && !follow(turn, client) {
            return (data.len(), true);
        }
        if client.login.user.is_none() {
            match authenticate(turn, client, rest) {
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
                turn.batch += 1;
                if !may(turn, client, &request) || dispatch(turn, client, &request) {
                    taken += request.bytes.len();
                } else {
                    client.memcache.scanned = 0;
                    return (taken, true); // it is held
                }
            }
            Parsed::Refused { text, consumed, swallow, noreply } => {
                taken += consumed;
                client.memcache.swallow = swallow;
                count(turn, client, Verb::Unknown, true);
                if !noreply {
                    client.replies.answer(&mut client.output, &mut turn.pool, text);
                }
            }
            Parsed::TooLarge { request, swallow } => {
                if may(turn, client, &request) && !route::refuse_value(turn, client, &request) {
                    client.memcache.scanned = 0;
                    return (taken, true); // it is held
                }
                taken += request.bytes.len();
                client.memcache.swallow = swallow;
            }
            Parsed::Close(why) => close(turn, client, why),
        }
        client.memcache.scanned = 0;
        if client.closing.is_some() {
            return (data.len(), true);
        }
        if client.has_enough(&limits, turn.accounts.unread_at_most(limits.client_output)) {
            client.flow = Flow::Paused;
            return (taken, true);
        }
    }
    (taken, false)
}

/// Whether the client may do that; else it is told.
#[inline]
fn may(turn: &mut Turn, client: &mut Client, request: &Request) -> bool {
    if !client.is_judged {
        return true;
    }
    let Some(text) = access::why_denied(turn, client, request) else { return true };
    !route::refuse(turn, client, request, text)
}

/// Whether it was taken.
fn dispatch(turn: &mut Turn, client: &mut Client, request: &Request) -> bool {
    client.last_command = request.verb.command();
    match request.verb {
        Verb::Get | Verb::Gets if request.key == LEGACY_KEY && tells(client) => answer_discovery(turn, client, request),
        verb if verb.is_get() && request.has_many_keys() => return scatter::get(turn, client, request),
        Verb::FlushAll | Verb::Verbosity => {
            return scatter::everywhere(turn, client, request, Gathered::Line, client.lane);
        }
        Verb::Stats => match asked_for(request.line) {
            Statistic::Asked(kind) => return scatter::everywhere(turn, client, request, kind, client.lane),
            Statistic::Apart(kind) => return scatter::everywhere(turn, client, request, kind, Lane::Apart),
            Statistic::Refused(text) => return route::refuse(turn, client, request, text),
        },
        Verb::MetaNoop => answer(turn, client, Verb::MetaNoop, texts::MN),
        Verb::Version => answer_version(turn, client),
        Verb::Config => answer_discovery(turn, client, request),
        Verb::Quit => {
            client.closing = Some(CloseReason::Quit);
            count(turn, client, Verb::Quit, false);
        }
        _ => return route::to_one(turn, client, request),
    }
    true
}

fn answer(turn: &mut Turn, client: &mut Client, verb: Verb, text: &[u8]) {
    count(turn, client, verb, false);
    client.replies.answer(&mut client.output, &mut turn.pool, text);
}

pub fn count(turn: &Turn, client: &Client, verb: Verb, is_error: bool) {
    if let Some(served) = &turn.clusters[client.cluster] {
        served.metrics.command(verb.command(), is_error);
    }
}

/// Discovery clients want exactly two words.
fn answer_version(turn: &mut Turn, client: &mut Client) {
    let Some(served) = &turn.clusters[client.cluster] else { return };
    let text = format!("VERSION {}\r\n", served.cluster.spec.version);
    answer(turn, client, Verb::Version, text.as_bytes());
}

const fn tells(client: &Client) -> bool {
    matches!(client.endpoint, EndpointKind::Configuration)
}

fn answer_discovery(turn: &mut Turn, client: &mut Client, request: &Request) {
    let is_legacy = request.verb != Verb::Config;
    let is_asked = is_legacy || words(request.line).eq([&b"config"[..], b"get", b"cluster"]);
    if !is_asked || !tells(client) {
        count(turn, client, request.verb, true);
        return client.replies.answer(&mut client.output, &mut turn.pool, texts::ERROR);
    }
    let Some(served) = &turn.clusters[client.cluster] else { return };
    let text = discovery::reply(&served.cluster.spec.memcached.discovery, &client.stream.local(), is_legacy);
    answer(turn, client, request.verb, &text);
}

/// Who has not said who it is says it now; how many bytes that took, none when more are needed.
#[cold]
fn authenticate(turn: &mut Turn, client: &mut Client, rest: &[u8]) -> Option<usize> {
    let (consumed, text) = match attempt(rest) {
        Attempt::Incomplete => return None,
        Attempt::Refused(consumed, text) => (consumed, text),
        Attempt::Given(consumed, user, password) => {
            let is_right = login::is_right(turn, client, user, password);
            (consumed, if is_right { texts::STORED } else { texts::AUTH_FAILURE })
        }
        Attempt::Close(why) => {
            close(turn, client, why);
            return Some(rest.len());
        }
    };
    client.replies.answer(&mut client.output, &mut turn.pool, text);
    Some(consumed)
}

/// What cannot be understood ends the connection, when the replies before it are out.
#[cold]
fn close(turn: &mut Turn, client: &mut Client, why: Close) {
    if let Some(served) = &turn.clusters[client.cluster] {
        served.metrics.protocol_errors.increment();
    }
    client.flow = Flow::Open;
    match why {
        Close::Binary => {
            client.closing = Some(CloseReason::Binary);
            let cluster = turn.cluster(client.cluster).map_or_else(String::new, |c| c.spec.name.clone());
            let did = ClientDid { cluster, address: client.address(), what: "binary protocol" };
            turn.shared.events.report(did);
        }
        Close::Tls => {
            refuse_tls(turn, client);
            client.replies.answer(&mut client.output, &mut turn.pool, texts::SPEAKS_NO_TLS);
            client.closing = Some(CloseReason::Protocol);
        }
        Close::Http => client.closing = Some(CloseReason::Protocol),
        Close::LineTooLong => {
            client.replies.answer(&mut client.output, &mut turn.pool, texts::LINE_TOO_LONG);
            client.closing = Some(CloseReason::Protocol);
        }
    }
}
