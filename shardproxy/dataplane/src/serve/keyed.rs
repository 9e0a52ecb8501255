//! Commands that one shard serves, by the slot of their keys.

use super::caching::{self, Ruled};
use super::{answer_error, liberties, near, unplaced, Next};
use crate::admit::Admitted;
use crate::clients::Client;
use crate::command::{key_positions, sort_positions, Code, Command, KeysError};
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::exchange::{Entry, LARGE};
use crate::model::{Lane, NO_SHARD, NO_SLOT};
use crate::place::{need, place, scripts};
use crate::turn::{Pressure, Turn};

/// One shard, by the slot of its keys.
#[inline]
pub fn to_shard(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted) -> Next {
    client.last_command = command.id;
    if turn.accounts.pressure == Pressure::Full {
        return answer_error(turn, client, command, texts::OUT_OF_BUFFERS);
    }
    match straight(turn, client, command, request) {
        Some((link, slot)) => {
            send(turn, client, command, request, link, |entry| entry.slot = slot);
            Next::Go
        }
        None => place_and_send(turn, client, command, request),
    }
}

/// The usual case, with one look at the cluster: a key, its primary, and nothing else to be thought of.
#[inline]
fn straight(turn: &Turn, client: &Client, command: &Command, request: &Request) -> Option<(usize, u16)> {
    let served = turn.clusters.get(client.cluster)?.as_ref()?;
    if !command.is_straight || !served.is_straight || client.prefers_replicas {
        return None;
    }
    if client.db != 0 || client.lane != Lane::Usual {
        return None;
    }
    let slot = served.cluster.slot_of(request.argument(1));
    Some((served.ready_primary(&turn.links, served.cluster.shard_of(slot), client.resp)?, slot))
}

fn place_and_send(turn: &mut Turn, client: &mut Client, command: &Command, request: &Request) -> Next {
    if let Some(next) = near::serve(turn, client, &Admitted { command, request }) {
        return next;
    }
    let slot = if command.is_single {
        let Some(served) = &turn.clusters[client.cluster] else { return Next::Close };
        served.cluster.slot_of(request.argument(1))
    } else {
        match slot_of_keys(turn, client, command, request) {
            Ok(slot) => slot.unwrap_or(NO_SLOT),
            Err(text) => return answer_error(turn, client, command, &text),
        }
    };
    let Some(ruled) = caching::rule(turn, client, command, request, slot) else { return Next::Hold };
    if ruled == Ruled::Forbidden {
        return answer_error(turn, client, command, &caching::forbidden(command));
    }
    // without keys it may run anywhere
    let shard = match shard_of(turn, client, if slot == NO_SLOT { 0 } else { slot }) {
        Ok(shard) => shard,
        Err(text) => return answer_error(turn, client, command, text),
    };
    let is_read = command.is_read();
    let (need, mark) = if command.is_single {
        need(turn, client.cluster, is_read, std::iter::once(request.argument(1)))
    } else {
        let keys = turn.scratch.keys.iter().map(|&position| request.argument(position as usize));
        need(turn, client.cluster, is_read, keys)
    };
    let link = match place(turn, client, (shard, slot), need) {
        Ok(link) => link,
        Err(why) => return unplaced(turn, client, command, request.bytes.len(), why),
    };
    match command.runs {
        Some(Code::Digest) => scripts::precede(turn, link, request.argument(1)),
        Some(Code::Body) => scripts::see_run(turn, client.cluster, request.argument(1)),
        Some(Code::Function) | None => {}
    }
    match ruled {
        Ruled::Handed(rule) => return caching::hand_over(turn, client, command, request, (shard, slot, mark), rule),
        Ruled::Cancels(count) => {
            let adjust = |entry: &mut Entry| (entry.mark, entry.slot) = (mark, slot);
            caching::send_behind(turn, client, command, request, (link, count), adjust);
        }
        Ruled::Not | Ruled::Loads(_) | Ruled::Forbidden => send(turn, client, command, request, link, |entry| {
            (entry.mark, entry.slot, entry.asked) = (mark, slot, ruled.asked());
        }),
    }
    Next::Go
}

/// Put a whole request on a connection as it came, and owe the client its reply. `adjust`: what is special about it.
#[inline]
pub fn send(
    turn: &mut Turn,
    client: &mut Client,
    command: &Command,
    request: &Request,
    link: usize,
    adjust: impl FnOnce(&mut Entry),
) {
    let silent = client.take_silence();
    let sequence = client.replies.expect(silent);
    let mut entry = Entry::of(client.owed(sequence), command, turn.micros);
    adjust(&mut entry);
    if request.bytes.len() > LARGE {
        send_large(turn, entry, request, link);
    } else {
        turn.links[link].exchange.push(entry, request.bytes);
    }
    turn.links.mark(link);
}

/// A request that is alone in its buffer is not copied.
#[cold]
fn send_large(turn: &mut Turn, entry: Entry, request: &Request, link: usize) {
    let whole = turn.large.as_ref().filter(|whole| std::ptr::eq(whole.as_slice(), request.bytes));
    match whole.cloned() {
        Some(whole) => turn.links[link].exchange.push_whole(entry, whole),
        None => turn.links[link].exchange.push(entry, request.bytes),
    }
}

/// The slot all keys share, of one engine's keys that of the first; none for a command without keys. Whatever needs all its
/// keys on one shard comes by here.
pub fn slot_of_keys(
    turn: &mut Turn,
    client: &mut Client,
    command: &Command,
    request: &Request,
) -> Result<Option<u16>, Vec<u8>> {
    let Turn { clusters, scratch, .. } = turn;
    let Some(served) = &clusters[client.cluster] else { return Err(texts::CLUSTERDOWN.to_vec()) };
    let is_relaxed = served.cluster.is_relaxed;
    match key_positions(command, request.spans, request.bytes, &mut scratch.keys) {
        Ok(()) => {}
        Err(KeysError::Pattern(_)) if is_relaxed => {
            // on the only shard is whatever patterns look up
            sort_positions(command, request.spans, request.bytes, &mut scratch.keys);
            liberties::take(served, client, command, || liberties::example(command, request, &scratch.keys[..1]));
        }
        Err(error) => return Err(error.reply(command)),
    }
    let mut slots = scratch.keys.iter().map(|&position| served.cluster.slot_of(request.argument(position as usize)));
    let Some(first) = slots.next() else { return Ok(None) };
    match slots.position(|slot| slot != first) {
        None => Ok(Some(first)),
        Some(other) if is_relaxed => {
            let keys = [scratch.keys[0], scratch.keys[other + 1]];
            liberties::take(served, client, command, || liberties::example(command, request, &keys));
            Ok(Some(first))
        }
        Some(_) => Err(texts::CROSSSLOT.to_vec()),
    }
}

/// The shard that owns a slot.
#[inline]
pub fn shard_of(turn: &Turn, client: &Client, slot: u16) -> Result<u16, &'static [u8]> {
    match turn.cluster(client.cluster).map(|cluster| cluster.shard_of(slot)) {
        Some(shard) if shard != NO_SHARD => Ok(shard),
        _ => Err(texts::CLUSTERDOWN),
    }
}
