//! What is known of a request when it has its answer.

use std::time::{SystemTime, UNIX_EPOCH};

use super::record::{error_word, ERROR, OK};
use super::shown::shown;
use super::{Record, Seen};
use crate::clients::Client;
use crate::command::CommandTable;
use crate::model::{Cluster, EngineKind, NO_SHARD, NO_SLOT};

/// `took`: microseconds since it came.
pub fn describe(table: &CommandTable, spec: &Cluster, seen: &Seen, client: Option<&Client>, took: u64) -> Record {
    let &Seen { cluster, link, request, .. } = seen;
    let shown = shown(table, seen.bytes, seen.about(spec));
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let node = link.and_then(|(link, _)| spec.nodes.get(usize::from(link.way.node)));
    let is_slotted = spec.spec.engine == EngineKind::Redis && request.slot != NO_SLOT;
    let shard = match link {
        Some((link, _)) => Some(link.way.shard),
        None => is_slotted.then(|| spec.shard_of(request.slot)).filter(|&shard| shard != NO_SHARD),
    };
    Record {
        id: 0,
        cluster,
        at: unix.saturating_sub(took),
        micros: took,
        phases: seen.phases(),
        command: shown.command,
        arguments: shown.arguments,
        key: shown.keys.first().cloned(),
        client_id: client.map_or(0, |client| client.id),
        client: client.map_or_else(String::new, Client::address),
        name: client.and_then(|client| client.details.as_deref()).map_or_else(Vec::new, |d| d.name.clone()),
        user: client.map_or_else(String::new, |client| client.login.name().to_owned()),
        db: client.map_or(0, |client| client.db),
        slot: is_slotted.then_some(request.slot),
        shard: shard.and_then(|place| spec.number_of(place)),
        node: node.map_or_else(String::new, |node| node.label.clone()),
        request_bytes: seen.length,
        reply_bytes: seen.size(),
        outcome: if seen.is_error { ERROR } else { OK },
        error: if seen.is_error { error_word(seen.reply) } else { String::new() },
    }
}
