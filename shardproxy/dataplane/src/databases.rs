//! MOVE and COPY between databases: of several shards only database 0 can be selected, and what went to another one would
//! be lost to every client.

use crate::client::Client;
use crate::command::{Command, Route};
use crate::protocol::resp::request::decimal;
use crate::request::Request;
use crate::worker::Core;

/// Why the command may not run on this cluster, in the words of a Redis Cluster's node.
pub fn why_not_served(core: &Core, client: &Client, command: &Command, request: &Request) -> Option<&'static str> {
    let shards = core.clusters[client.cluster].as_ref().map_or(0, |served| served.cluster.shards.len());
    if command.route != Route::Database || shards == 1 {
        return None;
    }
    match &*command.name {
        "move" => Some("ERR MOVE is not allowed in cluster mode"),
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
