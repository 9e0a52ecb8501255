//! From a framed request to where it is executed: one shard, several, Python, or here.
//!
//! ```text
//!   request ─> command ─> arity ─┬─ local ──> answer/           (PING, HELLO, CLIENT ID …)
//!              (table)           ├─ shard ──> key ─> slot ─> shard ─> upstream
//!                                ├─ split ──> one part per shard, joined in split.rs
//!                                └─ offload ─> trio
//! ```

use crate::answer;
use crate::client::{Client, Flow, ReplyMode};
use crate::command::{key_positions, sort_positions, Command, CommandTable, Flags, Join as JoinKind, Keys, Route};
use crate::metrics::{Class, CloseReason};
use crate::pause::Paused;
use crate::protocol::resp::request::{Parsed, RequestError, RequestLimits, RequestParser};
use crate::protocol::{resp::write, texts};
use crate::request::Request;
use crate::split::Join;
use crate::topology::{EndpointKind, NO_SHARD};
use crate::upstream::Pending;
use crate::worker::{Core, Pressure};
use crate::{block, databases, offload, pubsub, scripts, transaction};

/// What happens to the client's input after a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Go,
    /// The request was not taken: it waits until all earlier replies are in.
    Hold,
    /// It was taken, and the ones behind it wait for its answer.
    Wait,
    /// It was not taken: CLIENT PAUSE holds it.
    Pause,
    /// It was not taken: it waits for a connection of its own.
    Queue,
    Close,
}

/// Route one request. `may_learn`: a command that is not in the table may be asked of the engines.
#[inline]
pub fn serve(
    core: &mut Core,
    table: &CommandTable,
    client: &mut Client,
    index: usize,
    request: &Request,
    may_learn: bool,
) -> Next {
    if client.is_special || !core.paused.is_empty() {
        return serve_special(core, table, client, index, request, may_learn);
    }
    let Some(command) = table.find(request.argument(0)) else {
        return unknown(core, client, index, request, may_learn);
    };
    if !command.accepts(request.len()) {
        return refuse(core, client, command, &wrong_arity(command));
    }
    if command.route == Route::Shard && command.subcommands.is_empty() {
        return to_shard(core, client, index, command, request);
    }
    if let Route::Renamed(real) = command.route {
        return serve_renamed(core, table, client, index, real, request);
    }
    serve_other(core, client, index, command, request)
}

/// A command under the name its cluster's config gives it: it goes on under its real one.
#[cold]
fn serve_renamed(
    core: &mut Core,
    table: &CommandTable,
    client: &mut Client,
    index: usize,
    real: u16,
    request: &Request,
) -> Next {
    let Some(command) = table.real(real) else { return Next::Close };
    let mut bytes = Vec::with_capacity(request.bytes.len() + command.name.len());
    write::array_header(&mut bytes, request.len());
    write::bulk(&mut bytes, command.name.as_bytes());
    request.arguments().skip(1).for_each(|argument| write::bulk(&mut bytes, argument));
    let mut parser = RequestParser::new();
    let limits = RequestLimits { max_request: usize::MAX, max_arguments: usize::MAX >> 1, authenticated: true };
    let Ok(Parsed::Request { .. }) = parser.parse(&bytes, &limits) else { return Next::Close };
    let request = Request { bytes: &bytes, spans: parser.spans() };
    if client.is_special || !core.paused.is_empty() {
        return serve_found(core, client, index, Some(command), &request, false);
    }
    if !command.accepts(request.len()) {
        return refuse(core, client, command, &wrong_arity(command));
    }
    serve_other(core, client, index, command, &request)
}

/// The client's commands mean something else: it is inside MULTI, or subscribes in RESP2.
#[cold]
fn serve_special(
    core: &mut Core,
    table: &CommandTable,
    client: &mut Client,
    index: usize,
    request: &Request,
    may_learn: bool,
) -> Next {
    match table.find(request.argument(0)) {
        Some(&Command { route: Route::Renamed(real), .. }) => serve_renamed(core, table, client, index, real, request),
        found => serve_found(core, client, index, found, request, may_learn),
    }
}

fn serve_found(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    found: Option<&Command>,
    request: &Request,
    may_learn: bool,
) -> Next {
    if client.transaction.as_deref().is_some_and(|t| t.is_open) {
        if core.paused(client.cluster) != Paused::Nothing && found.is_some_and(|command| &*command.name == "exec") {
            return Next::Pause;
        }
        return transaction::queue(core, found, client, index, request, may_learn);
    }
    let Some(command) = found else {
        return unknown(core, client, index, request, may_learn);
    };
    if !command.accepts(request.len()) {
        return refuse(core, client, command, &wrong_arity(command));
    }
    if is_held(core.paused(client.cluster), command) {
        return Next::Pause;
    }
    if client.is_subscriber() {
        let found = most_specific(command, request).map(pubsub::why_not_while_subscribed);
        if let Some(text) = found.unwrap_or_else(Some) {
            return refuse(core, client, command, &text);
        }
    }
    serve_other(core, client, index, command, request)
}

/// Whether CLIENT PAUSE holds the command: in WRITE mode what may change data or be replicated.
fn is_held(paused: Paused, command: &Command) -> bool {
    let may_change = || {
        command.flags.contains(Flags::WRITE)
            || matches!(
                &*command.name,
                "eval" | "evalsha" | "fcall" | "publish" | "spublish" | "pfcount" | "exec" | "flushall" | "flushdb"
            )
    };
    match paused {
        Paused::Nothing => false,
        Paused::Writes => may_change(),
        Paused::All => true,
    }
}

/// The subcommand, where a command has some; the error text if there is no such, or its arity is wrong.
pub fn most_specific<'t>(command: &'t Command, request: &Request) -> Result<&'t Command, String> {
    if command.subcommands.is_empty() || request.len() < 2 {
        return Ok(command);
    }
    match command.subcommand(request.argument(1)) {
        Some(sub) if !sub.accepts(request.len()) => Err(wrong_arity(sub)),
        Some(sub) => Ok(sub),
        None => Err(unknown_subcommand(command, request)),
    }
}

pub fn serve_other(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    let command = match most_specific(command, request) {
        Ok(command) => command,
        Err(text) => return refuse(core, client, command, &text),
    };
    client.last_command = command.id;
    match command.route {
        Route::Local => answer::local(core, client, index, command, request),
        Route::Only if !has_one_shard(core, client) => refuse(core, client, command, &refusal(command)),
        Route::Shard | Route::Any | Route::Only => to_shard(core, client, index, command, request),
        Route::Database => match databases::why_not_served(core, client, command, request) {
            Some(text) => refuse(core, client, command, text),
            None => to_shard(core, client, index, command, request),
        },
        Route::Split(kind) => to_shards(core, client, index, command, kind, request),
        Route::Offload if client.endpoint == EndpointKind::Reader && command.flags.contains(Flags::WRITE) => {
            answer_error(core, client, command, texts::READONLY)
        }
        Route::Offload => offload::submit(core, client, index, Some(command), request),
        Route::Transaction => transaction::serve(core, client, index, command, request),
        Route::PubSub => pubsub::serve(core, client, index, command, request),
        Route::Block => block::serve(core, client, index, command, request),
        Route::Refused => refuse(core, client, command, &refusal(command)),
        Route::Renamed(_) => Next::Close, // a name, never a command: its caller has the real one
        Route::Later => {
            let name = command.name.replace('|', " ").to_uppercase();
            refuse(core, client, command, &format!("ERR {name} is not supported yet"))
        }
    }
}

/// One shard, by the slot of its keys.
#[inline]
pub fn to_shard(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    client.last_command = command.id;
    let is_single = command.first == 1 && command.last == 1 && !command.has_movable_keys();
    let slot = if is_single {
        let Some(served) = &core.clusters[client.cluster] else { return Next::Close };
        served.cluster.slot_of(request.argument(1))
    } else {
        match slot_of_keys(core, client, command, request) {
            Ok(slot) => slot.unwrap_or(0), // without keys it may run anywhere
            Err(text) => return answer_error(core, client, command, &text),
        }
    };
    let Some(served) = &core.clusters[client.cluster] else { return Next::Close };
    let shard = served.cluster.shard_of(slot);
    if shard == NO_SHARD {
        return answer_error(core, client, command, texts::CLUSTERDOWN);
    }
    if core.pressure == Pressure::Full {
        return answer_error(core, client, command, texts::OUT_OF_BUFFERS);
    }
    let is_read = command.is_read();
    let (need, mark) = if is_single {
        core.need(client.cluster, is_read, std::iter::once(request.argument(1)))
    } else {
        core.need(client.cluster, is_read, core.keys.iter().map(|&position| request.argument(position as usize)))
    };
    let upstream = match core.place(client, shard, need) {
        Ok(upstream) => upstream,
        Err(text) => return answer_error(core, client, command, &text),
    };
    if command.calls_script {
        scripts::precede(core, upstream, request.argument(1));
    }
    send(core, client, index, command, request, upstream, |pending| pending.mark = mark);
    Next::Go
}

/// Put a whole request on a connection as it came, and owe the client its reply. `adjust`: what is special about it.
#[inline]
pub fn send(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    command: &Command,
    request: &Request,
    upstream: usize,
    adjust: impl FnOnce(&mut Pending),
) {
    let silent = take_silence(client);
    let sequence = client.replies.expect(silent);
    let mut pending = Pending::of(client, index, sequence, command, request.bytes.len(), core.micros);
    adjust(&mut pending);
    let link = &mut core.upstreams[upstream];
    link.window.sink().extend_from_slice(request.bytes);
    link.pending.push_back(pending);
    core.mark_dirty(upstream);
}

/// The slot all keys share; none for a command without keys.
pub fn slot_of_keys(
    core: &mut Core,
    client: &Client,
    command: &Command,
    request: &Request,
) -> Result<Option<u16>, Vec<u8>> {
    let Some(served) = &core.clusters[client.cluster] else { return Err(texts::CLUSTERDOWN.to_vec()) };
    // on the only shard is whatever patterns look up
    let is_alone = command.keys == Keys::Sort && served.cluster.shards.len() == 1;
    let found = if is_alone {
        sort_positions(command, request.spans, request.bytes, &mut core.keys)
    } else {
        key_positions(command, request.spans, request.bytes, &mut core.keys)
    };
    if let Err(error) = found {
        return Err(error.reply(command));
    }
    let mut slots = core.keys.iter().map(|&position| served.cluster.slot_of(request.argument(position as usize)));
    let Some(first) = slots.next() else { return Ok(None) };
    if slots.all(|slot| slot == first) {
        Ok(Some(first))
    } else {
        Err(texts::CROSSSLOT.to_vec())
    }
}

/// Scatter a command over the shards of its keys.
fn to_shards(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    command: &Command,
    kind: JoinKind,
    request: &Request,
) -> Next {
    if let Err(error) = key_positions(command, request.spans, request.bytes, &mut core.keys) {
        return answer_error(core, client, command, &error.reply(command));
    }
    let stride = if kind == JoinKind::Mset { 2 } else { 1 };
    if stride == 2 && request.len().is_multiple_of(2) {
        return refuse(core, client, command, &wrong_arity(command));
    }
    let parts = match place_parts(core, client, request, command.is_read()) {
        Ok(parts) => parts,
        Err(text) => return answer_error(core, client, command, &text),
    };
    if parts.len() == 1 {
        // all keys live on one shard: it goes there as it is
        send(core, client, index, command, request, parts[0].0, |pending| pending.class = Class::Split);
        return Next::Go;
    }
    let (silent, since) = (take_silence(client), core.micros);
    let mut join = Join::new(kind, parts.len(), &core.order, silent);
    join.is_write = !command.is_read();
    let sequence = client.replies.expect_join(join);
    let starts: Vec<usize> = parts
        .iter()
        .map(|&(upstream, keys)| {
            let sink = core.upstreams[upstream].window.sink();
            let start = sink.len();
            write::array_header(sink, 1 + keys * stride);
            write::bulk(sink, request.argument(0));
            start
        })
        .collect();
    for (&position, &part) in core.keys.iter().zip(&core.order) {
        let sink = core.upstreams[parts[usize::from(part)].0].window.tail();
        for argument in position as usize..position as usize + stride {
            write::bulk(sink, request.argument(argument));
        }
    }
    for (part, (&(upstream, _), start)) in parts.iter().zip(starts).enumerate() {
        let link = &mut core.upstreams[upstream];
        let length = link.window.tail().len() - start;
        let pending = Pending::of(client, index, sequence, command, length, since);
        link.pending.push_back(Pending { part: part as u16, class: Class::Split, ..pending });
        core.mark_dirty(upstream);
    }
    Next::Go
}

/// The upstream and number of keys of every part; `core.order` says which part each key belongs to.
/// Every shard is asked before anything is sent, so that a known failure leaves no half of a command executed.
fn place_parts(
    core: &mut Core,
    client: &Client,
    request: &Request,
    is_read: bool,
) -> Result<Vec<(usize, usize)>, Vec<u8>> {
    if core.pressure == Pressure::Full {
        return Err(texts::OUT_OF_BUFFERS.to_vec());
    }
    let mut shards: Vec<(u16, usize)> = Vec::new();
    core.order.clear();
    let Some(served) = &mut core.clusters[client.cluster] else { return Err(texts::CLUSTERDOWN.to_vec()) };
    let mut is_known = true;
    for &position in &core.keys {
        let shard = served.cluster.shard_of(served.cluster.slot_of(request.argument(position as usize)));
        let Some(part) = served.parts.get_mut(usize::from(shard)) else {
            is_known = false;
            break;
        };
        if *part == u16::MAX {
            *part = shards.len() as u16;
            shards.push((shard, 0));
        }
        shards[usize::from(*part)].1 += 1;
        core.order.push(*part);
    }
    for &(shard, _) in &shards {
        served.parts[usize::from(shard)] = u16::MAX;
    }
    if !is_known {
        return Err(texts::CLUSTERDOWN.to_vec());
    }
    let keys = core.keys.iter().map(|&position| request.argument(position as usize));
    let (need, _) = core.need(client.cluster, is_read, keys);
    shards.into_iter().map(|(shard, keys)| Ok((core.place(client, shard, need)?, keys))).collect()
}

pub fn unknown(core: &mut Core, client: &mut Client, index: usize, request: &Request, may_learn: bool) -> Next {
    if may_learn {
        return offload::submit(core, client, index, None, request);
    }
    // as the engine's printf: 128 bytes of the name and of all arguments, each up to a NUL
    let shown =
        |word: &[u8], room: usize| -> Vec<u8> { word.iter().copied().take(room).take_while(|&b| b != 0).collect() };
    let mut arguments = Vec::new();
    for argument in request.arguments().skip(1) {
        let Some(room @ 1..) = 128usize.checked_sub(arguments.len()) else { break };
        arguments.extend([b"'", shown(argument, room).as_slice(), b"' "].concat());
    }
    let name = shown(request.argument(0), 128);
    let mut reply = Vec::new();
    write::error_of(&mut reply, &[b"ERR unknown command '", &name, b"', with args beginning with: ", &arguments]);
    answer_own(core, client, &reply);
    Next::Go
}

/// Why nobody serves the command.
/// Asked for every request: a reload may add shards.
pub fn has_one_shard(core: &Core, client: &Client) -> bool {
    core.clusters[client.cluster].as_ref().is_some_and(|served| served.cluster.shards.len() == 1)
}

pub fn refusal(command: &Command) -> String {
    let name = command.name.replace('|', " ").to_uppercase();
    format!("ERR {name} is refused by this proxy: {}", command.note)
}

fn unknown_subcommand(command: &Command, request: &Request) -> String {
    let name = request.argument(1);
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    format!("ERR unknown subcommand '{name}'. Try {} HELP.", command.name.to_uppercase())
}

pub fn wrong_arity(command: &Command) -> String {
    let kind = if &*command.name == "exec" { "EXECABORT Transaction discarded because of:" } else { "ERR" };
    format!("{kind} wrong number of arguments for '{}' command", command.name)
}

pub fn refuse(core: &mut Core, client: &mut Client, command: &Command, text: &str) -> Next {
    let mut reply = Vec::new();
    write::error(&mut reply, text);
    answer_error(core, client, command, &reply)
}

pub fn answer_error(core: &mut Core, client: &mut Client, command: &Command, reply: &[u8]) -> Next {
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.command(command.id, true);
        served.metrics.refusal(reply);
    }
    answer_own(core, client, reply);
    Next::Go
}

/// A reply of the proxy's own, in its turn; none if the client asked for none.
pub fn answer_own(core: &mut Core, client: &mut Client, reply: &[u8]) {
    if !take_silence(client) {
        client.replies.answer(&mut client.output, &mut core.pool, reply);
    }
}

/// Whether the present command gets no reply, by CLIENT REPLY.
#[inline]
pub fn take_silence(client: &mut Client) -> bool {
    match client.reply_mode {
        ReplyMode::On => false,
        ReplyMode::Off => true,
        ReplyMode::SkipNext => {
            client.reply_mode = ReplyMode::On;
            true
        }
    }
}

pub fn protocol_error(core: &mut Core, client: &mut Client, error: RequestError) {
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.protocol_errors.increment();
    }
    let mut reply = Vec::new();
    error.write(&mut reply);
    if !reply.is_empty() {
        client.replies.answer(&mut client.output, &mut core.pool, &reply);
    }
    client.closing = Some(CloseReason::Protocol);
    client.flow = Flow::Open;
}
