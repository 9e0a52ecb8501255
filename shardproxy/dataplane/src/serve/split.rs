//! Commands over the shards of their keys: one part each, joined into the one reply their client expects.

use super::{answer_error, keyed::send, refuse, unplaced, Next};
use crate::admit::{wrong_arity, Admitted};
use crate::clients::Client;
use crate::command::{key_positions, Join as JoinKind};
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::exchange::{Entry, Mark, Owed, NO_MARK};
use crate::hash::SLOTS;
use crate::metrics::Class;
use crate::model::{NO_SHARD, NO_SLOT};
use crate::place::{need, place, Unplaced};
use crate::turn::{Part, Turn};

pub fn to_shards(
    turn: &mut Turn,
    client: &mut Client,
    kind: JoinKind,
    &Admitted { command, request }: &Admitted,
) -> Next {
    if let Err(error) = key_positions(command, request.spans, request.bytes, &mut turn.scratch.keys) {
        return answer_error(turn, client, command, &error.reply(command));
    }
    let stride = if kind == JoinKind::Mset { 2 } else { 1 };
    if stride == 2 && request.len().is_multiple_of(2) {
        return refuse(turn, client, command, &wrong_arity(command));
    }
    let mark = match place_parts(turn, client, request, command.is_read()) {
        Ok(mark) => mark,
        Err(why) => return unplaced(turn, client, command, request.bytes.len(), why),
    };
    let parts = std::mem::take(&mut turn.scratch.parts);
    if let [only] = parts[..] {
        // all keys live on one shard: it goes there as it is
        send(turn, client, command, request, only.link, |entry| {
            entry.class = Class::Split;
            entry.mark = mark;
            entry.slot = only.slot;
        });
    } else {
        scatter(turn, client, kind, &Admitted { command, request }, (&parts, mark), stride);
    }
    turn.scratch.parts = parts;
    Next::Go
}

fn scatter(
    turn: &mut Turn,
    client: &mut Client,
    kind: JoinKind,
    &Admitted { command, request }: &Admitted,
    (parts, mark): (&[Part], Mark),
    stride: usize,
) {
    let Turn { links, scratch, micros, pool, .. } = turn;
    let mut join = pool.join(kind, parts.len(), &scratch.order, client.take_silence());
    join.is_write = !command.is_read();
    let sequence = client.replies.expect_join(join);
    let (owed, now) = (client.owed(sequence), *micros);
    let entry_of = |number: usize, part: &Part| {
        let owed = Owed { part: number as u16, ..owed };
        let mark = if number == 0 { mark } else { NO_MARK }; // the first part has the first key
        Entry { class: Class::Split, mark, slot: part.slot, ..Entry::of(owed, command, now) }
    };
    if parts.iter().any(|part| part.is_of_slot) {
        // several parts may leave on one connection: they are written one after another
        let mut places: Vec<usize> = (0..scratch.order.len()).collect();
        places.sort_by_key(|&place| scratch.order[place]);
        for keys in places.chunk_by(|&one, &other| scratch.order[one] == scratch.order[other]) {
            let number = usize::from(scratch.order[keys[0]]);
            let part = &parts[number];
            links[part.link].exchange.push_with(entry_of(number, part), |sink| {
                write::array_header(sink, 1 + keys.len() * stride);
                write::bulk(sink, request.argument(0));
                for &key in keys {
                    let position = scratch.keys[key] as usize;
                    (position..position + stride).for_each(|at| write::bulk(sink, request.argument(at)));
                }
            });
            links.mark(part.link);
        }
        return;
    }
    for part in parts {
        let sink = links[part.link].exchange.open();
        write::array_header(sink, 1 + part.keys * stride);
        write::bulk(sink, request.argument(0));
    }
    for (&position, &part) in scratch.keys.iter().zip(&scratch.order) {
        let sink = links[parts[usize::from(part)].link].exchange.opened();
        for argument in position as usize..position as usize + stride {
            write::bulk(sink, request.argument(argument));
        }
    }
    for (number, part) in parts.iter().enumerate() {
        links[part.link].exchange.close(entry_of(number, part));
        links.mark(part.link);
    }
}

/// Find the parts, and in `scratch.order` the part of each key. Every shard is asked before anything is sent, so that a
/// known failure leaves no half of a command executed, and nothing waits half sent. What a write's first key is marked by.
fn place_parts(turn: &mut Turn, client: &Client, request: &Request, is_read: bool) -> Result<Mark, Unplaced> {
    let Turn { clusters, scratch, .. } = turn;
    let parts = &mut scratch.parts;
    parts.clear();
    scratch.order.clear();
    let Some(served) = &mut clusters[client.cluster] else { return Err(texts::CLUSTERDOWN.to_vec().into()) };
    let mut is_known = true;
    let shards = served.cluster.shards.len();
    for &position in &scratch.keys {
        let slot = served.cluster.slot_of(request.argument(position as usize));
        let shard = served.cluster.shard_of(slot);
        let is_of_slot = shard != NO_SHARD && served.tells_slots_apart(shard);
        let place = if is_of_slot { shards + usize::from(slot) } else { usize::from(shard) };
        if is_of_slot && served.parts.len() <= place {
            served.parts.resize(shards + usize::from(SLOTS), u16::MAX);
        }
        let Some(part) = served.parts.get_mut(place).filter(|_| shard != NO_SHARD) else {
            is_known = false;
            break;
        };
        if *part == u16::MAX {
            *part = parts.len() as u16;
            parts.push(Part { shard, slot, is_of_slot, keys: 0, link: 0 });
        }
        let part = *part;
        let known = &mut parts[usize::from(part)];
        known.keys += 1;
        if known.slot != slot {
            known.slot = NO_SLOT;
        }
        scratch.order.push(part);
    }
    for part in &*parts {
        let place = if part.is_of_slot { shards + usize::from(part.slot) } else { usize::from(part.shard) };
        served.parts[place] = u16::MAX;
    }
    if !is_known {
        return Err(texts::CLUSTERDOWN.to_vec().into());
    }
    let keys = turn.scratch.keys.iter().map(|&position| request.argument(position as usize));
    let (need, mark) = need(turn, client.cluster, is_read, keys);
    for number in 0..turn.scratch.parts.len() {
        let Part { shard, slot, .. } = turn.scratch.parts[number];
        turn.scratch.parts[number].link = place(turn, client, (shard, slot), need)?;
    }
    Ok(mark)
}
