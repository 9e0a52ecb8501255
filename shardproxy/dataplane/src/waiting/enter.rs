//! A client begins to wait.

use super::attempt;
use super::end::answer;
use super::request::words;
use crate::caching::count_leased;
use crate::clients::{Client, Flow};
use crate::command::{Command, Form, Kind};
use crate::dialect::resp::request::RequestParser;
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::model::{Cluster, NO_SHARD};
use crate::place::NO_CLUSTER;
use crate::shared::{Claim, Entrant, Letter, Told};
use crate::turn::{Pressure, Turn, Wish};

/// The worker that keeps the order of those who wait for keys of a slot. Commands on the only shard of a cluster may have
/// keys of several slots.
pub fn home_of(turn: &Turn, index: usize, cluster: &Cluster, slot: u16) -> usize {
    let of = if cluster.shards.len() == 1 { index } else { usize::from(slot) };
    of % turn.shared.workers.len()
}

/// A client waits from now on: it is owed the reply to this request, and its next ones wait for that. `form`: how it waits,
/// if that is not only its engine's to know.
pub fn begin(
    turn: &mut Turn,
    client: &mut Client,
    command: &Command,
    request: &Request,
    form: Option<Form>,
    slot: u16,
) {
    let home = turn.cluster(client.cluster).map_or(turn.number, |c| home_of(turn, client.cluster, c, slot));
    let silent = client.take_silence();
    let sequence = client.replies.expect(silent);
    let whose = (command.id, turn.long_micros());
    let claim = Claim::new(turn.shared.clone(), turn.number as u16, client.id, client.owed(sequence), whose);
    let cancel = if command.is_read() { Box::default() } else { deletion(turn, client, request) };
    let entrant = Entrant {
        claim,
        cluster: client.cluster,
        slot,
        is_spread: is_spread(turn, client, request),
        speech: client.speech(),
        is_read: command.is_read(),
        is_write: command.may_write(),
        request: request.bytes.into(),
        cancel,
        number: turn.held.number(),
        form,
        ends: form.and_then(|form| turn.now.checked_add(form.length?)),
    };
    client.waits_at = Some(home as u16);
    if let Some(served) = turn.served(client.cluster) {
        served.metrics.waiting.add(1);
    }
    client.flow = Flow::Barrier;
    if home == turn.number {
        enter(turn, entrant);
    } else {
        turn.shared.post(home, Letter::Waits(Box::new(entrant)));
    }
}

/// Whether its keys have several slots.
fn is_spread(turn: &Turn, client: &Client, request: &Request) -> bool {
    let Some(cluster) = turn.cluster(client.cluster) else { return false };
    let mut slots = turn.scratch.keys.iter().map(|&position| cluster.slot_of(request.argument(position as usize)));
    slots.next().is_some_and(|first| slots.any(|slot| slot != first))
}

/// The deletion of the leases that its keys may have; empty if none may.
fn deletion(turn: &Turn, client: &Client, request: &Request) -> Box<[u8]> {
    let mut bytes = Vec::new();
    if let Some(served) = turn.served(client.cluster).filter(|served| served.cluster.rules.is_some() && client.db == 0)
    {
        let keys = || turn.scratch.keys.iter().map(|&position| request.argument(position as usize));
        let count = count_leased(&served.cluster, keys());
        if count > 0 {
            served.cancel(&mut bytes, count, keys());
        }
    }
    bytes.into()
}

/// A client waits here.
pub fn enter(turn: &mut Turn, entrant: Entrant) {
    match why_not(turn, &entrant) {
        Some(text) => {
            let worker = entrant.claim.worker;
            turn.waits.answers.push((worker, entrant.claim.settle(Told::Failure(text.to_vec()))));
        }
        None => take_in(turn, entrant),
    }
}

fn why_not(turn: &Turn, entrant: &Entrant) -> Option<&'static [u8]> {
    if turn.cluster(entrant.cluster).is_none() {
        return Some(NO_CLUSTER);
    }
    (turn.accounts.pressure == Pressure::Full).then_some(texts::OUT_OF_BUFFERS)
}

fn take_in(turn: &mut Turn, entrant: Entrant) {
    let Some(cluster) = turn.cluster(entrant.cluster) else { return };
    let shard = cluster.shard_of(entrant.slot);
    let request = entrant.request.clone();
    let mut parser = RequestParser::new();
    let words = words(&request, &mut parser);
    let (mut wishes, mut slots) = (Vec::new(), Vec::new());
    if let Some(form) = &entrant.form {
        let group = form.group.filter(|_| form.kind == Kind::Group);
        let wish = Wish {
            db: entrant.speech.db,
            kind: form.kind,
            group: group.and_then(|at| words.get(at as usize)).map(|&group| group.into()),
        };
        let first = form.first as usize;
        for key in &words[first..(first + form.count as usize).min(words.len())] {
            wishes.push((*key, wish.clone()));
            slots.push(cluster.slot_of(key));
        }
    }
    let now = turn.now;
    let id = turn.waits.enter(entrant, &wishes, shard, &slots, now);
    turn.spend(wishes.len());
    match why_no_more(turn, id) {
        Some(text) => answer(turn, id, Told::Failure(text.to_vec())),
        None => attempt::first(turn, id),
    }
}

/// Why a client cannot wait in this epoch, if it cannot: it may have come in another one, be it that of another worker.
pub fn why_no_more(turn: &Turn, id: u32) -> Option<&'static [u8]> {
    let waiter = turn.waits.waiters.get(id as usize)?;
    let served = turn.served(waiter.entrant.cluster)?;
    let Entrant { slot, is_spread, speech, .. } = waiter.entrant;
    if served.cluster.shard_of(slot) == NO_SHARD {
        return Some(texts::CLUSTERDOWN);
    }
    // there was one shard when it came
    if is_spread && !served.cluster.is_relaxed {
        return Some(texts::CROSSSLOT);
    }
    (speech.db >= served.databases).then_some(texts::NOT_A_DATABASE)
}
