//! One connected application: its socket, what it has sent so far and what it is owed. Knows nothing of nodes.

use std::sync::Arc;
use std::time::Instant;

use super::{
    Backlog, Came, Executing, Hold, Login, Origin, Seat, Subscriptions, Tapping, Tracking, Transaction, Waiting,
};
use crate::caching::Order;
use crate::dialect::resp::request::RequestParser;
use crate::exchange::{BufferPool, Head, Output, Owed, Parcel, ReplyQueue, WHOLE};
use crate::metrics::CloseReason;
use crate::model::{EndpointKind, Lane, Speech};
use crate::net::Stream;

/// More bytes than this leave at once.
const DEFERRED: usize = 16 * 1024;

/// What a topic takes, about.
const TOPIC: usize = 200;

pub struct Client {
    /// Its place among the worker's clients.
    pub index: u32,
    pub stream: Stream,
    pub id: u64,
    /// Index into the worker's clusters.
    pub cluster: usize,
    pub endpoint: EndpointKind,
    /// The endpoint's, as it is configured.
    pub address_of_endpoint: Arc<str>,
    /// It comes by way of a balancer.
    pub origin: Option<Box<Origin>>,
    _seat: Seat,
    /// What its certificate calls it, where that names a user; it was verified. After RESET it is that user again.
    pub certificate_name: Option<Box<[u8]>>,
    /// RESP version of its replies, 2 or 3.
    pub resp: u8,
    pub db: u32,
    /// Which of the shared connections to a node it uses. It changes while nothing is owed, for the order's sake.
    pub lane: Lane,
    /// It was sent, or sent, something large since that was last looked at; and when it was seen to.
    pub moves_large: bool,
    pub large_at: Instant,
    /// READONLY was sent: this connection prefers replicas.
    pub prefers_replicas: bool,
    /// Bytes that are not routed yet: an incomplete request, or requests behind a barrier.
    pub input: Vec<u8>,
    /// The parser of a large incomplete request, which resumes; small ones are parsed again.
    pub parser: Option<Box<RequestParser>>,
    pub output: Output,
    pub replies: ReplyQueue,
    pub backlog: Backlog,
    pub reply_mode: ReplyMode,
    pub flow: Flow,
    pub closing: Option<CloseReason>,
    /// Queued for a flush, or for another read, in this turn.
    pub is_dirty: bool,
    pub is_again: bool,
    /// It is read once although memory is short.
    pub has_pass: bool,
    /// It is flushed in the next turn: this one has written its share to it.
    pub is_unwritten: bool,
    /// Since when its flush is put off, microseconds on the worker's wrapping clock.
    pub deferred_at: u32,
    /// The sequence number of an EXEC under way, while the replies before it are not out: nobody acts on QUEUED before
    /// EXEC's own.
    pub awaits_exec: Option<u32>,
    /// The next tick flushes it.
    pub is_late: bool,
    /// Its socket may have bytes to read; its peer sends no more.
    pub has_unread: bool,
    pub is_half_closed: bool,
    /// It can be told nothing any more.
    pub is_gone: bool,
    /// Since when its socket is full: its peer has read nothing.
    pub blocked_since: Option<Instant>,
    /// When it last sent or took some bytes. The idle limit counts for a request that arrives in pieces too.
    pub last_active: Instant,
    pub created: Instant,
    /// Bytes of buffers as last told to the worker's gauge.
    pub accounted: usize,
    pub details: Option<Box<Details>>,
    pub last_command: u16,
    /// The sequence number of its last request that was no read, where replies are kept near.
    pub wrote: u32,
    /// Each of its requests is looked at: within MULTI, or as one who subscribes in RESP2 or monitors, it means something
    /// else, or reads what it is to be told of; and its user may not do everything, or it has not said who it is.
    pub is_judged: bool,
    pub login: Login,
    /// That it asked for something before it said who it is was told.
    pub is_told_strange: bool,
    pub transaction: Option<Box<Transaction>>,
    pub executing: Option<Box<Executing>>,
    pub subscriptions: Option<Box<Subscriptions>>,
    /// The connection of its own it holds: an upstream.
    pub lease: Option<u32>,
    /// The worker with which it waits for keys.
    pub waits_at: Option<u16>,
    /// Its next request, which waits for such a connection.
    pub waiting: Option<Box<Waiting>>,
    /// Since when it is held, or was called in vain.
    pub hold: Option<Box<Hold>>,
    /// When its next request came, if that has to wait before it is taken.
    pub came: Option<Box<Came>>,
    /// It was held, and goes on before those who are.
    pub is_called: bool,
    /// Its handshake can go on.
    pub can_shake: bool,
    pub memcache: Session,
    /// It was counted among those that are blocked.
    pub counts_as_blocked: bool,
    /// Of its requests about keys with caching rules, once there were some.
    pub order: Option<Box<Order>>,
    /// MONITOR was sent.
    pub tap: Option<Box<Tapping>>,
    /// CLIENT TRACKING ON was sent.
    pub tracking: Option<Box<Tracking>>,
}

/// What few clients set.
#[derive(Default, Clone)]
pub struct Details {
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_version: Vec<u8>,
    pub no_evict: bool,
}

impl Details {
    fn held(&self) -> usize {
        size_of::<Self>() + self.name.capacity() + self.lib_name.capacity() + self.lib_version.capacity()
    }
}

/// How long replies may wait to leave together with later ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deferral {
    None,
    /// For a moment.
    Hold,
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
    /// The queue its next request would join is full.
    Held,
    /// Too many requests or bytes are under way: back-pressure.
    Paused,
    /// It has not yet said what comes before its first request.
    Entering {
        until: Instant,
    },
    /// The last reply is out; input is thrown away until the peer closes, so that no reset overtakes the reply.
    Lingering {
        until: Instant,
    },
}

impl Client {
    pub fn new(
        index: usize,
        stream: Stream,
        id: u64,
        (cluster, endpoint, address_of_endpoint): (usize, EndpointKind, Arc<str>),
        seat: Seat,
        now: Instant,
    ) -> Self {
        Self {
            index: index as u32,
            stream,
            id,
            cluster,
            endpoint,
            address_of_endpoint,
            origin: None,
            _seat: seat,
            certificate_name: None,
            resp: 2,
            db: 0,
            lane: Lane::Usual,
            moves_large: false,
            large_at: now,
            prefers_replicas: false,
            input: Vec::new(),
            parser: None,
            output: Output::default(),
            replies: ReplyQueue::new(),
            backlog: Backlog::default(),
            reply_mode: ReplyMode::On,
            flow: Flow::Open,
            closing: None,
            is_dirty: false,
            is_again: false,
            has_pass: false,
            is_unwritten: false,
            deferred_at: 0,
            awaits_exec: None,
            is_late: false,
            has_unread: false,
            blocked_since: None,
            is_half_closed: false,
            is_gone: false,
            last_active: now,
            created: now,
            accounted: 0,
            details: None,
            wrote: u32::MAX,
            last_command: u16::MAX,
            is_judged: true,
            login: Login::default(),
            is_told_strange: false,
            transaction: None,
            executing: None,
            subscriptions: None,
            lease: None,
            waits_at: None,
            waiting: None,
            hold: None,
            came: None,
            is_called: false,
            can_shake: false,
            memcache: Session::default(),
            counts_as_blocked: false,
            order: None,
            tap: None,
            tracking: None,
        }
    }

    /// Whether its replies so far, if they are few, wait for those still under way.
    #[inline]
    pub fn deferral(&self) -> Deferral {
        if self.replies.is_empty() || self.closing.is_some() || self.output.len() >= DEFERRED {
            Deferral::None
        } else if self.awaits_exec.is_some_and(|exec| self.replies.owes(exec)) {
            Deferral::UntilReply
        } else {
            Deferral::Hold
        }
    }

    /// Tells this client from a later one in the same slab entry.
    #[inline]
    pub const fn tag(&self) -> u32 {
        self.id as u32
    }

    /// It and its tag: where it is found again, if it is there.
    #[inline]
    pub const fn ticket(&self) -> (usize, u32) {
        (self.index as usize, self.tag())
    }

    /// Its next request has come by now, and waits before it is taken. `at`: as in `Came`; `request`: its bytes, where they are
    /// known.
    #[cold]
    pub fn note_came(&mut self, at: u64, is_parked: bool, request: &[u8]) {
        let sequence = self.replies.next();
        if self.came.as_deref().is_none_or(|came| came.sequence != sequence) {
            self.came = Some(Box::new(Came { at, sequence, is_parked, request: Head::of(request), refusal: None }));
        }
    }

    /// A place in its queue of replies.
    #[inline]
    pub const fn owed(&self, sequence: u32) -> Owed {
        Owed { client: self.index, tag: self.tag(), sequence, part: WHOLE }
    }

    /// What is spoken on the connections that its requests leave on.
    #[inline]
    pub const fn speech(&self) -> Speech {
        Speech { resp: self.resp, db: self.db, lane: self.lane }
    }

    /// Whether the present command gets no reply, by CLIENT REPLY.
    #[inline]
    pub fn take_silence(&mut self) -> bool {
        match self.reply_mode {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.reply_mode = ReplyMode::On;
                true
            }
        }
    }

    /// A reply of the proxy's own, in its turn; none if the client asked for none.
    pub fn answer(&mut self, pool: &mut BufferPool, reply: &[u8]) {
        if !self.take_silence() {
            self.replies.answer(&mut self.output, pool, reply);
        }
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
            details.name = Vec::new();
            details.no_evict = false;
        }
    }

    /// Whether it waits for messages, which may be long in coming.
    pub fn listens(&self) -> bool {
        self.tap.is_some() || self.subscriptions.as_deref().is_some_and(|subscribed| subscribed.counts() != [0; 3])
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
    pub fn push(&mut self, pool: &mut BufferPool, parcel: &Parcel) {
        self.replies.push(&mut self.output, pool, self.resp, parcel);
    }

    /// What MONITOR tells, or CLIENT TRACKING: it stands between replies, never within one.
    pub fn hear(&mut self, pool: &mut BufferPool, lines: &[u8]) {
        self.replies.push(&mut self.output, pool, 2, &Parcel::Copied(lines)); // as it is, in RESP3 too
    }

    /// It is to be closed, and told nothing of what it is owed.
    pub fn cut_off(&mut self, pool: &mut BufferPool, reason: CloseReason) {
        self.closing = Some(reason);
        self.replies.clear(pool);
        self.output.clear(pool);
    }

    /// Bytes of buffers it holds.
    pub fn held(&self) -> usize {
        let queued = self.transaction.as_ref().map_or(0, |t| t.held());
        let executing = self.executing.as_ref().map_or(0, |e| e.held);
        let parser = self.parser.as_deref().map_or(0, RequestParser::held);
        let details = self.details.as_deref().map_or(0, Details::held);
        let subscriptions = self.subscriptions.as_deref().map_or(0, Subscriptions::held);
        let order = self.order.as_deref().map_or(0, Order::held);
        let tracking = self.tracking.as_deref().map_or(0, Tracking::held);
        let kept = tracking + details + subscriptions + queued + executing + order + self.stream.held();
        parser + self.input.capacity() + self.output.held() + self.replies.held() + kept
    }

    /// The same, and all of the messages and topics it may share with others: it keeps them from being forgotten.
    pub fn weight(&self) -> usize {
        let topics: usize = self.subscriptions.as_deref().map_or(0, |subscribed| subscribed.counts().iter().sum());
        self.held() + self.output.len() + self.replies.early() + topics * TOPIC
    }
}

/// What is remembered of a client of a memcached cluster.
#[derive(Clone, Copy, Default, Debug)]
pub struct Session {
    /// It speaks memcached.
    pub is_spoken: bool,
    /// Bytes of its input that are known to hold no line end.
    pub scanned: u32,
    /// Bytes of a value that was refused, still to come.
    pub swallow: u64,
}
