//! What a client that tracks reads: its keys are kept in mind before the reply is here, and what changes meanwhile is told
//! behind that.

use super::told::array_of;
use crate::clients::{Client, Mode, Tracking, OWN_VALUE};
use crate::command::{key_positions, sort_positions, Act, Command, Keys, Route};
use crate::dialect::resp::Request;
use crate::turn::Turn;

/// A request of such a client was taken, or answered. `before`: the place of its reply, if it is owed one.
pub fn note(turn: &mut Turn, client: &mut Client, command: &Command, request: &Request, before: u32) {
    let Some(tracking) = client.tracking.as_deref_mut() else { return };
    tracking.may_keep = true;
    let is_owed = client.replies.next() != before;
    if !is_owed {
        return;
    }
    let sequence = client.replies.next().wrapping_sub(1);
    let reads = may_read(command);
    if command.route != Route::Block && command.act != Act::Wait {
        tracking.note_request(sequence, reads); // what waits for others holds nothing up
    }
    note_own(tracking, client.db, command, request);
    if command.act == Act::Exec {
        let keys = std::mem::take(&mut tracking.queued);
        for key in &keys {
            remember(turn, client, key, sequence);
        }
    } else if reads && (tracking.keeps() || tracking.mode == Mode::Broadcast) {
        for key in keys_of(command, request) {
            remember(turn, client, request.argument(key as usize), sequence);
        }
    }
}

/// A command is queued: what it reads is kept in mind when it is executed.
pub fn queue(client: &mut Client, command: &Command, request: &Request) {
    let Some(tracking) = client.tracking.as_deref_mut() else { return };
    if tracking.is_noloop && command.may_write() {
        tracking.forget_own(); // what comes of it is known when it is executed
    }
    tracking.is_caching_queued |= command.act == Act::ClientCaching;
    if may_read(command) && (tracking.keeps() || tracking.mode == Mode::Broadcast) {
        let keys = keys_of(command, request).into_iter().map(|key| request.argument(key as usize).into());
        tracking.queued.extend(keys);
    }
}

/// What it writes itself, who wants no loop is not told of.
fn note_own(tracking: &mut Tracking, db: u32, command: &Command, request: &Request) {
    if !tracking.is_noloop || !command.may_write() {
        return;
    }
    if command.is_program {
        return tracking.forget_own();
    }
    let is_set = &*command.name == "set" && db == 0 && request.len() >= 3;
    let value = is_set.then(|| request.argument(2)).filter(|value| value.len() <= OWN_VALUE);
    for key in keys_of(command, request) {
        tracking.note_own(request.argument(key as usize), value);
    }
}

/// What a script does to its keys it alone knows.
const fn may_read(command: &Command) -> bool {
    command.is_read() || command.is_program
}

fn keys_of(command: &Command, request: &Request) -> Vec<u32> {
    let mut keys = Vec::new();
    if command.keys == Keys::Sort {
        sort_positions(command, request.spans, request.bytes, &mut keys);
    } else if key_positions(command, request.spans, request.bytes, &mut keys).is_err() {
        keys.clear();
    }
    keys
}

/// Nothing is heard of keys whose primary tells nothing: they may be old as soon as they are here.
fn remember(turn: &mut Turn, client: &mut Client, key: &[u8], sequence: u32) {
    let Some(served) = turn.served(client.cluster) else { return };
    let shard = served.cluster.shard_of(served.cluster.slot_of(key));
    let is_heard = turn.feeds.is_live(client.cluster, shard);
    let Some(tracking) = client.tracking.as_deref_mut() else { return };
    if !is_heard {
        if tracking.has_prefix_of(key) {
            tracking.put_off(sequence, Some(array_of(std::iter::once(key)).into()));
        }
    } else if tracking.mode != Mode::Broadcast {
        let ticket = client.ticket();
        if let Some(other) = turn.tracked.of(client.cluster).remember(key, ticket) {
            turn.tracked.forgotten.push(other);
        }
    }
}
