//! Commands over the shards of their keys: one part each, joined into the one reply their client expects.

use super::caching::{self, Ruled};
use super::{answer_error, keyed::send, near, refuse, unplaced, Next};
use crate::admit::{wrong_arity, Admitted};
use crate::caching::count_leased;
use crate::clients::Client;
use crate::command::{key_positions, Command, Join as JoinKind};
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::exchange::{Asked, Entry, Mark, Owed};
use crate::hash::SLOTS;
use crate::metrics::Class;
use crate::model::{NO_SHARD, NO_SLOT};
use crate::place::{need, place, primary, Need, Unplaced};
use crate::turn::{Part, Turn};

pub fn to_shards(
    turn: &mut Turn,
    client: &mut Client,
    kind: JoinKind,
    &Admitted { command, request }: &Admitted,
) -> Next {
    if let Some(next) = near::serve_all(turn, client, &Admitted { command, request }) {
        return next;
    }
    if let Err(error) = key_positions(command, request.spans, request.bytes, &mut turn.scratch.keys) {
        return answer_error(turn, client, command, &error.reply(command));
    }
    let stride = stride_of(kind);
    if stride == 2 && request.len().is_multiple_of(2) {
        return refuse(turn, client, command, &wrong_arity(command));
    }
    let Some(ruled) = caching::rule(turn, client, command, request, NO_SLOT) else { return Next::Hold };
    if ruled == Ruled::Forbidden {
        return answer_error(turn, client, command, &caching::forbidden(command));
    }
    let mark = match place_parts(turn, client, request, command.is_read(), place) {
        Ok(mark) => mark,
        Err(why) => return unplaced(turn, client, command, request.bytes.len(), why),
    };
    if let Ruled::Handed(rule) = ruled {
        return caching::hand_over(turn, client, command, request, (NO_SHARD, NO_SLOT, mark), rule);
    }
    let parts = std::mem::take(&mut turn.scratch.parts);
    match (&parts[..], ruled) {
        // all keys live on one shard: it goes there as it is
        ([only], Ruled::Cancels(count)) => {
            let adjust = |entry: &mut Entry| (entry.class, entry.mark, entry.slot) = (Class::Split, mark, only.slot);
            caching::send_behind(turn, client, command, request, (only.link, count), adjust);
        }
        ([only], _) => send(turn, client, command, request, only.link, |entry| {
            (entry.class, entry.mark, entry.slot, entry.asked) = (Class::Split, mark, only.slot, ruled.asked());
        }),
        _ => {
            let mut join = turn.pool.join(kind, parts.len(), &turn.scratch.order, client.take_silence());
            join.is_write = !command.is_read();
            let sequence = client.replies.expect_join(join);
            let whole = Whole { owed: client.owed(sequence), mark, ruled, stride };
            scatter(turn, client.cluster, &Admitted { command, request }, &parts, whole);
        }
    }
    turn.scratch.parts = parts;
    Next::Go
}

/// Send what was handed over as one command to all shards of its keys, by the topology of now. Why not, if it is not sent.
pub fn pass_on(
    turn: &mut Turn,
    client: &mut Client,
    kind: JoinKind,
    (command, request): (&Command, &Request),
    (sequence, ruled): (u32, Ruled),
) -> Result<(), Vec<u8>> {
    let taken = |turn: &mut Turn, client: &Client, (shard, _): (u16, u16), need| {
        let served = turn.served(client.cluster).filter(|_| need == Need::Write);
        if let Some(text) = served.and_then(|served| served.why_read_only(shard)) {
            return Err(Unplaced::Refused(text));
        }
        primary(turn, client.cluster, shard, client.speech()).or_else(Unplaced::or_in).map_err(Unplaced::Refused)
    };
    let mark = place_parts(turn, client, request, command.is_read(), taken).map_err(|why| match why {
        Unplaced::Refused(text) => text,
        _ => texts::CLUSTERDOWN.to_vec(),
    })?;
    let parts = std::mem::take(&mut turn.scratch.parts);
    let mut join = turn.pool.join(kind, parts.len(), &turn.scratch.order, false);
    join.is_write = !command.is_read();
    client.replies.join_later(sequence, join);
    let leased = turn.cluster(client.cluster).map_or(0, |cluster| {
        count_leased(cluster, turn.scratch.keys.iter().map(|&position| request.argument(position as usize)))
    });
    let ruled = if command.is_read() || leased == 0 { ruled } else { Ruled::Cancels(leased) };
    let whole = Whole { owed: client.owed(sequence), mark, ruled, stride: stride_of(kind) };
    scatter(turn, client.cluster, &Admitted { command, request }, &parts, whole);
    turn.scratch.parts = parts;
    Ok(())
}

const fn stride_of(kind: JoinKind) -> usize {
    match kind {
        JoinKind::Mset => 2,
        JoinKind::Mget | JoinKind::Sum => 1,
    }
}

/// What all parts of a command have in common. `stride`: arguments of one key.
#[derive(Clone, Copy)]
struct Whole {
    owed: Owed,
    mark: Mark,
    ruled: Ruled,
    stride: usize,
}

fn scatter(turn: &mut Turn, cluster: usize, &Admitted { command, request }: &Admitted, parts: &[Part], whole: Whole) {
    let Turn { links, scratch, micros, clusters, .. } = turn;
    let Some(served) = &clusters[cluster] else { return };
    let (now, Whole { owed, mark, ruled, stride }) = (*micros, whole);
    let entry_of = |number: usize, part: &Part| {
        let owed = Owed { part: number as u16, ..owed };
        Entry { class: Class::Split, mark, slot: part.slot, ..Entry::of(owed, command, now) }
    };
    if ruled != Ruled::Not || parts.iter().any(|part| part.is_of_slot) {
        // several parts may leave on one connection, or leases before them: they are written one after another
        let mut places: Vec<usize> = (0..scratch.order.len()).collect();
        places.sort_by_key(|&place| scratch.order[place]);
        for places in places.chunk_by(|&one, &other| scratch.order[one] == scratch.order[other]) {
            let number = usize::from(scratch.order[places[0]]);
            let part = &parts[number];
            let keys = || places.iter().map(|&place| request.argument(scratch.keys[place] as usize));
            let leased = if let Ruled::Cancels(_) = ruled { count_leased(&served.cluster, keys()) } else { 0 };
            let asked = match ruled {
                Ruled::Loads(_) => ruled.asked(),
                _ if leased > 0 => Asked::After(1),
                _ => Asked::Reply,
            };
            let entry = Entry { asked, ..entry_of(number, part) };
            links[part.link].exchange.push_with(entry, |sink| {
                if leased > 0 {
                    served.cancel(sink, leased, keys());
                }
                write::array_header(sink, 1 + places.len() * stride);
                write::bulk(sink, request.argument(0));
                for &place in places {
                    let position = scratch.keys[place] as usize;
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
fn place_parts(
    turn: &mut Turn,
    client: &Client,
    request: &Request,
    is_read: bool,
    place: impl Fn(&mut Turn, &Client, (u16, u16), Need) -> Result<usize, Unplaced>,
) -> Result<Mark, Unplaced> {
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
