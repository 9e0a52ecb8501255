//! The client side of a turn: read, frame, hand each request on.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;

use super::{client_token, passing, Arrived, Worker, LEFT_OVER, READ_SIZE};
use crate::clients::{Client, Clients, Flow};
use crate::command::CommandTable;
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::exchange::LARGE;
use crate::metrics::CloseReason;
use crate::model::{EngineKind, Lane};
use crate::place::is_left;
use crate::serve::{self, Next};
use crate::turn::{Pressure, Turn};

/// As Redis 7 (networking.c, processMultibulkBuffer). What they take is bounded by the size of the request.
const MAX_ARGUMENTS: usize = i32::MAX as usize;
/// What an incomplete request may take to be parsed again from its start rather than to keep its parser.
const REPARSE: usize = 4096;
/// A client that moved a large value is expected to move another one within this. Who is sent them more seldom than that
/// holds up others for one reply each time; large requests are known before they leave.
const LARGE_FOR: Duration = Duration::from_secs(10);
/// Clients that hold less than this are read even when memory is short.
const LIGHT: usize = 16 * 1024;

impl Worker {
    pub(super) fn adopt(&mut self, arrived: Arrived) {
        let Arrived { stream, id, cluster, endpoint, address, is_balanced, speaks_tls, seat, passage } = arrived;
        let entrance = self.turn.cluster(cluster).and_then(|cluster| cluster.entrance(endpoint, &address));
        let Some(entrance) = entrance.filter(|entrance| entrance.is_as(speaks_tls, is_balanced)) else {
            return; // the endpoint is gone, or asks for something else since: whoever connects anew is told
        };
        let index = self.clients.vacant();
        let stream = match entrance.tls {
            None => Ok(stream),
            Some(tls) => stream.securing(tls),
        };
        let Ok(mut stream) = stream else { return };
        if self.is_draining || stream.register(&self.turn.registry, client_token(index)).is_err() {
            return;
        }
        let now = self.turn.now;
        let client =
            self.clients.insert(|index| Client::new(index, stream, id, (cluster, endpoint, address), seat, now));
        let is_new = passage.is_none();
        if is_balanced && is_new {
            client.enter_behind_balancer(now);
        }
        serve::login::log_out(&self.turn, client);
        if let Some(passage) = passage {
            passing::resume(&mut self.turn, client, *passage);
        }
        if let Some(served) = &self.turn.clusters[cluster] {
            client.memcache.is_spoken = served.cluster.spec.engine == EngineKind::Memcached;
            served.metrics.accepted.increment();
            served.metrics.clients.add(1);
        }
        self.turn.shared.workers[self.turn.number].clients.add(1);
        if let Some(reason) = self.clients[index].closing {
            return self.close_now(index, reason);
        }
        self.review(cluster, index); // the rules may have changed while it was on its way here
        if speaks_tls && !is_balanced && is_new {
            self.begin_handshake(index);
        }
    }

    pub(super) fn client_ready(&mut self, index: usize, event: &Event) {
        if let Some(client) = self.clients.get_mut(index) {
            client.has_unread = true;
            client.is_half_closed |= event.is_read_closed() || event.is_error();
            client.is_gone |= event.is_write_closed() || event.is_error();
            if !client.is_again {
                self.client_again(index);
            }
        }
    }

    /// Look again at a client that has bytes left over, or may have.
    pub(super) fn client_again(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else { return };
        client.is_again = false;
        match client.flow {
            Flow::Open => self.client_read(index),
            Flow::Entering { .. } => self.client_enter(index),
            Flow::Lingering { .. } => self.client_linger(index),
            Flow::Barrier | Flow::Queued | Flow::Stopped | Flow::Offloaded(_) if is_left(&self.turn, client) => {
                self.close_now(index, CloseReason::Client);
            }
            Flow::Held if client.is_gone => self.close_now(index, CloseReason::Client),
            Flow::Barrier | Flow::Offloaded(_) | Flow::Paused | Flow::Queued | Flow::Stopped | Flow::Held => {}
        }
    }

    fn client_read(&mut self, index: usize) {
        let Self { clients, turn, tables, parser, scratch, throttled, .. } = self;
        let client = &mut clients[index];
        let Some(table) = tables.get(client.cluster) else { return };
        if client.closing.is_some() {
            return;
        }
        if turn.accounts.pressure >= Pressure::High && client.accounted > LIGHT && !client.has_pass {
            if !client.is_again {
                client.is_again = true;
                throttled.push(index);
            }
            return;
        }
        let was_called = mem::take(&mut client.is_called);
        turn.held.is_called = was_called;
        let mut input = mem::take(&mut client.input);
        let had_input = !input.is_empty() && client.parser.is_none();
        if had_input && serve_all(client, &mut input, parser, turn, table, false) {
            // stopped at a barrier or limit: the rest waits in `input`
            client.input = input;
            return after_read(turn, clients, index, was_called);
        }
        let mut goes_on = false;
        if client.has_unread {
            let result = if input.len() <= LEFT_OVER && client.parser.is_none() {
                read_scratch(client, &mut input, scratch, parser, turn, table)
            } else {
                read_more(client, &mut input, scratch, parser, turn, table)
            };
            match result {
                Ok(Took::Some(n)) => {
                    client.last_active = turn.now;
                    if let Some(served) = &turn.clusters[client.cluster] {
                        served.metrics.bytes_in.add(n as u64);
                    }
                    goes_on = client.has_unread && client.flow == Flow::Open;
                }
                Ok(Took::Nothing) => goes_on = client.has_unread && client.flow == Flow::Open,
                Ok(Took::End) => client.closing = client.closing.or(Some(CloseReason::Client)),
                Err(_) => {
                    client.closing = Some(CloseReason::Error);
                    client.replies.clear(&mut turn.pool);
                    client.output.clear(&mut turn.pool);
                }
            }
        }
        if client.input.is_empty() {
            if input.is_empty() {
                turn.pool.take_back(&mut input);
            } else {
                client.input = input;
            }
        }
        // a pass is for the rest of a request
        client.has_pass &= !client.input.is_empty() && turn.accounts.pressure < Pressure::Full;
        if goes_on {
            clients.look_again(index);
        }
        after_read(turn, clients, index, was_called);
    }
}

enum Took {
    Some(usize),
    Nothing,
    End,
}

/// Read into the worker's scratch buffer, behind the little that was left over, and serve from there: the usual case
/// copies no request twice.
fn read_scratch(
    client: &mut Client,
    input: &mut Vec<u8>,
    scratch: &mut [u8],
    parser: &mut RequestParser,
    turn: &mut Turn,
    table: &CommandTable,
) -> io::Result<Took> {
    let filled = input.len();
    scratch[..filled].copy_from_slice(input);
    let took = read_into(client, &mut scratch[filled..])?;
    let Took::Some(n) = took else { return Ok(took) };
    let data = &scratch[..filled + n];
    let (consumed, stop) = serve(client, data, parser, turn, table);
    input.clear();
    if consumed < data.len() {
        turn.pool.lend(input);
        input.extend_from_slice(&data[consumed..]);
        keep_parser(client, parser, input.len());
    }
    if matches!(stop, Stop::Large(_)) {
        serve_all(client, input, parser, turn, table, false);
    }
    Ok(took)
}

/// Read behind an incomplete request.
fn read_more(
    client: &mut Client,
    input: &mut Vec<u8>,
    scratch: &mut [u8],
    parser: &mut RequestParser,
    turn: &mut Turn,
    table: &CommandTable,
) -> io::Result<Took> {
    let took = read_into(client, scratch);
    if let Ok(Took::Some(n)) = took {
        let announced = client.parser.as_deref().map_or(0, RequestParser::announced);
        if input.capacity() < input.len() + n && announced > input.len() + n {
            // as a buffer grows anyhow, but not beyond the end of the request
            input.reserve_exact(n.max(input.len().min(announced - input.len())));
        }
        input.extend_from_slice(&scratch[..n]);
        serve_all(client, input, parser, turn, table, true);
    }
    took
}

fn read_into(client: &mut Client, buffer: &mut [u8]) -> io::Result<Took> {
    loop {
        match client.stream.read(buffer) {
            Ok(0) => {
                client.has_unread = false;
                return Ok(Took::End);
            }
            Ok(n) => {
                client.has_unread = client.stream.may_have_more(n, buffer.len()) || client.is_half_closed;
                return Ok(Took::Some(n));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                client.has_unread = client.stream.may_have_more(0, buffer.len());
                return Ok(Took::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Serve from `input` and drop what was taken; whether the client may not go on now.
fn serve_all(
    client: &mut Client,
    input: &mut Vec<u8>,
    shared: &mut RequestParser,
    turn: &mut Turn,
    table: &CommandTable,
    resumes: bool,
) -> bool {
    let mut own = if resumes { client.parser.take() } else { None };
    let parser = own.as_deref_mut().unwrap_or(shared);
    let is_held = loop {
        let (consumed, stop) = serve(client, input, parser, turn, table);
        if consumed == input.len() {
            turn.pool.take_back(input);
        } else {
            input.drain(..consumed);
        }
        match stop {
            Stop::Used => break false,
            Stop::Held => break true,
            Stop::Large(length) => {
                if !serve_large(client, input, length, parser, turn, table) {
                    break true;
                }
            }
        }
    };
    let is_partial = !parser.is_idle();
    if !is_partial {
        parser.release();
    }
    if input.capacity() > READ_SIZE && input.len() * 4 < input.capacity() {
        input.shrink_to(input.len() * 2);
    }
    if is_partial {
        match own {
            Some(own) => client.parser = Some(own),
            None => {
                let length = input.len();
                keep_parser(client, shared, length);
            }
        }
    }
    is_held
}

/// A large incomplete request keeps its parser, so that each of its bytes is looked at once.
fn keep_parser(client: &mut Client, parser: &mut RequestParser, length: usize) {
    if !parser.is_idle() {
        if length > REPARSE {
            client.parser = Some(Box::new(mem::take(parser)));
        } else {
            parser.reset();
        }
    }
}

/// Why no more requests are taken off some bytes.
enum Stop {
    Used,
    /// The client must wait.
    Held,
    /// The next one is framed, has so many bytes, and is too large to be copied.
    Large(usize),
}

/// Serve the large request at the start of `input` from a buffer of its own, which whoever sends it on shares. Whether
/// the client may go on.
#[cold]
fn serve_large(
    client: &mut Client,
    input: &mut Vec<u8>,
    length: usize,
    parser: &RequestParser,
    turn: &mut Turn,
    table: &CommandTable,
) -> bool {
    client.moves_large = true;
    if !choose_lane(client, turn) {
        return false; // and is framed once more
    }
    let rest = input.split_off(length); // no more than was read at once
    let whole = Arc::new(mem::replace(input, rest));
    turn.large = Some(whole.clone());
    let request = Request { bytes: &whole, spans: parser.spans() };
    let next = serve::serve(turn, client, table, &request, true);
    turn.large = None;
    if next != Next::Go && !halt(client, turn, &whole, next) {
        if let Some(mut whole) = Arc::into_inner(whole) {
            whole.append(input);
            *input = whole;
        }
        return false;
    }
    turn.pool.discard_shared(whole);
    if next == Next::Close {
        turn.pool.take_back(input);
    }
    let limits = turn.cluster(client.cluster).map(|cluster| cluster.spec.limits);
    if next == Next::Go
        && limits.is_some_and(|limits| client.has_enough(&limits, turn.accounts.unread_at_most(limits.client_output)))
    {
        client.flow = Flow::Paused;
        return false;
    }
    next == Next::Go
}

/// Let a client that moves large values use the connections for these, and no others, until it has moved none for a
/// while. Requests on one connection may overtake those on another: it changes once nothing is owed to it, and waits for
/// that if others would wait for it. Whether it may go on.
#[cold]
fn choose_lane(client: &mut Client, turn: &Turn) -> bool {
    if mem::take(&mut client.moves_large) {
        client.large_at = turn.now;
    }
    let is_large = turn.now.saturating_duration_since(client.large_at) < LARGE_FOR;
    let wanted = if is_large { Lane::Large } else { Lane::Usual };
    if client.lane == wanted {
        return true;
    }
    if client.replies.is_empty() {
        client.lane = wanted;
        return true;
    }
    if is_large {
        client.flow = Flow::Barrier;
        client.moves_large = true;
    }
    !is_large
}

/// Take requests off `data` until it is used up or the client must wait; how much was taken, and why no more.
fn serve(
    client: &mut Client,
    data: &[u8],
    parser: &mut RequestParser,
    turn: &mut Turn,
    table: &CommandTable,
) -> (usize, Stop) {
    if (client.moves_large || client.lane != Lane::Usual) && !choose_lane(client, turn) {
        return (0, Stop::Held);
    }
    let stop = |is_held| if is_held { Stop::Held } else { Stop::Used };
    if client.memcache.is_spoken {
        let (taken, is_held) = serve::memcached::serve(turn, client, data);
        return (taken, stop(is_held));
    }
    let mut taken = 0;
    let Some(cluster) = turn.cluster(client.cluster) else {
        client.closing = Some(CloseReason::Drain);
        return (data.len(), Stop::Held);
    };
    let (limits, max_bulk) = (cluster.spec.limits, cluster.max_bulk);
    let mut framing =
        RequestLimits { max_request: limits.request, max_bulk, max_arguments: MAX_ARGUMENTS, authenticated: true };
    while taken < data.len() {
        framing.authenticated = !client.is_judged || client.login.user.is_some();
        let rest = &data[taken..];
        let (consumed, next) = match parser.parse(rest, &framing) {
            Ok(Parsed::Incomplete { .. }) => return (taken, Stop::Used),
            Ok(Parsed::Skip { consumed }) => (consumed, Next::Go),
            Ok(Parsed::Request { consumed }) if consumed > LARGE => return (taken, Stop::Large(consumed)),
            Ok(Parsed::Request { consumed }) => {
                let request = Request { bytes: &rest[..consumed], spans: parser.spans() };
                (consumed, serve::serve(turn, client, table, &request, true))
            }
            Ok(Parsed::Inline { consumed }) => {
                let request = Request { bytes: parser.inline(), spans: parser.spans() };
                (consumed, serve::serve(turn, client, table, &request, true))
            }
            Err(error) => {
                serve::protocol_error(turn, client, error);
                return (data.len(), Stop::Held);
            }
        };
        turn.batch += 1;
        if next == Next::Close {
            return (data.len(), Stop::Held);
        }
        if next != Next::Go {
            return (if halt(client, turn, &rest[..consumed], next) { taken + consumed } else { taken }, Stop::Held);
        }
        taken += consumed;
        if client.has_enough(&limits, turn.accounts.unread_at_most(limits.client_output)) {
            client.flow = Flow::Paused;
            return (taken, Stop::Held);
        }
    }
    (taken, Stop::Used)
}

/// The client may not go on behind its last request; whether that was taken.
fn halt(client: &mut Client, turn: &mut Turn, request: &[u8], next: Next) -> bool {
    match next {
        Next::Go | Next::Wait | Next::Close => return true,
        Next::Hold => {
            client.note_came(turn.long_micros(), false, request);
            client.flow = Flow::Barrier;
        }
        Next::Queue => {}
        Next::Pause => {
            client.note_came(turn.long_micros(), true, request);
            turn.later.stopped.push(client.ticket());
            client.flow = Flow::Stopped;
        }
    }
    false
}

fn after_read(turn: &mut Turn, clients: &mut Clients, index: usize, was_called: bool) {
    let client = &mut clients[index];
    turn.held.is_called = false;
    if was_called && client.flow != Flow::Held {
        client.hold = None;
    }
    if client.came.is_some() {
        turn.note_taken(client);
    }
    turn.settle_client(client);
    let has_output = !client.output.is_empty() || client.closing.is_some();
    turn.measure_if_due();
    if has_output {
        clients.mark(index);
    }
}
