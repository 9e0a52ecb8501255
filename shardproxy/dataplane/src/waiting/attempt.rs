//! What is asked for clients that wait: of each whether there is something, and of one after another in one transaction, so
//! that nothing that comes meanwhile overtakes.

use std::collections::HashMap;

use super::request::{narrowed, open_ends, words};
use super::ATTEMPT;
use crate::dialect::resp::request::RequestParser;
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::exchange::{Asked, Entry, Owed};
use crate::metrics::Class;
use crate::model::NO_SHARD;
use crate::place::{primary, Unplaced};
use crate::shared::{Entrant, Paused};
use crate::turn::{Outcome, Turn};

/// Different requests in one transaction where many ask for the same.
const DIFFERENT: usize = 64;

pub fn is_due(turn: &Turn) -> bool {
    !turn.waits.again.is_empty() || !turn.waits.ready.is_empty()
}

/// Ask for those whose turn it is; whether the turn has steps left.
pub fn next(turn: &mut Turn) -> bool {
    while turn.pubsub.left > 0 {
        if let Some(id) = turn.waits.again.pop_front() {
            // another one may be in its place by now
            let waiter = turn.waits.waiters.get(id as usize);
            let Some(waiter) = waiter.filter(|w| w.attempt.is_none() && w.is_settled && w.is_in_no_order()) else {
                continue;
            };
            if is_put_off(turn, &waiter.entrant) {
                turn.waits.stalled_again.push(id);
            } else {
                alone(turn, id, None);
            }
        } else if let Some((line, chosen)) = turn.waits.next_attempt() {
            of_line(turn, line, chosen);
        } else {
            return true;
        }
    }
    false
}

/// A client has just come: ask for those of its keys for which nobody waits before it. Not while its shard holds that.
pub fn first(turn: &mut Turn, id: u32) {
    if is_held(turn, &turn.waits.waiters[id as usize].entrant) {
        return turn.waits.held_first.push(id);
    }
    let Some(form) = turn.waits.waiters[id as usize].entrant.form else { return alone(turn, id, None) };
    let places = turn.waits.open_keys(id);
    if places.is_empty() {
        return watch_all(turn, id);
    }
    alone(turn, id, (places.len() < form.count as usize).then_some(&places));
}

/// It waits in its lines: its keys are watched.
pub fn watch_all(turn: &mut Turn, id: u32) {
    let Some(waiter) = turn.waits.waiters.get_mut(id as usize) else { return };
    waiter.is_settled = true;
    for line in waiter.lines.clone() {
        let spot = turn.waits.lines[line as usize].spot;
        turn.waits.want_watched(spot);
    }
}

/// Ask for one client, with all its keys or only some.
fn alone(turn: &mut Turn, id: u32, places: Option<&[usize]>) {
    turn.spend(ATTEMPT);
    let Entrant { request, form, .. } = &turn.waits.waiters[id as usize].entrant;
    let (mut bytes, before) = begun(turn, &[id]);
    let ends = form.as_ref().map_or_else(Vec::new, |form| open_ends(request, form));
    match (places, form) {
        (Some(places), Some(form)) => bytes.extend_from_slice(&narrowed(request, form, places)),
        _ => bytes.extend_from_slice(request),
    }
    if let Some(form) = form.as_ref().filter(|_| !ends.is_empty()) {
        let mut parser = RequestParser::new();
        let words = words(request, &mut parser);
        for place in &ends {
            write::command(&mut bytes, &[b"XREVRANGE", words[form.first as usize + place], b"+", b"-", b"COUNT", b"1"]);
        }
    }
    bytes.extend_from_slice(texts::EXEC_REQUEST);
    let owed = turn.waits.begin(vec![(id, 0)], None, ends.len());
    if let Err(text) = send(turn, id, owed, &bytes, before + 1 + ends.len()) {
        turn.waits.results.push((owed, Outcome::Failure(text)));
    }
}

/// A transaction for these, begun: what goes before it, and how many requests that are.
fn begun(turn: &Turn, ids: &[u32]) -> (Vec<u8>, usize) {
    let cancels = ids.iter().map(|&id| &turn.waits.waiters[id as usize].entrant.cancel);
    let cancels: Vec<&Box<[u8]>> = cancels.filter(|cancel| !cancel.is_empty()).collect();
    let mut bytes: Vec<u8> = cancels.iter().flat_map(|cancel| cancel.iter().copied()).collect();
    bytes.extend_from_slice(texts::MULTI_REQUEST);
    (bytes, cancels.len())
}

/// Whether its shard holds what is asked for it.
fn is_held(turn: &Turn, &Entrant { cluster, slot, is_read, .. }: &Entrant) -> bool {
    let held = turn.cluster(cluster).filter(|cluster| cluster.is_held);
    held.is_some_and(|held| held.hold_of(held.shard_of(slot)).is_some_and(|hold| hold.concerns(slot, is_read)))
}

/// The same, or CLIENT PAUSE does.
fn is_put_off(turn: &Turn, entrant: &Entrant) -> bool {
    is_held(turn, entrant) || is_paused(turn, entrant)
}

fn is_paused(turn: &Turn, entrant: &Entrant) -> bool {
    match turn.paused(entrant.cluster) {
        Paused::Nothing => false,
        Paused::Writes => !entrant.is_read,
        Paused::All => true,
    }
}

/// Ask for the first in a line, or for many of those who all get the same, with the line's key alone.
fn of_line(turn: &mut Turn, line: u32, chosen: Vec<u32>) {
    let first = &turn.waits.waiters[chosen[0] as usize].entrant;
    let is_read = first.is_read;
    if is_put_off(turn, first) {
        return turn.waits.stall(line);
    }
    let (mut bytes, before) = begun(turn, &chosen);
    let waits = &mut turn.waits;
    let key = waits.spots[waits.lines[line as usize].spot as usize].key.clone();
    let (mut asked, mut known, mut number) = (Vec::with_capacity(chosen.len()), HashMap::new(), 0);
    let head = chosen[0];
    let mut put_off = Vec::new();
    for id in chosen {
        let waiter = &waits.waiters[id as usize];
        let Some(form) = &waiter.entrant.form else { continue };
        let Some(place) = waiter.lines.iter().position(|&known| known == line) else { continue };
        let request = narrowed(&waiter.entrant.request, form, &[place]);
        if is_read {
            // who asks for the same is told the same
            if let Some(&element) = known.get(&request) {
                asked.push((id, element));
                continue;
            }
            if known.len() >= DIFFERENT {
                put_off.push(id);
                continue;
            }
            known.insert(request.clone(), number);
        }
        bytes.extend_from_slice(&request);
        asked.push((id, number));
        number += 1;
    }
    write::command(&mut bytes, &[b"TYPE", &key]);
    bytes.extend_from_slice(texts::EXEC_REQUEST);
    waits.put_off(line, &put_off);
    turn.spend(ATTEMPT + asked.len() / 8);
    let owed = turn.waits.begin(asked, Some(line), 0);
    if send(turn, head, owed, &bytes, before + usize::from(number) + 1).is_err() {
        if let Some(attempt) = turn.waits.end(&owed) {
            turn.waits.settle(&attempt);
        }
        turn.waits.stall(line);
    }
}

/// Another epoch: who has come meanwhile is asked for, and who waits too.
pub fn go_on(turn: &mut Turn) {
    for id in std::mem::take(&mut turn.waits.held_first) {
        // another one may be in its place by now
        if turn.waits.waiters.get(id as usize).is_some_and(|waiter| waiter.attempt.is_none() && !waiter.is_settled) {
            first(turn, id);
        }
    }
    turn.waits.resume();
}

/// Put a transaction of so many commands, those before it counted, on the way to the primary.
fn send(turn: &mut Turn, id: u32, owed: Owed, bytes: &[u8], commands: usize) -> Result<(), Vec<u8>> {
    let &Entrant { cluster: index, speech, slot, is_read, is_write, .. } = &turn.waits.waiters[id as usize].entrant;
    let shard = turn.cluster(index).map_or(NO_SHARD, |cluster| cluster.shard_of(slot));
    if shard == NO_SHARD {
        return Err(texts::CLUSTERDOWN.to_vec());
    }
    if let Some(text) = turn.served(index).filter(|_| !is_read).and_then(|served| served.why_read_only(shard)) {
        return Err(text);
    }
    let link = primary(turn, index, shard, speech).or_else(Unplaced::or_in)?;
    let entry = Entry {
        asked: Asked::Attempt(commands as u32 + 1),
        owed,
        class: Class::Block,
        is_read,
        is_write,
        slot,
        ..Entry::nobody(turn.micros)
    };
    turn.links[link].exchange.push(entry, bytes);
    turn.links.mark(link);
    Ok(())
}
