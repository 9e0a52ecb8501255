//! CLIENT TRACKING, with the texts of Redis' networking.c and its order of checks; and what clients that track ask for.

use std::collections::BTreeSet;

use super::{answer, answer_error, refuse, route, Next};
use crate::admit::{self, Admitted};
use crate::clients::{Client, Flow, Mode, Tracking};
use crate::command::Command;
use crate::dialect::resp::request::decimal;
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::model::EndpointKind;
use crate::tracking;
use crate::turn::Turn;

const SYNTAX: &str = "ERR syntax error";
const END: &[u8] = b"'. Prefixes for a single client must not overlap.";
const ONE_REDIRECT: &str = "ERR A client can only redirect to a single other client";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const NOT_BROADCAST: &str = "ERR PREFIX option requires BCAST mode to be enabled";
const OTHER_BROADCAST: &str = "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.";
const BROADCAST_OPTION: &str = "ERR OPTIN and OPTOUT are not compatible with BCAST";
const BOTH_OPTIONS: &str = "ERR You can't specify both OPTIN mode and OPTOUT mode";
const OTHER_OPTION: &str = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.";
const AT_READER: &str =
    "ERR CLIENT TRACKING is not possible at a reader endpoint: only primaries tell what changes, and replicas follow them later";

/// Serve a request of a client that tracks.
pub fn dispatch(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    let &Admitted { command, request } = admitted;
    let before = client.replies.next();
    let next = route(turn, client, admitted);
    if matches!(next, Next::Hold | Next::Pause | Next::Queue) {
        return next; // it is served again
    }
    tracking::note(turn, client, command, request, before);
    let is_in_multi = client.transaction.as_deref().is_some_and(|transaction| transaction.is_open);
    if let Some(tracking) = client.tracking.as_deref_mut().filter(|_| !is_in_multi) {
        tracking.is_caching &= command.name.starts_with("client|"); // it is for the next other command
        tracking.is_caching_queued = false;
        tracking.queued = Vec::new();
    }
    next
}

pub fn serve(turn: &mut Turn, client: &mut Client, command: &Command, request: &Request) -> Next {
    if !client.replies.is_empty() {
        return Next::Hold; // what it read before is not tracked, what it reads after is
    }
    let wanted = match Wanted::read(request) {
        Ok(wanted) => wanted,
        Err(text) => return refuse(turn, client, command, text),
    };
    if !wanted.is_on {
        tracking::end(turn, client);
        return answer(turn, client, command, texts::OK);
    }
    if client.endpoint == EndpointKind::Reader {
        return refuse(turn, client, command, AT_READER);
    }
    if let Some(text) = wanted.why_not(client.tracking.as_deref()) {
        return answer_error(turn, client, command, &text);
    }
    if let Some(served) = turn.served(client.cluster) {
        served.metrics.command(command.id, false);
    }
    let silent = client.take_silence();
    let sequence = client.replies.expect(silent);
    let redirect = wanted.redirect;
    tracking::begin(turn, client.cluster, client.owed(sequence), wanted.tracking(), redirect);
    client.flow = Flow::Barrier;
    Next::Wait
}

/// What the command says.
#[derive(Default)]
struct Wanted<'a> {
    is_on: bool,
    is_broadcast: bool,
    is_in: bool,
    is_out: bool,
    is_noloop: bool,
    prefixes: Vec<&'a [u8]>,
    redirect: Option<u64>,
}

impl<'a> Wanted<'a> {
    fn read(request: &Request<'a>) -> Result<Self, &'static str> {
        let mut wanted = Self::default();
        let mut words = request.arguments().skip(3);
        while let Some(word) = words.next() {
            let is = |known: &[u8]| word.eq_ignore_ascii_case(known);
            if is(b"BCAST") {
                wanted.is_broadcast = true;
            } else if is(b"OPTIN") {
                wanted.is_in = true;
            } else if is(b"OPTOUT") {
                wanted.is_out = true;
            } else if is(b"NOLOOP") {
                wanted.is_noloop = true;
            } else if is(b"PREFIX") {
                wanted.prefixes.push(words.next().ok_or(SYNTAX)?);
            } else if is(b"REDIRECT") {
                let id = words.next().ok_or(SYNTAX)?;
                if wanted.redirect.is_some() {
                    return Err(ONE_REDIRECT);
                }
                let id = decimal(id).ok_or(NOT_AN_INTEGER)?;
                wanted.redirect = Some(u64::try_from(id).unwrap_or(0)); // nobody has that one
            } else {
                return Err(SYNTAX);
            }
        }
        wanted.is_on = request.argument(2).eq_ignore_ascii_case(b"ON");
        let is_off = request.argument(2).eq_ignore_ascii_case(b"OFF");
        if wanted.is_on || is_off {
            Ok(wanted)
        } else {
            Err(SYNTAX)
        }
    }

    const fn mode(&self) -> Mode {
        match (self.is_broadcast, self.is_in, self.is_out) {
            (true, ..) => Mode::Broadcast,
            (_, true, _) => Mode::OptIn,
            (.., true) => Mode::OptOut,
            _ => Mode::Default,
        }
    }

    /// What is wrong with it, of itself or beside what the client tracks by now.
    fn why_not(&self, before: Option<&Tracking>) -> Option<Vec<u8>> {
        let mode = self.mode();
        let is_other = |one, other| before.is_some_and(|before| before.mode == one) && mode == other;
        let was_broadcast = before.map(|before| before.mode == Mode::Broadcast);
        let text = if !self.is_broadcast && !self.prefixes.is_empty() {
            NOT_BROADCAST
        } else if was_broadcast.is_some_and(|was| was != self.is_broadcast) {
            OTHER_BROADCAST
        } else if self.is_broadcast && (self.is_in || self.is_out) {
            BROADCAST_OPTION
        } else if self.is_in && self.is_out {
            BOTH_OPTIONS
        } else if is_other(Mode::OptIn, Mode::OptOut) || is_other(Mode::OptOut, Mode::OptIn) {
            OTHER_OPTION
        } else {
            return self.collision(before);
        };
        Some(admit::error(text))
    }

    /// Prefixes that have keys in common.
    fn collision(&self, before: Option<&Tracking>) -> Option<Vec<u8>> {
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        for (at, prefix) in self.prefixes.iter().enumerate() {
            let known = before.iter().flat_map(|before| &before.prefixes).map(|known| (&b"an existing"[..], &**known));
            let others = self.prefixes[at + 1..].iter().map(|other| (&b"another provided"[..], *other));
            let Some((which, other)) = known.chain(others).find(|(_, other)| overlap(prefix, other)) else { continue };
            let mut text = Vec::new();
            let pieces: [&[u8]; 7] = [b"ERR Prefix '", prefix, b"' overlaps with ", which, b" prefix '", other, END];
            write::error_of(&mut text, &pieces);
            return Some(text);
        }
        None
    }

    fn tracking(&self) -> Box<Tracking> {
        let mut prefixes: BTreeSet<Box<[u8]>> = self.prefixes.iter().map(|&prefix| prefix.into()).collect();
        if self.is_broadcast && prefixes.is_empty() {
            prefixes.insert(Box::default());
        }
        Box::new(Tracking::new(self.mode(), self.is_noloop, prefixes))
    }
}
