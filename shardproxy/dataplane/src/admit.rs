//! The one gate: which command a request is, and whether it is served now.
//!
//! ```text
//!   name ─> renamed? ─> known? ─> arity ─> subcommand ─> who? ─> may it? ─> listener ─> pause ─> memory ─> served, or
//!                                                                                                 queued in MULTI
//! ```
//!
//! What is said here concerns every command alike; what one family wants to know of its own is asked in `serve`.

use crate::access::Denied;
use crate::clients::Client;
use crate::command::{Act, Code, Command, CommandTable, Flags, Route};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::model::{digest_of, is_without_writes, EndpointKind};
use crate::shared::Paused;
use crate::turn::{Pressure, Turn};

/// A request that is served.
#[derive(Clone, Copy)]
pub struct Admitted<'a> {
    /// The subcommand, where the command has some.
    pub command: &'a Command,
    pub request: &'a Request<'a>,
}

/// As an engine tells a client that monitors.
const NOT_WHILE_MONITORING: &str = "ERR Replica can't interact with the keyspace";

/// What the gate says of a request.
pub enum Verdict<'a> {
    Serve(Admitted<'a>),
    /// It is inside MULTI, and is kept until EXEC.
    Queue(Admitted<'a>),
    /// Nobody knows the command.
    Unknown,
    /// Its client may not.
    Deny(&'a Command, Denial),
    /// An error says why not.
    Refuse(&'a Command, Vec<u8>),
    /// CLIENT PAUSE holds it.
    Pause(&'a Command),
}

/// Why a client may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It has not said who it is.
    Stranger,
    /// By the rules of its user.
    Rules(Denied),
}

/// Judge a request whose command was found by its name.
pub fn judge<'a>(
    turn: &Turn,
    client: &Client,
    table: &CommandTable,
    found: Option<&'a Command>,
    request: &'a Request<'a>,
) -> Verdict<'a> {
    let Some(command) = found else { return Verdict::Unknown };
    if !command.accepts(request.len()) {
        return Verdict::Refuse(command, error(&wrong_arity(command)));
    }
    let command = match most_specific(command, request) {
        Ok(command) => command,
        Err(text) => return Verdict::Refuse(command, error(&text)),
    };
    let is_in_multi = client.transaction.as_deref().is_some_and(|t| t.is_open);
    match why_denied(client, command, request) {
        Some(Denial::Rules(Denied::Lookup(_))) if is_in_multi => {} // an engine says so when it is executed
        Some(denial) => return Verdict::Deny(command, denial),
        None => {}
    }
    if client.is_judged && client.is_subscriber() && !command.act.is_subscribers() {
        return Verdict::Refuse(command, error(&not_while_subscribed(command)));
    }
    if client.is_judged && client.tap.is_some() && touches_keys(command) {
        return Verdict::Refuse(command, error(NOT_WHILE_MONITORING));
    }
    if is_held(turn, client, table, command, request) {
        return Verdict::Pause(command);
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

/// Whether its user may do that; nobody may do more than say who it is.
pub fn why_denied(client: &Client, command: &Command, request: &Request) -> Option<Denial> {
    if !client.is_judged || command.flags.contains(Flags::NO_AUTH) {
        return None;
    }
    let Some(user) = client.login.user.as_deref() else { return Some(Denial::Stranger) };
    if user.is_unrestricted() {
        return None;
    }
    user.check(command, request).err().map(Denial::Rules)
}

const fn writes(command: &Command) -> bool {
    command.flags.contains(Flags::WRITE)
}

/// Whether CLIENT PAUSE holds the command. EXEC does all that was queued.
fn is_held(turn: &Turn, client: &Client, table: &CommandTable, command: &Command, request: &Request) -> bool {
    match turn.paused(client.cluster) {
        Paused::Nothing => false,
        _ if client.tap.is_some() => false,
        Paused::All => true,
        Paused::Writes if command.act == Act::Exec => {
            let queued = client.transaction.as_deref().filter(|t| t.is_open).map_or(&[][..], |t| &t.queued);
            let mut is_held = false;
            each_queued(table, queued, |command, request| {
                is_held |= command.is_none_or(|command| may_change(turn, client.cluster, command, request));
            });
            is_held
        }
        Paused::Writes => may_change(turn, client.cluster, command, request),
    }
}

/// Whether the command may write, or is passed on to replicas. What a script or a function says of itself counts.
fn may_change(turn: &Turn, cluster: usize, command: &Command, request: &Request) -> bool {
    let Some(code) = command.runs else { return command.is_paused_as_write };
    let shared = &turn.shared;
    let name = request.argument(1);
    let is_without_writes = match code {
        Code::Body => is_without_writes(name),
        Code::Digest => digest_of(name).and_then(|digest| is_without_writes(&shared.scripts.get(cluster, digest)?)),
        Code::Function => shared.pauses.is_without_writes(cluster, name),
    };
    is_without_writes.map_or(command.is_paused_as_write, |is_without| !is_without)
}

/// What a client that monitors may not say, as it may not at an engine: to that it is a replica.
const fn touches_keys(command: &Command) -> bool {
    command.is_paused_as_write || command.flags.contains(Flags::READONLY) || command.runs.is_some()
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
pub fn most_specific<'t>(command: &'t Command, request: &Request) -> Result<&'t Command, String> {
    if command.subcommands.is_empty() || request.len() < 2 {
        return Ok(command);
    }
    match command.subcommand(request.argument(1)) {
        Some(sub) if !sub.accepts(request.len()) => Err(wrong_arity(sub)),
        Some(sub) => Ok(sub),
        None => Err(unknown_subcommand(&command.name, request.argument(1))),
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

/// Look at the requests that were queued since MULTI, which is the first of them. None: a command that goes by another
/// name in its cluster.
pub fn each_queued(table: &CommandTable, mut queued: &[u8], mut look: impl FnMut(Option<&Command>, &Request)) {
    let mut parser = RequestParser::new();
    while let Ok(Parsed::Request { consumed }) = parser.parse(queued, &RequestLimits::NONE) {
        let request = Request { bytes: &queued[..consumed], spans: parser.spans() };
        let command = table.find(request.argument(0)).and_then(|command| most_specific(command, &request).ok());
        look(command, &request);
        queued = &queued[consumed..];
    }
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

pub fn unknown_subcommand(container: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    format!("ERR unknown subcommand '{name}'. Try {} HELP.", container.to_uppercase())
}

/// Why a client that subscribes in RESP2 may not call the command.
fn not_while_subscribed(command: &Command) -> String {
    let name = &command.name;
    format!("ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
}
