//! One connected application: its socket, what it has sent so far and what it is owed. Knows nothing of nodes.

use std::collections::VecDeque;
use std::time::Instant;

use crate::block::Waiting;
use crate::buffer::BufferPool;
use crate::buffer::Output;
use crate::metrics::CloseReason;
use crate::net::Stream;
use crate::plane::Seat;
use crate::protocol::resp::request::RequestParser;
use crate::pubsub::Subscriptions;
use crate::reply::ReplyQueue;
use crate::topology::EndpointKind;

/// More bytes than this leave at once.
const DEFERRED: usize = 16 * 1024;

pub struct Client {
    pub stream: Stream,
    pub id: u64,
    /// Index into the worker's clusters.
    pub cluster: usize,
    pub endpoint: EndpointKind,
    _seat: Seat,
    /// RESP version of its replies, 2 or 3.
    pub resp: u8,
    pub db: u32,
    /// READONLY was sent: this connection prefers replicas.
    pub prefers_replicas: bool,
    /// Bytes that are not routed yet: an incomplete request, or requests behind a barrier.
    pub input: Vec<u8>,
    /// The parser of a large incomplete request, which resumes; small ones are parsed again.
    pub parser: Option<Box<RequestParser>>,
    pub output: Output,
    pub replies: ReplyQueue,
    pub reply_mode: ReplyMode,
    pub flow: Flow,
    pub closing: Option<CloseReason>,
    /// Queued for a flush, or for another read, in this turn.
    pub is_dirty: bool,
    pub is_again: bool,
    /// It is read once although memory is short.
    pub has_pass: bool,
    /// Its flush was put off by a turn already.
    pub is_deferred: bool,
    /// The sequence number of an EXEC under way, while the replies before it are not out: nobody acts on QUEUED before
    /// EXEC's own.
    pub awaits_exec: Option<u32>,
    /// The next tick flushes it.
    pub is_late: bool,
    /// Its socket may have bytes to read; its peer sends no more.
    pub has_unread: bool,
    pub is_half_closed: bool,
    /// Since when its socket is full: its peer has read nothing.
    pub blocked_since: Option<Instant>,
    /// When it last sent or took some bytes. The idle limit counts for a request that arrives in pieces too.
    pub last_active: Instant,
    pub created: Instant,
    /// Bytes of buffers as last told to the worker's gauge.
    pub accounted: usize,
    pub details: Option<Box<Details>>,
    pub last_command: u16,
    /// MULTI or WATCH is under way, or it subscribes in RESP2: its commands mean something else.
    pub is_special: bool,
    pub transaction: Option<Box<Transaction>>,
    pub subscriptions: Option<Box<Subscriptions>>,
    /// The connection of its own it holds: an upstream.
    pub lease: Option<u32>,
    /// Its next request, which waits for such a connection.
    pub waiting: Option<Box<Waiting>>,
    pub memcache: crate::memcache::Session,
}

/// MULTI and WATCH. Commands are kept here until EXEC; nothing is sent before.
#[derive(Default)]
pub struct Transaction {
    /// MULTI was said; otherwise only WATCH.
    pub is_open: bool,
    /// A command could not be queued: EXEC will refuse.
    pub is_broken: bool,
    pub queued: Vec<u8>,
    pub commands: u32,
    /// Some of them are scripts by their digests.
    pub calls_script: bool,
    /// Some of them are answered by what only the proxy knows right.
    pub is_corrected: bool,
    /// The slot all its keys share, those it watches included.
    pub slot: Option<u16>,
    pub is_watching: bool,
    /// The connection that watched is gone, and with it what it saw: EXEC answers null.
    pub watch_lost: bool,
}

/// What few clients set.
#[derive(Default, Clone)]
pub struct Details {
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_version: Vec<u8>,
    pub no_evict: bool,
    pub no_touch: bool,
}

/// How long replies may wait to leave together with later ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deferral {
    None,
    OneTurn,
    /// Until the next reply, or the next tick.
    UntilReply,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplyMode {
    On,
    Off,
    /// SKIP was sent: the next command gets no reply.
    SkipNext,
}

/// Whether the client's next request may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    Open,
    /// Its next request waits until all earlier replies are in.
    Barrier,
    /// The offloaded command with this token is being answered.
    Offloaded(u64),
    /// CLIENT PAUSE holds its next request.
    Stopped,
    /// It waits for a connection from a pool that is used up.
    Queued,
    /// Too many requests or bytes are under way: back-pressure.
    Paused,
    /// The last reply is out; input is thrown away until the peer closes, so that no reset overtakes the reply.
    Lingering {
        until: Instant,
    },
}

impl Client {
    pub fn new(stream: Stream, id: u64, cluster: usize, endpoint: EndpointKind, seat: Seat, now: Instant) -> Self {
        Self {
            stream,
            id,
            cluster,
            endpoint,
            _seat: seat,
            resp: 2,
            db: 0,
            prefers_replicas: false,
            input: Vec::new(),
            parser: None,
            output: Output::default(),
            replies: ReplyQueue::new(),
            reply_mode: ReplyMode::On,
            flow: Flow::Open,
            closing: None,
            is_dirty: false,
            is_again: false,
            has_pass: false,
            is_deferred: false,
            awaits_exec: None,
            is_late: false,
            has_unread: false,
            blocked_since: None,
            is_half_closed: false,
            last_active: now,
            created: now,
            accounted: 0,
            details: None,
            last_command: u16::MAX,
            is_special: false,
            transaction: None,
            subscriptions: None,
            lease: None,
            waiting: None,
            memcache: crate::memcache::Session::default(),
        }
    }

    /// Whether its replies so far, if they are few, wait for those still under way.
    #[inline]
    pub fn deferral(&self) -> Deferral {
        if self.replies.is_empty() || self.closing.is_some() || self.output.len() >= DEFERRED {
            Deferral::None
        } else if self.awaits_exec.is_some_and(|exec| self.replies.owes(exec)) {
            Deferral::UntilReply
        } else if self.is_deferred {
            Deferral::None
        } else {
            Deferral::OneTurn
        }
    }

    /// Tells this client from a later one in the same slab entry.
    #[inline]
    pub const fn tag(&self) -> u32 {
        self.id as u32
    }

    pub fn details(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// Reset by RESET: as a new connection.
    pub fn reset(&mut self) {
        self.resp = 2;
        self.db = 0;
        self.prefers_replicas = false;
        self.reply_mode = ReplyMode::On;
        if let Some(details) = &mut self.details {
            details.name.clear();
            details.no_evict = false;
            details.no_touch = false;
        }
    }

    /// Whether it waits for messages, which may be long in coming.
    pub fn listens(&self) -> bool {
        self.subscriptions.as_deref().is_some_and(|subscribed| subscribed.counts() != [0; 3])
    }

    /// Its newest request, which was not executed, is served again, before what came after it.
    pub fn take_back(&mut self, sequence: u32, request: &[u8]) {
        if self.replies.withdraw_last(sequence) && self.reply_mode == ReplyMode::On {
            self.reply_mode = ReplyMode::SkipNext;
        }
        self.parser = None;
        self.input.splice(0..0, request.iter().copied());
    }

    /// A message of a subscription, as the engine sent it: it stands between replies, never within one.
    pub fn push(&mut self, pool: &mut BufferPool, raw: &[u8]) {
        let resp = self.resp;
        let sink = self.replies.between(&mut self.output, pool);
        let start = sink.len();
        sink.extend_from_slice(raw);
        if resp == 3 {
            sink[start] = b'>';
        }
    }

    /// Bytes of buffers it holds.
    pub fn held(&self) -> usize {
        let queued = self.transaction.as_ref().map_or(0, |t| t.queued.capacity());
        let parser = self.parser.as_deref().map_or(0, RequestParser::held);
        parser + self.input.capacity() + self.output.bytes.capacity() + self.replies.held() + queued
    }

    pub fn info(&self, worker: usize, cluster: &str, now: Instant) -> ClientInfo {
        let details = self.details.as_deref().cloned().unwrap_or_default();
        ClientInfo {
            id: self.id,
            worker,
            cluster: cluster.to_owned(),
            endpoint: self.endpoint.name(),
            address: self.stream.peer(),
            local_address: self.stream.local(),
            age: now.duration_since(self.created).as_secs(),
            idle: now.duration_since(self.last_active).as_secs(),
            resp: self.resp,
            db: self.db,
            pending: self.replies.len(),
            input: self.input.len(),
            output: self.output.len(),
            held: self.held(),
            last_command: self.last_command,
            subscriptions: self.subscriptions.as_deref().map_or([0; 3], Subscriptions::counts),
            queued: self.transaction.as_deref().filter(|t| t.is_open).map(|t| t.commands),
            is_watching: self.transaction.as_deref().is_some_and(|t| t.is_watching),
            is_blocked: self.lease.is_some() && !self.replies.is_empty() || self.flow == Flow::Queued,
            details,
        }
    }
}

/// A client as CLIENT LIST shows it.
pub struct ClientInfo {
    pub id: u64,
    pub worker: usize,
    pub cluster: String,
    pub endpoint: &'static str,
    pub address: String,
    pub local_address: String,
    pub age: u64,
    pub idle: u64,
    pub resp: u8,
    pub db: u32,
    pub pending: usize,
    pub input: usize,
    pub output: usize,
    pub held: usize,
    pub last_command: u16,
    /// Channels, patterns, shard channels.
    pub subscriptions: [usize; 3],
    /// Commands queued since MULTI.
    pub queued: Option<u32>,
    pub is_watching: bool,
    pub is_blocked: bool,
    pub details: Details,
}

/// Clients to be looked at later in this turn, each once.
#[derive(Default)]
pub struct Agenda(VecDeque<usize>);

impl Agenda {
    #[inline]
    pub fn push(&mut self, index: usize) {
        self.0.push_back(index);
    }

    #[inline]
    pub fn pop(&mut self) -> Option<usize> {
        self.0.pop_front()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
