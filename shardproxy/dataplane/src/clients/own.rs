//! Commands that concern only the connection itself: CLIENT subcommands, READONLY, ACL WHOAMI. No reply: the client asked for none.

use super::{Client, Details, ReplyMode};
use crate::command::Act;
use crate::dialect::resp::Request;
use crate::dialect::{resp::write, texts};

pub const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

pub fn answer_own(client: &mut Client, act: Act, request: &Request) -> Vec<u8> {
    match act {
        Act::ReadOnly => prefer_replicas(client, true),
        Act::ReadWrite => prefer_replicas(client, false),
        Act::Asking => texts::OK.into(),
        Act::ClientId => {
            let mut reply = Vec::new();
            write::integer(&mut reply, client.id as i64);
            reply
        }
        Act::ClientGetName => name(client),
        Act::WhoAmI => who_am_i(client),
        Act::ClientSetName => set_name(client, request.argument(2)),
        Act::ClientSetInfo => set_info(client, request),
        Act::ClientNoEvict => switch(client, request, |d, on| d.no_evict = on),
        Act::ClientCaching => client.caching(request.argument(2)).map_or_else(error, |()| texts::OK.into()),
        Act::ClientTrackingInfo => client.trackinginfo(),
        Act::ClientGetRedir => {
            let mut reply = Vec::new();
            write::integer(&mut reply, client.redirects_to());
            reply
        }
        Act::ClientReply => reply_mode(client, request.argument(2)),
        _ => error("ERR the command is not supported yet"),
    }
}

fn error(text: &str) -> Vec<u8> {
    let mut reply = Vec::new();
    write::error(&mut reply, text);
    reply
}

fn prefer_replicas(client: &mut Client, wanted: bool) -> Vec<u8> {
    client.prefers_replicas = wanted;
    texts::OK.into()
}

/// Printable and without spaces: the name appears in CLIENT LIST's lines (Redis, networking.c).
pub fn is_valid_name(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn name(client: &Client) -> Vec<u8> {
    let mut reply = Vec::new();
    match client.details.as_deref() {
        Some(details) if !details.name.is_empty() => write::bulk(&mut reply, &details.name),
        _ => write::null(&mut reply, client.resp),
    }
    reply
}

fn who_am_i(client: &Client) -> Vec<u8> {
    let mut reply = Vec::new();
    write::bulk(&mut reply, client.login.name().as_bytes());
    reply
}

fn set_name(client: &mut Client, name: &[u8]) -> Vec<u8> {
    if !is_valid_name(name) {
        return error(BAD_NAME);
    }
    client.details().name = name.to_vec();
    texts::OK.into()
}

fn set_info(client: &mut Client, request: &Request) -> Vec<u8> {
    let (attribute, value) = (request.argument(2), request.argument(3));
    let is_library = attribute.eq_ignore_ascii_case(b"LIB-NAME");
    if !is_library && !attribute.eq_ignore_ascii_case(b"LIB-VER") {
        return error(&format!("ERR Unrecognized option '{}'", String::from_utf8_lossy(attribute)));
    }
    if !is_valid_name(value) {
        let attribute = String::from_utf8_lossy(attribute).to_lowercase();
        return error(&format!("ERR {attribute} cannot contain spaces, newlines or special characters."));
    }
    if is_library {
        client.details().lib_name = value.to_vec();
    } else {
        client.details().lib_version = value.to_vec();
    }
    texts::OK.into()
}

fn switch(client: &mut Client, request: &Request, set: fn(&mut Details, bool)) -> Vec<u8> {
    let wanted = request.argument(2);
    let on = wanted.eq_ignore_ascii_case(b"ON");
    if !on && !wanted.eq_ignore_ascii_case(b"OFF") {
        return error("ERR syntax error");
    }
    set(client.details(), on);
    texts::OK.into()
}

fn reply_mode(client: &mut Client, wanted: &[u8]) -> Vec<u8> {
    if wanted.eq_ignore_ascii_case(b"ON") {
        client.reply_mode = ReplyMode::On;
        texts::OK.into()
    } else if wanted.eq_ignore_ascii_case(b"OFF") {
        client.reply_mode = ReplyMode::Off;
        Vec::new()
    } else if wanted.eq_ignore_ascii_case(b"SKIP") {
        if client.reply_mode == ReplyMode::On {
            client.reply_mode = ReplyMode::SkipNext;
        }
        Vec::new()
    } else {
        error("ERR syntax error")
    }
}
