//! MOVE and COPY between databases: of several shards only database 0 can be selected, and what went to another one would
//! be lost to every client.

use super::liberties;
use crate::clients::Client;
use crate::command::{Act, Command, Route};
use crate::dialect::resp::request::decimal;
use crate::dialect::resp::Request;
use crate::turn::Turn;

const OUT_OF_RANGE: &str = "ERR DB index is out of range";

/// Why the command may not run on this cluster, in the words of a Redis Cluster's node.
pub fn why_not_served(turn: &Turn, client: &mut Client, command: &Command, request: &Request) -> Option<&'static str> {
    if command.route != Route::Database {
        return None;
    }
    let databases = turn.cluster(client.cluster).map_or(1, |cluster| cluster.databases);
    let (why, farthest) = match command.act {
        Act::Move => ("ERR MOVE is not allowed in cluster mode", decimal(request.argument(2))),
        Act::SwapDb => {
            let farthest = request.arguments().skip(1).filter_map(decimal).max();
            ("ERR SWAPDB is not allowed in cluster mode", farthest)
        }
        _ => match other_database(request) {
            Some(db) => ("ERR Copying to another database is not allowed in cluster mode", Some(db)),
            None => return None,
        },
    };
    if !liberties::is_relaxed(turn, client) {
        return Some(why);
    }
    if farthest.is_some_and(|db| db >= i64::from(databases)) {
        return Some(OUT_OF_RANGE); // the engine may have it, and no client could select it
    }
    liberties::take_whole(turn, client, command);
    None
}

/// Of COPY's option DB anything but 0; what is no number is the engine's to refuse.
fn other_database(request: &Request) -> Option<i64> {
    let mut options = request.arguments().skip(3);
    let mut found = None;
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"DB") {
            found = options.next().and_then(decimal).filter(|&db| db != 0).max(found);
        }
    }
    found
}

/// Whether its database is there no more: the cluster has another config, or several shards by now.
pub fn is_gone(turn: &Turn, client: &Client) -> bool {
    client.db != 0 && turn.cluster(client.cluster).is_some_and(|cluster| client.db >= cluster.databases)
}
