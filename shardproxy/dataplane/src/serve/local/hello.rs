//! HELLO, with the texts of Redis' networking.c and its order of checks: since 7.2 all is read before anything is done, before
//! that a password was judged where it stands.

use crate::admit::error;
use crate::clients::{is_valid_name, Client, BAD_NAME};
use crate::command::Command;
use crate::dialect::resp::Request;
use crate::dialect::resp::{request::decimal, write};
use crate::dialect::texts;
use crate::exchange::Entry;
use crate::model::EndpointKind;
use crate::serve::login::{is_right, log_in, Said};
use crate::turn::{Greeting, Turn};

/// Since 7.2 it names the version, too.
fn no_auth(turn: &Turn, client: &Client) -> Vec<u8> {
    let version = if turn.is_engine_since(client.cluster, (7, 2)) { "<proto> " } else { "" };
    error(&format!(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO {version}AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
    ))
}

pub fn hello(turn: &mut Turn, client: &mut Client, command: &Command, request: &Request) -> Said {
    let mut asked = Asked { greeting: Greeting { resp: client.resp, name: None }, credentials: None };
    let read = asked.read(request);
    let is_read_first = turn.is_engine_since(client.cluster, (7, 2));
    match (asked.credentials, read) {
        (Some((name, password)), Err(fault)) if !is_read_first => {
            let is_right = is_right(turn, client, name, password);
            Said::Answer(if is_right { fault } else { texts::WRONGPASS.to_vec() })
        }
        (_, Err(fault)) => Said::Answer(fault),
        (Some(credentials), Ok(())) => log_in(turn, client, command, credentials, Some(asked.greeting)),
        (None, Ok(())) if client.login.user.is_some() => Said::Answer(greet(turn, client, asked.greeting)),
        (None, Ok(())) => Said::Answer(no_auth(turn, client)),
    }
}

struct Asked<'a> {
    greeting: Greeting,
    /// A name and a password.
    credentials: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Asked<'a> {
    /// Read all there is, or as much as there is before what is wrong.
    fn read(&mut self, request: &Request<'a>) -> Result<(), Vec<u8>> {
        if request.len() > 1 {
            match decimal(request.argument(1)) {
                Some(2) => self.greeting.resp = 2,
                Some(3) => self.greeting.resp = 3,
                Some(_) => return Err(error("NOPROTO unsupported protocol version")),
                None => return Err(error("ERR Protocol version is not an integer or out of range")),
            }
        }
        let mut at = 2;
        while at < request.len() {
            let left = request.len() - at - 1;
            let option = request.argument(at);
            if option.eq_ignore_ascii_case(b"AUTH") && left >= 2 {
                self.credentials = Some((request.argument(at + 1), request.argument(at + 2)));
                at += 3;
            } else if option.eq_ignore_ascii_case(b"SETNAME") && left >= 1 {
                let wanted = request.argument(at + 1);
                if !is_valid_name(wanted) {
                    return Err(error(BAD_NAME));
                }
                self.greeting.name = Some(wanted.to_vec());
                at += 2;
            } else {
                let mut reply = Vec::new();
                write::error_of(&mut reply, &[b"ERR Syntax error in HELLO option '", option, b"'"]);
                return Err(reply);
            }
        }
        Ok(())
    }
}

/// Do as HELLO asks; the reply.
pub fn greet(turn: &mut Turn, client: &mut Client, Greeting { resp, name }: Greeting) -> Vec<u8> {
    if resp != client.resp {
        client.resp = resp;
        alter_lease(turn, client);
    }
    client.see_whether_judged();
    if let Some(name) = name {
        client.details().name = name;
    }
    reply(turn, client)
}

fn reply(turn: &Turn, client: &Client) -> Vec<u8> {
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
