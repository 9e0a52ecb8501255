//! A script leaves before the command that calls it, where its node may lack it.

use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::{write, Request};
use crate::exchange::Entry;
use crate::model::digest_of;
use crate::shared::REMEMBERED;
use crate::turn::Turn;

/// A script is about to be called on this connection: have it loaded if that was not seen to there.
#[cold]
pub fn precede(turn: &mut Turn, link: usize, word: &[u8]) {
    let Some(digest) = digest_of(word) else { return };
    let link = &mut turn.links[link];
    if link.scripts.len() >= REMEMBERED {
        link.scripts.clear();
    }
    if !link.scripts.insert(digest) {
        return;
    }
    let Some(body) = turn.shared.scripts.get(link.way.cluster, digest) else { return };
    // no replica need have it before a write counts: it changes no data
    let entry = Entry { is_read: true, ..Entry::nobody(turn.micros) };
    link.exchange.push_with(entry, |sink| write::command(sink, &[b"SCRIPT", b"LOAD", &body]));
}

/// A script is run as it is: whoever calls it by its digest next may do so elsewhere.
#[cold]
pub fn see_run(turn: &mut Turn, cluster: usize, body: &[u8]) {
    turn.run_scripts.see(&turn.shared.scripts, cluster, body);
}

/// As `precede` for all scripts that these requests call.
#[cold]
pub fn precede_all(turn: &mut Turn, link: usize, requests: &[u8]) {
    let mut parser = RequestParser::new();
    let mut rest = requests;
    while let Ok(Parsed::Request { consumed }) = parser.parse(rest, &RequestLimits::NONE) {
        let request = Request { bytes: &rest[..consumed], spans: parser.spans() };
        let name = request.argument(0);
        if name.eq_ignore_ascii_case(b"EVALSHA") || name.eq_ignore_ascii_case(b"EVALSHA_RO") {
            precede(turn, link, request.argument(1));
        }
        rest = &rest[consumed..];
    }
}
