//! HELLO and AUTH, with the texts and the order of checks of Redis 7.0's networking.c and acl.c.

use super::Answer;
use crate::clients::{is_valid_name, Client, BAD_NAME};
use crate::dialect::resp::Request;
use crate::dialect::resp::{request::decimal, write};
use crate::exchange::Entry;
use crate::model::EndpointKind;
use crate::turn::Turn;

const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// As an engine without a password: the default user may come with any, nobody else exists.
pub fn auth(request: &Request) -> Answer {
    match request.len() {
        2 => Answer::error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
        ),
        3 if request.argument(1) == b"default" => Answer::of(crate::dialect::texts::OK),
        3 => Answer::error(WRONGPASS),
        _ => Answer::error("ERR syntax error"),
    }
}

pub fn hello(turn: &mut Turn, client: &mut Client, request: &Request) -> Answer {
    let mut resp = client.resp;
    let mut name = None;
    if request.len() > 1 {
        match decimal(request.argument(1)) {
            Some(2) => resp = 2,
            Some(3) => resp = 3,
            Some(_) => return Answer::error("NOPROTO unsupported protocol version"),
            None => return Answer::error("ERR Protocol version is not an integer or out of range"),
        }
    }
    let mut at = 2;
    while at < request.len() {
        let left = request.len() - at - 1;
        let option = request.argument(at);
        if option.eq_ignore_ascii_case(b"AUTH") && left >= 2 {
            if request.argument(at + 1) != b"default" {
                return Answer::error(WRONGPASS);
            }
            at += 3;
        } else if option.eq_ignore_ascii_case(b"SETNAME") && left >= 1 {
            let wanted = request.argument(at + 1);
            if !is_valid_name(wanted) {
                return Answer::error(BAD_NAME);
            }
            name = Some(wanted.to_vec());
            at += 2;
        } else {
            let mut reply = Vec::new();
            write::error_of(&mut reply, &[b"ERR Syntax error in HELLO option '", option, b"'"]);
            return Answer::of(reply);
        }
    }
    if resp != client.resp {
        client.resp = resp;
        alter_lease(turn, client);
    }
    client.is_special |= client.is_subscriber();
    if let Some(name) = name {
        client.details().name = name;
    }
    Answer::of(greeting(turn, client))
}

fn greeting(turn: &Turn, client: &Client) -> Vec<u8> {
    let cluster = turn.cluster(client.cluster);
    let version = cluster.map_or("", |cluster| cluster.spec.version.as_str());
    let is_plain = client.endpoint != EndpointKind::Configuration || cluster.is_some_and(|cluster| cluster.is_relaxed);
    let mode: &[u8] = if is_plain { b"standalone" } else { b"cluster" };
    let mut reply = Vec::with_capacity(160);
    write::map_header(&mut reply, 7, client.resp);
    write::bulk(&mut reply, b"server");
    write::bulk(&mut reply, b"redis");
    write::bulk(&mut reply, b"version");
    write::bulk(&mut reply, version.as_bytes());
    write::bulk(&mut reply, b"proto");
    write::integer(&mut reply, i64::from(client.resp));
    write::bulk(&mut reply, b"id");
    write::integer(&mut reply, client.id as i64);
    write::bulk(&mut reply, b"mode");
    write::bulk(&mut reply, mode);
    write::bulk(&mut reply, b"role");
    write::bulk(&mut reply, if client.endpoint == EndpointKind::Reader { b"replica" } else { b"master" });
    write::bulk(&mut reply, b"modules");
    write::array_header(&mut reply, 0);
    reply
}

/// The client speaks another RESP version from now on: so does the connection on which it watches.
fn alter_lease(turn: &mut Turn, client: &Client) {
    let Some(leased) = client.lease.map(|leased| leased as usize) else { return };
    let link = &mut turn.links[leased];
    if let Some(leased) = link.leased_mut() {
        leased.is_altered = true;
    }
    link.exchange.push_with(Entry::nobody(turn.micros), |sink| {
        write::command(sink, &[b"HELLO", client.resp.to_string().as_bytes()]);
    });
    turn.links.mark(leased);
}
