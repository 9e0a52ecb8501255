//! Looks at requests that were answered: which keys they are about, and how large all was.

use std::sync::Arc;

use super::big::{Large, LARGE};
use super::memory::Memory;
use super::top::Sighting;
use super::watched::Watched;
use crate::command::{key_positions, sort_positions, Command, CommandTable, KeysError};
use crate::dialect::memcached::base64;
use crate::dialect::memcached::request::{parse, Parsed as Memcached};
use crate::dialect::memcached::verb::Verb;
use crate::dialect::resp::reply::array_elements;
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::metrics::ClusterMetrics;
use crate::model::{Cluster, EngineKind, NO_SHARD, NO_SLOT, RESERVED};
use crate::near::hash_of;

/// Of a request with more keys so many are looked at, and stand for the others.
const MANY: usize = 64;

/// A worker's tools.
pub struct Insight {
    pub table: Arc<CommandTable>,
    pub memory: Memory,
    parser: RequestParser,
    keys: Vec<u32>,
    /// When all is looked at that happens once a second, milliseconds on the plane's clock.
    next_tick: u64,
}

/// Of which cluster something is.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    pub cluster: &'a Cluster,
    pub metrics: &'a ClusterMetrics,
    /// Milliseconds on the plane's clock.
    pub now: u64,
}

/// A request with its answer.
#[derive(Clone, Copy)]
pub struct Answered<'a> {
    /// None: the proxy answered it itself.
    pub shard: Option<u16>,
    /// That all its keys are in, or `NO_SLOT`.
    pub slot: u16,
    pub command: u16,
    pub is_read: bool,
    /// Requests of its own that are before it: a transaction's.
    pub inner: u32,
    pub micros: u32,
    /// As it was sent.
    pub request: &'a [u8],
    /// The last piece of the reply, and the bytes of all of it.
    pub reply: &'a [u8],
    pub size: usize,
}

/// What is wanted of a request.
#[derive(Clone, Copy)]
struct Wanted {
    is_sampled: bool,
    is_large: bool,
}

impl Insight {
    pub fn new(table: Arc<CommandTable>, memory: Memory) -> Self {
        Self { table, memory, parser: RequestParser::new(), keys: Vec::new(), next_tick: 0 }
    }

    /// Whether a second is over.
    pub const fn is_due(&mut self, now: u64) -> bool {
        let is_due = now >= self.next_tick;
        if is_due {
            self.next_tick = now + 1000;
        }
        is_due
    }

    /// A request has its answer. `is_its_turn`: it stands for those that are not looked at; else it is only large.
    #[cold]
    pub fn see(&mut self, watched: &mut Watched, of: Of, answered: &Answered, is_its_turn: bool) {
        let Some(wanted) = wanted(watched, of, answered, is_its_turn && self.memory.has_room(watched, of.now)) else {
            return;
        };
        let look = &mut Look { watched, of, answered, wanted, keys: 0 };
        match of.cluster.spec.engine {
            EngineKind::Memcached => look.line(),
            EngineKind::Redis => self.requests(look),
        }
        look.end();
        if self.keys.capacity() > MANY * MANY {
            self.keys = Vec::new();
        }
        self.parser.release();
    }

    /// All requests within one: a transaction has several, and what goes before others stands before them.
    fn requests(&mut self, look: &mut Look) {
        let Self { table, parser, keys, .. } = self;
        let mut rest = look.answered.request;
        let size = look.answered.size / (look.answered.inner as usize).max(1);
        while let Ok(Parsed::Request { consumed }) = parser.parse(rest, &RequestLimits::NONE) {
            let request = Request { bytes: &rest[..consumed], spans: parser.spans() };
            rest = &rest[consumed..];
            if let Some(command) = table.find(request.argument(0)) {
                let command = command.subcommand(request.argument(1)).unwrap_or(command);
                look.request(command, &request, size, keys);
            }
        }
    }
}

/// Whether it is really to be looked at.
fn wanted(watched: &mut Watched, of: Of, answered: &Answered, is_sampled: bool) -> Option<Wanted> {
    if answered.size > LARGE {
        of.metrics.big_reply.set(watched.big.replied(answered.size) as u64);
    }
    let is_large = watched.big.wants(answered.size.max(answered.request.len()));
    (is_sampled || is_large).then_some(Wanted { is_sampled, is_large })
}

/// One look at a request.
struct Look<'a> {
    watched: &'a mut Watched,
    of: Of<'a>,
    answered: &'a Answered<'a>,
    wanted: Wanted,
    /// How many were found.
    keys: usize,
}

/// A key in a request, with the bytes that went there and came back for it.
struct Key<'k> {
    name: &'k [u8],
    is_read: bool,
    sent: usize,
    /// None where it cannot be told from the others'.
    got: Option<usize>,
}

impl Look<'_> {
    /// A request of its own, whose reply has about `size` bytes.
    fn request(&mut self, command: &Command, request: &Request, size: usize, keys: &mut Vec<u32>) {
        if command.is_single {
            keys.clear();
            keys.push(1);
        } else if let Err(KeysError::Pattern(_)) = key_positions(command, request.spans, request.bytes, keys) {
            sort_positions(command, request.spans, request.bytes, keys);
        }
        let answered = self.answered;
        let is_whole = answered.size == answered.reply.len() && answered.request.len() == request.bytes.len();
        let elements = (keys.len() > 1 && is_whole).then(|| array_elements(answered.reply).ok()).flatten();
        let mut elements = elements.filter(|elements| elements.announced() == keys.len() as u64);
        let start = |place: Option<&u32>| {
            place
                .and_then(|&place| request.spans.get(place as usize))
                .map_or(request.bytes.len(), |span| span.start as usize)
        };
        let mut steps = Steps::over(keys.len(), self.watched);
        for (place, &position) in keys.iter().enumerate() {
            let element = elements.as_mut().and_then(|elements| elements.next()?.ok()).map(<[u8]>::len);
            let is_only = keys.len() == 1;
            let (sent, got) = if is_only {
                (request.bytes.len(), Some(size))
            } else {
                (start(keys.get(place + 1)).saturating_sub(start(Some(&position))), element)
            };
            let key = Key { name: request.argument(position as usize), is_read: command.is_read(), sent, got };
            self.key(&key, size / keys.len(), place == 0, steps.next());
        }
    }

    /// A request of memcached's.
    fn line(&mut self) {
        let answered = self.answered;
        let Memcached::Request(request) = parse(answered.request, 0, usize::MAX) else { return };
        if request.key.is_empty() || request.verb == Verb::Stats {
            return;
        }
        let is_read = request.verb.is_read();
        if !(request.verb.is_get() && request.has_many_keys()) {
            let decoded = if request.is_encoded() { base64::Key::decode(request.key) } else { None };
            let key = decoded.as_ref().map_or(request.key, base64::Key::bytes);
            let key = Key { name: key, is_read, sent: answered.request.len(), got: Some(answered.size) };
            return self.key(&key, answered.size, true, Some(1));
        }
        let count = request.keys().count();
        let mut steps = Steps::over(count, self.watched);
        for key in request.keys() {
            let key = Key { name: key, is_read, sent: key.len(), got: Some(answered.size / count) };
            self.key(&key, answered.size / count, false, steps.next());
        }
    }

    /// `even`: its part if all keys had the same; `times`: for how many it stands, none if another one stands for it.
    fn key(&mut self, seen: &Key, even: usize, is_first: bool, times: Option<u32>) {
        let Self { watched, of, answered, wanted, .. } = self;
        self.keys += 1;
        let times = times.filter(|_| wanted.is_sampled);
        let got = seen.got.unwrap_or(if is_first { answered.size } else { 0 });
        let is_large = wanted.is_large && seen.sent.max(got) > LARGE;
        if times.is_none() && !is_large || seen.name.starts_with(RESERVED) {
            return;
        }
        let slot = match of.cluster.spec.engine {
            EngineKind::Memcached => NO_SLOT,
            EngineKind::Redis if answered.slot != NO_SLOT => answered.slot,
            EngineKind::Redis => of.cluster.slot_of(seen.name),
        };
        let of_slot = || if slot == NO_SLOT { NO_SHARD } else { of.cluster.shard_of(slot) };
        let shard = answered.shard.unwrap_or_else(of_slot);
        if shard == NO_SHARD {
            return;
        }
        let hash = hash_of(0, seen.name);
        if is_large {
            let (command, request, reply) = (answered.command, seen.sent, got);
            watched.big.note(&Large { hash, key: seen.name, shard, slot, command, request, reply }, of.now);
        }
        if let Some(times) = times {
            let bytes = (seen.sent + seen.got.unwrap_or(even)).min(u32::MAX as usize) as u32;
            let sighting = Sighting { hash, key: seen.name, shard, slot, is_read: seen.is_read, bytes, times };
            let every = watched.every();
            watched.hot(of.now).count((of.cluster, of.metrics), &sighting, (answered.micros, every));
        }
    }

    fn end(&mut self) {
        let Self { watched, of, answered, wanted, keys } = self;
        if !wanted.is_sampled {
            return;
        }
        let hot = watched.hot(of.now);
        hot.sampled();
        if let Some(shard) = answered.shard.filter(|&shard| *keys == 0 && shard != NO_SHARD) {
            let bytes = (answered.request.len() + answered.size).min(u32::MAX as usize) as u32;
            hot.count_keyless(shard, answered.is_read, bytes);
        }
    }
}

/// Which keys of many are looked at.
struct Steps {
    step: u32,
    left: u32,
}

impl Steps {
    fn over(count: usize, watched: &mut Watched) -> Self {
        let step = count.div_ceil(MANY).max(1) as u32;
        let left = if step == 1 { 0 } else { watched.random.next() % step };
        Self { step, left }
    }

    /// For how many the next one stands, if it is one of those.
    const fn next(&mut self) -> Option<u32> {
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        self.left = self.step - 1;
        Some(self.step)
    }
}
