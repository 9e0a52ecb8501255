//! One connection to one node, shared by all clients of a worker: requests in, replies out, in order.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::block::Waiting;
use crate::buffer::Window;
use crate::client::Client;
use crate::command::Command;
use crate::durable::Votes;
use crate::identity;
use crate::metrics::{lock, Class, NodeMetrics};
use crate::net::Stream;
use crate::patience::Patience;
use crate::protocol::resp::reply::ReplyFramer;
use crate::protocol::resp::write;
use crate::pubsub::Kind;
use crate::recent::{Mark, NO_MARK};
use crate::scripts::Digest;
use crate::topology::NodeAuth;

/// Whose reply comes next, and what to do with it.
pub struct Pending {
    pub client: u32,
    /// `Client::tag` of that client: a later one in the same place gets nothing of this.
    pub tag: u32,
    pub sequence: u32,
    /// Which part of a scatter-gathered command, or `WHOLE`.
    pub part: u16,
    /// Replies before the one that counts: QUEUED and the like, which its client has seen already.
    pub inner: u32,
    pub command: u16,
    /// Bytes of the request in the window.
    pub length: u32,
    /// When it was routed, microseconds on the worker's wrapping clock.
    pub since: u32,
    pub class: Class,
    /// It may be sent again if no reply came: it changes nothing.
    pub is_read: bool,
    /// It may change data (`Command::may_write`).
    pub is_write: bool,
    /// Its errors are not only the engine's (`Command::is_program`).
    pub is_program: bool,
    /// It left once already, whole or in part, on a connection that broke.
    pub is_retry: bool,
    /// Of a write whose key's readers are to be told when it was executed.
    pub mark: Mark,
}

pub const WHOLE: u16 = u16::MAX;
/// No client has this index.
const NOBODY: u32 = u32::MAX;

impl Pending {
    /// What a client is owed for a whole command.
    #[inline]
    pub fn of(client: &Client, index: usize, sequence: u32, command: &Command, length: usize, since: u32) -> Self {
        let is_read = command.is_read();
        Self {
            client: index as u32,
            tag: client.tag(),
            sequence,
            part: WHOLE,
            inner: 0,
            command: command.id,
            length: length as u32,
            since,
            class: if is_read { Class::Read } else { Class::Write },
            is_read,
            is_write: command.may_write(),
            is_program: command.is_program,
            is_retry: false,
            mark: NO_MARK,
        }
    }

    /// Whether it is a request of the proxy's own. It concerns the connection it was put on, and no other.
    pub const fn is_nobodys(&self) -> bool {
        self.client == NOBODY
    }

    /// Whether replicas should have what it does before its client is answered: a write, or a transaction.
    #[inline]
    pub const fn is_durable(&self) -> bool {
        !self.is_read && (self.is_write || self.inner > 0)
    }

    /// Its client has its answer: it is not sent again.
    pub const fn settle(&mut self) {
        self.client = NOBODY;
    }

    /// A request of the proxy's own: its reply is dropped.
    pub const fn nobody(length: usize, since: u32) -> Self {
        Self {
            client: NOBODY,
            tag: 0,
            sequence: 0,
            part: WHOLE,
            inner: 0,
            command: u16::MAX,
            length: length as u32,
            since,
            class: Class::Offload,
            is_read: false,
            is_write: false,
            is_program: false,
            is_retry: false,
            mark: NO_MARK,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum State {
    /// Not connected; connects when there is something to send, not before `retry_at`.
    Down,
    Resolving,
    Connecting,
    /// AUTH, HELLO, SELECT and who it is are said or asked; so many replies are to come before requests may leave.
    Greeting(u8),
    Ready,
}

pub struct Upstream {
    pub cluster: usize,
    pub shard: u16,
    pub node: u16,
    pub resp: u8,
    pub db: u32,
    pub state: State,
    pub stream: Option<Stream>,
    pub window: Window,
    pub pending: VecDeque<Pending>,
    /// Writes that await their replicas.
    pub votes: Votes,
    /// Bytes of an incomplete reply; `scanned` of them are framed.
    pub input: Vec<u8>,
    pub scanned: usize,
    pub framer: ReplyFramer,
    /// The node is a memcached; the framer of its replies.
    pub is_memcached: bool,
    pub memcache: crate::memcache::ReplyFramer,
    /// It failed as often as it may: its keys are served otherwise until it answers a probe.
    pub is_out: bool,
    /// What comes stands beside the replies: an attribute, or a push nobody asked for.
    pub is_aside: bool,
    /// Pieces of the current reply went to its client already.
    pub is_streaming: bool,
    /// The node sends no more: what it has sent is read to its end without waiting for another event.
    pub is_half_closed: bool,
    pub is_dirty: bool,
    /// The socket took no more when it was last written to.
    pub is_full: bool,
    /// It belongs to one client at a time, which is blocked or watching.
    pub is_dedicated: bool,
    /// The command that waits on it.
    pub waiting: Option<Waiting>,
    /// Its node is primary no more: what waits there has until then to be unblocked by it.
    pub deposed: Option<Instant>,
    /// Its client chose another database or RESP version while it watched: nobody else gets it.
    pub is_altered: bool,
    /// The greeting under way ends with the question who it is; and what the engine said of its run id.
    pub is_asking: bool,
    pub run_id: Option<Box<str>>,
    /// Its node is named as a primary by who it is, and this connection has not asked: it does before more leaves.
    pub is_unproven: bool,
    /// It was closed because of who it is.
    pub is_stranger: bool,
    /// The engine's CLIENT ID of a dedicated connection, to unblock it by.
    pub engine_id: u64,
    /// It has no node: requests wait in it.
    pub is_lot: bool,
    /// Replies still to come to what was sent before an engine refused, and whom it refused: their reads are asked again,
    /// so that none overtakes its client's write.
    pub redo: usize,
    pub refused: Vec<(u32, u32)>,
    /// How many of the first request's inner replies came, and whether one of them was a refusal.
    pub inner_seen: u32,
    pub inner_refused: bool,
    /// Scripts that need not be loaded before they are called on this connection.
    pub scripts: HashSet<Digest>,
    /// It carries subscriptions: what comes are messages, not replies.
    pub is_pubsub: bool,
    /// A PING on such a connection has no answer yet.
    pub is_pinged: bool,
    /// Topics that were subscribed to or given up on it, to which the node has not replied yet.
    pub said: VecDeque<(Kind, Box<[u8]>)>,
    /// The node's address, by which it is known across epochs.
    pub label: String,
    pub owner: Option<(usize, u32)>,
    /// The node left the topology: close when the last reply is in.
    pub is_retired: bool,
    pub retry_at: Instant,
    pub failures: u32,
    /// Of a memcached node: failures since it last answered a client's request, and how often it was back only to fail.
    pub strikes: u32,
    pub relapses: u32,
    /// Since when requests may be waiting for this node; none while it answers.
    pub down_since: Option<Instant>,
    pub why_down: String,
    /// For what the node owes next: to be connected, to end its greeting, the oldest reply.
    pub patience: Patience,
    /// When it last said anything.
    pub heard: Instant,
    /// When it was last asked for.
    pub wanted: Instant,
    /// A replica that could not serve reads is not asked for any until then.
    pub rests_until: Instant,
    /// Tells a late resolver's answer from a current one, though another upstream was in this place when it was asked.
    pub attempt: u64,
    pub accounted: usize,
    /// Of a lot: what it was last counted with among all that is parked.
    pub parked: usize,
    pub metrics: Arc<NodeMetrics>,
}

impl Upstream {
    pub fn new(
        cluster: usize,
        shard: u16,
        node: u16,
        resp: u8,
        db: u32,
        now: Instant,
        metrics: Arc<NodeMetrics>,
    ) -> Self {
        Self {
            cluster,
            shard,
            node,
            resp,
            db,
            state: State::Down,
            stream: None,
            window: Window::default(),
            pending: VecDeque::new(),
            votes: Votes::default(),
            input: Vec::new(),
            scanned: 0,
            framer: ReplyFramer::new(),
            is_memcached: false,
            memcache: crate::memcache::ReplyFramer::default(),
            is_out: false,
            is_aside: false,
            is_streaming: false,
            is_half_closed: false,
            is_dirty: false,
            is_full: false,
            is_dedicated: false,
            is_altered: false,
            is_lot: false,
            redo: 0,
            refused: Vec::new(),
            inner_seen: 0,
            inner_refused: false,
            scripts: HashSet::new(),
            is_pubsub: false,
            said: VecDeque::new(),
            is_pinged: false,
            waiting: None,
            deposed: None,
            is_asking: false,
            run_id: None,
            is_unproven: false,
            is_stranger: false,
            engine_id: 0,
            label: String::new(),
            owner: None,
            is_retired: false,
            retry_at: now,
            failures: 0,
            strikes: 0,
            relapses: 0,
            down_since: None,
            why_down: String::new(),
            patience: Patience::from(now),
            heard: now,
            wanted: now,
            rests_until: now,
            attempt: 0,
            accounted: 0,
            parked: 0,
            metrics,
        }
    }

    pub fn held(&self) -> usize {
        let pending = self.pending.capacity() * size_of::<Pending>() + self.votes.capacity();
        self.window.capacity() + self.input.capacity() + pending
    }

    /// Whether its oldest request may wait at the engine.
    pub fn is_waited_on(&self) -> bool {
        self.pending.front().is_some_and(|request| request.class == Class::Block)
    }

    /// Its node says something. What ends a wait has to come on from its beginning.
    pub fn hears(&mut self, now: Instant, is_between_replies: bool) {
        self.heard = now;
        if is_between_replies && !self.is_streaming && self.is_waited_on() {
            self.patience.begin(now);
        }
    }

    /// So many bytes were taken, whatever they were.
    pub fn heard_some(&mut self, bytes: usize, now: Instant) {
        if self.state == State::Ready && !self.is_aside {
            self.patience.credit(bytes, now);
        }
    }

    /// Whether some of a reply has come, and not all of it.
    pub fn is_within_reply(&self) -> bool {
        self.is_streaming || !self.input.is_empty()
    }

    /// Whether the oldest request has not left whole.
    pub fn is_sending_oldest(&self) -> bool {
        self.pending.front().is_some_and(|request| request.length as usize > self.window.in_flight())
    }

    /// Whether its requests wait for their shard to be well again: they can be sent nowhere now.
    pub fn is_waiting(&self) -> bool {
        self.down_since.is_some() && self.state != State::Ready && !self.is_pubsub && !self.is_memcached
    }

    /// What a new connection says before requests may leave, and how many replies that brings. A node that was lost must
    /// say something, whatever it is: that its kernel accepts connections does not show that it lives. `asks`: it must say
    /// who it is.
    pub fn greeting(&self, auth: &NodeAuth, asks: bool) -> (Vec<u8>, u8) {
        let (mut bytes, mut replies) = (Vec::new(), 0);
        if let Some(password) = &auth.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(auth.username.as_ref().map(String::as_bytes));
            words.push(password.as_bytes());
            write::command(&mut bytes, &words);
            replies += 1;
        }
        if self.resp == 3 {
            write::command(&mut bytes, &[b"HELLO", b"3"]);
            replies += 1;
        }
        if self.db != 0 {
            write::command(&mut bytes, &[b"SELECT", self.db.to_string().as_bytes()]);
            replies += 1;
        }
        if self.is_dedicated {
            write::command(&mut bytes, &[b"CLIENT", b"ID"]);
            replies += 1;
        }
        if asks {
            identity::ask(&mut bytes);
            replies += identity::QUESTIONS;
        }
        // that a node accepts connections does not say that it is alive
        if self.is_pubsub || replies == 0 && self.down_since.is_some() {
            write::command(&mut bytes, &[b"PING"]);
            replies += 1;
        }
        (bytes, replies)
    }

    /// Whether the connection cannot be used after this reply to its greeting. A PING is answered by an error while the
    /// node loads or cannot write to its disk, and is answered all the same.
    pub fn is_turned_away(&self, auth: &NodeAuth, reply: &[u8]) -> bool {
        let is_ping = auth.password.is_none() && self.resp != 3 && self.db == 0 && !self.is_dedicated;
        reply[0] == b'-' && (!is_ping || reply.starts_with(b"-ERR max number of clients"))
    }

    /// Forget the connection, not the requests.
    pub fn disconnect(&mut self) {
        if self.stream.take().is_some() && matches!(self.state, State::Ready | State::Greeting(_)) {
            self.metrics.connections.set(self.metrics.connections.get().saturating_sub(1));
        }
        self.state = State::Down;
        self.input = Vec::new();
        self.scanned = 0;
        self.framer = ReplyFramer::new();
        self.memcache = crate::memcache::ReplyFramer::default();
        self.is_aside = false;
        self.is_streaming = false;
        self.is_half_closed = false;
        self.said.clear();
        self.is_full = false;
        self.redo = 0;
        self.refused.clear();
        self.inner_seen = 0;
        self.inner_refused = false;
        self.scripts.clear();
        self.is_pinged = false;
        self.votes.disconnect();
        self.is_asking = false;
        self.run_id = None;
        self.is_unproven = false;
    }

    /// It is connected, and the node has answered if it was lost before: whatever was wrong is over.
    pub fn recovered(&mut self) {
        self.down_since = None;
        self.failures = 0;
        self.why_down.clear();
    }

    /// A memcached node counts as down, or as up again; whether that is news.
    pub fn count_as_out(&mut self, is_out: bool) -> bool {
        let is_news = self.is_out != is_out;
        self.is_out = is_out;
        if is_news {
            self.why_down.clone_into(&mut lock(&self.metrics.why_down));
            self.metrics.down.set(u64::from(is_out));
        }
        is_news
    }

    /// When to try again after `failures` in a row: 10 ms doubling to 1 s, with jitter so that workers do not knock at once.
    pub fn back_off(&mut self, now: Instant, random: u32) {
        let ceiling = 10u64 << self.failures.min(7);
        let ceiling = ceiling.min(1000);
        let jitter = u64::from(random) % (ceiling / 2 + 1);
        self.retry_at = now + Duration::from_millis(ceiling / 2 + jitter);
        self.failures = self.failures.saturating_add(1);
    }
}
