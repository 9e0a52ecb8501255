//! The node side of a turn: connections dialled when first wanted, greeted, read, and sent what is queued once per turn.

use std::io;
use std::mem;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mio::event::Event;

use super::{link_token, Message, Worker, LEFT_OVER, SHARE};
use crate::complete::{deliver_all, fail, Missed, Unsettled};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::exchange::Entry;
use crate::links::{durable, Login, State, Way};
use crate::net::tls::Tls;
use crate::net::{lacks_descriptors, Address, Stream};
use crate::place::{count_parked, give_back};
use crate::{pubsub, recovery, serve, tracking, waiting};

/// Reads of one link per turn, so that one busy node does not hold up the others.
const READS: usize = 8;
/// Replies of one link per turn beyond which no more is read: small ones make much work of few bytes.
const REPLIES: usize = 4096;

impl Worker {
    pub(super) fn link_ready(&mut self, index: usize, event: &Event) {
        let Some(link) = self.turn.links.get_mut(index) else { return };
        link.is_half_closed |= link.stream.is_some() && (event.is_read_closed() || event.is_error());
        if link.state == State::Connecting {
            if link.stream.as_ref().is_some_and(|stream| stream.tls().is_some()) {
                return self.handshakes.queue_link(index, link.attempt);
            }
            if !self.link_connected(index) {
                return;
            }
        }
        let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
        if is_readable && self.turn.links.get(index).is_some_and(|link| !link.is_unread) {
            self.link_read(index); // else it has had its share of this turn
        }
        if event.is_writable() && self.turn.links.get(index).is_some_and(|link| !link.exchange.unsent().is_empty()) {
            self.turn.links.mark(index);
        }
    }

    /// Greet the node if it is connected, and the handshake done; whether that is so.
    pub(super) fn link_connected(&mut self, index: usize) -> bool {
        let Some(link) = self.turn.links.get_mut(index).filter(|link| link.state == State::Connecting) else {
            return false;
        };
        let is_half_closed = link.is_half_closed;
        let is_there_more = |tls: &Tls| (tls.has_more() || is_half_closed) && !tls.is_blocked();
        let Some(stream) = &mut link.stream else { return false };
        match stream.connected() {
            Ok(true) => {
                if stream.tls().is_some_and(|tls| tls.has_more() || is_half_closed) {
                    self.turn.links.mark_unread(index);
                }
                self.link_greet(index);
                return true;
            }
            Ok(false) if stream.tls().is_some_and(is_there_more) => self.handshakes.queue_link(index, link.attempt),
            Ok(false) => {}
            Err(error) => self.link_lost(index, &error.to_string()),
        }
        false
    }

    fn link_lost(&mut self, index: usize, why: &str) {
        recovery::lost(&mut self.turn, &mut self.clients, index, why);
    }

    pub(super) fn link_read(&mut self, index: usize) {
        if self.turn.links.get(index).is_some_and(|link| link.is_subscriber() && link.state == State::Ready) {
            match pubsub::catch_up(&mut self.turn, &mut self.clients, index) {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => return self.link_lost(index, &why),
            }
        }
        let mut answered = 0;
        for _ in 0..READS {
            let Self { turn, clients, scratch, errands, .. } = self;
            let Some(link) = turn.links.get_mut(index) else { return };
            let owed = link.exchange.len();
            if link.state == State::Connecting {
                return; // left over by a connection that was lost since
            }
            let Some(stream) = &mut link.stream else { return };
            let mut gathered = mem::take(&mut link.input);
            // behind a little that was left over, at the front of the scratch buffer; more than that is added to
            let is_little = gathered.len() <= LEFT_OVER;
            let start = if is_little { gathered.len() } else { 0 };
            scratch[..start].copy_from_slice(&gathered[..start]);
            let room = scratch.len() - start;
            let n = match stream.read(&mut scratch[start..]) {
                Ok(0) => return self.link_lost(index, "the node closed the connection"),
                Ok(n) => n,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    link.input = gathered;
                    if stream.may_have_more(0, room) {
                        break;
                    }
                    return;
                }
                Err(error) => return self.link_lost(index, &error.to_string()),
            };
            let has_more = stream.may_have_more(n, room);
            if recovery::came_late(turn, clients, index) {
                return turn.pool.discard(gathered);
            }
            let link = &mut turn.links[index];
            let data: &[u8] = if is_little {
                &scratch[..start + n]
            } else {
                gathered.extend_from_slice(&scratch[..n]);
                &gathered
            };
            link.metrics.bytes_in.add(n as u64);
            link.metrics.stance.hear(turn.millis);
            link.hears(turn.now, gathered.is_empty());
            let was_greeting = matches!(link.state, State::Greeting(_));
            let delivery = if link.is_subscriber() && link.state == State::Ready {
                pubsub::receive_all(turn, clients, index, data)
            } else if link.is_feed() && link.state == State::Ready {
                tracking::receive_all(turn, clients, index, data)
            } else if link.is_watcher() && link.state == State::Ready {
                waiting::receive_all(turn, index, data)
            } else {
                deliver_all(turn, clients, index, data, errands)
            };
            let link = &mut turn.links[index];
            link.heard_some(n, turn.now);
            answered += owed.saturating_sub(link.exchange.len());
            match &delivery {
                Ok(taken) if *taken < data.len() => {
                    if is_little {
                        gathered.clear();
                        gathered.extend_from_slice(&scratch[*taken..start + n]);
                    } else {
                        gathered.drain(..*taken);
                    }
                    link.input = gathered;
                }
                _ => turn.pool.discard(gathered),
            }
            self.after_delivery(index, was_greeting);
            if let Err(why) = delivery {
                return self.link_lost(index, &why);
            }
            let Some(link) = self.turn.links.get(index) else { return };
            if link.is_retired && link.exchange.is_empty() && !link.is_leased() {
                return self.turn.remove_link(index);
            }
            let is_free = link.exchange.is_empty() && link.state == State::Ready && !link.is_half_closed;
            if link.is_leased() && is_free {
                return self.lease_idle(index);
            }
            if link.subscriber().is_some_and(|subscriber| subscriber.is_behind) {
                return; // until a later turn
            }
            if !has_more && !link.is_half_closed {
                return;
            }
            if answered > REPLIES {
                break;
            }
        }
        self.turn.links.mark_unread(index); // still more
    }

    /// See to what the replies left to do.
    fn after_delivery(&mut self, index: usize, was_greeting: bool) {
        let Self { turn, clients, table, errands, .. } = self;
        let link = &turn.links[index];
        if link.must_speak() && !link.exchange.is_in_flight() {
            turn.links.mark(index); // now it can
        }
        let link = &turn.links[index];
        if was_greeting && link.state == State::Ready {
            if link.is_subscriber() {
                pubsub::connected(turn, index);
            } else if link.is_feed() {
                tracking::connected(turn, clients, index);
            } else if link.is_watcher() {
                waiting::connected(turn, index);
            }
            turn.links.mark(index);
        }
        turn.settle_link(index);
        turn.measure_if_due();
        let way = turn.links[index].way;
        let cluster = way.cluster;
        recovery::run(turn, clients, table, index, errands);
        for (unsettled, reply) in mem::take(&mut errands.healable) {
            self.heal(cluster, &unsettled, &reply);
        }
        for missed in mem::take(&mut self.errands.missed) {
            self.load(way, missed);
        }
    }

    /// Links that had more to read than one turn gives them.
    pub(super) fn read_left_over(&mut self) {
        if !self.turn.links.has_unread() {
            return;
        }
        let mut unread = mem::take(&mut self.unread);
        self.turn.links.take_unread(&mut unread);
        for index in unread.drain(..) {
            self.link_read(index);
        }
        self.unread = unread;
    }

    /// A connection of a client's own has answered: keep it while the client watches, else give it back.
    fn lease_idle(&mut self, index: usize) {
        if let Some(client) = self.turn.links[index].owner().and_then(|ticket| self.clients.tagged(ticket)) {
            if client.transaction.as_deref().is_some_and(|t| t.is_watching) {
                return;
            }
            client.lease = None;
        }
        give_back(&mut self.turn, index);
    }

    /// Let the control plane load what the node lacks, and run the command. The error stands if it cannot, and if the
    /// client has sent more since, for that was executed and must not be overtaken.
    fn heal(&mut self, cluster: usize, Unsettled { request, bytes, .. }: &Unsettled, reply: &[u8]) {
        let Self { turn, clients, .. } = self;
        let Some(client) = clients.owed(&request.owed) else { return };
        let mut parser = RequestParser::new();
        let mut rest = &**bytes;
        // what goes before it is nobody's
        let is_framed = (0..=request.inner()).all(|number| match parser.parse(rest, &RequestLimits::NONE) {
            Ok(Parsed::Request { consumed }) => {
                rest = if number == request.inner() { &rest[..consumed] } else { &rest[consumed..] };
                true
            }
            _ => false,
        });
        let is_taken = client.replies.is_last(request.owed.sequence)
            && is_framed
            && serve::heal(turn, client, request, &Request { bytes: rest, spans: parser.spans() });
        if !is_taken {
            fail(turn, clients, cluster, request, reply);
        }
    }

    /// Let the control plane load what is missing. What the engine said stands if it takes no more.
    fn load(&mut self, way: Way, missed: Missed) {
        let Self { turn, clients, .. } = self;
        let Some(client) = clients.owed(&missed.request.owed) else { return };
        let Entry { owed, command, .. } = missed.request;
        let kind = missed.request.kind();
        let Err(reply) = serve::caching::load(turn, client, way, missed) else { return };
        if let Some(served) = turn.served(way.cluster) {
            served.metrics.command(command, false);
        }
        let is_dropped = kind.is_some_and(|kind| kind.is_dropped(&reply));
        clients.deliver(&mut turn.pool, &owed, if is_dropped { &[] } else { &reply });
    }

    /// Send what is queued; connect first where needed.
    pub(super) fn link_flush(&mut self, index: usize) {
        let turn = &mut self.turn;
        let Some(link) = turn.links.get_mut(index) else { return };
        link.is_dirty = false;
        if link.is_lot() {
            return count_parked(turn, index);
        }
        match link.state {
            State::Ready => {}
            State::Down => {
                turn.settle_link(index);
                return self.link_connect(index);
            }
            State::Resolving | State::Connecting | State::Greeting(_) => return turn.settle_link(index),
        }
        if let Some(served) = &turn.clusters[link.way.cluster] {
            if let Some(terms) = served.cluster.terms_of(link.way.shard).filter(|_| !link.listens()) {
                durable::close_batch(link, &terms, turn.micros);
            }
        }
        if link.must_speak() && !link.is_full {
            turn.settle_link(index);
            return self.link_speak(index);
        }
        let (is_subscriber, listens) = (link.is_subscriber(), link.listens());
        if !link.exchange.is_in_flight() {
            link.asks(turn.now, turn.micros);
        }
        let Some(stream) = &mut link.stream else { return };
        let mut share = SHARE;
        while !link.exchange.unsent().is_empty() {
            let unsent = link.exchange.unsent();
            match stream.write(&unsent[..unsent.len().min(share)]) {
                Ok(n) => {
                    share -= n;
                    if link.exchange.is_sending_oldest() {
                        link.patience.credit(n, turn.now); // the node takes a large request, if slowly
                    }
                    link.is_full = false;
                    if listens {
                        link.exchange.said(n); // no reply answers it alone
                    } else {
                        link.exchange.sent(n);
                    }
                    link.metrics.bytes_out.add(n as u64);
                    if share == 0 {
                        turn.links.mark_unsent(index);
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    link.is_full = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.link_broken(index, &error),
            }
        }
        let link = &turn.links[index];
        if listens && link.exchange.unsent().is_empty() {
            if is_subscriber {
                turn.pubsub.resume();
            } else {
                turn.waits.resume_asking();
            }
        }
        turn.settle_link(index);
    }

    /// It cannot be written to: read what the node said before it closed.
    #[cold]
    fn link_broken(&mut self, index: usize, error: &io::Error) {
        let attempt = self.turn.links[index].attempt;
        self.link_read(index);
        if self.turn.links.get(index).is_some_and(|link| link.attempt == attempt && link.state == State::Ready) {
            self.link_lost(index, &error.to_string());
        }
    }

    /// When something is to be done though nothing happens.
    pub(super) fn next_due(&self) -> Instant {
        let links = &self.turn.links;
        let retries = links.retrying.iter().filter_map(|&index| links.get(index)).map(|link| link.trouble.retry_at);
        let over = self.turn.waits.next_due();
        retries.chain(over).fold(self.next_tick, Instant::min)
    }

    /// Connect anew where requests wait and the pause after the last failure is over.
    pub(super) fn retry_due(&mut self) {
        if self.turn.links.retrying.is_empty() {
            return;
        }
        let mut later = Vec::new();
        for index in mem::take(&mut self.turn.links.retrying) {
            let Some(link) = self.turn.links.get(index).filter(|link| link.state == State::Down) else { continue };
            if link.trouble.retry_at > self.turn.now {
                later.push(index);
            } else if !link.exchange.is_empty() || link.listens() {
                self.link_connect(index);
            }
        }
        self.turn.links.retrying.append(&mut later);
    }

    pub(super) fn link_connect(&mut self, index: usize) {
        let Self { turn, mailbox, .. } = self;
        let link = &mut turn.links[index];
        if turn.now < link.trouble.retry_at || link.is_retired && link.exchange.is_empty() {
            return; // the tick looks again
        }
        let Some(served) = &turn.clusters[link.way.cluster] else { return };
        link.attempt = turn.shared.next_attempt.fetch_add(1, Relaxed);
        link.patience.begin(turn.now);
        let Some(node) = served.cluster.nodes.get(usize::from(link.way.node)) else { return };
        if let Address::Name(host, port) = &node.address {
            link.state = State::Resolving;
            let (mailbox, attempt) = (mailbox.clone(), link.attempt);
            turn.shared.resolver.resolve(
                host,
                *port,
                (turn.number, index),
                link.trouble.failures as usize,
                Box::new(move |result| mailbox.send(Message::Resolved { link: index, attempt, result })),
            );
            return;
        }
        let address = node.address.clone();
        self.link_dial(index, &address);
    }

    pub(super) fn link_dial(&mut self, index: usize, address: &Address) {
        let turn = &mut self.turn;
        let way = turn.links[index].way;
        let cluster = turn.cluster(way.cluster);
        let secure = cluster.and_then(|cluster| cluster.secure(cluster.nodes.get(usize::from(way.node))?));
        let started = Stream::connect(address).and_then(|stream| {
            let mut stream = match secure {
                Some(secure) => stream.secured(secure)?,
                None => stream,
            };
            stream.register(&turn.registry, link_token(index))?;
            Ok(stream)
        });
        match started {
            Ok(stream) => {
                let link = &mut turn.links[index];
                link.stream = Some(stream);
                link.state = State::Connecting;
            }
            Err(error) if lacks_descriptors(&error) => recovery::out_of_files(turn, &mut self.clients, index),
            Err(error) => self.link_lost(index, &error.to_string()),
        }
    }

    fn link_greet(&mut self, index: usize) {
        let turn = &mut self.turn;
        let link = &mut turn.links[index];
        let Some(served) = &turn.clusters[link.way.cluster] else { return };
        link.metrics.connects.increment();
        link.metrics.connections.add(1);
        link.patience.begin(turn.now);
        link.login = Login::at(turn.now);
        let is_named = served.cluster.run_id_of(link.way.shard, link.way.node).is_some();
        // a feed goes on when its node is named later
        link.identity.is_asking = (is_named || link.is_feed()) && link.is_identified();
        let (bytes, replies) = link.greeting(&served.cluster);
        if replies == 0 {
            link.state = State::Ready;
            link.trouble.recovered();
            link.note_up(turn.micros);
            if link.is_subscriber() {
                pubsub::connected(turn, index);
            }
            return turn.links.mark(index);
        }
        link.state = State::Greeting(replies);
        self.say(index, &bytes);
    }

    /// Who a primary is was told to us after this connection was opened, or it logged in too long ago: it says so once it
    /// owes no other reply.
    fn link_speak(&mut self, index: usize) {
        let turn = &mut self.turn;
        let link = &mut turn.links[index];
        let Some(served) = &turn.clusters[link.way.cluster] else { return };
        if link.exchange.is_in_flight() {
            return; // what it reads then marks it
        }
        let (bytes, replies) = link.speech(&served.cluster.spec.node_auth, turn.now);
        if replies == 0 {
            return turn.links.mark(index); // there is nothing to log in with any more
        }
        link.state = State::Greeting(replies);
        link.patience.begin(turn.now);
        self.say(index, &bytes);
    }

    /// An idle socket takes these few bytes at once.
    fn say(&mut self, index: usize, bytes: &[u8]) {
        let sent = self.turn.links[index].stream.as_mut().map_or(Ok(0), |s| s.write(bytes));
        match sent {
            Ok(n) if n == bytes.len() => {}
            Ok(_) => self.link_lost(index, "the greeting was cut short"),
            Err(error) => self.link_lost(index, &error.to_string()),
        }
    }

    /// Where the node's name led when it was looked up last.
    pub(super) fn last_known(&self, index: usize) -> Option<Address> {
        let link = &self.turn.links[index];
        let node = self.turn.cluster(link.way.cluster)?.nodes.get(usize::from(link.way.node))?;
        let Address::Name(host, port) = &node.address else { return None };
        self.turn.shared.resolver.last_known(host, *port, link.trouble.failures as usize).map(Address::Ip)
    }
}
