//! A client begins to wait.

use super::attempt;
use super::request::words;
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
    let whose = (command.id, turn.micros);
    let claim = Claim::new(turn.shared.clone(), turn.number as u16, client.id, client.owed(sequence), whose);
    let entrant = Entrant {
        claim,
        cluster: client.cluster,
        slot,
        speech: client.speech(),
        is_read: command.is_read(),
        is_write: command.may_write(),
        request: request.bytes.into(),
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
    let Some(cluster) = turn.cluster(entrant.cluster) else { return Some(NO_CLUSTER) };
    if cluster.shard_of(entrant.slot) == NO_SHARD {
        return Some(texts::CLUSTERDOWN);
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
    if turn.cluster(entrant.cluster).is_some_and(|c| c.shards.len() > 1) && slots.iter().any(|slot| *slot != slots[0]) {
        // there was one shard when it came
        let worker = entrant.claim.worker;
        return turn.waits.answers.push((worker, entrant.claim.settle(Told::Failure(texts::CROSSSLOT.to_vec()))));
    }
    let now = turn.now;
    let id = turn.waits.enter(entrant, &wishes, shard, &slots, now);
    turn.spend(wishes.len());
    attempt::first(turn, id);
}
