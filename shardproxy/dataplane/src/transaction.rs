//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: commands are checked and queued here, and leave as one contiguous batch.
//!
//! ```text
//!   MULTI ─> +OK     SET ─> checked, +QUEUED     EXEC ─> [MULTI SET … EXEC] on the shared connection,
//!                                                        the inner replies swallowed, EXEC's passed on
//! ```
//!
//! Only WATCH needs a connection of its own, from a bounded pool, until EXEC, DISCARD, UNWATCH or the end.

use std::time::Duration;

use crate::block::{self, Waiting};
use crate::client::{Client, Flow, Transaction};
use crate::command::{Command, Flags, Route};
use crate::databases;
use crate::exec_reply;
use crate::metrics::Class;
use crate::protocol::texts;
use crate::request::Request;
use crate::route::{self, answer_error, answer_own, refuse, Next};
use crate::scripts;
use crate::topology::{EndpointKind, NO_SHARD};
use crate::upstream::Pending;
use crate::worker::{failing_over, Core, Lease, Need};

/// Bytes one transaction may queue.
const MAX_QUEUED: usize = 64 * 1024 * 1024;

pub fn serve(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    match &*command.name {
        "multi" => multi(core, client, command),
        "exec" => exec(core, client, index, command),
        "discard" => discard(core, client, command),
        "watch" => watch(core, client, index, command, request),
        _ => unwatch(core, client, command),
    }
}

/// Inside MULTI everything but the transaction's own commands is queued.
pub fn queue(
    core: &mut Core,
    found: Option<&Command>,
    client: &mut Client,
    index: usize,
    request: &Request,
    may_learn: bool,
) -> Next {
    let Some(command) = found else {
        let next = route::unknown(core, client, index, request, may_learn);
        if next == Next::Go {
            break_off(client); // it was answered by an error; else the engines are asked, and it comes again
        }
        return next;
    };
    if !command.accepts(request.len()) {
        break_off(client);
        if &*command.name == "exec" {
            end(core, client);
        }
        return refuse(core, client, command, &route::wrong_arity(command));
    }
    let is_own = matches!(&*command.name, "multi" | "exec" | "discard" | "watch" | "quit" | "reset");
    if is_own {
        return route::serve_other(core, client, index, command, request);
    }
    let command = match route::most_specific(command, request) {
        Ok(command) => command,
        Err(text) => {
            break_off(client);
            return refuse(core, client, command, &text);
        }
    };
    client.last_command = command.id;
    if let Some(text) = why_not_queued(command, route::has_one_shard(core, client)) {
        break_off(client);
        return answer_error(core, client, command, &text);
    }
    if let Some(text) = databases::why_not_served(core, client, command, request) {
        break_off(client);
        return refuse(core, client, command, text);
    }
    let changes_nothing = command.is_read() || is_of_all_shards(command) && !command.flags.contains(Flags::WRITE);
    if client.endpoint == EndpointKind::Reader && !changes_nothing && command.route != Route::Local {
        break_off(client);
        return answer_error(core, client, command, texts::READONLY);
    }
    if let Err(text) = claim_slot(core, client, command, request) {
        break_off(client);
        return answer_error(core, client, command, &text);
    }
    let scan = if &*command.name == "scan" { exec_reply::scan_for_engine(request) } else { None };
    if let Some(transaction) = &mut client.transaction {
        if transaction.queued.len() + request.bytes.len() > MAX_QUEUED {
            transaction.is_broken = true;
            return refuse(core, client, command, "ERR the transaction is larger than 64 MiB, command not queued");
        }
        transaction.queued.extend_from_slice(scan.as_deref().unwrap_or(request.bytes));
        transaction.is_corrected |= matches!(&*command.name, "publish" | "spublish" | "scan");
        transaction.commands += 1;
        transaction.calls_script |= command.calls_script;
    }
    answer_own(core, client, texts::QUEUED);
    Next::Go
}

/// What one engine cannot do within a transaction on a connection that others share.
fn why_not_queued(command: &Command, has_one_shard: bool) -> Option<Vec<u8>> {
    if command.flags.contains(Flags::NO_MULTI) {
        return Some(texts::NOT_IN_TRANSACTION.to_vec());
    }
    let is_of_all = is_of_all_shards(command);
    let is_engines_own = match command.route {
        Route::Shard | Route::Database | Route::Split(_) | Route::Any | Route::Block => true,
        Route::Only if has_one_shard => true,
        Route::Local | Route::Transaction => matches!(&*command.name, "ping" | "echo" | "time" | "unwatch"),
        Route::PubSub => matches!(&*command.name, "publish" | "spublish"),
        Route::Offload => is_of_all && has_one_shard,
        Route::Refused | Route::Only => return Some(format!("-{}\r\n", route::refusal(command)).into_bytes()),
        _ => false,
    };
    if is_engines_own {
        return None;
    }
    let name = command.name.replace('|', " ").to_uppercase();
    let why = match command.route {
        Route::Offload if is_of_all => "it concerns all shards, a transaction runs on one",
        Route::PubSub => "subscriptions are the proxy's, a transaction is an engine's",
        _ => "the proxy answers it, a transaction is an engine's",
    };
    Some(format!("-ERR {name} is not possible inside MULTI: {why}\r\n").into_bytes())
}

/// What the control plane asks of every shard: of a cluster of one, its engine may be asked in a transaction. Not what
/// the proxy has a memory of its own for, as SCRIPT FLUSH, nor what cannot be within one, as SCRIPT KILL.
fn is_of_all_shards(command: &Command) -> bool {
    matches!(
        &*command.name,
        "dbsize"
            | "flushall"
            | "flushdb"
            | "info"
            | "keys"
            | "lastsave"
            | "randomkey"
            | "scan"
            | "wait"
            | "script|exists"
            | "script|load"
    ) || ["function|", "latency|", "memory|", "slowlog|"].iter().any(|group| command.name.starts_with(group))
}

/// All keys of a transaction share one slot.
fn claim_slot(core: &mut Core, client: &mut Client, command: &Command, request: &Request) -> Result<(), Vec<u8>> {
    let Some(slot) = route::slot_of_keys(core, client, command, request)? else { return Ok(()) };
    core.need(client.cluster, command.is_read(), core.keys.iter().map(|&key| request.argument(key as usize)));
    let Some(transaction) = &mut client.transaction else { return Ok(()) };
    match transaction.slot {
        Some(other) if other != slot => Err(texts::CROSSSLOT.to_vec()),
        _ => {
            transaction.slot = Some(slot);
            Ok(())
        }
    }
}

/// A command could not be queued.
pub fn break_off(client: &mut Client) {
    if let Some(transaction) = &mut client.transaction {
        transaction.is_broken = true;
    }
}

fn multi(core: &mut Core, client: &mut Client, command: &Command) -> Next {
    let transaction = client.transaction.get_or_insert_default();
    if transaction.is_open {
        return answer_error(core, client, command, texts::NESTED_MULTI);
    }
    transaction.is_open = true;
    client.is_special = true;
    answer(core, client, command, texts::OK)
}

fn exec(core: &mut Core, client: &mut Client, index: usize, command: &Command) -> Next {
    let Some(transaction) = client.transaction.as_deref().filter(|t| t.is_open) else {
        return answer_error(core, client, command, texts::EXEC_WITHOUT_MULTI);
    };
    if transaction.is_broken {
        end(core, client);
        return answer_error(core, client, command, texts::EXECABORT);
    }
    if transaction.watch_lost {
        end(core, client);
        let null: &[u8] = if client.resp == 3 { b"_\r\n" } else { b"*-1\r\n" };
        return answer(core, client, command, null);
    }
    if transaction.is_watching {
        if !client.replies.is_empty() {
            return Next::Hold; // what it read before must not be overtaken
        }
    } else if transaction.commands == 0 {
        end(core, client);
        return answer(core, client, command, texts::EMPTY_ARRAY);
    }
    let slot = transaction.slot.unwrap_or(0);
    // on the reader endpoint nothing but reads was queued
    let need = if client.endpoint == EndpointKind::Reader { Need::Read } else { Need::Write };
    let upstream = match (client.lease.filter(|_| transaction.is_watching), shard_of(core, client, slot)) {
        (Some(leased), _) => Ok(leased as usize),
        (None, Ok(shard)) => core.place(client, shard, need),
        (None, Err(text)) => Err(text),
    };
    let upstream = match upstream {
        Ok(upstream) => upstream,
        Err(text) => {
            end(core, client);
            return answer_error(core, client, command, &text);
        }
    };
    let Some(mut transaction) = client.transaction.take() else { return Next::Go };
    if transaction.calls_script {
        scripts::precede_all(core, upstream, &transaction.queued);
    }
    let sink = core.upstreams[upstream].window.sink();
    sink.extend_from_slice(texts::MULTI_REQUEST);
    sink.extend_from_slice(&transaction.queued);
    sink.extend_from_slice(texts::EXEC_REQUEST);
    let length = texts::MULTI_REQUEST.len() + transaction.queued.len() + texts::EXEC_REQUEST.len();
    let sequence = expect(core, client, index, command, upstream, length, transaction.commands + 1);
    if let Some(pending) = core.upstreams[upstream].pending.back_mut() {
        pending.is_read = need == Need::Read;
        if transaction.is_corrected {
            pending.class = Class::Publish;
        }
    }
    client.is_special = client.is_subscriber();
    if transaction.is_watching {
        client.flow = Flow::Barrier;
        return Next::Wait;
    }
    keep_buffer(core, &mut transaction);
    client.awaits_exec = (!client.output.is_empty()).then_some(sequence);
    Next::Go
}

/// The buffer of a finished transaction serves the next one.
fn keep_buffer(core: &mut Core, transaction: &mut Transaction) {
    core.pool.take_back(&mut transaction.queued);
}

fn discard(core: &mut Core, client: &mut Client, command: &Command) -> Next {
    if client.transaction.as_deref().is_none_or(|t| !t.is_open) {
        return answer_error(core, client, command, texts::DISCARD_WITHOUT_MULTI);
    }
    end(core, client);
    answer(core, client, command, texts::OK)
}

fn watch(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    if client.transaction.as_deref().is_some_and(|t| t.is_open) {
        return answer_error(core, client, command, texts::WATCH_INSIDE_MULTI);
    }
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    let resumed = client.waiting.take();
    client.transaction.get_or_insert_default();
    if let Err(text) = claim_slot(core, client, command, request) {
        return answer_error(core, client, command, &text);
    }
    let slot = client.transaction.as_deref().and_then(|t| t.slot).unwrap_or(0);
    let shard = shard_of(core, client, slot);
    let is_over = resumed.as_deref().is_some_and(|waiting| waiting.is_over(core.now));
    let leased = match (shard, resumed.as_deref()) {
        (Err(text), _) => Lease::Refused(text),
        (Ok(shard), Some(waiting)) if is_over => Lease::Refused(waited_too_long(core, client, shard, waiting)),
        (Ok(shard), _) => core.lease(client, index, shard, false),
    };
    let upstream = match leased {
        Lease::Held(upstream) => upstream,
        Lease::Wait | Lease::Later => {
            let is_later = matches!(leased, Lease::Later);
            return wait_to_watch(core, client, index, resumed, is_later);
        }
        Lease::Refused(text) => {
            // what was not watched binds no slot
            client.transaction = client.transaction.take().filter(|t| t.is_watching || t.watch_lost);
            return answer_error(core, client, command, &text);
        }
    };
    if let Some(transaction) = &mut client.transaction {
        transaction.is_watching = true;
    }
    core.upstreams[upstream].window.sink().extend_from_slice(request.bytes);
    expect(core, client, index, command, upstream, request.bytes.len(), 0);
    client.flow = Flow::Barrier;
    Next::Wait
}

/// WATCH has no timeout of its own: it waits no longer than what is parked.
fn wait_to_watch(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    resumed: Option<Box<Waiting>>,
    is_later: bool,
) -> Next {
    let park = patience(core, client);
    let new = || Waiting::to_watch(core.now, park);
    let mut waiting = resumed.map_or_else(new, |resumed| *resumed);
    if is_later {
        waiting.begin_trouble(core.now);
        core.unplaced.push((index, client.tag()));
    }
    block::queue(client, waiting)
}

fn waited_too_long(core: &Core, client: &Client, shard: u16, waiting: &Waiting) -> Vec<u8> {
    if waiting.has_trouble() {
        return failing_over(&core.label(client.cluster, shard));
    }
    let waited = patience(core, client).as_secs_f64();
    let why = "all connections of its kind are in use (limits.dedicated)";
    format!("-ERR WATCH waited {waited} s (timeouts.park): {why}, command not executed\r\n").into_bytes()
}

fn patience(core: &Core, client: &Client) -> Duration {
    core.clusters[client.cluster].as_ref().map_or(Duration::ZERO, |s| s.cluster.spec.timeouts.park)
}

fn unwatch(core: &mut Core, client: &mut Client, command: &Command) -> Next {
    end(core, client);
    answer(core, client, command, texts::OK)
}

/// Forget the transaction and what it watched; its connection goes back to the pool.
pub fn end(core: &mut Core, client: &mut Client) {
    client.is_special = client.is_subscriber();
    let Some(mut transaction) = client.transaction.take() else { return };
    core.pool.take_back(&mut transaction.queued);
    if !transaction.is_watching {
        return;
    }
    if let Some(leased) = client.lease.take() {
        let upstream = &mut core.upstreams[leased as usize];
        upstream.owner = None;
        upstream.window.sink().extend_from_slice(texts::UNWATCH_REQUEST);
        upstream.pending.push_back(Pending::nobody(texts::UNWATCH_REQUEST.len(), core.micros));
        core.mark_dirty(leased as usize); // it is given back when the reply is in
    }
}

fn shard_of(core: &Core, client: &Client, slot: u16) -> Result<u16, Vec<u8>> {
    let served = core.clusters[client.cluster].as_ref();
    match served.map(|s| s.cluster.shard_of(slot)) {
        Some(shard) if shard != NO_SHARD => Ok(shard),
        _ => Err(texts::CLUSTERDOWN.to_vec()),
    }
}

/// The bytes are in the window: owe the client their reply; its sequence number.
fn expect(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    command: &Command,
    upstream: usize,
    length: usize,
    inner: u32,
) -> u32 {
    let silent = route::take_silence(client);
    let sequence = client.replies.expect(silent);
    let pending = Pending::of(client, index, sequence, command, length, core.micros);
    core.upstreams[upstream].pending.push_back(Pending { inner, class: Class::Write, is_read: false, ..pending });
    core.mark_dirty(upstream);
    sequence
}

fn answer(core: &mut Core, client: &mut Client, command: &Command, reply: &[u8]) -> Next {
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.command(command.id, false);
    }
    answer_own(core, client, reply);
    Next::Go
}
