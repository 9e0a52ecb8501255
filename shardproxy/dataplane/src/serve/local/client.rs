//! CLIENT subcommands that concern only the connection itself.

use super::Answer;
use crate::admit::unknown_subcommand;
use crate::clients::{Client, Details, ReplyMode};
use crate::command::{Act, Command};
use crate::dialect::resp::Request;
use crate::dialect::{resp::write, texts};
use crate::serve::refusal;
use crate::turn::Turn;

pub const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

pub fn answer(client: &mut Client, act: Act, request: &Request) -> Answer {
    match act {
        Act::ClientId => {
            let mut reply = Vec::new();
            write::integer(&mut reply, client.id as i64);
            Answer::of(reply)
        }
        Act::ClientGetName => name(client),
        Act::ClientSetName => set_name(client, request.argument(2)),
        Act::ClientSetInfo => set_info(client, request),
        Act::ClientNoEvict => switch(client, request, |d, on| d.no_evict = on),
        Act::ClientReply => reply_mode(client, request.argument(2)),
        _ => Answer::error("ERR the command is not supported yet"),
    }
}

/// Printable and without spaces: the name appears in CLIENT LIST's lines (Redis, networking.c).
pub fn is_valid_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn name(client: &Client) -> Answer {
    let mut reply = Vec::new();
    match client.details.as_deref() {
        Some(details) if !details.name.is_empty() => write::bulk(&mut reply, &details.name),
        _ => write::null(&mut reply, client.resp),
    }
    Answer::of(reply)
}

fn set_name(client: &mut Client, name: &[u8]) -> Answer {
    if !is_valid_name(name) {
        return Answer::error(BAD_NAME);
    }
    client.details().name = name.to_vec();
    Answer::of(texts::OK)
}

fn set_info(client: &mut Client, request: &Request) -> Answer {
    let (attribute, value) = (request.argument(2), request.argument(3));
    let is_library = attribute.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_library && !attribute.eq_ignore_ascii_case(b"LIB-VER") {
        return Answer::error(&format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(attribute)));
    }
    if !is_valid_name(value) {
        let attribute = String::from_utf8_lossy(attribute).to_lowercase();
        return Answer::error(&format!("ERR {attribute} cannot contain spaces, newlines or special characters."));
    }
    if is_library {
        client.details().lib_name = value.to_vec();
    } else {
        client.details().lib_version = value.to_vec();
    }
    Answer::of(texts::OK)
}

/// Since Redis 7.2. A node could not tell whose reads are to leave no trace.
pub fn no_touch(turn: &Turn, client: &Client, command: &Command, request: &Request) -> Answer {
    let version = turn.cluster(client.cluster).map_or("", |cluster| cluster.spec.version.as_str());
    let wanted = request.argument(2);
    if !is_since(version, (7, 2)) {
        Answer::error(&unknown_subcommand("client", request.argument(1)))
    } else if wanted.eq_ignore_ascii_case(b"OFF") {
        Answer::of(texts::OK)
    } else if wanted.eq_ignore_ascii_case(b"ON") {
        Answer::error(&refusal(command))
    } else {
        Answer::error("ERR syntax error")
    }
}

/// Whether an engine's version is this one or a newer one.
fn is_since(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}

fn switch(client: &mut Client, request: &Request, set: fn(&mut Details, bool)) -> Answer {
    let wanted = request.argument(2);
    let on = wanted.eq_ignore_ascii_case(b"ON");
    if !on && !wanted.eq_ignore_ascii_case(b"OFF") {
        return Answer::error("ERR syntax error");
    }
    set(client.details(), on);
    Answer::of(texts::OK)
}

fn reply_mode(client: &mut Client, wanted: &[u8]) -> Answer {
    if wanted.eq_ignore_ascii_case(b"ON") {
        client.reply_mode = ReplyMode::On;
        Answer::of(texts::OK)
    } else if wanted.eq_ignore_ascii_case(b"OFF") {
        client.reply_mode = ReplyMode::Off;
        Answer::of(Vec::new())
    } else if wanted.eq_ignore_ascii_case(b"SKIP") {
        if client.reply_mode == ReplyMode::On {
            client.reply_mode = ReplyMode::SkipNext;
        }
        Answer::of(Vec::new())
    } else {
        Answer::error("ERR syntax error")
    }
}
