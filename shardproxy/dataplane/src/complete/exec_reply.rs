//! What EXEC's reply says that only the proxy knows right: how many clients heard a message, cursors of SCAN, which have the
//! shard in their lowest bits (shardproxy/commands/keyspace.py), the proxy's own logins in CONFIG GET, and why it was
//! refused. And what it means to the client's connection: its name, its database.

use std::mem;
use std::time::Instant;

use super::receivers::count_receivers;
use crate::clients::{answer_own, Client, Executing, Own};
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::resp::request::{decimal, Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::write;
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::exchange::Entry;
use crate::metrics::CloseReason;
use crate::shared::{Access, Shared};
use crate::turn::{Accesses, Did, Served};

const SHARD_BITS: u32 = 8;
/// Settings that are shown empty (shardproxy/commands/config.py).
const SECRETS: [&[u8]; 5] =
    [b"masterauth", b"masteruser", b"requirepass", b"tls-client-key-file-pass", b"tls-key-file-pass"];
/// What an engine says of a transaction that it refuses at EXEC; the reason follows.
pub const BECAUSE: &[u8] = b"-EXECABORT Transaction discarded because of: ";
/// Of an error that is kept: engines' own are shorter.
const KEPT: usize = 1024;

/// Keep the first error among the replies that the client has seen already, as QUEUED.
#[cold]
pub fn note_error(kept: &mut Option<Box<[u8]>>, reply: &[u8]) {
    let line = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    kept.get_or_insert_with(|| line[1..line.len().min(KEPT)].into());
}

/// EXEC's error with the reason why a command before it was not queued: its client has seen no other. Redis says it so where
/// EXEC itself finds the reason.
#[inline]
pub fn explained(request: &Entry, kept: &mut Option<Box<[u8]>>, reply: &[u8], is_error: bool) -> Option<Vec<u8>> {
    if kept.is_none() || request.inner() == 0 {
        return None;
    }
    let why = kept.take()?;
    let mut text = Vec::new();
    if is_error && reply == texts::EXECABORT {
        write::error_of(&mut text, &[&BECAUSE[1..], &why]);
    } else if is_error && reply == texts::EXEC_WITHOUT_MULTI {
        let what = b"ERR INDOUBT commands were executed one by one, as the node refused MULTI: ";
        write::error_of(&mut text, &[what, &why]);
    }
    (!text.is_empty()).then_some(text)
}

/// The reason alone, for who did not ask for a transaction.
#[cold]
pub fn only_reason(reply: &[u8]) -> Option<Vec<u8>> {
    reply.strip_prefix(BECAUSE).map(|why| [b"-", why].concat())
}

/// Who asks: a worker, for a client of the cluster with this number; it may have gone.
pub struct Asker<'a> {
    pub shared: &'a Shared,
    pub worker: usize,
    pub number: usize,
    pub served: &'a Served,
    pub accesses: &'a mut Accesses,
    pub now: Instant,
    pub client: Option<&'a mut Client>,
}

/// The reply as its client is to see it; what it means to the client is done. `requests` are what goes before MULTI, MULTI,
/// the commands it answers in their order, and EXEC.
#[cold]
pub fn corrected(mut asker: Asker, sequence: u32, requests: &[u8], reply: &[u8]) -> Option<Vec<u8>> {
    let executing = asker.client.as_deref_mut().and_then(|client| client.executing.take());
    let executing = executing.filter(|executing| executing.sequence == sequence);
    let (mut own, leads_back) = executing.map_or((Vec::new(), false), |of| {
        let Executing { own, leads_back, .. } = *of;
        (own, leads_back)
    });
    let mut own = mem::take(&mut own).into_iter().peekable();
    let mut parser = RequestParser::new();
    let mut requests = behind_multi(&mut parser, requests)?;
    let start = memchr::memchr(b'\n', reply)? + 1;
    let count = usize::try_from(decimal(reply.get(1..start.checked_sub(2)?)?)?).ok()?;
    let (mut whole, mut rest) = (Vec::with_capacity(reply.len()), &reply[start..]);
    write::array_header(&mut whole, count.checked_sub(usize::from(leads_back))?);
    for at in 0..count {
        let Ok(Parsed::Request { consumed }) = parser.parse(requests, &RequestLimits::NONE) else { return None };
        let request = Request { bytes: &requests[..consumed], spans: parser.spans() };
        let scan = ReplyFramer::new().scan(rest).ok().filter(|scan| scan.complete)?;
        let element = &rest[..scan.consumed];
        if leads_back && at + 1 == count {
            break; // nobody asked for it
        }
        let correct = match own.next_if(|own| own.at as usize == at) {
            Some(Own { foretold: Some(foretold), .. }) => {
                if let Some(name) = foretold.user {
                    asker.log_in(&name);
                }
                Some(foretold.answer)
            }
            Some(own) => asker.client.as_deref_mut().and_then(|client| {
                parser.parse(&own.request, &RequestLimits::NONE).ok()?;
                Some(answer_own(client, own.act, &Request { bytes: &own.request, spans: parser.spans() }))
            }),
            None => asker.correct(&request, element),
        };
        whole.extend_from_slice(correct.as_deref().unwrap_or(element));
        (requests, rest) = (&requests[consumed..], &rest[scan.consumed..]);
    }
    Some(whole)
}

fn behind_multi<'r>(parser: &mut RequestParser, mut requests: &'r [u8]) -> Option<&'r [u8]> {
    loop {
        let Ok(Parsed::Request { consumed }) = parser.parse(requests, &RequestLimits::NONE) else { return None };
        let name = Request { bytes: &requests[..consumed], spans: parser.spans() }.argument(0);
        requests = &requests[consumed..];
        if name.eq_ignore_ascii_case(b"MULTI") {
            return Some(requests);
        }
    }
}

impl Asker<'_> {
    /// The client is this user, if that is one of the users of now; else it is closed, as who would have logged in before.
    fn log_in(&mut self, name: &[u8]) {
        let Some(client) = self.client.as_deref_mut() else { return };
        let rights = &self.served.rights;
        let user = rights.find(name).filter(|user| user.is_enabled).cloned();
        let (kind, why) = match user {
            Some(user) => {
                client.log_in(rights.login(user, self.now));
                (Access::Login, "")
            }
            None => {
                client.closing = client.closing.or(Some(CloseReason::Rules));
                (Access::RulesChanged, "the user is gone or disabled")
            }
        };
        let user = String::from_utf8_lossy(name).into_owned();
        let did = Did { kind, user, why, object: b"", is_in_multi: true };
        self.accesses.tell(&self.shared.events, &self.served.cluster.spec.name, client, did);
    }

    fn correct(&mut self, request: &Request, element: &[u8]) -> Option<Vec<u8>> {
        let name = request.argument(0);
        if is_any(name, &[b"PUBLISH", b"SPUBLISH"]) {
            return count_receivers((self.shared, self.worker), self.number, request.bytes, element);
        }
        if is_any(name, &[b"SCAN"]) {
            return cursor_for_client(element);
        }
        if is_any(name, &[b"CONFIG"]) && is_any(request.argument(1), &[b"GET"]) {
            return settings_for_client(element, self.served.databases);
        }
        if is_any(name, &[b"SELECT"]) && element == texts::OK {
            let db = decimal(request.argument(1)).and_then(|db| u32::try_from(db).ok());
            if let Some((client, db)) = self.client.as_deref_mut().zip(db) {
                client.db = db;
            }
        }
        None
    }
}

fn is_any(name: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// The text of a bulk string that a reply begins with, and what comes behind it.
fn bulk(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    let scan = ReplyFramer::new().scan(reply).ok().filter(|scan| scan.complete && reply[0] == b'$')?;
    let start = memchr::memchr(b'\n', reply)? + 1;
    Some((reply.get(start..scan.consumed - 2)?, &reply[scan.consumed..]))
}

/// A reply to SCAN, of the only shard: its cursor as clients of the proxy have it.
fn cursor_for_client(reply: &[u8]) -> Option<Vec<u8>> {
    let (cursor, rest) = bulk(reply.strip_prefix(b"*2\r\n")?)?;
    let cursor: u64 = std::str::from_utf8(cursor).ok()?.parse().ok()?;
    let mut correct = b"*2\r\n".to_vec();
    write::bulk(&mut correct, (u128::from(cursor) << SHARD_BITS).to_string().as_bytes());
    correct.extend_from_slice(rest);
    Some(correct)
}

/// A reply to CONFIG GET, without secrets, and with the databases that clients may select.
fn settings_for_client(reply: &[u8], databases: u32) -> Option<Vec<u8>> {
    let start = memchr::memchr(b'\n', reply).filter(|_| matches!(reply[0], b'*' | b'%'))? + 1;
    let (mut correct, mut rest) = (reply[..start].to_vec(), &reply[start..]);
    while !rest.is_empty() {
        let (name, behind) = bulk(rest)?;
        let (value, behind) = bulk(behind)?;
        write::bulk(&mut correct, name);
        match name {
            b"databases" => write::bulk(&mut correct, databases.to_string().as_bytes()),
            name if SECRETS.contains(&name) => write::bulk(&mut correct, b""),
            _ => write::bulk(&mut correct, value),
        }
        rest = behind;
    }
    Some(correct)
}
