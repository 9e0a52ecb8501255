//! Commands the data plane hands to trio. An offloaded command is a barrier: it starts when its client's earlier replies
//! are in, and later requests wait.

use super::{answer_error, at_door, databases, Next};
use crate::clients::{Client, Flow, ReplyMode};
use crate::command::{Act, Command};
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::exchange::{Entry, Head};
use crate::shared::Offload;
use crate::turn::{Effect, Offloaded, Ticket, Turn};

pub fn submit(turn: &mut Turn, client: &mut Client, command: Option<&Command>, request: &Request) -> Next {
    if client.replies.is_empty() && databases::is_gone(turn, client) {
        client.answer(&mut turn.pool, texts::NOT_A_DATABASE);
        return Next::Go;
    }
    hand_over(turn, client, command, request, Effect::of(command, request))
}

/// `effect`: what the answer means here.
pub fn hand_over(
    turn: &mut Turn,
    client: &mut Client,
    command: Option<&Command>,
    request: &Request,
    effect: Effect,
) -> Next {
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    if let Some(next) = command.and_then(|command| held_back(turn, client, command)) {
        return next;
    }
    let Some(served) = &turn.clusters[client.cluster] else { return Next::Close };
    served.metrics.offloads.increment();
    let offload = Offload {
        is_known: command.is_some(),
        ..describe(turn, &served.cluster.spec.name, client, None, words_of(request))
    };
    let (token, size) = (offload.token, size_of_offload(&offload));
    if !turn.shared.events.offload(offload) {
        client.answer(&mut turn.pool, texts::BUSY_OFFLOADS);
        return Next::Go;
    }
    let silent = if command.is_some() { client.take_silence() } else { client.reply_mode != ReplyMode::On };
    let sequence = client.replies.expect(silent);
    let offloaded = Offloaded {
        owed: client.owed(sequence),
        ticket: Ticket::new(token, turn.shared.clone(), size),
        raw: if command.is_some() { Vec::new() } else { request.bytes.to_vec() },
        told: told(turn, client, request),
        command: command.map_or(u16::MAX, |c| c.id),
        since: turn.micros,
        waits: command.is_some_and(|c| c.act == Act::Wait) && request.argument(1) != b"0",
        may_change: command.is_some_and(Command::may_write).then_some(client.cluster),
        effect,
        again: None,
    };
    turn.offloaded.insert(token, offloaded);
    client.flow = Flow::Offloaded(token);
    Next::Wait
}

/// What may write on any shard, or on all of them, waits while one of them holds something.
fn held_back(turn: &mut Turn, client: &mut Client, command: &Command) -> Option<Next> {
    let cluster = turn.cluster(client.cluster).filter(|cluster| cluster.is_held && command.may_write())?;
    let shard = (0..cluster.shards.len() as u16).find(|&shard| cluster.hold_of(shard).is_some())?;
    Some(match at_door(turn, client, shard) {
        Some(text) => answer_error(turn, client, command, &text),
        None => Next::Queue,
    })
}

/// Have a command answered in Python whose reply an engine could not give: it lacks a script or function that was loaded
/// through the proxy. False if too many commands wait already.
pub fn heal(turn: &mut Turn, client: &mut Client, pending: &Entry, request: &Request) -> bool {
    let Some(served) = &turn.clusters[client.cluster] else { return false };
    let offload = describe(turn, &served.cluster.spec.name, client, None, words_of(request));
    let (token, size) = (offload.token, size_of_offload(&offload));
    if !turn.shared.events.offload(offload) {
        return false;
    }
    served.metrics.offloads.increment();
    let offloaded = Offloaded {
        owed: pending.owed,
        ticket: Ticket::new(token, turn.shared.clone(), size),
        raw: Vec::new(),
        told: told(turn, client, request),
        command: pending.command,
        since: pending.since,
        waits: false,
        may_change: Some(client.cluster),
        effect: Effect::None,
        again: None,
    };
    turn.offloaded.insert(token, offloaded);
    client.flow = Flow::Offloaded(token);
    true
}

/// What is told of it when it has its answer: more than its beginning where somebody looks for its keys.
fn told(turn: &Turn, client: &Client, request: &Request) -> Head {
    if turn.looks.timing.is_tracing(client.cluster) {
        Head::whole(request.bytes)
    } else {
        Head::of(request.bytes)
    }
}

/// As the control plane keeps them.
pub fn size_of_offload(offload: &Offload) -> usize {
    size_of::<Offload>() + offload.arguments.iter().map(|argument| argument.len() + size_of::<Vec<u8>>()).sum::<usize>()
}

fn words_of(request: &Request) -> Vec<Vec<u8>> {
    request.arguments().map(<[u8]>::to_vec).collect()
}

/// Of a command in the table; `rule`: what makes it the control plane's.
pub fn describe(turn: &Turn, cluster: &str, client: &Client, rule: Option<u16>, arguments: Vec<Vec<u8>>) -> Offload {
    Offload {
        token: turn.shared.events.token(turn.number),
        cluster: cluster.to_owned(),
        endpoint: client.endpoint.name(),
        client_id: client.id,
        user: client.login.name().to_owned(),
        resp: client.resp,
        db: client.db,
        local_address: client.stream.local(),
        is_known: true,
        arguments,
        rule,
        looks: 0,
    }
}
