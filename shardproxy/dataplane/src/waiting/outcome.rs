//! What comes of asking: some get something and leave, the others wait on.

use super::attempt::watch_all;
use super::end::{answer, finish};
use super::enter::{home_of, why_no_more};
use super::request::{last_id, open_ends, with_ends};
use super::watch::is_refused;
use crate::command::Kind;
use crate::dialect::resp::reply::array_elements;
use crate::dialect::texts;
use crate::exchange::Owed;
use crate::shared::{Letter, Told};
use crate::turn::{Attempt, Outcome, Turn};

/// What an engine without memory says to all that is asked within MULTI, be it to take something away.
const OUT_OF_MEMORY: &[u8] = b"-OOM";

pub fn settle(turn: &mut Turn, owed: &Owed, outcome: Outcome) {
    let Some(attempt) = turn.waits.end(owed) else { return };
    match outcome {
        Outcome::Cut => attempt.asked.iter().for_each(|&(id, _)| answer(turn, id, Told::Cut)),
        Outcome::Failure(text) => {
            attempt.asked.iter().for_each(|&(id, _)| answer(turn, id, Told::Failure(text.clone())));
        }
        Outcome::Reply(reply) => match array_elements(&reply) {
            Ok(elements) => {
                let elements: Vec<&[u8]> = elements.map_while(Result::ok).collect();
                match attempt.line {
                    Some(line) => settle_line(turn, &attempt, line, &elements),
                    None => settle_alone(turn, &attempt, &elements),
                }
            }
            Err(_) => refused(turn, &attempt, &reply),
        },
    }
    turn.waits.settle(&attempt);
}

/// The node has executed nothing. Who has just come is told why; the others did not ask now, and wait on: at the node, where
/// that serves nobody within MULTI.
fn refused(turn: &mut Turn, attempt: &Attempt, reply: &[u8]) {
    for &(id, _) in &attempt.asked {
        let Some(waiter) = turn.waits.waiters.get(id as usize) else { continue };
        let lacks_memory = reply.starts_with(OUT_OF_MEMORY);
        if !waiter.is_settled && !lacks_memory {
            answer(turn, id, Told::Reply(reply.to_vec()));
        } else if waiter.ending.is_some() {
            finish(turn, id);
        } else if lacks_memory {
            let elsewhere = waiter.elsewhere();
            answer(turn, id, elsewhere);
        } else {
            for line in waiter.lines.clone() {
                turn.waits.stall(line);
            }
        }
    }
}

fn is_nothing(reply: &[u8]) -> bool {
    matches!(reply, b"*-1\r\n" | b"$-1\r\n" | b"_\r\n")
}

/// Of one client, asked for with all its keys.
fn settle_alone(turn: &mut Turn, attempt: &Attempt, elements: &[&[u8]]) {
    let (Some(&(id, _)), Some(&reply)) = (attempt.asked.first(), elements.first()) else { return };
    let Some(waiter) = turn.waits.waiters.get(id as usize) else { return };
    let waits_on = is_nothing(reply) || waiter.is_settled && reply.starts_with(b"-WRONGTYPE");
    if !waits_on {
        return answer(turn, id, Told::Reply(reply.to_vec()));
    }
    let Some(form) = waiter.entrant.form else {
        let elsewhere = waiter.elsewhere();
        return answer(turn, id, elsewhere);
    };
    let lines = waiter.lines.clone();
    if attempt.lasts > 0 {
        let request = &waiter.entrant.request;
        let places = open_ends(request, &form);
        let ids = elements[1..].iter().map(|reply| last_id(reply));
        let ends: Vec<(usize, Vec<u8>)> = places.into_iter().zip(ids).collect();
        let request = with_ends(request, &form, &ends);
        turn.waits.rewrite(id, request);
    }
    if wait_on(turn, id) {
        lines.iter().for_each(|&line| send_off(turn, line));
    }
}

/// There was nothing: it waits, unless its time is over, or it can wait only elsewhere. Whether nothing is heard here of what
/// it waits for.
fn wait_on(turn: &mut Turn, id: u32) -> bool {
    let Some(waiter) = turn.waits.waiters.get(id as usize) else { return false };
    if waiter.ending.is_some() {
        finish(turn, id);
        return false;
    }
    let (index, slot) = (waiter.entrant.cluster, waiter.entrant.slot);
    let Some(cluster) = turn.cluster(index) else { return false };
    if let Some(text) = why_no_more(turn, id) {
        answer(turn, id, Told::Failure(text.to_vec()));
    } else if home_of(turn, index, cluster, slot) != turn.number {
        move_home(turn, id);
    } else if is_refused(turn, (index, cluster.shard_of(slot))) {
        let elsewhere = waiter.elsewhere();
        answer(turn, id, elsewhere);
        return true;
    } else if !waiter.is_settled {
        watch_all(turn, id);
    }
    false
}

/// Nothing is heard here of what is waited for in a line: all in it go on at their engine, in their order.
fn send_off(turn: &mut Turn, line: u32) {
    let Some(line) = turn.waits.lines.get(line as usize) else { return };
    for id in line.queue.values().copied().collect::<Vec<_>>() {
        // who is asked for is seen to when that is answered
        let waiter = turn.waits.waiters.get(id as usize).filter(|waiter| waiter.attempt.is_none());
        if let Some(waiter) = waiter {
            let elsewhere = waiter.elsewhere();
            answer(turn, id, elsewhere);
        }
    }
}

/// Another worker keeps the order of its keys from now on.
pub fn move_home(turn: &mut Turn, id: u32) {
    let Some(waiter) = turn.waits.leave(id) else { return };
    let entrant = waiter.entrant;
    let Some(cluster) = turn.cluster(entrant.cluster) else { return };
    let home = home_of(turn, entrant.cluster, cluster, entrant.slot);
    turn.shared.post(home, Letter::Waits(Box::new(entrant)));
}

/// Of some in a line, asked for with its key alone.
fn settle_line(turn: &mut Turn, attempt: &Attempt, line: u32, elements: &[&[u8]]) {
    let Some((&holder, replies)) = elements.split_last() else { return };
    let (spot, kind) = {
        let known = &turn.waits.lines[line as usize];
        (known.spot, known.wish.kind)
    };
    let holds = holder == kind.holder();
    let (mut served, mut has_gone, mut is_deaf) = (0, false, false);
    let was_ready = turn.waits.lines[line as usize].is_ready;
    for &(id, element) in &attempt.asked {
        let Some(&reply) = replies.get(usize::from(element)) else { continue };
        let is_old = turn.waits.waiters.get(id as usize).is_some_and(|w| speaks_of_blocked(turn, w.entrant.cluster));
        match judge(reply, kind, holds, is_old) {
            Verdict::Waits => is_deaf |= wait_on(turn, id),
            Verdict::Gets(reply) => {
                served += 1;
                answer(turn, id, Told::Reply(reply.to_vec()));
            }
            Verdict::Gone(reply) => {
                has_gone = true;
                answer(turn, id, Told::Reply(reply.to_vec()));
            }
        }
    }
    if let Some(known) = turn.waits.lines.get_mut(line as usize) {
        // whoever is first now is asked for if there is more; what came for one that has left tells nothing of that
        has_gone |= holds && attempt.asked.len() < replies.len();
        known.is_ready = was_ready || has_gone;
        known.is_amiss = !holds && holder != b"+none\r\n";
        let bytes = replies.iter().map(|reply| reply.len()).sum();
        known.learn((replies.len(), served), bytes, holds);
        if !known.queue.is_empty() {
            turn.waits.want_watched(spot);
        }
    }
    if is_deaf {
        send_off(turn, line);
    }
}

enum Verdict<'a> {
    Waits,
    Gets(&'a [u8]),
    /// What it waits for is no more: nobody waits for it any longer.
    Gone(&'a [u8]),
}

/// What the reply means to whom it is for, who waited already. `holds`: the key holds what it waits for. `is_old`: the engine
/// has words of its own for those who wait.
fn judge(reply: &[u8], kind: Kind, holds: bool, is_old: bool) -> Verdict<'_> {
    match (kind, reply.first()) {
        _ if is_nothing(reply) => Verdict::Waits,
        (Kind::Group, Some(b'-')) if reply.starts_with(b"-NOGROUP") || reply.starts_with(b"-WRONGTYPE") => {
            let text = if holds { texts::GROUP_GONE } else { texts::STREAM_GONE };
            Verdict::Gone(if is_old { text } else { reply })
        }
        // it holds something else now, and may hold what is waited for again
        (_, Some(b'-')) if !holds && reply.starts_with(b"-WRONGTYPE") => Verdict::Waits,
        _ => Verdict::Gets(reply),
    }
}

/// Engines before 7.2 tell who waits for a group that it is gone in words of their own; later ones as if they were asked
/// anew.
fn speaks_of_blocked(turn: &Turn, cluster: usize) -> bool {
    let version = turn.cluster(cluster).map_or("", |cluster| &cluster.spec.version);
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (7, 2)
}
