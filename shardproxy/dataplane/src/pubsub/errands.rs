//! The side of the clients: what they ask for, done for one topic after another, and what they are told of it.
//!
//! ```text
//!   SUBSCRIBE    joining ─> awaiting (each is live) ─> confirming ─> done
//!                              └─ refused ─> giving up ─> done
//!   UNSUBSCRIBE  leaving ─> done
//! ```

use super::carriers::{close, join, open_links};
use super::live::is_live;
use crate::clients::{Client, Errand, Stage, Words};
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::model::Kind;
use crate::turn::{Gone, Job, Pressure, Tagged, Turn};

/// Steps of one errand before others have their turn.
pub(super) const SLICE: usize = 256;

/// Begin what a client asks for, all of it if it is little; whether it is done.
pub fn begin(turn: &mut Turn, client: &mut Client, kind: Kind, stage: Stage, names: Words) -> bool {
    client.take_silence(); // CLIENT REPLY silences no push
    let sequence = client.replies.expect(false);
    if matches!(stage, Stage::Joining) {
        open_links(turn, client.cluster);
    }
    let errand = Errand { sequence, kind, stage, names, topics: Vec::new(), at: 0, said: Vec::new() };
    client.subscriptions.get_or_insert_default().errand = Some(Box::new(errand));
    go_on(turn, client)
}

/// Go on with the client's errand; whether it is done, or there was none.
pub(super) fn go_on(turn: &mut Turn, client: &mut Client) -> bool {
    let Some(mut errand) = client.subscriptions.as_mut().and_then(|s| s.errand.take()) else { return true };
    let mut said = std::mem::take(&mut errand.said);
    let progress = advance(turn, client, &mut errand, &mut said);
    if progress == Progress::Done {
        client.see_whether_judged();
        client.replies.deliver(errand.sequence, &said, &mut client.output, &mut turn.pool);
        return true;
    }
    if matches!(errand.stage, Stage::Confirming) {
        // messages of what is confirmed already stand behind the last confirmation
        client.replies.deliver_piece(errand.sequence, &said, &mut client.output, &mut turn.pool);
    } else {
        errand.said = said; // messages of what is not left yet stand before the first
    }
    client.subscriptions.get_or_insert_default().errand = Some(errand);
    if progress == Progress::More {
        turn.pubsub.jobs.push_back(Job::Errand(client.ticket()));
    }
    false
}

#[derive(PartialEq, Eq)]
enum Progress {
    Done,
    /// A topic it waits for will have it go on.
    Waits,
    More,
}

fn advance(turn: &mut Turn, client: &mut Client, errand: &mut Errand, said: &mut Vec<u8>) -> Progress {
    let cluster = client.cluster;
    let stop = turn.pubsub.left.saturating_sub(SLICE);
    while turn.pubsub.left > stop {
        let topic = errand.topics.get(errand.at).copied();
        match (&mut errand.stage, topic) {
            (Stage::Joining, _) if turn.accounts.pressure == Pressure::Full => {
                errand.begin(Stage::GivingUp(texts::OUT_OF_BUFFERS.into()));
            }
            (Stage::Joining, _) => match errand.names.get(errand.at) {
                Some(name) => {
                    errand.topics.push(join(turn, cluster, errand.kind, name));
                    errand.at += 1;
                }
                None => errand.begin(Stage::Awaiting),
            },
            (Stage::Awaiting, None) => errand.begin(Stage::Confirming),
            (Stage::Awaiting, Some(id)) => {
                turn.spend(1);
                let refusal = turn.pubsub.topics(cluster).and_then(|topics| topics.get(id)?.refusal.clone());
                if let Some(refusal) = refusal {
                    errand.begin(Stage::GivingUp(refusal));
                } else if is_live(turn, cluster, id) {
                    errand.at += 1;
                } else {
                    turn.pubsub.of(cluster).change(id, |entry| entry.waiting.insert(client.ticket()));
                    return Progress::Waits;
                }
            }
            (Stage::Confirming, Some(id)) => {
                confirm(turn, client, errand.kind, id, said);
                errand.at += 1;
            }
            (Stage::GivingUp(_), Some(id)) => {
                release(turn, cluster, id);
                errand.at += 1;
            }
            (Stage::Confirming, None) => return Progress::Done,
            (Stage::GivingUp(refusal), None) => {
                said.extend_from_slice(refusal);
                return Progress::Done;
            }
            (Stage::Leaving, _) => match errand.names.get(errand.at) {
                Some(name) => {
                    leave_named(turn, client, errand.kind, name, said);
                    errand.at += 1;
                }
                None => return Progress::Done,
            },
            (Stage::LeavingAll, _) => {
                if !leave_next(turn, client, errand.kind, said) {
                    if errand.at == 0 {
                        let count = client.subscriptions.as_deref().map_or(0, |s| s.count(errand.kind));
                        frame(said, client.resp, errand.kind.words().1, None, count);
                    }
                    return Progress::Done;
                }
                errand.at += 1;
            }
            (Stage::Forgetting(answer), _) => {
                let Some(subscriptions) = client.subscriptions.as_deref_mut() else { return Progress::Done };
                let Some((kind, id)) = subscriptions.pop() else {
                    said.extend_from_slice(answer);
                    return Progress::Done;
                };
                leave(turn, cluster, kind, id, client.ticket());
            }
        }
    }
    Progress::More
}

/// The topic is live: the client hears it from now on, and is told.
fn confirm(turn: &mut Turn, client: &mut Client, kind: Kind, id: u32, said: &mut Vec<u8>) {
    let (cluster, ticket) = (client.cluster, client.ticket());
    let subscriptions = client.subscriptions.get_or_insert_default();
    let is_new = subscriptions.topics[kind as usize].insert(id);
    let count = subscriptions.count(kind);
    let changed = turn.pubsub.of(cluster).change(id, |entry| {
        entry.reserved -= 1;
        if is_new {
            entry.subscribers.insert(ticket);
        }
        (entry.name.clone(), entry.subscribers.len())
    });
    let Some((name, subscribers)) = changed else { return };
    if is_new {
        turn.shared.census.set(cluster, kind, &name, turn.number, subscribers);
    }
    frame(said, client.resp, kind.words().0, Some(&name), count);
    turn.spend(1);
}

/// A SUBSCRIBE that named the topic has failed, or its client has gone.
pub(super) fn release(turn: &mut Turn, cluster: usize, id: u32) {
    turn.pubsub.of(cluster).change(id, |entry| entry.reserved -= 1);
    turn.spend(1);
    close(turn, cluster, id);
}

/// One subscriber fewer; with the last the topic is given up.
pub(super) fn leave(turn: &mut Turn, cluster: usize, kind: Kind, id: u32, ticket: Tagged) {
    turn.spend(1);
    let left = turn
        .pubsub
        .of(cluster)
        .change(id, |entry| entry.subscribers.remove(ticket).then(|| (entry.name.clone(), entry.subscribers.len())));
    if let Some(Some((name, subscribers))) = left {
        turn.shared.census.set(cluster, kind, &name, turn.number, subscribers);
        close(turn, cluster, id);
    }
}

fn leave_named(turn: &mut Turn, client: &mut Client, kind: Kind, name: &[u8], said: &mut Vec<u8>) {
    turn.spend(1);
    let id = turn.pubsub.topics(client.cluster).and_then(|topics| topics.find(kind, name));
    let subscriptions = client.subscriptions.get_or_insert_default();
    if let Some(id) = id.filter(|id| subscriptions.topics[kind as usize].remove(id)) {
        leave(turn, client.cluster, kind, id, client.ticket());
    }
    let count = client.subscriptions.as_deref().map_or(0, |s| s.count(kind));
    frame(said, client.resp, kind.words().1, Some(name), count);
}

/// Leave any of the topics that are left; false if there is none.
fn leave_next(turn: &mut Turn, client: &mut Client, kind: Kind, said: &mut Vec<u8>) -> bool {
    let subscriptions = client.subscriptions.get_or_insert_default();
    let Some(id) = subscriptions.topics[kind as usize].pop_first() else { return false };
    let count = subscriptions.count(kind);
    let name = turn.pubsub.topics(client.cluster).and_then(|topics| Some(topics.get(id)?.name.clone()));
    leave(turn, client.cluster, kind, id, client.ticket());
    frame(said, client.resp, kind.words().1, name.as_deref(), count);
    true
}

/// What SUBSCRIBE and its relatives say of one topic.
fn frame(said: &mut Vec<u8>, resp: u8, word: &[u8], name: Option<&[u8]>, count: usize) {
    write::push_header(said, 3, resp);
    write::bulk(said, word);
    match name {
        Some(name) => write::bulk(said, name),
        None => write::null(said, resp),
    }
    write::integer(said, count as i64);
}

/// The client has gone.
pub fn forget(turn: &mut Turn, client: &mut Client) {
    let Some(subscriptions) = client.subscriptions.take() else { return };
    let mut gone = Box::new(Gone { cluster: client.cluster, ticket: client.ticket(), subscriptions: *subscriptions });
    if !forget_some(turn, &mut gone) {
        turn.pubsub.jobs.push_back(Job::Gone(gone));
    }
}

/// Forget some more of what a client was subscribed to that has gone; whether that was all.
pub(super) fn forget_some(turn: &mut Turn, gone: &mut Gone) -> bool {
    let &mut Gone { cluster, ticket, .. } = gone;
    let stop = turn.pubsub.left.saturating_sub(SLICE);
    while turn.pubsub.left > stop {
        if let Some((kind, id)) = gone.subscriptions.pop() {
            leave(turn, cluster, kind, id, ticket);
        } else if let Some((id, is_waiting)) = gone.subscriptions.pop_reserved() {
            if is_waiting {
                turn.pubsub.of(cluster).change(id, |entry| entry.waiting.remove(ticket));
            }
            release(turn, cluster, id);
        } else {
            return true;
        }
    }
    false
}
