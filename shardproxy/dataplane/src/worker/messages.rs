//! What other threads asked of this worker.

use std::io;
use std::net::SocketAddr;

use super::Worker;
use crate::command::Command;
use crate::mailbox::Message;
use crate::metrics::{Class, CloseReason};
use crate::net::Address;
use crate::protocol::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::request::Request;
use crate::route::{self, Next};
use crate::upstream::State;

impl Worker {
    pub(super) fn take_messages(&mut self) {
        for _ in 0..self.mailbox.len() {
            let Some(message) = self.mailbox.take() else { return };
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Accepted { stream, id, cluster, endpoint, seat } => {
                self.adopt(stream, id, cluster, endpoint, seat);
            }
            Message::Apply { index, cluster, applied } => {
                if cluster.is_none() {
                    self.close_all(|c| c.cluster == index); // while the cluster still has counters to count them in
                }
                self.core.apply(index, cluster);
                self.make_tables();
                self.epoch_applied(index);
                self.sweep_retired();
                let _ = applied.try_send(()); // the fence stands: whoever waits may go on
            }
            Message::Learn(table) => {
                self.table = table;
                self.make_tables();
            }
            Message::Resolved { upstream, attempt, result } => self.resolved(upstream, attempt, result),
            Message::Answer { token, reply } => self.answered(token, &reply),
            Message::Retry { token } => self.retry(token),
            Message::List(list) => {
                let now = self.core.now;
                let infos = self.clients.iter().filter_map(|(_, client)| {
                    let served = self.core.clusters[client.cluster].as_ref()?;
                    Some(client.info(self.core.number, &served.cluster.spec.name, now))
                });
                let _ = list.try_send(infos.collect()); // the asker may have given up
            }
            Message::Kill { ids, killed } => {
                let found: Vec<usize> =
                    self.clients.iter().filter(|(_, c)| ids.contains(&c.id)).map(|(index, _)| index).collect();
                for &index in &found {
                    self.kill(index);
                }
                let _ = killed.try_send(found.len());
            }
            Message::Unblock { client, with_error, unblocked } => {
                let _ = unblocked.try_send(self.unblock(client, with_error));
            }
            Message::Drain => self.drain(),
            Message::Stop => self.is_stopped = true,
            #[cfg(test)]
            Message::Panic => panic!("asked to"),
        }
    }

    /// A client that waits for the answer of the very command that kills it gets that answer first.
    fn kill(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.closing = Some(CloseReason::Killed);
        if !matches!(client.flow, crate::client::Flow::Offloaded(_)) || self.core.is_in_wait(client) {
            self.close(index);
        }
    }

    fn drain(&mut self) {
        self.is_draining = true;
        let all: Vec<usize> = self.clients.iter().map(|(index, _)| index).collect();
        for index in all {
            let client = &mut self.clients[index];
            client.closing = client.closing.or(Some(CloseReason::Drain));
            self.client_flush(index);
        }
    }

    fn close_all(&mut self, which: impl Fn(&crate::client::Client) -> bool) {
        let found: Vec<usize> = self.clients.iter().filter(|(_, c)| which(c)).map(|(index, _)| index).collect();
        for index in found {
            self.close_now(index, CloseReason::Drain);
        }
    }

    fn sweep_retired(&mut self) {
        let idle: Vec<usize> = self
            .core
            .upstreams
            .iter()
            .filter(|(_, u)| u.is_retired && u.owner.is_none() && (u.pending.is_empty() || u.state != State::Ready))
            .map(|(index, _)| index)
            .collect();
        for index in idle {
            let upstream = &mut self.core.upstreams[index];
            if upstream.pending.is_empty() || upstream.is_memcached {
                self.upstream_give_up(index);
                self.upstream_remove(index);
            } else {
                upstream.node = u16::MAX; // its number is another's now
                self.upstream_lost(index, "the node left the topology"); // what waits for it goes elsewhere
            }
        }
    }

    fn resolved(&mut self, index: usize, attempt: u64, result: io::Result<SocketAddr>) {
        let Some(upstream) = self.core.upstreams.get(index) else { return };
        if upstream.attempt != attempt || upstream.state != State::Resolving {
            return;
        }
        match result {
            Ok(address) => self.upstream_dial(index, &Address::Ip(address)),
            Err(error) => self.upstream_lost(index, &error.to_string()),
        }
    }

    fn answered(&mut self, token: u64, reply: &[u8]) {
        let Some(mut offloaded) = self.core.offloaded.remove(&token) else { return };
        offloaded.ticket.redeem();
        let Self { clients, core, dirty, table, .. } = self;
        let Some(client) = clients.get_mut(offloaded.client).filter(|c| c.tag() == offloaded.tag) else { return };
        offloaded.effect.take(&core.shared.scripts, client.cluster, reply);
        if let Some(served) = &core.clusters[client.cluster] {
            served.metrics.command(offloaded.command, reply.first() == Some(&b'-'));
            served.metrics.latency(Class::Offload, core.micros.wrapping_sub(offloaded.since));
            let is_it = |c: &Command| c.id == offloaded.command && c.may_write();
            let may_write = |c: &Command| is_it(c) || c.subcommands.iter().any(is_it);
            if let Some(writes) = served.writes.as_ref().filter(|_| table.commands().iter().any(may_write)) {
                writes.recent.write_all(core.millis); // FLUSHALL and the like name no keys
            }
        }
        if !offloaded.raw.is_empty() {
            if reply.starts_with(b"-") {
                crate::transaction::break_off(client);
            }
            route::take_silence(client); // an unknown command is silent or not when its answer is known
        }
        client.replies.deliver(offloaded.sequence, reply, &mut client.output, &mut core.pool);
        client.flow = crate::client::Flow::Barrier; // opens at its flush, when the answer is out
        if !client.is_dirty {
            client.is_dirty = true;
            dirty.push(offloaded.client);
        }
    }

    /// The command table has changed, or was found to be right: route the command again.
    fn retry(&mut self, token: u64) {
        let Some(mut offloaded) = self.core.offloaded.remove(&token) else { return };
        offloaded.ticket.redeem();
        let Self { clients, core, dirty, tables, .. } = self;
        let index = offloaded.client;
        let Some(client) = clients.get_mut(index).filter(|c| c.tag() == offloaded.tag) else { return };
        let Some(table) = tables.get(client.cluster) else { return };
        client.replies.withdraw_last(offloaded.sequence);
        client.flow = crate::client::Flow::Barrier;
        let mut parser = RequestParser::new();
        let limits = RequestLimits { max_request: usize::MAX, max_arguments: usize::MAX >> 1, authenticated: true };
        if let Ok(Parsed::Request { .. }) = parser.parse(&offloaded.raw, &limits) {
            let request = Request { bytes: &offloaded.raw, spans: parser.spans() };
            let next = route::serve(core, table, client, index, &request, false);
            if matches!(next, Next::Hold | Next::Pause | Next::Queue) {
                client.parser = None; // it was not taken: it waits before what came after it
                client.input.splice(0..0, offloaded.raw.iter().copied());
            }
            if next == Next::Pause {
                core.stopped.push((index, client.tag()));
                client.flow = crate::client::Flow::Stopped;
            }
        }
        if client.flow == crate::client::Flow::Barrier && !client.is_dirty {
            client.is_dirty = true;
            dirty.push(index);
        }
    }
}
