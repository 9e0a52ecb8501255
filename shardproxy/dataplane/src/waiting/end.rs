//! A wait ends: by a reply, by its time, by CLIENT UNBLOCK, or with its client.

use crate::clients::{Clients, Flow, Waiting};
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::exchange::Entry;
use crate::links::State;
use crate::metrics::{Class, CloseReason};
use crate::shared::{Answer, Entrant, Letter, Told};
use crate::turn::{Ending, Told as Answered, Turn};

/// Its wait is over: it is told so, soon.
pub fn answer(turn: &mut Turn, id: u32, what: Told) {
    if let Some(waiter) = turn.waits.leave(id) {
        let Entrant { claim, request, .. } = waiter.entrant;
        turn.waits.answers.push((claim.worker, Answer { request, ..claim.settle(what) }));
    }
}

/// Tell a client, of this worker or another, what its wait came to.
pub fn send(turn: &mut Turn, clients: &mut Clients, worker: usize, answer: Answer) {
    if worker == turn.number {
        deliver(turn, clients, answer);
    } else {
        turn.shared.post(worker, Letter::Answer(answer));
    }
}

/// Tell a client of this worker what its wait came to.
pub fn deliver(turn: &mut Turn, clients: &mut Clients, Answer { owed, command, since, request, what }: Answer) {
    let Some(client) = clients.owed(&owed).filter(|client| client.waits_at.is_some()) else { return };
    client.waits_at = None;
    count_out(turn, client.cluster);
    if let &Told::Elsewhere { ref request, number, ends } = &what {
        if client.closing.is_none() {
            client.take_back(owed.sequence, request);
            client.waiting = Some(Box::new(Waiting::elsewhere(turn.now, number, ends)));
            client.flow = Flow::Queued;
            turn.settle_client(client);
            let ticket = client.ticket();
            return turn.later.clients.push(ticket);
        }
    }
    let (reply, is_failure): (&[u8], bool) = match &what {
        Told::Reply(reply) => (reply, false),
        Told::Failure(text) => (text, true),
        Told::Elsewhere { .. } => (texts::CLOSING, true),
        Told::Cut => return clients.cut(&mut turn.pool, &owed, CloseReason::Output),
    };
    let cluster = client.cluster;
    let elapsed = turn.long_micros().saturating_sub(since);
    let took = elapsed.try_into().unwrap_or(u32::MAX);
    if let Some(served) = turn.served(cluster) {
        served.metrics.command(command, matches!(reply.first(), Some(b'-' | b'!')));
        served.metrics.latency(Class::Block, took);
        if is_failure {
            served.metrics.refusal(reply);
        }
    }
    let entry = Entry { owed, command, class: Class::Block, ..Entry::nobody(turn.micros.wrapping_sub(took)) };
    let is_error = matches!(reply.first(), Some(b'-' | b'!'));
    let told = Answered { bytes: &request, length: request.len(), reply, is_error, elapsed: Some(elapsed) };
    turn.note_answered(Some(client), cluster, &entry, told);
    clients.deliver(&mut turn.pool, &owed, reply);
}

/// It has waited as long as it may. What is asked for it now may bring it something all the same.
pub fn over(turn: &mut Turn, id: u32) {
    end_by(turn, id, Ending::Timeout);
}

fn end_by(turn: &mut Turn, id: u32, ending: Ending) {
    let Some(waiter) = turn.waits.waiters.get_mut(id as usize) else { return };
    waiter.ending.get_or_insert(ending);
    if waiter.attempt.is_none() || withdraw(turn, id) {
        finish(turn, id);
    }
}

/// What is asked for it has not left: it is not asked.
fn withdraw(turn: &mut Turn, id: u32) -> bool {
    let Some(owed) = turn.waits.owed_for(id) else { return true };
    let is_waiting = |(_, link): &(usize, &mut crate::links::Link)| {
        (link.is_lot() || link.state != State::Ready) && link.exchange.newest_first().any(|entry| entry.owed == owed)
    };
    let Some(index) = turn.links.iter_mut().find(is_waiting).map(|(index, _)| index) else { return false };
    turn.links[index].exchange.retain_unsent(|entry| entry.owed != owed);
    turn.links.mark(index); // it is counted anew
    if let Some(attempt) = turn.waits.end(&owed) {
        turn.waits.settle(&attempt);
        if let Some(line) = attempt.line {
            turn.waits.stall(line); // the others are asked for anew
        }
    }
    true
}

/// There was nothing for it, and its wait is over.
pub fn finish(turn: &mut Turn, id: u32) {
    let Some(waiter) = turn.waits.waiters.get(id as usize) else { return };
    let mut reply = Vec::new();
    if waiter.ending == Some(Ending::Unblocked) {
        reply.extend_from_slice(texts::UNBLOCKED);
    } else {
        write::null_array(&mut reply, waiter.entrant.speech.resp);
    }
    answer(turn, id, Told::Reply(reply));
}

/// CLIENT UNBLOCK; whether the client waits here.
pub fn unblock(turn: &mut Turn, client: u64, with_error: bool) -> bool {
    let Some(id) = turn.waits.find(client) else { return false };
    end_by(turn, id, if with_error { Ending::Unblocked } else { Ending::Timeout });
    true
}

/// One of this worker's clients waits no more.
fn count_out(turn: &Turn, cluster: usize) {
    if let Some(served) = turn.served(cluster) {
        served.metrics.waiting.set(served.metrics.waiting.get().saturating_sub(1));
    }
}

/// A client of this worker has gone that waited with that one.
pub fn leave(turn: &mut Turn, home: usize, cluster: usize, client: u64) {
    count_out(turn, cluster);
    if home == turn.number {
        left(turn, client, false);
    } else {
        turn.shared.post(home, Letter::Left { client, is_passed_on: false });
    }
}

/// A client has gone that waited here, unless it has moved to another worker since.
pub fn left(turn: &mut Turn, client: u64, is_passed_on: bool) {
    if let Some(id) = turn.waits.find(client) {
        return drop_out(turn, id);
    }
    if !is_passed_on {
        for other in (0..turn.shared.workers.len()).filter(|&other| other != turn.number) {
            turn.shared.post(other, Letter::Left { client, is_passed_on: true });
        }
    }
}

/// A worker has lost its clients: those of them that wait here, too.
pub fn lost_worker(turn: &mut Turn, worker: usize) {
    let those = turn.waits.waiters.iter().filter(|(_, w)| usize::from(w.entrant.claim.worker) == worker);
    for id in those.map(|(id, _)| id as u32).collect::<Vec<_>>() {
        drop_out(turn, id);
    }
}

/// Its client has gone: nothing is taken for it any more.
fn drop_out(turn: &mut Turn, id: u32) {
    withdraw(turn, id);
    if let Some(waiter) = turn.waits.leave(id) {
        waiter.entrant.claim.forget();
    }
}
