//! What a user of a memcached cluster may do. Its rules are those of Redis' language: each verb is judged as the command of
//! Redis that does the same.

use super::route;
use crate::access::{Denied, User};
use crate::clients::Client;
use crate::command::{Command, CommandTable, Span};
use crate::dialect::memcached::base64;
use crate::dialect::memcached::request::Request;
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::{offset, words};
use crate::dialect::memcached::verb::{Verb, VERBS};
use crate::dialect::resp;
use crate::shared::Access;
use crate::turn::Turn;

/// What the client is told if its user may not; that is told elsewhere too.
#[cold]
pub fn why_denied(turn: &mut Turn, client: &Client, request: &Request) -> Option<&'static [u8]> {
    let user = client.login.user.as_deref()?;
    let (denied, key) = judge(turn.served(client.cluster)?.rights.table(), user, request).err()?;
    let (_, _, name) = VERBS[request.verb as usize];
    match denied {
        Denied::Command => turn.tell_access(client, Access::Denied, "command", name.as_bytes()),
        _ => turn.tell_access(client, Access::Denied, "key", key),
    }
    Some(if denied == Denied::Command { texts::COMMAND_DENIED } else { texts::KEY_DENIED })
}

/// Whether the user may; else what it was refused for, and which key.
fn judge<'a>(table: &CommandTable, user: &User, request: &Request<'a>) -> Result<(), (Denied, &'a [u8])> {
    let Some(name) = counterpart(request) else { return Ok(()) };
    let Some(command) = command_of(table, name) else { return Err((Denied::Command, b"")) };
    if route::is_encoded(request) {
        let decoded = base64::Key::decode(request.key);
        let key = decoded.as_ref().map_or(request.key, base64::Key::bytes);
        let span = Span { start: 0, end: key.len() as u32 };
        return check(user, command, key, &[span, span]).map_err(|denied| (denied, request.key));
    }
    if request.key.is_empty() {
        return check(user, command, request.line, &[Span { start: 0, end: 0 }]).map_err(|denied| (denied, &b""[..]));
    }
    let keys = if request.verb.is_get() { usize::MAX } else { 1 };
    request.keys().take(keys).try_for_each(|key| {
        let start = offset(request.line, key) as u32;
        let key_at = Span { start, end: start + key.len() as u32 };
        check(user, command, request.line, &[Span { start: 0, end: 0 }, key_at]).map_err(|denied| (denied, key))
    })
}

fn check(user: &User, command: &Command, bytes: &[u8], spans: &[Span]) -> Result<(), Denied> {
    user.check(command, &resp::Request { bytes, spans })
}

/// The command of Redis that does what this does; none where everybody may.
fn counterpart(request: &Request) -> Option<&'static str> {
    Some(match request.verb {
        Verb::Gat | Verb::Gats => "getex",
        Verb::MetaGet if says(request, b"TN") => "getex", // it changes how long a value lives, or makes one
        Verb::Get | Verb::Gets | Verb::MetaGet => "get",
        Verb::Add => "setnx",
        Verb::MetaSet if words(request.line).skip(3).any(|word| matches!(word, b"MA" | b"Ma" | b"MP" | b"Mp")) => {
            "append"
        }
        Verb::Set | Verb::Replace | Verb::Cas | Verb::MetaSet => "set",
        Verb::Append | Verb::Prepend => "append",
        Verb::Delete | Verb::MetaDelete => "del",
        Verb::Incr | Verb::MetaArithmetic => "incrby",
        Verb::Decr => "decrby",
        Verb::Touch => "expire",
        Verb::MetaDebug => "ttl",
        Verb::FlushAll => "flushall",
        Verb::Verbosity => "config|set",
        Verb::Stats => match words(request.line).nth(1) {
            Some(b"reset") => "config|resetstat",
            Some(b"detail") => "config|set",
            _ => "info",
        },
        Verb::Version | Verb::Quit | Verb::Config | Verb::MetaNoop | Verb::Refused | Verb::Unknown => return None,
    })
}

/// Whether a word behind the key begins with one of these letters.
fn says(request: &Request, letters: &[u8]) -> bool {
    words(request.line).skip(2).any(|word| letters.contains(&word[0]))
}

fn command_of<'t>(table: &'t CommandTable, name: &str) -> Option<&'t Command> {
    match name.split_once('|') {
        None => table.find(name.as_bytes()),
        Some((container, sub)) => table.find(container.as_bytes())?.subcommand(sub.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::memcached::request::{parse, Parsed};

    #[test]
    fn every_verb_is_judged_as_a_command_that_there_is() {
        let table = CommandTable::builtin().unwrap();
        for (line, expected) in [
            ("get a", Some("get")),
            ("gats 5 a b", Some("getex")),
            ("mg a v", Some("get")),
            ("mg a v T30", Some("getex")),
            ("mg a N30", Some("getex")),
            ("ms a 0", Some("set")),
            ("ms a 0 MA", Some("append")),
            ("add a 0 0 0", Some("setnx")),
            ("cas a 0 0 0 7", Some("set")),
            ("delete a", Some("del")),
            ("md a q", Some("del")),
            ("ma a", Some("incrby")),
            ("touch a 5", Some("expire")),
            ("me a", Some("ttl")),
            ("flush_all", Some("flushall")),
            ("verbosity 1", Some("config|set")),
            ("stats", Some("info")),
            ("stats reset", Some("config|resetstat")),
            ("version", None),
            ("mn", None),
            ("config get cluster", None),
        ] {
            let bytes = format!("{line}\r\n\r\n");
            let Parsed::Request(request) = parse(bytes.as_bytes(), 0, 100) else { panic!("{line}") };
            assert_eq!(counterpart(&request), expected, "{line}");
            assert!(expected.is_none_or(|name| command_of(&table, name).is_some()), "{line}");
        }
    }
}
