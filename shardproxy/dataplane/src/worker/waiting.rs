//! Clients whose command waits for a connection of its own: woken when they may have one, or when their time is over.

use std::mem;
use std::time::Duration;

use super::parking::Unsettled;
use super::Worker;
use crate::block::Waiting;
use crate::client::{Client, Flow};
use crate::metrics::Class;
use crate::protocol::{resp::write, texts};
use crate::upstream::{Pending, State};

/// A deposed primary that is alive ends the waits of its clients within this; whoever still waits then is in doubt.
pub const GRACE: Duration = Duration::from_millis(500);

impl Worker {
    /// Let those try again that found no primary, and those whose own timeout is over get their answer.
    pub(super) fn tick_waiting(&mut self) {
        let Self { clients, core, .. } = self;
        core.woken.clients.append(&mut core.unplaced);
        let is_over = |&(index, tag): &(usize, u32)| {
            let client = clients.get(index).filter(|c: &&Client| c.tag() == tag && c.flow == Flow::Queued);
            client.and_then(|c| c.waiting.as_deref()).is_some_and(|waiting| waiting.is_over(core.now))
        };
        for node in core.clusters.iter_mut().flatten().flat_map(|served| &mut served.nodes) {
            if !node.queue.is_empty() {
                core.woken.clients.extend(node.queue.iter().filter(|queued| is_over(queued)));
                node.queue.retain(|queued| !is_over(queued));
            }
        }
    }

    /// A command that was not executed, and that its engine will not execute: it looks for another connection, and is
    /// told to wait for what is left of its time.
    pub(super) fn wait_again(&mut self, request: &Pending, waiting: Option<Waiting>, bytes: &[u8]) {
        let Self { clients, core, .. } = self;
        let index = request.client as usize;
        let (Some(client), Some(mut waiting)) = (clients.get_mut(index).filter(|c| c.tag() == request.tag), waiting)
        else {
            return;
        };
        if client.closing.is_some() {
            let cluster = client.cluster; // nothing of it is served any more
            return self.fail_one(cluster, request, texts::CLOSING);
        }
        waiting.returned(core.now);
        client.take_back(request.sequence, bytes);
        client.waiting = Some(Box::new(waiting));
        client.flow = Flow::Queued;
        core.unplaced.push((index, request.tag));
    }

    /// An engine has refused or ended a wait, and closes the connection or is of no use: leave it.
    pub(super) fn waits_elsewhere(&mut self, index: usize, Unsettled { request, bytes }: &Unsettled) {
        let waiting = self.core.upstreams[index].waiting.take();
        self.end_lease(index);
        self.upstream_remove(index);
        self.wait_again(request, waiting, bytes);
    }

    /// The connection is its client's no more, and what it watched there is forgotten.
    pub(super) fn end_lease(&mut self, index: usize) {
        let Self { clients, core, .. } = self;
        let Some((owner, tag)) = core.upstreams[index].owner.take() else { return };
        let Some(client) = clients.get_mut(owner).filter(|c| c.tag() == tag) else { return };
        client.lease = None;
        if let Some(transaction) = client.transaction.as_deref_mut().filter(|t| t.is_watching) {
            transaction.is_watching = false;
            transaction.watch_lost = true;
        }
    }

    /// Give a deposed primary time to say that a write which waits there is not executed; whether there is such a one.
    /// Its reply would be of an older epoch: it acknowledges nothing.
    pub(super) fn is_given_grace(&mut self, index: usize) -> bool {
        let upstream = &mut self.core.upstreams[index];
        let is_up = upstream.is_dedicated && upstream.state == State::Ready && !upstream.is_streaming;
        let is_waiting_write = upstream.pending.front().is_some_and(|r| r.class == Class::Block && !r.is_read);
        if !is_up || !is_waiting_write || !upstream.window.unsent().is_empty() {
            return false;
        }
        upstream.deposed.get_or_insert(self.core.now + GRACE);
        upstream.redo = 1; // its reply is looked at
        true
    }

    /// End a client's wait, here or at its engine; whether it waits.
    pub(super) fn unblock(&mut self, id: u64, with_error: bool) -> bool {
        let Some((index, client)) = self.clients.iter_mut().find(|(_, c)| c.id == id) else { return false };
        if let Some(waiting) = client.waiting.as_deref_mut().filter(|w| client.flow == Flow::Queued && !w.is_watch) {
            waiting.unblocked = Some(with_error);
            self.core.woken.clients.push((index, client.tag()));
            return true;
        }
        let Some(leased) = client.lease.map(|l| l as usize) else { return false };
        let core = &mut self.core;
        let upstream = &core.upstreams[leased];
        let engine_id = upstream.engine_id;
        if upstream.pending.is_empty() || engine_id == 0 {
            return false;
        }
        // to that very node, and behind nothing that waits for its shard: elsewhere the id is another client's
        let Some(link) = core.link_beside(leased) else { return false };
        let sink = core.upstreams[link].window.sink();
        let start = sink.len();
        let how: &[u8] = if with_error { b"ERROR" } else { b"TIMEOUT" };
        write::command(sink, &[b"CLIENT", b"UNBLOCK", engine_id.to_string().as_bytes(), how]);
        let length = sink.len() - start;
        core.upstreams[link].pending.push_back(Pending::nobody(length, core.micros));
        core.mark_dirty(link);
        true
    }

    /// Close leased connections whose client has gone, and let clients that waited for one try again.
    pub(super) fn settle_leases(&mut self) {
        while let Some(index) = self.core.woken.retire.pop() {
            // another may have taken its place in this very turn
            if self.core.upstreams.get(index).is_some_and(|u| u.is_dedicated && u.owner.is_none()) {
                self.upstream_give_up(index);
                self.upstream_remove(index);
            }
        }
        for queued in mem::take(&mut self.core.woken.clients) {
            self.wake(queued);
        }
        while let Some(pool) = self.core.woken.pools.pop() {
            while let Some(queued) = self.core.next_queued(pool) {
                if self.wake(queued) {
                    break; // whoever has gone meanwhile needs no connection
                }
            }
        }
    }

    /// Let a client that waited for a connection try again; whether it still waits.
    fn wake(&mut self, (index, tag): (usize, u32)) -> bool {
        let waits = |c: &&mut Client| c.tag() == tag && c.flow == Flow::Queued;
        let Some(client) = self.clients.get_mut(index).filter(waits) else { return false };
        client.flow = Flow::Open;
        if !client.is_again {
            client.is_again = true;
            self.again.push(index);
        }
        true
    }
}
