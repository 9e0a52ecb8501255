//! SELECT, MOVE, SWAPDB and COPY between databases: of several shards only database 0 can be selected, and what went to
//! another one would be lost to every client. So it would be in one that the engine has and clients may not select.

use super::liberties;
use crate::clients::Client;
use crate::command::{Act, Command, Route};
use crate::dialect::resp::request::decimal;
use crate::dialect::resp::{write, Request};
use crate::turn::Turn;

/// What is to be said of the databases a command names.
pub enum Named {
    Fine,
    /// One that is not served: the request as the engine refuses it, in its own words.
    Beyond(Vec<u8>),
    /// Several shards do not serve it, in the words of a Redis Cluster's node.
    Refused(&'static str),
}

pub fn named(turn: &Turn, client: &mut Client, command: &Command, request: &Request) -> Named {
    if command.route != Route::Database && command.act != Act::Select {
        return Named::Fine;
    }
    let why = match command.act {
        Act::Select => "ERR SELECT is not allowed in cluster mode",
        Act::Move => "ERR MOVE is not allowed in cluster mode",
        Act::SwapDb => "ERR SWAPDB is not allowed in cluster mode",
        _ if names_another(request) => "ERR Copying to another database is not allowed in cluster mode",
        _ => return Named::Fine,
    };
    if !liberties::is_relaxed(turn, client) {
        return Named::Refused(why);
    }
    if command.act != Act::Select || request.argument(1) != b"0" {
        liberties::take_whole(turn, client, command);
    }
    let databases = turn.served(client.cluster).map_or(1, |served| served.databases);
    let is_beyond = |at: usize| {
        is_database(command, request, at) && decimal(request.argument(at)).is_some_and(|db| db >= i64::from(databases))
    };
    if !(1..request.len()).any(is_beyond) {
        return Named::Fine;
    }
    let mut bytes = Vec::with_capacity(request.bytes.len());
    write::array_header(&mut bytes, request.len());
    for (at, argument) in request.arguments().enumerate() {
        write::bulk(&mut bytes, if at > 0 && is_beyond(at) { b"-1" } else { argument });
    }
    Named::Beyond(bytes)
}

/// Whether an argument is the number of a database.
fn is_database(command: &Command, request: &Request, at: usize) -> bool {
    match command.act {
        Act::Select | Act::SwapDb => true,
        Act::Move => at == 2,
        _ => at > 3 && request.argument(at - 1).eq_ignore_ascii_case(b"DB"),
    }
}

/// Whether COPY's option DB is there with anything but 0; what is no number is the engine's to refuse.
fn names_another(request: &Request) -> bool {
    let mut options = request.arguments().skip(3);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"DB") && options.next().and_then(decimal).is_some_and(|db| db != 0) {
            return true;
        }
    }
    false
}

/// Whether the client's database is not there: the cluster has another config by now, or several shards; or the engine has
/// fewer.
pub fn is_gone(turn: &Turn, client: &Client) -> bool {
    client.db != 0 && turn.served(client.cluster).is_some_and(|served| client.db >= served.databases)
}
