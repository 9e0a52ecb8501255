//! The client side of a turn: write replies; close.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use super::{Worker, SHARE};
use crate::clients::{Client, Flow};
use crate::metrics::CloseReason;
use crate::net::tls::Tls;
use crate::{pubsub, tracking, waiting};

/// After its last reply a client may take this long to read it.
const LINGER: Duration = Duration::from_secs(1);
/// A client that is to be closed may take this long to read anything of what it is still owed.
const STUCK: Duration = Duration::from_secs(10);

/// Pieces of output that leave in one write.
const SLICES: usize = 16;

impl Worker {
    /// Wait for the peer to close after its last reply.
    pub(super) fn client_linger(&mut self, index: usize) {
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
            if client.stream.tls().is_some_and(Tls::is_blocked) {
                if matches!(client.flow, Flow::Entering { .. }) {
                    return self.handshakes.queue(client);
                }
                client.stream.push_out(); // it may be no reply, and so nobody presents it again
            }
            if client.blocked_since.is_some() && !client.output.is_empty() {
                client.blocked_since = None;
                self.client_flush(index);
            }
        }
    }

    pub(super) fn client_flush(&mut self, index: usize) {
        let Self { clients, turn, unwritten, .. } = self;
        let Some(client) = clients.get_mut(index) else { return };
        client.is_dirty = false;
        client.awaits_exec = None;
        if client.tracking.is_some() {
            tracking::release(turn, client);
        }
        let Some(served) = &turn.clusters[client.cluster] else { return self.close(index) };
        let mut share = SHARE;
        let was_unread = client.blocked_since.is_some();
        let had_output = !client.output.is_empty();
        while !client.output.is_empty() && client.blocked_since.is_none() {
            let wrote = if client.output.has_queue() {
                let mut slices = [IoSlice::new(b""); SLICES];
                let used = client.output.slices(&mut slices, share);
                client.stream.write_vectored(&slices[..used])
            } else {
                let bytes = client.output.unwritten();
                client.stream.write(&bytes[..bytes.len().min(share)])
            };
            match wrote {
                Ok(0) => break,
                Ok(n) => {
                    share -= n;
                    served.metrics.bytes_out.add(n as u64);
                    client.last_active = turn.now;
                    client.output.advance(n, &mut turn.pool);
                    if share == 0 {
                        if !client.is_unwritten && !client.output.is_empty() {
                            client.is_unwritten = true;
                            unwritten.push(index);
                        }
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => client.blocked_since = Some(turn.now),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    client.closing = Some(CloseReason::Error);
                    client.replies.clear(&mut turn.pool);
                    client.output.clear(&mut turn.pool);
                }
            }
        }
        if client.blocked_since.is_some() && !was_unread {
            turn.note_unread(client);
        }
        let Some(served) = &turn.clusters[client.cluster] else { return };
        let limits = &served.cluster.spec.limits;
        client.note_backlog();
        if client.unread() > limits.client_output {
            client.closing = Some(CloseReason::Output);
            client.replies.clear(&mut turn.pool);
            client.output.clear(&mut turn.pool);
        }
        let is_open = match client.flow {
            Flow::Barrier => client.replies.is_empty(),
            Flow::Paused => client.may_go_on(limits, turn.accounts.unread_at_most(limits.client_output)),
            _ => false,
        };
        if is_open {
            client.flow = Flow::Open;
        }
        turn.settle_client(client);
        let is_done = client.closing.is_some() && client.replies.is_empty() && client.output.is_empty();
        if is_open {
            clients.look_again(index);
        }
        if is_done {
            self.finish(index);
        } else if had_output && self.is_draining {
            self.is_answered(index);
        }
    }

    /// This process goes: who has just had its last reply goes with it, or goes on elsewhere.
    #[cold]
    fn is_answered(&mut self, index: usize) {
        if self.heir.is_some() {
            self.pass_on(index);
        } else if self.leaves_at.is_some() && self.clients[index].is_at_boundary() {
            self.clients[index].closing = Some(CloseReason::Drain);
            self.finish(index);
        }
    }

    /// All replies are out: close, but let the peer read what is on its way.
    fn finish(&mut self, index: usize) {
        let client = &mut self.clients[index];
        match client.closing {
            Some(CloseReason::Quit | CloseReason::Protocol | CloseReason::Drain | CloseReason::SessionOver)
                if !matches!(client.flow, Flow::Lingering { .. }) =>
            {
                client.stream.shutdown_write();
                client.flow = Flow::Lingering { until: self.turn.now + LINGER };
                self.turn.pool.take_back(&mut client.input);
                self.client_linger(index);
            }
            _ => self.close(index),
        }
    }

    /// Close at once.
    pub(super) fn close(&mut self, index: usize) {
        let mut client = self.clients.remove(index);
        let Self { turn, .. } = self;
        turn.pool.take_back(&mut client.input);
        client.replies.clear(&mut turn.pool);
        client.output.clear(&mut turn.pool);
        turn.accounts.settle(&mut client.accounted, 0);
        pubsub::forget(turn, &mut client);
        tracking::end(turn, &mut client);
        turn.count_blocked(&mut client, false);
        if let Flow::Offloaded(token) = client.flow {
            turn.offloaded.remove(token);
        }
        for token in client.order.iter_mut().flat_map(|order| order.tokens.drain(..)) {
            turn.offloaded.remove(token);
        }
        if let Some(home) = client.waits_at {
            waiting::leave(turn, usize::from(home), client.cluster, client.id);
        }
        if let Some(leased) = client.lease.take() {
            if let Some(leased) = turn.links[leased as usize].leased_mut() {
                leased.owner = None;
            }
            turn.later.retire.push(leased as usize);
        }
        let reason = client.closing.unwrap_or(CloseReason::Drain);
        if let Some(served) = &turn.clusters[client.cluster] {
            served.metrics.closed[reason as usize].increment();
            served.metrics.clients.set(served.metrics.clients.get().saturating_sub(1));
        }
        let clients = &turn.shared.workers[turn.number].clients;
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
