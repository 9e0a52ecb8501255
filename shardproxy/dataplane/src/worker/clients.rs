//! The client side of a turn: read, frame, hand each request to routing; write replies; close.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use super::core::{Core, Pressure};
use super::{client_token, Worker, LEFT_OVER};
use crate::client::{Client, Flow};
use crate::command::CommandTable;
use crate::metrics::CloseReason;
use crate::net::Stream;
use crate::plane::Seat;
use crate::protocol::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::request::Request;
use crate::route::{self, Next};
use crate::topology::{EndpointKind, EngineKind};

/// As Redis 7 (networking.c, processMultibulkBuffer). What they take is bounded by the size of the request.
const MAX_ARGUMENTS: usize = i32::MAX as usize;
/// What an incomplete request may take to be parsed again from its start rather than to keep its parser.
const REPARSE: usize = 4096;
/// After its last reply a client may take this long to read it.
const LINGER: Duration = Duration::from_secs(1);
/// A client that is to be closed may take this long to read anything of what it is still owed.
const STUCK: Duration = Duration::from_secs(10);
/// Clients that hold less than this are read even when memory is short.
const LIGHT: usize = 16 * 1024;

impl Worker {
    pub(super) fn adopt(&mut self, mut stream: Stream, id: u64, cluster: usize, endpoint: EndpointKind, seat: Seat) {
        let is_served = self.core.clusters.get(cluster).is_some_and(Option::is_some);
        let entry = self.clients.vacant_entry();
        let index = entry.key();
        if !is_served || self.is_draining || stream.register(&self.core.registry, client_token(index)).is_err() {
            return;
        }
        let client = entry.insert(Client::new(stream, id, cluster, endpoint, seat, self.core.now));
        if let Some(served) = &self.core.clusters[cluster] {
            client.memcache.is_spoken = served.cluster.spec.engine == EngineKind::Memcached;
            served.metrics.accepted.increment();
            served.metrics.clients.add(1);
        }
        self.core.shared.workers[self.core.number].clients.add(1);
    }

    pub(super) fn client_ready(&mut self, index: usize, is_closed: bool) {
        if let Some(client) = self.clients.get_mut(index) {
            client.has_unread = true;
            client.is_half_closed |= is_closed;
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
            Flow::Lingering { .. } => self.client_linger(index),
            Flow::Barrier | Flow::Queued | Flow::Offloaded(_) if self.core.is_left(client) => {
                self.close_now(index, CloseReason::Client);
            }
            Flow::Barrier | Flow::Offloaded(_) | Flow::Paused | Flow::Queued | Flow::Stopped => {}
        }
    }

    fn client_read(&mut self, index: usize) {
        let Self { clients, core, tables, parser, scratch, dirty, again, throttled, .. } = self;
        let client = &mut clients[index];
        let Some(table) = tables.get(client.cluster) else { return };
        if client.closing.is_some() {
            return;
        }
        if core.pressure >= Pressure::High && client.accounted > LIGHT && !mem::take(&mut client.has_pass) {
            if !client.is_again {
                client.is_again = true;
                throttled.push(index);
            }
            return;
        }
        let mut input = mem::take(&mut client.input);
        let had_input = !input.is_empty() && client.parser.is_none();
        if had_input && serve_all(client, index, &mut input, parser, core, table, false) {
            // stopped at a barrier or limit: the rest waits in `input`
            client.input = input;
            after_read(client, index, core, dirty);
            return;
        }
        if client.has_unread {
            let result = if input.len() <= LEFT_OVER && client.parser.is_none() {
                read_scratch(client, index, &mut input, scratch, parser, core, table)
            } else {
                read_more(client, index, &mut input, scratch, parser, core, table)
            };
            match result {
                Ok(Took::Some(n)) => {
                    client.last_active = core.now;
                    if let Some(served) = &core.clusters[client.cluster] {
                        served.metrics.bytes_in.add(n as u64);
                    }
                    if client.has_unread && client.flow == Flow::Open {
                        again_later(client, index, again);
                    }
                }
                Ok(Took::Nothing) => {}
                Ok(Took::End) => client.closing = client.closing.or(Some(CloseReason::Client)),
                Err(_) => {
                    client.closing = Some(CloseReason::Error);
                    client.replies.clear(&mut core.pool);
                    client.output.clear(&mut core.pool);
                }
            }
        }
        if client.input.is_empty() {
            if input.is_empty() {
                core.pool.take_back(&mut input);
            } else {
                client.input = input;
            }
        }
        after_read(client, index, core, dirty);
    }

    /// Wait for the peer to close after its last reply.
    fn client_linger(&mut self, index: usize) {
        let client = &mut self.clients[index];
        for _ in 0..8 {
            match client.stream.read(&mut self.scratch) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.close(index);
    }

    pub(super) fn client_writable(&mut self, index: usize) {
        if let Some(client) = self.clients.get_mut(index) {
            if client.blocked_since.is_some() && !client.output.is_empty() {
                client.blocked_since = None;
                self.client_flush(index);
            }
        }
    }

    pub(super) fn client_flush(&mut self, index: usize) {
        let Self { clients, core, again, .. } = self;
        let Some(client) = clients.get_mut(index) else { return };
        client.is_dirty = false;
        client.is_deferred = false;
        client.awaits_exec = None;
        let Some(served) = &core.clusters[client.cluster] else { return self.close(index) };
        while !client.output.is_empty() && client.blocked_since.is_none() {
            match client.stream.write(client.output.unwritten()) {
                Ok(0) => break,
                Ok(n) => {
                    served.metrics.bytes_out.add(n as u64);
                    client.last_active = core.now;
                    client.output.advance(n, &mut core.pool);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => client.blocked_since = Some(core.now),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    client.closing = Some(CloseReason::Error);
                    client.replies.clear(&mut core.pool);
                    client.output.clear(&mut core.pool);
                }
            }
        }
        let limits = &served.cluster.spec.limits;
        if client.output.len() + client.replies.early() > limits.client_output {
            client.closing = Some(CloseReason::Output);
            client.replies.clear(&mut core.pool);
            client.output.clear(&mut core.pool);
        }
        let is_open = match client.flow {
            Flow::Barrier => client.replies.is_empty(),
            Flow::Paused => {
                let unread = client.output.len();
                client.replies.len() <= limits.in_flight / 2 && unread <= core.unread_at_most(limits) / 2
            }
            _ => false,
        };
        if is_open {
            client.flow = Flow::Open;
            again_later(client, index, again);
        }
        settle(core, client);
        if client.closing.is_some() && client.replies.is_empty() && client.output.is_empty() {
            self.finish(index);
        }
    }

    /// All replies are out: close, but let the peer read what is on its way.
    fn finish(&mut self, index: usize) {
        let client = &mut self.clients[index];
        match client.closing {
            Some(CloseReason::Quit | CloseReason::Protocol | CloseReason::Drain)
                if !matches!(client.flow, Flow::Lingering { .. }) =>
            {
                client.stream.shutdown_write();
                client.flow = Flow::Lingering { until: self.core.now + LINGER };
                self.core.pool.take_back(&mut client.input);
                self.client_linger(index);
            }
            _ => self.close(index),
        }
    }

    /// Close at once.
    pub(super) fn close(&mut self, index: usize) {
        let mut client = self.clients.remove(index);
        let Self { core, .. } = self;
        client.replies.clear(&mut core.pool);
        client.output.clear(&mut core.pool);
        Core::settle(&mut core.held, &mut client.accounted, 0);
        crate::pubsub::forget(core, &mut client, index);
        if let Flow::Offloaded(token) = client.flow {
            core.offloaded.remove(&token);
        }
        if let Some(leased) = client.lease.take() {
            core.upstreams[leased as usize].owner = None;
            core.woken.retire.push(leased as usize);
        }
        let reason = client.closing.unwrap_or(CloseReason::Drain);
        if let Some(served) = &core.clusters[client.cluster] {
            served.metrics.closed[reason as usize].increment();
            served.metrics.clients.set(served.metrics.clients.get().saturating_sub(1));
        }
        let clients = &core.shared.workers[core.number].clients;
        clients.set(clients.get().saturating_sub(1));
    }

    /// Close for a reason of the proxy's own, whatever is still owed.
    pub(super) fn close_now(&mut self, index: usize, reason: CloseReason) {
        if let Some(client) = self.clients.get_mut(index) {
            client.closing = Some(reason);
            self.close(index);
        }
    }

    /// It is to be closed, and its peer does not take what it is still owed.
    pub(super) fn is_stuck(client: &Client, now: Instant) -> bool {
        client.closing.is_some() && client.blocked_since.is_some_and(|since| now > since + STUCK)
    }

    pub(super) fn is_lingering_since(client: &Client, now: Instant) -> bool {
        matches!(client.flow, Flow::Lingering { until } if now >= until)
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
    index: usize,
    input: &mut Vec<u8>,
    scratch: &mut [u8],
    parser: &mut RequestParser,
    core: &mut Core,
    table: &CommandTable,
) -> io::Result<Took> {
    let filled = input.len();
    scratch[..filled].copy_from_slice(input);
    let took = read_into(client, &mut scratch[filled..])?;
    let Took::Some(n) = took else { return Ok(took) };
    let data = &scratch[..filled + n];
    let consumed = serve(client, index, data, parser, core, table).0;
    input.clear();
    if consumed < data.len() {
        core.pool.lend(input);
        input.extend_from_slice(&data[consumed..]);
        keep_parser(client, parser, input.len());
    }
    Ok(took)
}

/// Read behind an incomplete request.
fn read_more(
    client: &mut Client,
    index: usize,
    input: &mut Vec<u8>,
    scratch: &mut [u8],
    parser: &mut RequestParser,
    core: &mut Core,
    table: &CommandTable,
) -> io::Result<Took> {
    let took = read_into(client, scratch);
    if let Ok(Took::Some(n)) = took {
        input.extend_from_slice(&scratch[..n]);
        serve_all(client, index, input, parser, core, table, true);
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
                // a short read has emptied the socket: the next bytes raise a new event
                client.has_unread = n == buffer.len() || client.is_half_closed;
                return Ok(Took::Some(n));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                client.has_unread = false;
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
    index: usize,
    input: &mut Vec<u8>,
    shared: &mut RequestParser,
    core: &mut Core,
    table: &CommandTable,
    resumes: bool,
) -> bool {
    let mut own = if resumes { client.parser.take() } else { None };
    let parser = own.as_deref_mut().unwrap_or(shared);
    let (consumed, is_held) = serve(client, index, input, parser, core, table);
    let is_partial = !parser.is_idle();
    input.drain(..consumed);
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

/// Take requests off `data` until it is used up or the client must wait; how much was taken, and whether it must wait.
fn serve(
    client: &mut Client,
    index: usize,
    data: &[u8],
    parser: &mut RequestParser,
    core: &mut Core,
    table: &CommandTable,
) -> (usize, bool) {
    if client.memcache.is_spoken {
        return crate::memcache::serve(core, client, index, data);
    }
    let mut taken = 0;
    let Some(limits) = core.clusters[client.cluster].as_ref().map(|s| s.cluster.spec.limits) else {
        client.closing = Some(CloseReason::Drain);
        return (data.len(), true);
    };
    let framing = RequestLimits { max_request: limits.request, max_arguments: MAX_ARGUMENTS, authenticated: true };
    while taken < data.len() {
        let rest = &data[taken..];
        let (consumed, next) = match parser.parse(rest, &framing) {
            Ok(Parsed::Incomplete { .. }) => return (taken, false),
            Ok(Parsed::Skip { consumed }) => (consumed, Next::Go),
            Ok(Parsed::Request { consumed }) => {
                let request = Request { bytes: &rest[..consumed], spans: parser.spans() };
                (consumed, route::serve(core, table, client, index, &request, true))
            }
            Ok(Parsed::Inline { consumed }) => {
                let request = Request { bytes: parser.inline(), spans: parser.spans() };
                (consumed, route::serve(core, table, client, index, &request, true))
            }
            Err(error) => {
                route::protocol_error(core, client, error);
                return (data.len(), true);
            }
        };
        match next {
            Next::Go => taken += consumed,
            Next::Hold => {
                client.flow = Flow::Barrier;
                return (taken, true);
            }
            Next::Queue => return (taken, true),
            Next::Pause => {
                core.stopped.push((index, client.tag()));
                client.flow = Flow::Stopped;
                return (taken, true);
            }
            Next::Wait => return (taken + consumed, true),
            Next::Close => return (data.len(), true),
        }
        if client.replies.len() >= limits.in_flight || client.output.len() > core.unread_at_most(&limits) {
            client.flow = Flow::Paused;
            return (taken, true);
        }
    }
    (taken, false)
}

fn again_later(client: &mut Client, index: usize, again: &mut crate::client::Agenda) {
    if !client.is_again {
        client.is_again = true;
        again.push(index);
    }
}

fn after_read(client: &mut Client, index: usize, core: &mut Core, dirty: &mut Vec<usize>) {
    settle(core, client);
    core.measure_if_due();
    if !client.is_dirty && (!client.output.is_empty() || client.closing.is_some()) {
        client.is_dirty = true;
        dirty.push(index);
    }
}

fn settle(core: &mut Core, client: &mut Client) {
    let held = client.held();
    Core::settle(&mut core.held, &mut client.accounted, held);
}
