//! One connection to one node: requests in, replies out, in order. What it is for is its role.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Identity, Login, Patience, Redo, Trouble, Votes};
use crate::clients::Waiting;
use crate::dialect::Framer;
use crate::exchange::{trim, Exchange, Owed};
use crate::metrics::{Class, NodeMetrics};
use crate::model::Digest;
use crate::model::{EngineKind, Kind, Lane, Speech, Timeouts};
use crate::net::{Permit, Stream};

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum State {
    /// Not connected; connects when there is something to send, not before `Trouble::retry_at`.
    Down,
    Resolving,
    Connecting,
    /// AUTH, HELLO, SELECT and who it is are said or asked; so many replies are to come before requests may leave.
    Greeting(u8),
    Ready,
}

/// What a connection is for.
pub enum Role {
    /// Of all clients of the worker.
    Shared,
    /// Of one client at a time, which is blocked or watches.
    Leased(Box<Leased>),
    /// It has no node: requests wait in it for their shard, or their slot. Of a slot's one is sent ahead, to see whether the
    /// others may follow: who is owed its reply.
    Lot { ahead: Option<Owed> },
    /// It carries subscriptions: what comes are messages, not replies.
    Subscriber(Box<Subscriber>),
    /// It tells of changes to keys.
    Watcher(Box<Watcher>),
}

#[derive(Default)]
pub struct Watcher {
    /// It tells of all keys, not only of those that were asked for.
    pub is_feed: bool,
    /// The keys that were asked for and have no reply yet; none for a PING.
    pub said: VecDeque<Option<Arc<[u8]>>>,
    /// Of a feed: whether these have the values that clients gave them, in that order.
    pub questions: VecDeque<Question>,
    /// Why its node tells of no changes, though it is well.
    pub refusal: Option<String>,
}

/// Whether a key has the value that a client gave it: its place and tag.
pub struct Question {
    pub ticket: (usize, u32),
    pub value: Arc<[u8]>,
}

#[derive(Default)]
pub struct Leased {
    pub owner: Option<(usize, u32)>,
    /// The command that waits on it.
    pub waiting: Option<Waiting>,
    /// Nobody else gets it: its client chose another database or RESP version while it watched, or its engine was told to
    /// end what waits, and may do that to what waits there next.
    pub is_altered: bool,
    /// The engine was told to end what waits, so that it is served again, elsewhere.
    pub moves: bool,
    /// The engine's CLIENT ID, to unblock it by.
    pub engine_id: u64,
    /// Its share of what the process may open.
    _permit: Option<Permit>,
}

impl Leased {
    pub fn with(permit: Permit) -> Self {
        Self { _permit: Some(permit), ..Self::default() }
    }
}

#[derive(Default)]
pub struct Subscriber {
    /// A PING has no answer yet.
    pub is_pinged: bool,
    /// So many of those answers are awaited until it has told all of keys that were copies and are none any more.
    pub sifted: u8,
    /// Topics that were subscribed to or given up on it, to which the node has not replied yet.
    pub said: VecDeque<(Kind, Arc<[u8]>)>,
    /// Messages of it wait for a later turn.
    pub is_behind: bool,
    /// The node's address, by which it is known across epochs.
    pub label: String,
}

/// Where a connection leads, and what is spoken on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    pub cluster: usize,
    pub shard: u16,
    /// `NO_NODE` for none of the present epoch's.
    pub node: u16,
    pub resp: u8,
    pub db: u32,
    pub lane: Lane,
    /// Of a lot: the slot whose requests wait in it, if not those of the whole shard.
    pub slot: u16,
}

impl Way {
    pub const fn speech(&self) -> Speech {
        Speech { resp: self.resp, db: self.db, lane: self.lane }
    }
}

pub const NO_NODE: u16 = u16::MAX;

pub struct Link {
    pub way: Way,
    pub role: Role,
    pub engine: EngineKind,
    pub state: State,
    pub stream: Option<Stream>,
    pub exchange: Exchange,
    /// Writes that await their replicas.
    pub votes: Votes,
    /// Bytes of an incomplete reply; `scanned` of them are framed.
    pub input: Vec<u8>,
    pub scanned: usize,
    pub framer: Framer,
    /// What comes stands beside the replies: an attribute, or a push nobody asked for.
    pub is_aside: bool,
    /// Pieces of the current reply went to its client already: so many bytes, if it is streaming.
    pub is_streaming: bool,
    pub streamed: usize,
    /// The node sends no more: what it has sent is read to its end without waiting for another event.
    pub is_half_closed: bool,
    pub is_dirty: bool,
    pub is_unread: bool,
    /// The socket took no more when it was last written to.
    pub is_full: bool,
    pub identity: Identity,
    pub login: Login,
    pub redo: Redo,
    pub trouble: Trouble,
    /// Scripts that need not be loaded before they are called on this connection.
    pub scripts: HashSet<Digest>,
    /// The node left the topology: close when the last reply is in.
    pub is_retired: bool,
    /// Its node is primary no more: what is under way there has until then to be refused by it.
    pub deposed: Option<Instant>,
    /// For what its node owes next: to be connected, to end its greeting, the oldest reply.
    pub patience: Patience,
    /// When its last request was answered, or what it owes was sent while it owed nothing; and since when it owed nothing
    /// before what was answered then. Of replies that come at once nobody knows which of them was waited for. Microseconds
    /// on the worker's wrapping clock.
    answered_at: u32,
    owed_since: u32,
    /// When it was up again after it was down, on that clock.
    pub up_again: Option<u32>,
    /// When the node last said anything.
    pub heard: Instant,
    /// When it was last asked for.
    pub wanted: Instant,
    /// Tells a late resolver's answer from a current one, though another link was in this place when it was asked.
    pub attempt: u64,
    pub accounted: usize,
    /// Of a lot: what it was last counted with among all that is parked.
    pub parked: usize,
    /// What it was last counted with among all that waits for its node.
    queued: usize,
    pub metrics: Arc<NodeMetrics>,
}

impl Link {
    pub fn new(way: Way, role: Role, engine: EngineKind, now: Instant, metrics: Arc<NodeMetrics>) -> Self {
        Self {
            way,
            role,
            engine,
            state: State::Down,
            stream: None,
            exchange: Exchange::default(),
            votes: Votes::default(),
            input: Vec::new(),
            scanned: 0,
            framer: Framer::of(engine),
            is_aside: false,
            is_streaming: false,
            streamed: 0,
            is_half_closed: false,
            is_dirty: false,
            is_unread: false,
            is_full: false,
            identity: Identity::default(),
            login: Login::at(now),
            redo: Redo::default(),
            trouble: Trouble::new(now),
            scripts: HashSet::new(),
            is_retired: false,
            deposed: None,
            patience: Patience::from(now),
            answered_at: 0,
            owed_since: 0,
            up_again: None,
            heard: now,
            wanted: now,
            attempt: 0,
            accounted: 0,
            parked: 0,
            queued: 0,
            metrics,
        }
    }

    pub fn held(&self) -> usize {
        let said = match &self.role {
            Role::Subscriber(subscriber) => subscriber.said.capacity() * size_of::<(Kind, Arc<[u8]>)>(),
            Role::Watcher(watcher) => {
                let questions = watcher.questions.capacity() * size_of::<Question>();
                watcher.said.capacity() * size_of::<Arc<[u8]>>() + questions
            }
            _ => 0,
        };
        let stream = self.stream.as_ref().map_or(0, Stream::held);
        self.exchange.held() + self.votes.held() + self.input.capacity() + said + stream
    }

    /// Count anew so many bytes among what waits for its node, on whatever connections.
    #[inline]
    pub fn count_queued(&mut self, bytes: usize) {
        if bytes != self.queued {
            self.metrics.queued.add((bytes as u64).wrapping_sub(self.queued as u64));
            self.queued = bytes;
        }
    }

    /// Give back the room that much under way took.
    pub fn trim(&mut self) {
        self.exchange.trim();
        match &mut self.role {
            Role::Subscriber(subscriber) => trim(&mut subscriber.said),
            Role::Watcher(watcher) => {
                trim(&mut watcher.said);
                trim(&mut watcher.questions);
            }
            _ => {}
        }
    }

    #[inline]
    pub const fn is_lot(&self) -> bool {
        matches!(self.role, Role::Lot { .. })
    }

    #[inline]
    pub const fn is_subscriber(&self) -> bool {
        matches!(self.role, Role::Subscriber(_))
    }

    #[inline]
    pub const fn is_watcher(&self) -> bool {
        matches!(self.role, Role::Watcher(_))
    }

    /// Whether it tells of every key that changes.
    #[inline]
    pub fn is_feed(&self) -> bool {
        matches!(&self.role, Role::Watcher(watcher) if watcher.is_feed)
    }

    /// Whether no requests of clients leave on it: it is there for what comes.
    #[inline]
    pub const fn listens(&self) -> bool {
        self.is_subscriber() || self.is_watcher()
    }

    #[inline]
    pub const fn is_leased(&self) -> bool {
        matches!(self.role, Role::Leased(_))
    }

    pub fn leased(&self) -> Option<&Leased> {
        match &self.role {
            Role::Leased(leased) => Some(leased),
            _ => None,
        }
    }

    pub fn leased_mut(&mut self) -> Option<&mut Leased> {
        match &mut self.role {
            Role::Leased(leased) => Some(leased),
            _ => None,
        }
    }

    /// Of a lot: whose request was sent ahead.
    pub const fn ahead(&self) -> Option<Owed> {
        match self.role {
            Role::Lot { ahead } => ahead,
            _ => None,
        }
    }

    pub fn subscriber(&self) -> Option<&Subscriber> {
        match &self.role {
            Role::Subscriber(subscriber) => Some(subscriber),
            _ => None,
        }
    }

    pub fn watcher_mut(&mut self) -> Option<&mut Watcher> {
        match &mut self.role {
            Role::Watcher(watcher) => Some(watcher),
            _ => None,
        }
    }

    pub fn subscriber_mut(&mut self) -> Option<&mut Subscriber> {
        match &mut self.role {
            Role::Subscriber(subscriber) => Some(subscriber),
            _ => None,
        }
    }

    /// Whose client's own it is now.
    pub fn owner(&self) -> Option<(usize, u32)> {
        self.leased().and_then(|leased| leased.owner)
    }

    pub const fn is_deposed(&self) -> bool {
        self.deposed.is_some()
    }

    pub const fn is_memcached(&self) -> bool {
        matches!(self.engine, EngineKind::Memcached)
    }

    /// Connections that are used for ever, and so outlive what they logged in with.
    pub const fn is_lasting(&self) -> bool {
        matches!(self.role, Role::Shared) && !self.is_memcached()
    }

    /// Connections whose node must be who the topology says: those that requests leave on, and those that tell whether what
    /// they read still holds.
    pub fn is_identified(&self) -> bool {
        (!self.listens() || self.is_feed()) && !self.is_memcached()
    }

    /// Whether its oldest request may wait at the engine. What is asked for clients that wait here does not.
    pub fn is_waited_on(&self) -> bool {
        self.exchange.head().is_some_and(|request| request.class == Class::Block && !request.is_attempt())
    }

    /// Whether some of a reply has come, and not all of it.
    fn is_within_reply(&self) -> bool {
        self.is_streaming || !self.input.is_empty()
    }

    /// Its node says something. What nobody could be waiting for sooner has to come on from its beginning: the end of a
    /// wait, a message.
    pub fn hears(&mut self, now: Instant, is_between_replies: bool) {
        self.heard = now;
        if is_between_replies && !self.is_streaming && (self.is_waited_on() || self.owes_nothing()) {
            self.patience.begin(now);
        }
    }

    /// A message is complete.
    pub fn heard_message(&mut self, now: Instant) {
        if self.owes_nothing() {
            self.patience.begin(now);
        }
    }

    /// Whether it only listens.
    fn owes_nothing(&self) -> bool {
        match &self.role {
            Role::Subscriber(subscriber) => !subscriber.is_pinged,
            Role::Watcher(watcher) => watcher.said.is_empty(),
            _ => false,
        }
    }

    /// It owes nothing, and is sent something.
    pub fn asks(&mut self, now: Instant, micros: u32) {
        self.patience.begin(now);
        self.owed_since = micros;
        self.answered_at = micros;
    }

    /// A request has its reply. Since when its node had nothing to answer before it and what was answered with it.
    #[inline]
    pub fn owed_since(&mut self, micros: u32) -> u32 {
        if self.answered_at != micros {
            self.owed_since = std::mem::replace(&mut self.answered_at, micros);
        }
        self.owed_since
    }

    /// It took part of its greeting: if it is up again, what is queued has waited for that.
    pub fn note_up(&mut self, micros: u32) {
        if self.state == State::Ready && std::mem::take(&mut self.trouble.was_down) {
            self.up_again = Some(micros);
        }
    }

    /// What had waited for that is answered by now; its clock wraps.
    pub fn forget_up(&mut self, micros: u32) {
        const LONG: u32 = 10 * 60 * 1_000_000;
        self.up_again = self.up_again.filter(|up| micros.wrapping_sub(*up) < LONG);
    }

    /// So many bytes were taken, whatever they were.
    pub fn heard_some(&mut self, bytes: usize, now: Instant) {
        if self.state == State::Ready && !self.is_aside {
            self.patience.credit(bytes, now);
        }
    }

    /// Whether its node has had all the time for what it owes.
    pub fn is_overdue(&self, now: Instant, timeouts: &Timeouts) -> bool {
        let is_slow = |limit: Duration| self.patience.is_over(now, limit);
        match (self.state, timeouts.reply) {
            (State::Down, _) | (State::Ready, None) => false,
            (State::Resolving | State::Connecting | State::Greeting(_), _) => is_slow(timeouts.connect),
            (State::Ready, Some(limit)) => match &self.role {
                Role::Subscriber(subscriber) => (subscriber.is_pinged || self.is_within_reply()) && is_slow(limit),
                Role::Watcher(_) => (!self.owes_nothing() || self.is_within_reply()) && is_slow(limit),
                Role::Leased(leased) if self.is_waited_on() => {
                    // the wait is its own, the answer that ends it is none
                    leased.waiting.is_some_and(|waiting| waiting.is_overdue(now, limit))
                        || self.is_within_reply() && is_slow(limit)
                }
                _ => self.exchange.is_in_flight() && is_slow(limit),
            },
        }
    }

    /// Whether its requests wait for their shard to be well again: they can be sent nowhere now.
    pub fn is_waiting(&self) -> bool {
        self.trouble.down_since.is_some() && self.state != State::Ready && !self.listens() && !self.is_memcached()
    }

    /// Forget the connection, not the requests.
    pub fn disconnect(&mut self) {
        if self.stream.take().is_some() && matches!(self.state, State::Ready | State::Greeting(_)) {
            self.metrics.connections.set(self.metrics.connections.get().saturating_sub(1));
        }
        self.state = State::Down;
        self.input = Vec::new();
        self.scanned = 0;
        self.framer = Framer::of(self.engine);
        self.is_aside = false;
        self.is_streaming = false;
        self.is_half_closed = false;
        self.is_full = false;
        self.redo = Redo::default();
        self.scripts.clear();
        self.votes.disconnect();
        self.identity = Identity::default();
        match &mut self.role {
            Role::Subscriber(subscriber) => {
                subscriber.said.clear();
                subscriber.is_pinged = false;
                subscriber.sifted = 0;
                subscriber.is_behind = false;
            }
            Role::Watcher(watcher) => {
                watcher.said.clear();
                watcher.questions.clear();
            }
            _ => {}
        }
    }

    /// When to try again after so many failures in a row: 10 ms doubling to 1 s, with jitter so that workers do not knock
    /// at once.
    pub fn back_off(&mut self, now: Instant, random: u32) {
        let ceiling = 10u64 << self.trouble.failures.min(7);
        let ceiling = ceiling.min(1000);
        let jitter = u64::from(random) % (ceiling / 2 + 1);
        self.trouble.retry_at = now + Duration::from_millis(ceiling / 2 + jitter);
        self.trouble.failures = self.trouble.failures.saturating_add(1);
    }

    /// A memcached node counts as down, or as up again; whether that is news.
    pub fn count_as_out(&mut self, is_out: bool) -> bool {
        let is_news = self.trouble.is_out != is_out;
        self.trouble.is_out = is_out;
        if is_news {
            self.trouble.why_down.clone_into(&mut crate::sync::lock(&self.metrics.why_down));
            self.metrics.down.set(u64::from(is_out));
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NO_SLOT;

    #[test]
    fn of_replies_that_come_at_once_each_may_have_been_waited_for() {
        let now = Instant::now();
        let way = Way { cluster: 0, shard: 0, node: 0, resp: 2, db: 0, lane: Lane::Usual, slot: NO_SLOT };
        let mut link = Link::new(way, Role::Shared, EngineKind::Redis, now, Arc::default());
        link.asks(now, 100);
        assert_eq!([400, 400, 450, 450, 460].map(|micros| link.owed_since(micros)), [100, 100, 400, 400, 450]);
        link.asks(now, 900);
        assert_eq!([u32::MAX, u32::MAX, 7].map(|micros| link.owed_since(micros)), [900, 900, u32::MAX]);
    }
}
