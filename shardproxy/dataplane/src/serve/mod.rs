//! From a framed request to where it is executed: one shard, several, Python, or here.
//!
//! ```text
//!   request ─> gate ─┬─ local ──> local/               (PING, HELLO, CLIENT ID …)
//!           (admit)  ├─ shard ──> keyed.rs ──> place ──> link
//!                    ├─ split ──> split.rs: one part per shard, joined in exchange/join.rs
//!                    └─ offload ─> trio
//! ```

mod access;
mod block;
pub mod caching;
mod databases;
mod follow;
mod hold;
mod keyed;
mod liberties;
mod local;
pub mod login;
pub mod memcached;
mod near;
mod offload;
mod pubsub;
mod rejudge;
mod split;
mod tap;
mod tracking;
pub mod transaction;

pub use follow::{follow, listen};
pub use offload::heal;

use access::denied;
use databases::Named;
use hold::{at_door, hold, unplaced};
use keyed::{send, shard_of, slot_of_keys};

use crate::admit::{self, Admitted, Verdict};
use crate::clients::{Client, Flow};
use crate::command::{Command, CommandTable, Route};
use crate::dialect::resp::request::RequestError;
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::metrics::CloseReason;
use crate::shared::{Access, AccessEvent, Refusal};
use crate::turn::{Pressure, Turn};

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
    /// It was not taken: its client waits for a connection of its own, or for room, and is called.
    Queue,
    Close,
}

/// Serve one request. `may_learn`: a command that is not in the table may be asked of the engines.
#[inline]
pub fn serve(turn: &mut Turn, client: &mut Client, table: &CommandTable, request: &Request, may_learn: bool) -> Next {
    let (found, real) = admit::find(table, request);
    if let Some(command) = found.filter(|c| c.is_plain && c.accepts(request.len())) {
        if !client.is_judged && turn.is_quiet {
            return keyed::to_shard(turn, client, &Admitted { command, request });
        }
    }
    if let Some(command) = real {
        let (bytes, parser) = admit::under_its_real_name(command, request);
        let request = Request { bytes: &bytes, spans: parser.spans() };
        return serve_found(turn, client, table, Some(command), &request, false);
    }
    serve_found(turn, client, table, found, request, may_learn)
}

fn serve_found(
    turn: &mut Turn,
    client: &mut Client,
    table: &CommandTable,
    found: Option<&Command>,
    request: &Request,
    may_learn: bool,
) -> Next {
    if !follow(turn, client) {
        return Next::Close;
    }
    match admit::judge(turn, client, table, found, request) {
        Verdict::Serve(admitted) if turn.tapping.hears(client.cluster) => tap::serve(turn, client, table, &admitted),
        Verdict::Serve(admitted) => dispatch(turn, client, &admitted),
        Verdict::Queue(admitted) => transaction::queue(turn, client, &admitted),
        Verdict::Pause(command) => {
            client.last_command = command.id;
            Next::Pause
        }
        Verdict::Refuse(command, text) => {
            client.waiting = None;
            transaction::refused(turn, client, command);
            answer_error(turn, client, command, &text)
        }
        Verdict::Deny(command, denial) => {
            client.waiting = None;
            let text = denied(turn, client, command, request, denial);
            transaction::refused(turn, client, command);
            answer_error(turn, client, command, &text)
        }
        Verdict::Unknown => {
            client.waiting = None;
            let is_known = client.login.user.is_some(); // for who has not said who it is, nobody is asked
            unknown(turn, client, request, may_learn && is_known)
        }
    }
}

fn dispatch(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    if client.tracking.is_some() {
        return tracking::dispatch(turn, client, admitted);
    }
    route(turn, client, admitted)
}

fn route(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    let &Admitted { command, request } = admitted;
    client.last_command = command.id;
    match command.route {
        Route::Local => local::serve(turn, client, admitted),
        Route::Only if !liberties::is_relaxed(turn, client) => refuse(turn, client, command, &refusal(command)),
        Route::Only => {
            liberties::take_whole(turn, client, command);
            keyed::to_shard(turn, client, admitted)
        }
        Route::Shard | Route::Any => keyed::to_shard(turn, client, admitted),
        Route::Database => match databases::named(turn, client, command, request) {
            Named::Fine => keyed::to_shard(turn, client, admitted),
            Named::Beyond(bytes) => {
                let parser = admit::framed(&bytes);
                let request = Request { bytes: &bytes, spans: parser.spans() };
                keyed::to_shard(turn, client, &Admitted { command, request: &request })
            }
            Named::Refused(text) => refuse(turn, client, command, text),
        },
        Route::Split(kind) => split::to_shards(turn, client, kind, admitted),
        Route::Offload => offload::submit(turn, client, Some(command), request),
        Route::Transaction => transaction::serve(turn, client, admitted),
        Route::PubSub => pubsub::serve(turn, client, admitted),
        Route::Block => block::serve(turn, client, admitted),
        Route::Refused => refuse(turn, client, command, &refusal(command)),
        Route::Renamed(_) => Next::Close, // a name, never a command: the gate has given the real one
        Route::Later => {
            let name = command.name.replace('|', " ").to_uppercase();
            refuse(turn, client, command, &format!("ERR {name} is not supported yet"))
        }
    }
}

fn unknown(turn: &mut Turn, client: &mut Client, request: &Request, may_learn: bool) -> Next {
    if may_learn && turn.accounts.pressure == Pressure::Full {
        transaction::break_off(client);
        client.answer(&mut turn.pool, texts::OUT_OF_BUFFERS);
        return Next::Go;
    }
    if may_learn {
        let next = offload::submit(turn, client, None, request);
        if next == Next::Go {
            transaction::break_off(client); // it was answered by an error
        }
        return next;
    }
    transaction::break_off(client);
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
    client.answer(&mut turn.pool, &reply);
    Next::Go
}

/// Why nobody serves the command.
fn refusal(command: &Command) -> String {
    let name = command.name.replace('|', " ").to_uppercase();
    format!("ERR {name} is refused by this proxy: {}", command.note)
}

fn refuse(turn: &mut Turn, client: &mut Client, command: &Command, text: &str) -> Next {
    answer_error(turn, client, command, &admit::error(text))
}

fn answer_error(turn: &mut Turn, client: &mut Client, command: &Command, reply: &[u8]) -> Next {
    turn.is_refused = true;
    if let Some(came) = client.came.as_deref_mut() {
        came.refusal = Some(reply.into());
    }
    if let Some(served) = turn.served(client.cluster) {
        served.metrics.command(command.id, true);
        served.metrics.refusal(reply);
    }
    client.answer(&mut turn.pool, reply);
    Next::Go
}

/// The proxy's own answer to a command that did well.
fn answer(turn: &mut Turn, client: &mut Client, command: &Command, reply: &[u8]) -> Next {
    if let Some(served) = turn.served(client.cluster) {
        served.metrics.command(command.id, false);
    }
    client.answer(&mut turn.pool, reply);
    Next::Go
}

/// A client speaks TLS where it is not spoken.
#[cold]
pub fn refuse_tls(turn: &Turn, client: &Client) {
    let event = AccessEvent {
        kind: Access::HandshakeFailed,
        client_id: client.id,
        address: client.address(),
        why: "TLS where it is not spoken".into(),
        ..AccessEvent::default()
    };
    turn.shared.refuse((client.cluster, client.endpoint), Refusal::Handshake, event);
}

pub fn protocol_error(turn: &mut Turn, client: &mut Client, error: RequestError) {
    if let Some(served) = turn.served(client.cluster) {
        served.metrics.protocol_errors.increment();
    }
    if error == RequestError::Tls {
        refuse_tls(turn, client);
    }
    let mut reply = Vec::new();
    error.write(&mut reply);
    if !reply.is_empty() {
        client.replies.answer(&mut client.output, &mut turn.pool, &reply);
    }
    client.closing = Some(CloseReason::Protocol);
    client.flow = Flow::Open;
}
