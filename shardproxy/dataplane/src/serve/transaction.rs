//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: commands are checked and queued here, and leave as one contiguous batch.
//!
//! ```text
//!   MULTI ─> +OK     SET ─> checked, +QUEUED     EXEC ─> [MULTI SET … EXEC] on the shared connection,
//!                                                        the inner replies swallowed, EXEC's passed on
//! ```
//!
//! Only WATCH needs a connection of its own, from a bounded pool, until EXEC, DISCARD, UNWATCH or the end.

use std::sync::Arc;
use std::time::Duration;

use super::databases::Named;
use super::rejudge::judge_again;
use super::{
    answer, answer_error, block, caching, databases, liberties, login, refusal, refuse, shard_of, slot_of_keys,
    unplaced, Next,
};
use crate::access::Denied;
use crate::admit::{self, Admitted, Denial};
use crate::clients::{Client, Flow, Waiting};
use crate::command::{Act, Code, Command, Flags, Keys, Route};
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::exchange::{Asked, Entry, LARGE};
use crate::metrics::Class;
use crate::model::{EndpointKind, NO_SLOT};
use crate::place::{lease, need, pass, place, scripts, Lease, Need};
use crate::tracking;
use crate::turn::Turn;

/// Bytes one transaction may queue.
const MAX_QUEUED: usize = 64 * 1024 * 1024;
/// Cursors of SCAN have the shard in their lowest bits (shardproxy/commands/keyspace.py).
const SHARD_BITS: u32 = 8;

pub fn serve(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    let command = admitted.command;
    match command.act {
        Act::Multi => multi(turn, client, command),
        Act::Exec => exec(turn, client, command),
        Act::Discard => discard(turn, client, command),
        Act::Watch => watch(turn, client, admitted),
        _ => unwatch(turn, client, command),
    }
}

/// The gate refused a command: inside MULTI that breaks the transaction off.
pub fn refused(turn: &mut Turn, client: &mut Client, command: &Command) {
    break_off(client);
    if command.act == Act::Exec {
        end(turn, client);
    }
}

/// Inside MULTI everything but the transaction's own commands is queued.
pub fn queue(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted) -> Next {
    client.last_command = command.id;
    let is_relaxed = liberties::is_relaxed(turn, client);
    if let Some(text) = why_not_queued(command, request, is_relaxed) {
        break_off(client);
        return answer_error(turn, client, command, &text);
    }
    if command.act == Act::Auth {
        if let Some(text) = login::why_not_queued(turn, client, request) {
            break_off(client);
            return answer_error(turn, client, command, &text);
        }
    }
    let other = match databases::named(turn, client, command, request) {
        Named::Fine if command.act == Act::Scan => scan_for_engine(request),
        Named::Fine => None,
        Named::Beyond(bytes) => Some(bytes),
        Named::Refused(text) => {
            break_off(client);
            return refuse(turn, client, command, text);
        }
    };
    let changes_nothing = command.is_read()
        || command.is_of_all_shards && !command.flags.contains(Flags::WRITE) && !command.is_restricted;
    if client.endpoint == EndpointKind::Reader && !changes_nothing && command.route != Route::Local {
        break_off(client);
        return answer_error(turn, client, command, texts::READONLY);
    }
    if let Err(text) = claim_slot(turn, client, command, request) {
        break_off(client);
        return answer_error(turn, client, command, &text);
    }
    if let Err(text) = caching::queue(turn, client, command, request) {
        break_off(client);
        return answer_error(turn, client, command, &text);
    }
    let is_slow = command.may_be_slow || turn.served(client.cluster).is_some_and(|served| served.is_slow(command.id));
    if matches!(command.route, Route::Only | Route::Offload) {
        liberties::take_whole(turn, client, command);
    }
    let nodes_take = turn.cluster(client.cluster).map_or(usize::MAX, |cluster| cluster.max_query);
    let looks_up = command.keys == Keys::Sort
        && matches!(admit::why_denied(client, command, request), Some(Denial::Rules(Denied::Lookup(_))));
    tracking::queue(client, command, request);
    if let Some(transaction) = &mut client.transaction {
        if transaction.held_with(request.bytes.len()) > nodes_take {
            transaction.is_broken = true;
            let text =
                "ERR the transaction is larger than the nodes take (client-query-buffer-limit), command not queued";
            return refuse(turn, client, command, text);
        }
        if transaction.held_with(request.bytes.len()) > MAX_QUEUED {
            transaction.is_broken = true;
            return refuse(turn, client, command, "ERR the transaction is larger than 64 MiB, command not queued");
        }
        if command.act.is_own() {
            transaction.queue_own(command.act, request.bytes);
        } else {
            transaction.queue(other.as_deref().unwrap_or(request.bytes));
        }
        transaction.is_corrected |= command.act.is_corrected();
        transaction.is_judged_again |= command.act == Act::Auth || looks_up;
        transaction.selects |= command.act == Act::Select;
        transaction.commands += 1;
        transaction.is_slow |= is_slow;
        transaction.calls_script |= command.runs == Some(Code::Digest);
    }
    if command.runs == Some(Code::Body) {
        scripts::see_run(turn, client.cluster, request.argument(1));
    }
    client.answer(&mut turn.pool, texts::QUEUED);
    Next::Go
}

/// What one engine cannot do within a transaction on a connection that others share.
fn why_not_queued(command: &Command, request: &Request, is_relaxed: bool) -> Option<Vec<u8>> {
    if command.flags.contains(Flags::NO_MULTI) {
        return Some(texts::NOT_IN_TRANSACTION.to_vec());
    }
    let is_of_all = command.is_of_all_shards;
    let is_engines_own = match command.route {
        Route::Shard | Route::Database | Route::Split(_) | Route::Any | Route::Block => true,
        Route::Only if is_relaxed => true,
        Route::Local if command.act == Act::Select => is_relaxed,
        Route::Local if command.act.is_own() => true,
        Route::Local | Route::Transaction | Route::PubSub => command.act.is_engines_in_multi(),
        Route::Offload if command.act == Act::Debug && is_deadly(request.argument(1)) => false,
        Route::Offload => is_of_all && is_relaxed,
        Route::Refused | Route::Only => return Some(format!("-{}\r\n", refusal(command)).into_bytes()),
        _ => false,
    };
    if is_engines_own {
        return None;
    }
    let name = command.name.replace('|', " ").to_uppercase();
    let why = match command.route {
        Route::Offload if command.act == Act::Debug && is_relaxed => "it may end the node",
        Route::Offload if is_of_all => "it concerns all shards, a transaction runs on one",
        Route::PubSub => "subscriptions are the proxy's, a transaction is an engine's",
        _ => "the proxy answers it, a transaction is an engine's",
    };
    Some(format!("-ERR {name} is not possible inside MULTI: {why}\r\n").into_bytes())
}

/// Of DEBUG what ends an engine, or says more than a reply (shardproxy/commands/admin.py).
fn is_deadly(subcommand: &[u8]) -> bool {
    const DEADLY: [&str; 7] = ["segfault", "panic", "restart", "crash-and-recover", "assert", "oom", "protocol"];
    DEADLY.iter().any(|word| subcommand.eq_ignore_ascii_case(word.as_bytes()))
}

/// All keys of a transaction share one slot, unless there is but one shard.
fn claim_slot(turn: &mut Turn, client: &mut Client, command: &Command, request: &Request) -> Result<(), Vec<u8>> {
    let Some(slot) = slot_of_keys(turn, client, command, request)? else { return Ok(()) };
    need(turn, client.cluster, command.is_read(), turn.scratch.keys.iter().map(|&key| request.argument(key as usize)));
    let other = client.transaction.as_deref().and_then(|transaction| transaction.slot).filter(|&other| other != slot);
    if other.is_some() && !liberties::is_relaxed(turn, client) {
        return Err(texts::CROSSSLOT.to_vec());
    }
    if let Some(served) = turn.served(client.cluster).filter(|_| other.is_some()) {
        let keys = turn.scratch.keys.iter().take(1);
        liberties::take(served, client, command, || liberties::example(command, request, keys));
    }
    if let Some(transaction) = &mut client.transaction {
        transaction.slot.get_or_insert(slot);
    }
    Ok(())
}

/// A command could not be queued.
pub fn break_off(client: &mut Client) {
    if let Some(transaction) = &mut client.transaction {
        transaction.is_broken = true;
    }
}

fn multi(turn: &mut Turn, client: &mut Client, command: &Command) -> Next {
    let transaction = client.transaction.get_or_insert_default();
    if transaction.is_open {
        return answer_error(turn, client, command, texts::NESTED_MULTI);
    }
    transaction.is_open = true;
    transaction.command = command.id;
    transaction.rights = client.login.rights;
    client.executing = None;
    client.see_whether_judged();
    answer(turn, client, command, texts::OK)
}

fn exec(turn: &mut Turn, client: &mut Client, command: &Command) -> Next {
    lose_moved(turn, client);
    let Some(transaction) = client.transaction.as_deref().filter(|t| t.is_open) else {
        return answer_error(turn, client, command, texts::EXEC_WITHOUT_MULTI);
    };
    if transaction.is_broken {
        end(turn, client);
        return answer_error(turn, client, command, texts::EXECABORT);
    }
    if transaction.is_relaxed && !liberties::is_relaxed(turn, client) {
        end(turn, client);
        return answer_error(turn, client, command, texts::EXECABORT_STRICT);
    }
    if databases::is_gone(turn, client) {
        end(turn, client);
        return answer_error(turn, client, command, texts::NOT_A_DATABASE);
    }
    if transaction.watch_lost {
        end(turn, client);
        return answer(turn, client, command, texts::null_array(client.resp));
    }
    if transaction.is_watching {
        if !client.replies.is_empty() {
            return Next::Hold; // what it read before must not be overtaken
        }
    } else if transaction.commands == 0 {
        end(turn, client);
        return answer(turn, client, command, texts::EMPTY_ARRAY);
    }
    let (slot, queued) = (transaction.slot.unwrap_or(NO_SLOT), transaction.queued.len());
    let is_watching = transaction.is_watching;
    if !caching::may_execute(client) {
        return Next::Hold;
    }
    // on the reader endpoint nothing but reads was queued
    let need = if client.endpoint == EndpointKind::Reader { Need::Read } else { Need::Write };
    let shard = shard_of(turn, client, if slot == NO_SLOT { 0 } else { slot });
    let link = match (client.lease.filter(|_| is_watching), shard) {
        (Some(leased), shard) => {
            let served = turn.served(client.cluster);
            let why = shard.ok().and_then(|shard| served?.why_read_only(shard));
            let passes = shard.map_or(Ok(()), |shard| pass(turn, client, (shard, slot), false));
            passes.and_then(|()| why.map_or(Ok(leased as usize), |text| Err(text.into())))
        }
        (None, Ok(shard)) => place(turn, client, (shard, slot), need),
        (None, Err(text)) => Err(text.to_vec().into()),
    };
    let link = match link {
        Ok(link) => link,
        Err(why) => {
            let next = unplaced(turn, client, command, queued, why);
            if !matches!(next, Next::Queue | Next::Hold) {
                end(turn, client);
            }
            return next;
        }
    };
    judge_again(turn, client);
    let Some(mut transaction) = client.transaction.take() else { return Next::Go };
    if transaction.calls_script {
        scripts::precede_all(turn, link, &transaction.queued);
    }
    let silent = client.take_silence();
    let sequence = client.replies.expect(silent);
    client.wrote = sequence;
    client.executing = transaction.executing(sequence, client.db).map(Box::new);
    let is_corrected = transaction.is_corrected || client.executing.is_some();
    let before = u32::from(!transaction.cancels.is_empty());
    let entry = Entry {
        asked: Asked::Exec(before + transaction.commands + 1),
        class: if is_corrected { Class::Publish } else { Class::Write },
        is_read: need == Need::Read,
        is_slow: transaction.is_slow,
        slot,
        ..Entry::of(client.owed(sequence), command, turn.micros)
    };
    transaction.begin();
    transaction.queued.extend_from_slice(texts::EXEC_REQUEST);
    if before > 0 {
        transaction.prepend_leases();
        if let Some(served) = turn.served(client.cluster) {
            transaction.cancels.iter().for_each(|&rule| served.count_cancelled(rule));
        }
    }
    let exchange = &mut turn.links[link].exchange;
    if transaction.queued.len() > LARGE {
        exchange.push_whole(entry, Arc::new(std::mem::take(&mut transaction.queued)));
    } else {
        exchange.push(entry, &transaction.queued);
    }
    turn.links.mark(link);
    client.see_whether_judged();
    if transaction.is_watching || client.executing.is_some() {
        client.flow = Flow::Barrier;
        return Next::Wait;
    }
    turn.pool.take_back(&mut transaction.queued); // it serves the next one
    client.awaits_exec = (!client.output.is_empty()).then_some(sequence);
    Next::Go
}

fn discard(turn: &mut Turn, client: &mut Client, command: &Command) -> Next {
    if client.transaction.as_deref().is_none_or(|t| !t.is_open) {
        return answer_error(turn, client, command, texts::DISCARD_WITHOUT_MULTI);
    }
    end(turn, client);
    answer(turn, client, command, texts::OK)
}

fn watch(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted) -> Next {
    if client.transaction.as_deref().is_some_and(|t| t.is_open) {
        return answer_error(turn, client, command, texts::WATCH_INSIDE_MULTI);
    }
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    lose_moved(turn, client);
    let resumed = client.waiting.take();
    client.transaction.get_or_insert_default();
    if let Err(text) = claim_slot(turn, client, command, request) {
        return answer_error(turn, client, command, &text);
    }
    let slot = client.transaction.as_deref().and_then(|t| t.slot).unwrap_or(0);
    let shard = shard_of(turn, client, slot);
    let is_over = resumed.as_deref().is_some_and(|waiting| waiting.is_over(turn.now));
    let passes = shard.map_or(Ok(()), |shard| pass(turn, client, (shard, slot), true));
    if let Err(why) = passes.or_else(|why| if is_over { Ok(()) } else { Err(why) }) {
        let next = unplaced(turn, client, command, request.bytes.len(), why);
        if next == Next::Queue {
            client.waiting = resumed;
        } else {
            forget_unwatched(client);
        }
        return next;
    }
    let park = patience(turn, client);
    let waiting = resumed.map_or_else(|| Waiting::to_watch(turn.now, turn.held.number(), park), |resumed| *resumed);
    let leased = match shard {
        Err(text) => Lease::Refused(text.to_vec()),
        Ok(shard) if is_over => Lease::Refused(waited_too_long(turn, client, shard, &waiting)),
        Ok(shard) => lease(turn, client, (shard, waiting.number), false, false),
    };
    let link = match leased {
        Lease::Held(link) => link,
        Lease::Wait | Lease::Later => {
            let is_later = matches!(leased, Lease::Later);
            return wait_to_watch(turn, client, waiting, is_later);
        }
        Lease::Refused(text) => {
            forget_unwatched(client);
            return answer_error(turn, client, command, &text);
        }
    };
    if let Some(transaction) = &mut client.transaction {
        transaction.is_first_watch = !transaction.is_watching;
        transaction.is_watching = true;
    }
    if let Some(leased) = turn.links[link].leased_mut() {
        // should its node not serve the slot, it waits as long as it may for who does
        leased.waiting = Some(waiting);
    }
    let silent = client.take_silence();
    let sequence = client.replies.expect(silent);
    let entry =
        Entry { class: Class::Write, is_read: false, slot, ..Entry::of(client.owed(sequence), command, turn.micros) };
    turn.links[link].exchange.push(entry, request.bytes);
    turn.links.mark(link);
    client.flow = Flow::Barrier;
    Next::Wait
}

/// What was not watched binds no slot.
fn forget_unwatched(client: &mut Client) {
    client.transaction = client.transaction.take().filter(|t| t.is_watching || t.watch_lost);
}

/// What was watched is another shard's by now, and nobody has looked at it there: as if it had changed.
pub fn lose_moved(turn: &mut Turn, client: &mut Client) {
    let Some(leased) = client.lease else { return };
    let Some(slot) = client.transaction.as_deref().filter(|t| t.is_watching).and_then(|t| t.slot) else { return };
    let way = turn.links[leased as usize].way;
    if turn.cluster(way.cluster).is_none_or(|cluster| cluster.moved_to(slot, way.shard).is_none()) {
        return;
    }
    give_back_watch(turn, client);
    if let Some(transaction) = &mut client.transaction {
        transaction.is_watching = false;
        transaction.watch_lost = true;
    }
}

/// WATCH has no timeout of its own: it waits no longer than what is parked.
fn wait_to_watch(turn: &mut Turn, client: &mut Client, mut waiting: Waiting, is_later: bool) -> Next {
    if is_later {
        waiting.begin_trouble(turn.now);
        turn.later.unplaced.push(client.ticket());
    }
    block::queue(client, waiting)
}

fn waited_too_long(turn: &Turn, client: &Client, shard: u16, waiting: &Waiting) -> Vec<u8> {
    if waiting.has_trouble() {
        return turn.waited_in_vain(client.cluster, shard, true);
    }
    let waited = patience(turn, client).as_secs_f64();
    let why = "all connections of its kind are in use (limits.dedicated)";
    format!("-ERR WATCH waited {waited} s (timeouts.park): {why}, command not executed\r\n").into_bytes()
}

fn patience(turn: &Turn, client: &Client) -> Duration {
    turn.cluster(client.cluster).map_or(Duration::ZERO, |cluster| cluster.spec.timeouts.park)
}

fn unwatch(turn: &mut Turn, client: &mut Client, command: &Command) -> Next {
    end(turn, client);
    answer(turn, client, command, texts::OK)
}

/// Forget the transaction and what it watched; its connection goes back to the pool.
pub fn end(turn: &mut Turn, client: &mut Client) {
    let transaction = client.transaction.take();
    client.see_whether_judged();
    let Some(mut transaction) = transaction else { return };
    turn.pool.take_back(&mut transaction.queued);
    if !transaction.is_watching {
        return;
    }
    give_back_watch(turn, client);
}

fn give_back_watch(turn: &mut Turn, client: &mut Client) {
    if let Some(leased) = client.lease.take() {
        let link = &mut turn.links[leased as usize];
        if let Some(leased) = link.leased_mut() {
            leased.owner = None;
        }
        link.exchange.push(Entry::nobody(turn.micros), texts::UNWATCH_REQUEST);
        turn.links.mark(leased as usize); // it is given back when the reply is in
    }
}

/// SCAN as the only shard is to see it; none when its cursor is no number.
fn scan_for_engine(request: &Request) -> Option<Vec<u8>> {
    let cursor: u64 = std::str::from_utf8(request.argument(1)).ok()?.parse().ok()?;
    let cursor = (cursor >> SHARD_BITS).to_string();
    let mut bytes = Vec::with_capacity(request.bytes.len());
    write::array_header(&mut bytes, request.len());
    for (at, argument) in request.arguments().enumerate() {
        write::bulk(&mut bytes, if at == 1 { cursor.as_bytes() } else { argument });
    }
    Some(bytes)
}
