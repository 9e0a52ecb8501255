//! A client begins to track keys, and ends it.
//!
//! It is told that it does when the primaries that can be reached tell this worker what changes, so that whatever it reads then
//! is watched. What it reads of the others it is told to be old as soon as it has it.

use std::time::Duration;

use super::feed;
use super::told;
use crate::clients::{Client, Clients, Mode, Redirect, Tracking};
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::exchange::Owed;
use crate::shared::{Letter, Seek};
use crate::turn::{tickets, Hearer, Pending, Pressure, Turn};

/// For no longer than this a client waits to be told that it tracks.
const PATIENCE: Duration = Duration::from_secs(1);
/// While memory is short so many keys are forgotten with each tick.
const FORGOTTEN: usize = 4096;
const NO_SUCH_CLIENT: &str = "ERR The client ID you want redirect to does not exist";

/// The client is owed the answer from now on. `to`: who is to be told instead.
pub fn begin(turn: &mut Turn, cluster: usize, owed: Owed, wanted: Box<Tracking>, to: Option<u64>) {
    let others = turn.shared.workers.len() - 1;
    feed::need(turn, cluster, Hearer::Clients);
    // this worker is asked like the others: its own client may be it
    let sought = to.map(|client| (client, others + 1));
    if let Some(client) = to {
        for worker in 0..=others {
            let seek = Seek { client, worker: turn.number as u16, owed };
            turn.shared.post(worker, Letter::Seek(seek));
        }
    }
    let until = turn.now + PATIENCE;
    turn.tracked.pending.push(Pending { owed, cluster, wanted, sought, until });
}

/// Another worker looks for a client.
pub fn seek(turn: &Turn, clients: &Clients, Seek { client, worker, owed }: &Seek) {
    let is_here = clients.place_of(*client).is_some();
    let sought = Letter::Sought { owed: *owed, worker: turn.number as u16, is_there: is_here };
    turn.shared.post(usize::from(*worker), sought);
}

/// A worker has the client, or has not.
pub fn found(turn: &mut Turn, clients: &mut Clients, owed: &Owed, worker: u16, is_there: bool) {
    let Some(pending) = turn.tracked.pending.iter_mut().find(|pending| pending.owed == *owed) else { return };
    if let Some((client, left)) = pending.sought {
        if is_there {
            pending.wanted.redirect = Some(Redirect { client, worker });
        }
        pending.sought = Some((client, left.saturating_sub(1)));
    }
    settle(turn, clients);
}

/// Those go on who may.
pub fn settle(turn: &mut Turn, clients: &mut Clients) {
    let now = turn.now;
    for pending in std::mem::take(&mut turn.tracked.pending) {
        let Some(client) = clients.owed(&pending.owed) else { continue };
        let is_over = now >= pending.until;
        let is_sought = pending.sought.is_some_and(|(_, left)| left > 0 && pending.wanted.redirect.is_none());
        let is_lacking = pending.sought.is_some() && pending.wanted.redirect.is_none();
        let mut reply = Vec::new();
        if is_lacking && (!is_sought || is_over) {
            write::error(&mut reply, NO_SUCH_CLIENT);
        } else if let Some(why) = why_not(turn, pending.cluster) {
            write::error(
                &mut reply,
                &format!("ERR CLIENT TRACKING is not possible, a node does not tell what changes: {why}"),
            );
        } else if is_sought || !is_over && is_quiet(turn, pending.cluster) {
            turn.tracked.pending.push(pending);
            continue;
        } else {
            enable(turn, client, pending.wanted);
            reply.extend_from_slice(texts::OK);
        }
        clients.deliver(&mut turn.pool, &pending.owed, &reply);
    }
}

/// Why a node tells of no changes though it is well.
fn why_not(turn: &Turn, cluster: usize) -> Option<String> {
    turn.feeds.all(cluster).find_map(|(_, feed)| feed.refusal(turn.now).map(str::to_owned))
}

/// Whether a primary that may be there does not tell yet.
fn is_quiet(turn: &Turn, cluster: usize) -> bool {
    turn.feeds.all(cluster).any(|(_, feed)| {
        let link = feed.link.and_then(|link| turn.links.get(link));
        feed.hearing.is_none() && link.is_some_and(|link| link.trouble.down_since.is_none())
    })
}

fn enable(turn: &mut Turn, client: &mut Client, mut wanted: Box<Tracking>) {
    let (cluster, ticket) = (client.cluster, client.ticket());
    let keys = turn.tracked.of(cluster);
    if wanted.mode == Mode::Broadcast {
        keys.listen(wanted.prefixes.iter(), ticket);
    }
    match client.tracking.take() {
        Some(mut before) => {
            wanted.prefixes.append(&mut before.prefixes);
            wanted.take_over(&mut before);
        }
        None => keys.clients += 1,
    }
    wanted.may_keep = true;
    client.tracking = Some(wanted);
    client.see_whether_judged();
    count(turn, cluster);
}

/// The client tracks no more, if it did.
pub fn end(turn: &mut Turn, client: &mut Client) {
    let Some(tracking) = client.tracking.take() else { return };
    let keys = turn.tracked.of(client.cluster);
    keys.ignore(tracking.prefixes.iter(), client.ticket());
    keys.clients -= 1;
    client.see_whether_judged();
    count(turn, client.cluster);
}

fn count(turn: &mut Turn, cluster: usize) {
    let clients = turn.tracked.of(cluster).clients;
    if let Some(served) = turn.served(cluster) {
        served.metrics.tracking.set(clients as u64);
    }
}

/// Who waits to track goes on; and keys were forgotten for want of room: who has read them is told.
pub fn work(turn: &mut Turn, clients: &mut Clients) {
    if !turn.tracked.pending.is_empty() {
        settle(turn, clients);
    }
    for (key, readers) in std::mem::take(&mut turn.tracked.forgotten) {
        told::forgotten(turn, clients, &key, &tickets(&readers));
    }
}

/// With the last client that tracks its cluster's keys are forgotten; while memory is short some are.
pub fn tick(turn: &mut Turn, clients: &mut Clients) {
    settle(turn, clients);
    told::tell_overdue(turn, clients);
    for cluster in 0..turn.tracked.clusters() {
        if !turn.tracked.is_on(cluster) {
            turn.tracked.of(cluster).clear();
            feed::spare(turn, cluster, Hearer::Clients);
        }
        if turn.accounts.pressure > Pressure::None {
            for _ in 0..FORGOTTEN {
                let Some((key, readers)) = turn.tracked.of(cluster).forget_one() else { break };
                told::forgotten(turn, clients, &key, &tickets(&readers));
            }
        }
        let known = turn.tracked.of(cluster);
        let (keys, items, prefixes) = (known.len(), known.items, known.prefixes.len());
        if let Some(served) = turn.served(cluster) {
            served.metrics.tracked_keys.set(keys as u64);
            served.metrics.tracked_items.set(items as u64);
            served.metrics.tracked_prefixes.set(prefixes as u64);
        }
    }
    let held = turn.tracked.held();
    turn.accounts.settle(&mut turn.tracked.accounted, held);
}
