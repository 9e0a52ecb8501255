//! What other threads asked of this worker.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Chore, Message, Worker};
use crate::clients::{Client, Flow};
use crate::command::Command;
use crate::complete::{fail, mark_loaded};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::exchange::Entry;
use crate::links::State;
use crate::metrics::{Class, CloseReason};
use crate::net::{is_out_of_descriptors, Address};
use crate::recovery;
use crate::serve::caching::Passed;
use crate::serve::{self, Next};
use crate::shared::Letter;
use crate::tracking;
use crate::turn::{Effect, Told};
use crate::waiting;

/// Messages that a turn takes, most of them new clients in a storm of them, and the steps that one costs.
const MESSAGES: usize = 256;
const MESSAGE: usize = 4;

impl Worker {
    pub(super) fn take_messages(&mut self) {
        self.has_mail = false;
        for _ in 0..MESSAGES {
            let Some(message) = self.mailbox.take() else { return };
            self.turn.spend(MESSAGE);
            self.take(message);
        }
        self.has_mail = true;
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Accepted(arrived) => {
                self.adopt(arrived);
            }
            Message::Apply { index, ruled, applied } => {
                let epoch = ruled.as_ref().map(|ruled| ruled.cluster.spec.epoch);
                let epochs = epoch.zip(self.turn.cluster(index).map(|known| known.spec.epoch));
                if ruled.is_none() {
                    self.close_all(|c| c.cluster == index); // while the cluster still has counters to count them in
                }
                // one that started anew knows the newest already, and finds older ones in its mailbox
                if epochs.is_none_or(|(epoch, known)| epoch >= known) {
                    let before = self.turn.served(index).map(|served| served.cluster.clone());
                    recovery::apply(&mut self.turn, &mut self.clients, index, ruled);
                    self.make_tables();
                    self.follow(index);
                    if before.zip(self.turn.cluster(index)).is_some_and(|(old, new)| old.inbound != new.inbound) {
                        self.chores.push_back(Chore::review(index));
                    }
                }
                let _ = applied.try_send(()); // the fence stands: whoever waits may go on
            }
            Message::Learn { table, rights } => {
                self.table = table;
                for (served, rights) in self.turn.clusters.iter_mut().zip(rights) {
                    if let Some((served, rights)) = served.as_mut().zip(rights) {
                        served.rights = rights;
                    }
                }
                self.make_tables();
                (0..self.turn.clusters.len()).for_each(|index| self.follow(index));
            }
            Message::Resolved { link, attempt, result } => self.resolved(link, attempt, result),
            Message::Answer { token, reply } => self.answered(token, &reply),
            Message::Retry { token } => self.retry(token),
            Message::PassOn { token, absent } => self.execute_after_all(token, absent.as_deref()),
            Message::Fresh { digest, until } => self.turn.ages.set(digest, until, self.turn.millis),
            Message::Chore(chore) => self.chores.push_back(chore),
            Message::Unblock { client, with_error, unblocked } => {
                let is_done = waiting::unblock(&mut self.turn, client, with_error)
                    || recovery::unblock(&mut self.turn, &mut self.clients, client, with_error);
                let _ = unblocked.try_send(is_done);
            }
            Message::Report { cluster, told } => {
                let _ = told.try_send(self.turn.report(cluster)); // nobody waits any more, or somebody does
            }
            Message::Settle(settling) => self.turn.settling.push(settling),
            Message::Drain(grace) => self.drain(grace),
            Message::PassTo(heir) => self.pass_to(heir),
            Message::Stop => self.is_stopped = true,
            #[cfg(test)]
            Message::Panic => panic!("asked to"),
        }
    }

    /// What other workers write about clients.
    pub(super) fn take_letters(&mut self) {
        let letters = self.turn.shared.letters(self.turn.number);
        self.turn.spend(letters.len());
        for letter in letters {
            match letter {
                Letter::Waits(entrant) => waiting::enter(&mut self.turn, *entrant),
                Letter::Left { client, is_passed_on } => waiting::left(&mut self.turn, client, is_passed_on),
                Letter::Answer(answer) => waiting::deliver(&mut self.turn, &mut self.clients, answer),
                Letter::Seek(seek) => tracking::seek(&self.turn, &self.clients, &seek),
                Letter::Sought { owed, worker, is_there } => {
                    tracking::found(&mut self.turn, &mut self.clients, &owed, worker, is_there);
                }
                Letter::Changed(changed) => tracking::deliver(&mut self.turn, &mut self.clients, &changed),
                Letter::Unheard { from, to } => {
                    tracking::unheard(&mut self.turn, &mut self.clients, from.ticket, to);
                }
                Letter::Gone { worker } => waiting::lost_worker(&mut self.turn, worker),
            }
        }
    }

    /// The rights in a cluster may have changed: look at its clients.
    fn follow(&mut self, cluster: usize) {
        let Some(served) = self.turn.served(cluster) else { return };
        let rights = served.rights.number;
        if self.followed.len() <= cluster {
            self.followed.resize(cluster + 1, 0);
        }
        if std::mem::replace(&mut self.followed[cluster], rights) != rights {
            self.chores.push_back(Chore::follow(cluster));
            self.turn.set_following(true);
        }
    }

    /// Whoever is idle may be about to send something: only who has just been answered surely expects nothing.
    fn drain(&mut self, grace: Duration) {
        self.is_draining = true;
        self.heir = None;
        if grace.is_zero() {
            self.leave();
        } else {
            self.leaves_at = Some(self.turn.now + grace);
        }
    }

    /// Close everybody, each after its last reply.
    pub(super) fn leave(&mut self) {
        self.leaves_at = None;
        let all: Vec<usize> = self.clients.iter().map(|(index, _)| index).collect();
        for index in all {
            let client = &mut self.clients[index];
            // who was to be closed for who it is may not stay for who it becomes
            let others = client.closing.filter(|why| !matches!(why, CloseReason::Rules | CloseReason::SessionOver));
            client.closing = others.or(Some(CloseReason::Drain));
            self.client_flush(index);
        }
    }

    fn close_all(&mut self, which: impl Fn(&Client) -> bool) {
        let found: Vec<usize> = self.clients.iter().filter(|(_, c)| which(c)).map(|(index, _)| index).collect();
        for index in found {
            self.close_now(index, CloseReason::Drain);
        }
    }

    fn resolved(&mut self, index: usize, attempt: u64, result: io::Result<SocketAddr>) {
        let Some(link) = self.turn.links.get(index) else { return };
        if link.attempt != attempt || link.state != State::Resolving {
            return;
        }
        match result {
            Ok(address) => self.link_dial(index, &Address::Ip(address)),
            Err(_) if is_out_of_descriptors() => {
                recovery::out_of_files(&mut self.turn, &mut self.clients, index);
            }
            Err(error) => recovery::lost(&mut self.turn, &mut self.clients, index, &error.to_string()),
        }
    }

    fn answered(&mut self, token: u64, reply: &[u8]) {
        let Some(mut offloaded) = self.turn.offloaded.remove(token) else { return };
        offloaded.ticket.redeem();
        let Self { clients, turn, table, .. } = self;
        let Some(client) = clients.owed(&offloaded.owed) else { return };
        serve::caching::ended(client, token);
        let said = match offloaded.effect {
            Effect::LogIn(login) => {
                let (name, greeting) = *login;
                Some(serve::login::verdict(turn, client, &name, greeting, reply))
            }
            effect => {
                effect.take(&turn.shared.scripts, client.cluster, reply);
                None
            }
        };
        let reply = said.as_deref().unwrap_or(reply);
        let class = if offloaded.waits { Class::Block } else { Class::Offload };
        let (owed, command) = (offloaded.owed, offloaded.command);
        let request = Entry { owed, command, class, ..Entry::nobody(offloaded.since) };
        let own = (offloaded.told.bytes(), offloaded.told.length());
        let (bytes, length) = offloaded.again.as_deref().map_or(own, |again| (&*again.bytes, again.bytes.len()));
        let told = Told { bytes, length, reply, is_error: reply.starts_with(b"-"), elapsed: None };
        let number = client.cluster;
        turn.note_answered(Some(client), number, &request, told);
        let Some(client) = clients.owed(&offloaded.owed) else { return };
        if let Some(served) = turn.served(client.cluster) {
            served.metrics.command(offloaded.command, reply.first() == Some(&b'-'));
            served.metrics.latency(Class::Offload, turn.micros.wrapping_sub(offloaded.since));
            let is_it = |c: &Command| c.id == offloaded.command && c.may_write();
            let may_write = |c: &Command| is_it(c) || c.subcommands.iter().any(is_it);
            let names_none = offloaded.again.is_none();
            if let Some(writes) =
                served.writes.as_ref().filter(|_| names_none && table.commands().iter().any(may_write))
            {
                writes.all_done(turn.millis); // FLUSHALL and the like name no keys
            }
        }
        if !offloaded.raw.is_empty() {
            if reply.starts_with(b"-") {
                serve::transaction::break_off(client);
            }
            client.take_silence(); // an unknown command is silent or not when its answer is known
        }
        let mut reply = reply;
        if let Some(again) = &offloaded.again {
            mark_loaded(turn, table, again.way.cluster, &again.bytes);
            let is_dropped = again.entry.kind().is_some_and(|kind| kind.is_dropped(reply));
            reply = if is_dropped { &[] } else { reply };
        } else {
            client.flow = Flow::Barrier; // opens at its flush, when the answer is out
        }
        clients.deliver(&mut turn.pool, &offloaded.owed, reply);
    }

    /// A command with a caching rule goes to its engines after all.
    fn execute_after_all(&mut self, token: u64, absent: Option<&[Vec<u8>]>) {
        let Some(mut offloaded) = self.turn.offloaded.remove_ruled(token) else { return };
        offloaded.ticket.redeem();
        let Self { clients, turn, table, .. } = self;
        let Some(client) = clients.owed(&offloaded.owed) else { return };
        serve::caching::ended(client, token);
        let Some(again) = offloaded.again else { return };
        let cluster = again.way.cluster;
        let passed = match again.entry.kind() {
            Some(kind) => serve::memcached::pass_on(turn, client, *again, kind),
            None => serve::caching::pass_on(turn, client, table, *again, absent),
        };
        match passed {
            Passed::Sent => {}
            Passed::To(way, entry, bytes) => recovery::send_taken(turn, clients, way, entry, bytes),
            Passed::Refused(entry, text) => fail(turn, clients, cluster, &entry, &text),
        }
    }

    /// The command table has changed, or was found to be right: route the command again.
    fn retry(&mut self, token: u64) {
        let Some(mut offloaded) = self.turn.offloaded.remove(token) else { return };
        offloaded.ticket.redeem();
        let Self { clients, turn, tables, .. } = self;
        let Some(client) = clients.owed(&offloaded.owed) else { return };
        let Some(table) = tables.get(client.cluster) else { return };
        client.replies.withdraw_last(offloaded.owed.sequence);
        client.flow = Flow::Barrier;
        let mut parser = RequestParser::new();
        if let Ok(Parsed::Request { .. }) = parser.parse(&offloaded.raw, &RequestLimits::NONE) {
            let request = Request { bytes: &offloaded.raw, spans: parser.spans() };
            let next = serve::serve(turn, client, table, &request, false);
            if matches!(next, Next::Hold | Next::Pause | Next::Queue) {
                client.parser = None; // it was not taken: it waits before what came after it
                client.input.splice(0..0, offloaded.raw.iter().copied());
                turn.settle_client(client);
            }
            if next == Next::Pause {
                turn.later.stopped.push(client.ticket());
                client.flow = Flow::Stopped;
            }
        }
        if client.flow == Flow::Barrier {
            clients.mark(offloaded.owed.client as usize);
        }
    }
}
