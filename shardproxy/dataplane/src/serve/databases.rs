//! MOVE and COPY between databases: of several shards only database 0 can be selected, and what went to another one would
//! be lost to every client.

use crate::clients::Client;
use crate::command::{Act, Command, Route};
use crate::dialect::resp::request::decimal;
use crate::dialect::resp::Request;
use crate::turn::Turn;

/// Why the command may not run on this cluster, in the words of a Redis Cluster's node.
pub fn why_not_served(turn: &Turn, client: &Client, command: &Command, request: &Request) -> Option<&'static str> {
    let shards = turn.cluster(client.cluster).map_or(0, |cluster| cluster.shards.len());
    if command.route != Route::Database || shards == 1 {
        return None;
    }
    match command.act {
        Act::Move => Some("ERR MOVE is not allowed in cluster mode"),
        _ if names_another(request) => Some("ERR Copying to another database is not allowed in cluster mode"),
        _ => None,
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
