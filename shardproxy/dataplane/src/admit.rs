//! The one gate: which command a request is, and whether it is served now.
//!
//! ```text
//!   name ─> renamed? ─> known? ─> arity ─> pause ─> subscriber ─> subcommand ─> memory ─> served, or queued in MULTI
//! ```
//!
//! What is said here concerns every command alike; what one family wants to know of its own is asked in `serve`.

use crate::clients::Client;
use crate::command::{Act, Command, CommandTable, Flags, Route};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::model::EndpointKind;
use crate::shared::Paused;
use crate::turn::{Pressure, Turn};

/// A request that is served.
#[derive(Clone, Copy)]
pub struct Admitted<'a> {
    /// The subcommand, where the command has some.
    pub command: &'a Command,
    pub request: &'a Request<'a>,
}

/// What the gate says of a request.
pub enum Verdict<'a> {
    Serve(Admitted<'a>),
    /// It is inside MULTI, and is kept until EXEC.
    Queue(Admitted<'a>),
    /// Nobody knows the command.
    Unknown,
    /// An error says why not.
    Refuse(&'a Command, Vec<u8>),
    /// CLIENT PAUSE holds it.
    Pause,
}

/// Judge a request whose command was found by its name.
pub fn judge<'a>(turn: &Turn, client: &Client, found: Option<&'a Command>, request: &'a Request<'a>) -> Verdict<'a> {
    let Some(command) = found else { return Verdict::Unknown };
    if !command.accepts(request.len()) {
        return Verdict::Refuse(command, error(&wrong_arity(command)));
    }
    let is_in_multi = client.transaction.as_deref().is_some_and(|t| t.is_open);
    if is_held(turn.paused(client.cluster), command, is_in_multi) {
        return Verdict::Pause;
    }
    let command = match most_specific(command, request) {
        Ok(command) => command,
        Err(text) => return Verdict::Refuse(command, error(&text)),
    };
    if client.is_special && client.is_subscriber() && !command.act.is_subscribers() {
        return Verdict::Refuse(command, error(&not_while_subscribed(command)));
    }
    if turn.accounts.pressure == Pressure::Full && takes_memory(command) {
        return Verdict::Refuse(command, texts::OUT_OF_BUFFERS.to_vec());
    }
    let admitted = Admitted { command, request };
    if is_in_multi && !command.act.is_within_multi() {
        return Verdict::Queue(admitted);
    }
    if command.route == Route::Offload && client.endpoint == EndpointKind::Reader && writes(command) {
        return Verdict::Refuse(command, texts::READONLY.to_vec());
    }
    Verdict::Serve(admitted)
}

const fn writes(command: &Command) -> bool {
    command.flags.contains(Flags::WRITE)
}

/// Whether CLIENT PAUSE holds the command. Inside MULTI it holds EXEC, which does all that was queued.
fn is_held(paused: Paused, command: &Command, is_in_multi: bool) -> bool {
    match paused {
        Paused::Nothing => false,
        _ if is_in_multi => command.act == Act::Exec,
        Paused::Writes => command.is_paused_as_write,
        Paused::All => true,
    }
}

/// Whether something of the command is kept for a while, here or on its way.
const fn takes_memory(command: &Command) -> bool {
    match command.route {
        Route::Local => matches!(command.act, Act::ClientSetName | Act::ClientSetInfo),
        Route::Refused | Route::Later | Route::Renamed(_) => false,
        _ => !command.act.frees(),
    }
}

/// The subcommand, where a command has some; the error text if there is no such, or its arity is wrong.
fn most_specific<'t>(command: &'t Command, request: &Request) -> Result<&'t Command, String> {
    if command.subcommands.is_empty() || request.len() < 2 {
        return Ok(command);
    }
    match command.subcommand(request.argument(1)) {
        Some(sub) if !sub.accepts(request.len()) => Err(wrong_arity(sub)),
        Some(sub) => Ok(sub),
        None => Err(unknown_subcommand(command, request)),
    }
}

/// A request under the name its cluster's config gives its command, under the real one; it is framed again.
#[cold]
pub fn under_its_real_name(command: &Command, request: &Request) -> (Vec<u8>, RequestParser) {
    let mut bytes = Vec::with_capacity(request.bytes.len() + command.name.len());
    write::array_header(&mut bytes, request.len());
    write::bulk(&mut bytes, command.name.as_bytes());
    request.arguments().skip(1).for_each(|argument| write::bulk(&mut bytes, argument));
    let parser = framed(&bytes);
    (bytes, parser)
}

/// A request that was written here.
pub fn framed(bytes: &[u8]) -> RequestParser {
    let mut parser = RequestParser::new();
    let parsed = parser.parse(bytes, &RequestLimits::NONE);
    debug_assert!(matches!(parsed, Ok(Parsed::Request { .. })));
    parser
}

/// The command of that name. `real`: what a renamed one really is.
#[inline]
pub fn find<'t>(table: &'t CommandTable, request: &Request) -> (Option<&'t Command>, Option<&'t Command>) {
    match table.find(request.argument(0)) {
        Some(&Command { route: Route::Renamed(real), .. }) => (None, table.real(real)),
        found => (found, None),
    }
}

pub fn error(text: &str) -> Vec<u8> {
    let mut reply = Vec::new();
    write::error(&mut reply, text);
    reply
}

pub fn wrong_arity(command: &Command) -> String {
    let kind = if command.act == Act::Exec { "EXECABORT Transaction discarded because of:" } else { "ERR" };
    format!("{kind} wrong number of arguments for '{}' command", command.name)
}

fn unknown_subcommand(command: &Command, request: &Request) -> String {
    let name = request.argument(1);
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    format!("ERR unknown subcommand '{name}'. Try {} HELP.", command.name.to_uppercase())
}

/// Why a client that subscribes in RESP2 may not call the command.
fn not_while_subscribed(command: &Command) -> String {
    let name = &command.name;
    format!("ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
}
