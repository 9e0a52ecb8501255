//! One copy: the thread that ties a source's stream, its values and the targets together.
//!
//! ```text
//!            ┌─ stream ─> Decoder ─ marks ─> Keys ─┐
//!   source ──┤                                     ├─> PEXPIRETIME, DUMP ─> RESTORE or UNLINK ─> targets
//!            └─ SCAN, its own pace ────────────────┘
//! ```
//!
//! The stream only says which keys changed; their values are read again. So whatever is lost or comes twice, reading the key
//! once more makes it right. All that is left when the source does not change any more is with the targets once no key is
//! marked and no request unanswered.

use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::attach::{attach, Attached, Wishes};
use super::board::{Board, Order, Phase, Status};
use super::end::End;
use super::history::Facts;
use super::keys::{Key, Keys, Next, Sending};
use super::node::{Node, NodeError};
use super::pace::Pace;
use super::plan::Plan;
use super::sample::Sample;
use super::source::{Asked, Source};
use super::stream::{Change, Decoder};
use super::target::{Back, Sent, Target};
use super::value::Value;
use super::verify;
use crate::command::CommandTable;
use crate::net::wait_ready;

/// A value that is larger is not read again at each change, where its commands can be sent on instead.
const BIG: usize = 4096;
/// Requests to a target without replies: bytes.
const WINDOW: usize = 4 << 20;
/// Keys found and not begun.
const FOUND: usize = 4096;
/// Steps of a SCAN.
const STEP: &[u8] = b"256";
/// Keys whose values came and are not known to be behind the stream.
const UNSETTLED: usize = 100_000;
/// Marked keys, and bytes of their names, beyond which changes come faster than they can be copied.
const MARKED: usize = 4_000_000;
const MARKED_BYTES: usize = 512 << 20;
/// With more marked keys than so, none is looked for that is older than what is to be reached.
const SCANNED: usize = 10_000;
/// Bytes of the stream and of replies per turn.
const READ: usize = 1 << 20;
/// How long there may be no source.
const AWAY: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_millis(100);
/// How often in a row a history may break before all is copied.
const BREAKS: u32 = 5;
const TICK: Duration = Duration::from_millis(100);
const TELLS_EVERY: Duration = Duration::from_millis(20);

/// A walk through an engine's keys.
#[derive(Default)]
struct Walk {
    cursor: Vec<u8>,
    is_asked: bool,
    is_over: bool,
}

impl Walk {
    fn new() -> Self {
        Self { cursor: b"0".to_vec(), ..Self::default() }
    }

    /// What a step brought.
    fn take<'a>(&mut self, reply: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let value = Value::read(reply)?;
        let parts = value.array()?;
        self.cursor = parts.first()?.text()?.to_vec();
        self.is_asked = false;
        self.is_over = self.cursor == b"0";
        parts.get(1)?.array()?.iter().map(Value::text).collect()
    }
}

struct Reaching {
    offset: i64,
    replicas: u32,
    until: Instant,
    ticket: u64,
    /// How many requests each target had been sent when nothing was marked any more.
    asked: Option<Vec<u64>>,
    /// Replicas of each target were asked to confirm.
    has_waited: bool,
    refused: Option<String>,
}

pub struct Copier {
    plan: Plan,
    sources: Vec<End>,
    board: Arc<Board>,
    table: Arc<CommandTable>,
    targets: Vec<Target>,
    source: Option<Source>,
    /// Since when there is none, and when to look for one.
    away: Instant,
    retry: Instant,
    decoder: Option<Decoder>,
    keys: Keys,
    found: VecDeque<Vec<u8>>,
    walk: Walk,
    cleaning: Vec<Walk>,
    pace: Pace,
    /// Keys whose values came since the source was asked how far it is, and the others by the offset it told.
    fresh: Vec<Key>,
    unsettled: VecDeque<(i64, Vec<Key>)>,
    sample: Sample,
    reaching: Option<Reaching>,
    verifying: Option<(Instant, u64)>,
    status: Status,
    run_id: String,
    breaks: u32,
    started: Instant,
    told: Instant,
}

/// Why it ends: a reason that is final, or it was told to.
enum Ended {
    Failed(String),
    Stopped,
}

type Turn<T> = Result<T, Ended>;

impl From<NodeError> for Ended {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Stopped => Self::Stopped,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl Copier {
    pub fn new(plan: Plan, table: Arc<CommandTable>, board: Arc<Board>) -> Self {
        let now = Instant::now();
        Self {
            sources: plan.sources.clone(),
            targets: plan.targets.iter().map(|end| Target::new(end.clone(), now)).collect(),
            pace: Pace::new(false, plan.rate, now),
            plan,
            board,
            table,
            source: None,
            away: now,
            retry: now,
            decoder: None,
            keys: Keys::default(),
            found: VecDeque::new(),
            walk: Walk::new(),
            cleaning: Vec::new(),
            fresh: Vec::new(),
            unsettled: VecDeque::new(),
            sample: Sample::default(),
            reaching: None,
            verifying: None,
            status: Status::default(),
            run_id: String::new(),
            breaks: 0,
            started: now,
            told: now,
        }
    }

    /// Copy until it is told to stop, or cannot go on.
    pub fn run(mut self) {
        let end = catch_unwind(AssertUnwindSafe(|| self.copy()));
        let defect = "a defect in the copier: the log has its place".to_owned();
        if let Some(why) = end.unwrap_or(Some(defect)) {
            self.status.phase = Phase::Failed;
            self.status.why = why;
        }
        self.tell(Instant::now());
    }

    /// Why it could not go on.
    fn copy(&mut self) -> Option<String> {
        loop {
            match self.turn() {
                Ok(()) if self.status.phase == Phase::Finished => return None,
                Ok(()) => {}
                Err(Ended::Stopped) => return None,
                Err(Ended::Failed(why)) => return Some(why),
            }
        }
    }

    fn turn(&mut self) -> Turn<()> {
        self.board.stop().check()?;
        let now = Instant::now();
        self.take_orders();
        self.connect_targets(now)?;
        self.connect_source(now)?;
        let mut is_busy = self.hear_stream(now)?;
        is_busy |= self.hear_source(now)?;
        is_busy |= self.hear_targets(now)?;
        self.advance();
        self.ask_targets(now);
        self.ask_source(now);
        self.settle_orders(now);
        self.verify()?;
        self.flush(now)?;
        if now.saturating_duration_since(self.told) >= TELLS_EVERY {
            self.tell(now);
        }
        if is_busy {
            return Ok(());
        }
        self.wait(now)
    }

    fn offset(&self) -> i64 {
        self.decoder.as_ref().map_or(-1, Decoder::offset)
    }

    // ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────

    fn connect_targets(&mut self, now: Instant) -> Turn<()> {
        for at in 0..self.targets.len() {
            if self.targets[at].is_silent(now) {
                self.lose_target(at, "it does not answer");
            }
            if !self.targets[at].is_due(now) {
                continue;
            }
            let database = self.plan.database;
            match self.targets[at].connect(database, self.board.stop())? {
                Back::Same => self.status.why.clear(),
                Back::Away(why) => self.status.why = format!("the target is away: {why}"),
                Back::Anew => {
                    self.status.why.clear();
                    if self.status.phase != Phase::Attaching {
                        self.begin_pass(); // what it had and lost was not marked by anybody
                    }
                }
            }
        }
        Ok(())
    }

    fn lose_target(&mut self, at: usize, why: impl std::fmt::Display) {
        let target = &mut self.targets[at];
        self.status.why = format!("the target is away: {}: {why}", target.end);
        target.lose(Instant::now());
        let plan = &self.plan;
        self.keys.again(0, |key| plan.target_of(key) == Some(at), false);
        if let Some(walk) = self.cleaning.get_mut(at).filter(|walk| !walk.is_over) {
            *walk = Walk::new();
        }
    }

    fn connect_source(&mut self, now: Instant) -> Turn<()> {
        let offset = self.offset();
        if let Some(why) = self.source.as_ref().and_then(|s| s.why_lost(offset, self.sources.len() > 1, now)) {
            self.lose_source(why);
        }
        // a source that was lost is found again while it can tell what came since, whatever became of the targets
        let waits = self.status.phase == Phase::Attaching && self.targets.iter().any(|target| target.node.is_none());
        if self.source.is_some() || now < self.retry || waits {
            return Ok(());
        }
        let replid = self.status.replid.as_str();
        let from = self
            .decoder
            .as_ref()
            .map(|decoder| super::attach::Place { replid: replid.into(), offset: decoder.offset() });
        let wishes = Wishes {
            sources: &self.sources,
            database: self.plan.database,
            follows: self.plan.follows,
            from: from.as_ref(),
            away: now.saturating_duration_since(self.away),
        };
        match attach(&wishes, self.board.stop()) {
            Ok(attached) => self.attached(attached),
            Err(NodeError::Lost(why) | NodeError::Late(why)) => {
                if now.saturating_duration_since(self.away) > AWAY {
                    return Err(Ended::Failed(format!("there was no source for {} s: {why}", AWAY.as_secs())));
                }
                self.status.why = format!("no source: {why}");
                self.retry = Instant::now() + RETRY;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn attached(&mut self, attached: Attached) -> Turn<()> {
        let now = Instant::now();
        self.status.why.clear();
        self.status.source = attached.asker.address().to_string();
        self.status.source_is_primary = attached.facts.is_primary;
        self.status.replid = attached.place.replid.to_string();
        self.pace = Pace::new(attached.facts.is_primary, self.plan.rate, now);
        let is_same_process = self.run_id == attached.facts.run_id;
        self.run_id.clone_from(&attached.facts.run_id);
        let is_first = self.status.phase == Phase::Attaching;
        if let (true, Some(decoder)) = (attached.is_resumed, &mut self.decoder) {
            decoder.resume();
            self.status.resumed += 1;
            if !is_same_process && !self.walk.is_over && self.status.phase == Phase::Copying {
                self.walk = Walk::new(); // a cursor means something to one process only
                self.status.passes += 1;
                self.status.scanned = 0;
            }
            self.source = Some(Source::new(attached, now));
            return Ok(());
        }
        self.decoder = attached
            .stream
            .is_some()
            .then(|| Decoder::new(self.table.clone(), self.plan.database, attached.database, attached.place.offset));
        self.source = Some(Source::new(attached, now));
        if !is_first {
            self.breaks += 1;
            if self.breaks > BREAKS {
                let why = "the source's history was lost before all was copied, again and again: raise its repl-backlog-size and \
                           client-output-buffer-limit for replicas, or copy when less is written";
                return Err(Ended::Failed(why.into()));
            }
        }
        self.begin_pass();
        Ok(())
    }

    fn lose_source(&mut self, why: impl std::fmt::Display) {
        let Some(source) = self.source.take() else { return };
        self.status.why = format!("no source: {why}");
        self.away = Instant::now();
        self.retry = self.away;
        self.keys.again(0, |_| false, true);
        // a node that went may have shown what those who stay never heard of
        let mut unproven = std::mem::take(&mut self.fresh);
        unproven.extend(self.unsettled.drain(..).flat_map(|(_, keys)| keys));
        for asked in source.asked {
            match asked {
                Asked::Info(keys) => unproven.extend(keys),
                Asked::Exists(key) => self.found.push_back(key),
                _ => {}
            }
        }
        for key in unproven {
            self.keys.mark(&key, 0);
        }
        self.walk.is_asked = false;
    }

    // ── passes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Copy from the beginning: what the targets have is compared again, and every key is read.
    fn begin_pass(&mut self) {
        self.keys.clear();
        self.found.clear();
        self.fresh.clear();
        self.unsettled.clear();
        self.walk = Walk::new();
        self.cleaning = self.targets.iter().map(|_| Walk { is_over: !self.plan.replaces, ..Walk::new() }).collect();
        self.status.passes += 1;
        self.status.keys = 0;
        self.status.bytes = 0;
        self.status.scanned = 0;
        self.status.total = 0;
        self.status.phase = Phase::Cleaning;
        let pass = self.status.passes;
        if let Some(source) = &mut self.source {
            source.ask(&[b"DBSIZE"], Asked::Size { pass }, Instant::now());
        }
    }

    fn advance(&mut self) {
        let Some(source) = &self.source else { return };
        let is_idle = source.asked.is_empty() && self.found.is_empty();
        match self.status.phase {
            Phase::Cleaning if is_idle && self.cleaning.iter().all(|walk| walk.is_over) => {
                self.status.phase = Phase::Copying;
            }
            Phase::Copying if is_idle && self.walk.is_over => {
                if self.plan.follows {
                    self.status.phase = Phase::Following;
                    self.breaks = 0;
                } else if self.keys.dirty() == 0 && self.targets.iter().all(|target| target.sent.is_empty()) {
                    self.status.phase = Phase::Finished;
                }
            }
            _ => {}
        }
    }

    /// Walk through what the targets have of the slots.
    fn ask_targets(&mut self, now: Instant) {
        if self.status.phase != Phase::Cleaning || self.found.len() > FOUND {
            return;
        }
        let pass = self.status.passes;
        for (target, walk) in self.targets.iter_mut().zip(&mut self.cleaning) {
            if target.node.is_some() && !walk.is_asked && !walk.is_over {
                walk.is_asked = true;
                target.send(&[b"SCAN", &walk.cursor, b"COUNT", STEP], Sent::Scan { pass }, now);
            }
        }
    }

    fn ask_source(&mut self, now: Instant) {
        let offset = self.offset();
        let Some(source) = self.source.as_mut().filter(|source| source.asked.is_empty()) else { return };
        let has_room = self.targets.iter().all(|target| target.node.is_some() && target.unanswered < WINDOW);
        if self.status.phase == Phase::Attaching || !has_room {
            return;
        }
        let hurries = self.reaching.is_some();
        if !hurries && !self.pace.rest(now).is_zero() {
            return;
        }
        let unsettled: usize = self.fresh.len() + self.unsettled.iter().map(|(_, keys)| keys.len()).sum::<usize>();
        let mut room = if unsettled > UNSETTLED { 0 } else { self.pace.batch() };
        while room > 0 {
            match self.keys.next() {
                None => break,
                Some(Next::Plain(key, ticket)) => {
                    source.ask_value(&key, ticket, false, now);
                    room -= 1;
                }
                Some(Next::Exact(key, ticket)) => {
                    source.ask_exact(&key, ticket, now);
                    room = 0; // it is large
                }
            }
        }
        if self.pace.rest_of_copy(now).is_zero() {
            let is_cleaning = self.status.phase == Phase::Cleaning;
            while let Some(key) = if room > 0 { self.found.pop_front() } else { None } {
                if is_cleaning {
                    source.ask(&[b"EXISTS", &key], Asked::Exists(key.clone()), now);
                } else if let Some((key, ticket)) = self.keys.begin(&key, offset) {
                    source.ask_value(&key, ticket, true, now);
                }
                room -= 1;
            }
            if self.status.phase == Phase::Copying && !self.walk.is_over && self.found.len() < FOUND {
                self.walk.is_asked = true;
                let pass = self.status.passes;
                source.ask(&[b"SCAN", &self.walk.cursor, b"COUNT", STEP], Asked::Scan { pass }, now);
            }
        }
        let is_followed = source.stream.is_some();
        if is_followed && !self.fresh.is_empty() || source.is_look_due(now) {
            source.ask_offset(std::mem::take(&mut self.fresh), now);
        }
        if !source.asked.is_empty() {
            self.pace.asked(now);
        }
    }

    // ── what comes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    fn hear_stream(&mut self, now: Instant) -> Turn<bool> {
        let Some(mut source) = self.source.take() else { return Ok(false) };
        let (Some(stream), Some(decoder)) = (&mut source.stream, &mut self.decoder) else {
            self.source = Some(source);
            return Ok(false);
        };
        let (result, mut is_busy) = match stream.fill(READ) {
            Ok(more) => (Ok(()), more),
            Err(error) => (Err(error), false),
        };
        let mut is_emptied = false;
        let has_come = !stream.untaken().is_empty();
        let (keys, plan, targets) = (&mut self.keys, &self.plan, &mut self.targets);
        loop {
            let step = decoder.step(stream.untaken(), &mut |change, at| match change {
                Change::Emptied => is_emptied = true,
                Change::Key(key) => {
                    if plan.target_of(key).is_some() {
                        keys.mark(key, at);
                    }
                }
                Change::Command { key, request } => {
                    let Some(target) = plan.target_of(key) else { return };
                    if keys.command(key, request, at) == Sending::Now {
                        let sent = Sent::Command { key: key.into(), bytes: request.len() };
                        targets[target].send_raw(request, sent, now);
                    }
                }
            });
            match step.map_err(Ended::Failed)? {
                Some(taken) => stream.take_bytes(taken),
                None => break,
            }
            is_busy = true;
        }
        let is_ended = stream.is_ended();
        if has_come {
            source.heard(now);
        }
        self.source = Some(source);
        match result {
            Err(NodeError::Stopped) => return Err(Ended::Stopped),
            Err(error) => self.lose_source(error),
            Ok(()) if is_ended => self.lose_source("the source closed its stream"),
            Ok(()) => {}
        }
        if is_emptied {
            self.begin_pass();
        }
        if self.keys.dirty() > MARKED || self.keys.bytes() > MARKED_BYTES {
            return Err(Ended::Failed(
                "keys change faster than they can be copied: copy fewer slots at once, or later".into(),
            ));
        }
        let offset = self.offset();
        while self.unsettled.front().is_some_and(|(at, _)| *at <= offset) {
            self.unsettled.pop_front();
        }
        Ok(is_busy)
    }

    fn hear_source(&mut self, now: Instant) -> Turn<bool> {
        let Some(mut source) = self.source.take() else { return Ok(false) };
        let result = self.hear_replies(&mut source, now);
        self.source = Some(source);
        match result {
            Ok(is_busy) => Ok(is_busy),
            Err(NodeError::Lost(why) | NodeError::Late(why)) => {
                self.lose_source(why);
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn hear_replies(&mut self, source: &mut Source, now: Instant) -> Result<bool, NodeError> {
        let mut is_busy = source.asker.fill(READ)?;
        if source.asked.is_empty() {
            if source.asker.is_ended() {
                return Err(source.asker.lost("it closed the connection"));
            }
            return Ok(is_busy);
        }
        while !source.asked.is_empty() {
            let Some(reply) = source.asker.take()? else { break };
            is_busy = true;
            let Some(asked) = source.asked.pop_front() else { break };
            match self.heard(asked, reply, &mut source.ends, source.clock, now) {
                Heard::Nothing => {}
                Heard::Wrong => {
                    let reply = reply.to_vec();
                    return Err(source.asker.refused(&reply));
                }
                Heard::Facts(facts) => {
                    source.told(&facts, now);
                    if source.stream.is_some() && facts.was_called(&self.status.replid) {
                        self.status.replid = facts.replid; // its stream goes on
                    }
                }
            }
        }
        if is_busy {
            source.answered(now);
        }
        if source.asked.is_empty() {
            self.pace.answered(now);
        }
        Ok(is_busy)
    }

    fn heard(
        &mut self,
        asked: Asked,
        reply: &[u8],
        ends: &mut i64,
        clock: Option<(i64, Instant)>,
        now: Instant,
    ) -> Heard {
        let Some(value) = Value::read(reply) else { return Heard::Wrong };
        if value.error().is_some() {
            return Heard::Wrong;
        }
        match asked {
            Asked::Queued => {}
            Asked::Ends => match (value.integer(), clock) {
                (None, _) => return Heard::Wrong,
                (Some(left @ 0..), Some((clock, then))) => *ends = clock + then.elapsed().as_millis() as i64 + left,
                (Some(at), _) => *ends = at,
            },
            Asked::Value { key, ticket, is_first } => {
                let payload = match value {
                    Value::Bulk(payload) => Some(payload),
                    Value::Null => None,
                    _ => return Heard::Wrong,
                };
                self.value_came(&key, ticket, is_first, *ends, payload, now);
            }
            Asked::Exact { key, ticket } => return self.exact_came(&key, ticket, &value, now),
            Asked::Info(fresh) => {
                let Some(text) = value.text() else { return Heard::Wrong };
                let facts = Facts::read(&String::from_utf8_lossy(text));
                if !fresh.is_empty() {
                    self.unsettled.push_back((facts.offset, fresh));
                }
                return Heard::Facts(Box::new(facts));
            }
            Asked::Exists(key) => {
                if value.integer() == Some(0) {
                    self.keys.mark(&key, self.offset());
                }
            }
            Asked::Size { pass } => {
                if pass == self.status.passes {
                    self.status.total = value.integer().and_then(|n| n.try_into().ok()).unwrap_or(0);
                }
            }
            Asked::Scan { pass } => {
                if pass == self.status.passes && self.walk.is_asked {
                    let Some(keys) = self.walk.take(reply) else { return Heard::Wrong };
                    self.status.scanned += keys.len() as u64;
                    let plan = &self.plan;
                    let ours = keys.into_iter().filter(|key| plan.target_of(key).is_some());
                    self.found.extend(ours.map(<[u8]>::to_vec));
                }
            }
        }
        Heard::Nothing
    }

    fn value_came(&mut self, key: &Key, ticket: u64, is_first: bool, ends: i64, payload: Option<&[u8]>, now: Instant) {
        let Some(target) = self.plan.target_of(key) else { return };
        if !self.keys.arrived(key, ticket) {
            return;
        }
        self.fresh_came(key);
        if payload.is_some() && ends == -2 {
            self.keys.mark(key, 0); // it came between the two questions
        }
        if let Some(payload) = payload {
            self.pace.came(payload.len() as u64);
            if is_first {
                self.pace.took(payload.len() as u64, now);
            }
            if self.plan.follows && ends == -1 && payload.len() > BIG && can_ship(payload) {
                self.keys.note_big(key);
            }
        }
        self.put(target, key, ticket, ends, payload, false, now);
    }

    fn exact_came(&mut self, key: &Key, ticket: u64, value: &Value, now: Instant) -> Heard {
        let Some(target) = self.plan.target_of(key) else { return Heard::Nothing };
        let Some([info, ends, payload]) = value.array() else { return Heard::Wrong };
        let (Some(info), Some(left)) = (info.text(), ends.integer()) else { return Heard::Wrong };
        let payload = match payload {
            Value::Bulk(payload) => Some(*payload),
            Value::Null => None,
            _ => return Heard::Wrong,
        };
        let offset = Facts::read(&String::from_utf8_lossy(info)).offset;
        let is_shipped = left == -1 && payload.is_some_and(|payload| payload.len() > BIG && can_ship(payload));
        if !is_shipped && left >= 0 {
            // when it ends is asked for by the usual way
            if let Ok(None) = self.keys.settled(key, ticket, offset, false) {
                self.keys.mark(key, 0);
                self.keys.answered(key, ticket);
            }
            return Heard::Nothing;
        }
        let Ok(commands) = self.keys.settled(key, ticket, offset, is_shipped) else { return Heard::Nothing };
        self.fresh_came(key);
        self.put(target, key, ticket, -1, payload, commands.is_some(), now);
        for request in commands.into_iter().flatten() {
            let sent = Sent::Command { key: key.clone(), bytes: request.len() };
            self.targets[target].send_raw(&request, sent, now);
        }
        Heard::Nothing
    }

    fn fresh_came(&mut self, key: &Key) {
        if self.plan.follows {
            self.fresh.push(key.clone());
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn put(
        &mut self,
        target: usize,
        key: &Key,
        ticket: u64,
        ends: i64,
        payload: Option<&[u8]>,
        is_shipped: bool,
        now: Instant,
    ) {
        let bytes = payload.map_or(0, <[u8]>::len);
        let sent = Sent::Put { key: key.clone(), ticket, bytes, is_shipped };
        let target = &mut self.targets[target];
        match payload {
            Some(payload) => {
                let ends = ends.max(0).to_string();
                target.send(&[b"RESTORE", key, ends.as_bytes(), payload, b"REPLACE", b"ABSTTL"], sent, now);
                self.status.keys += 1;
                self.status.bytes += bytes as u64;
                self.sample.note(key);
            }
            None => target.send(&[b"UNLINK", key], sent, now),
        }
        if target.node.is_none() {
            self.keys.unship(key, 0);
            self.keys.again(0, |lost| lost == key, false);
        }
    }

    fn hear_targets(&mut self, now: Instant) -> Turn<bool> {
        let mut is_busy = false;
        for at in 0..self.targets.len() {
            match self.hear_target(at, now) {
                Ok(busy) => is_busy |= busy,
                Err(Ended::Failed(why)) => return Err(Ended::Failed(why)),
                Err(Ended::Stopped) => return Err(Ended::Stopped),
            }
        }
        Ok(is_busy)
    }

    fn hear_target(&mut self, at: usize, now: Instant) -> Turn<bool> {
        let Some(mut node) = self.targets[at].node.take() else { return Ok(false) };
        let filled = node.fill(READ);
        let mut is_busy = matches!(filled, Ok(true));
        let mut lost = filled.err();
        while lost.is_none() {
            if self.targets[at].sent.is_empty() {
                if node.is_ended() {
                    lost = Some(node.lost("it closed the connection"));
                }
                break;
            }
            match node.take() {
                Ok(Some(reply)) => {
                    is_busy = true;
                    match self.target_said(at, reply, now)? {
                        Said::Well => {}
                        Said::NotNow(why) => lost = Some(NodeError::Lost(why)),
                    }
                }
                Ok(None) => break,
                Err(error) => lost = Some(error),
            }
        }
        self.targets[at].node = Some(node);
        match lost {
            None => Ok(is_busy),
            Some(NodeError::Lost(why) | NodeError::Late(why)) => {
                self.lose_target(at, why);
                Ok(true)
            }
            Some(error) => Err(error.into()),
        }
    }

    fn target_said(&mut self, at: usize, reply: &[u8], now: Instant) -> Turn<Said> {
        let Some(sent) = self.targets[at].heard(now) else { return Ok(Said::Well) };
        let error = reply.strip_prefix(b"-").map(|text| String::from_utf8_lossy(text).trim_end().to_owned());
        if let Some(error) = &error {
            if ["LOADING", "BUSY "].iter().any(|word| error.starts_with(word)) {
                return Ok(Said::NotNow(error.clone()));
            }
        }
        match (sent, error) {
            (Sent::Put { key, ticket, is_shipped, .. }, None) => {
                if !is_shipped {
                    self.keys.answered(&key, ticket);
                }
            }
            (Sent::Command { .. }, None) => {}
            (Sent::Command { key, .. }, Some(error)) if !error.starts_with("OOM") && !error.starts_with("READONLY") => {
                self.keys.unship(&key, 0);
            }
            (Sent::Put { key, .. } | Sent::Command { key, .. }, Some(error)) => {
                return Err(Ended::Failed(self.why_refused(at, &key, &error)));
            }
            (Sent::Scan { pass }, None) => {
                if pass == self.status.passes {
                    let walk = &mut self.cleaning[at];
                    let Some(keys) = walk.take(reply) else {
                        return Err(Ended::Failed(format!("{}: an unexpected reply to SCAN", self.targets[at].end)));
                    };
                    let plan = &self.plan;
                    let ours = keys.into_iter().filter(|key| plan.target_of(key) == Some(at));
                    self.found.extend(ours.map(<[u8]>::to_vec));
                }
            }
            (Sent::Scan { .. }, Some(error)) => {
                return Err(Ended::Failed(format!("the target {} refuses SCAN: {error}", self.targets[at].end)));
            }
            (Sent::Wait { replicas, ticket }, error) => {
                let had = Value::read(reply).and_then(|value| value.integer()).unwrap_or(0);
                let is_short = error.is_some() || had < i64::from(replicas);
                if let Some(reaching) = self.reaching.as_mut().filter(|one| is_short && one.ticket == ticket) {
                    let target = &self.targets[at].end;
                    reaching.refused = Some(format!("{target}: {had} of {replicas} replicas have what was copied"));
                }
            }
        }
        Ok(Said::Well)
    }

    fn why_refused(&self, at: usize, key: &Key, error: &str) -> String {
        let target = &self.targets[at].end;
        let name: String = key.escape_ascii().to_string().chars().take(64).collect();
        let why = if error.starts_with("OOM") {
            "it is full: give it more memory, or move less"
        } else if error.starts_with("READONLY") {
            "it is a replica now: begin anew, with the primary of its shard"
        } else if error.contains("DUMP payload") || error.contains("Bad data format") {
            "it cannot read values of the source's version, or lacks a module"
        } else if error.contains("bulk length") {
            "a value is larger than its proto-max-bulk-len"
        } else {
            "it refuses what is copied"
        };
        format!("the target {target}, key {name}: {why} ({error})")
    }

    // ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn take_orders(&mut self) {
        while let Some(order) = self.board.take() {
            match order {
                Order::Sources(sources) => {
                    let gone = !sources.iter().any(|end| end.address.to_string() == self.status.source);
                    self.sources = sources;
                    self.away = Instant::now();
                    if gone && self.source.is_some() {
                        self.lose_source("it left its shard");
                    }
                }
                Order::Reach { offset, replicas, until, ticket } => {
                    self.reaching = Some(Reaching {
                        offset,
                        replicas,
                        until,
                        ticket,
                        asked: None,
                        has_waited: false,
                        refused: None,
                    });
                }
                Order::Verify { until, ticket } => self.verifying = Some((until, ticket)),
            }
        }
    }

    fn settle_orders(&mut self, now: Instant) {
        let Some(mut reaching) = self.reaching.take() else { return };
        if now >= reaching.until {
            return; // whoever asked does not wait any more
        }
        if let Some(why) = reaching.refused.take() {
            return self.board.answer(reaching.ticket, Err(why));
        }
        let is_there = self.status.phase == Phase::Following
            && self.offset() >= reaching.offset
            && self.targets.iter().all(|target| target.node.is_some())
            && self.keys.dirty() < SCANNED
            && self.keys.oldest().is_none_or(|oldest| oldest > reaching.offset);
        if !is_there {
            reaching.asked = None;
            reaching.has_waited = false;
            self.reaching = Some(reaching);
            return;
        }
        let asked = reaching.asked.get_or_insert_with(|| self.targets.iter().map(|target| target.asked).collect());
        if self.targets.iter().zip(asked.iter()).any(|(target, &asked)| target.answered < asked) {
            self.reaching = Some(reaching);
            return;
        }
        if reaching.replicas > 0 && !reaching.has_waited {
            let left = reaching.until.saturating_duration_since(now).as_millis().max(1).to_string();
            for (target, asked) in self.targets.iter_mut().zip(asked) {
                let sent = Sent::Wait { replicas: reaching.replicas, ticket: reaching.ticket };
                target.send(&[b"WAIT", reaching.replicas.to_string().as_bytes(), left.as_bytes()], sent, now);
                *asked = target.asked;
            }
            reaching.has_waited = true;
            self.reaching = Some(reaching);
            return;
        }
        self.tell(now);
        self.board.answer(reaching.ticket, Ok(self.offset().max(0) as u64));
    }

    fn verify(&mut self) -> Turn<()> {
        let Some((until, ticket)) = self.verifying else { return Ok(()) };
        let is_idle = self.source.as_ref().is_some_and(|source| source.asked.is_empty())
            && self.keys.dirty() == 0
            && self.targets.iter().all(|target| target.node.is_some() && target.sent.is_empty());
        if Instant::now() >= until {
            self.verifying = None;
            return Ok(());
        }
        let Some(source) = self.source.as_mut().filter(|_| is_idle) else { return Ok(()) };
        self.verifying = None;
        let askers: Vec<&mut Node> = self.targets.iter_mut().filter_map(|target| target.node.as_mut()).collect();
        let ends: &[u8] = if source.clock.is_some() { b"PTTL" } else { b"PEXPIRETIME" };
        match verify::compare(&self.plan, &mut source.asker, askers, &self.sample, ends, until) {
            Ok(count) => {
                self.status.checked += count;
                self.tell(Instant::now());
                self.board.answer(ticket, Ok(count));
            }
            Err(verify::Fault::Differs(why)) => self.board.answer(ticket, Err(why)),
            Err(verify::Fault::Node(NodeError::Stopped)) => return Err(Ended::Stopped),
            Err(verify::Fault::Node(error)) => {
                // replies may be on their way that nobody waits for
                self.board.answer(ticket, Err(error.to_string()));
                self.lose_source("a comparison was not finished");
                for at in 0..self.targets.len() {
                    self.lose_target(at, "a comparison was not finished");
                }
            }
        }
        Ok(())
    }

    // ── the end of a turn ───────────────────────────────────────────────────────────────────────────────────────────────

    fn flush(&mut self, now: Instant) -> Turn<()> {
        if let Some(source) = &mut self.source {
            source.live(now);
            match source.flush() {
                Ok(()) => {}
                Err(NodeError::Lost(why) | NodeError::Late(why)) => self.lose_source(why),
                Err(error) => return Err(error.into()),
            }
        }
        for at in 0..self.targets.len() {
            let flushed = self.targets[at].node.as_mut().map_or(Ok(()), Node::flush);
            match flushed {
                Ok(()) => {}
                Err(NodeError::Lost(why) | NodeError::Late(why)) => self.lose_target(at, why),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait(&mut self, now: Instant) -> Turn<()> {
        let stop = self.board.stop().clone();
        let mut wanted = vec![stop.wanted()];
        wanted.extend(self.targets.iter().filter_map(|target| target.node.as_ref().map(Node::wanted)));
        let mut most = TICK;
        if let Some(source) = &self.source {
            wanted.push(source.asker.wanted());
            wanted.extend(source.stream.as_ref().map(Node::wanted));
            let has_more = self.keys.has_waiting() || !self.found.is_empty() || self.status.phase == Phase::Copying;
            if source.asked.is_empty() && has_more {
                let rest = self.pace.rest_of_copy(now);
                let rest = if self.keys.has_waiting() { self.pace.rest(now) } else { rest };
                most = most.min(rest.max(Duration::from_millis(1)));
            }
        } else {
            most = most.min(RETRY);
        }
        wait_ready(&mut wanted, most).map_err(|error| Ended::Failed(error.to_string()))?;
        if wanted[0].read {
            stop.heard();
        }
        Ok(())
    }

    fn tell(&mut self, now: Instant) {
        self.told = now;
        let status = &mut self.status;
        status.dirty = self.keys.dirty() as u64;
        status.shipped = self.keys.shipped() as u64;
        status.unanswered = self.targets.iter().map(|target| target.sent.len() as u64).sum();
        status.offset = self.decoder.as_ref().map_or(-1, Decoder::offset);
        status.seconds = now.saturating_duration_since(self.started).as_secs_f64();
        self.board.tell(status.clone());
    }
}

enum Heard {
    Nothing,
    /// Not what answers the question.
    Wrong,
    Facts(Box<Facts>),
}

enum Said {
    Well,
    /// It cannot now, and will.
    NotNow(String),
}

/// Whether commands do to a copy of this value what they do to it: not where parts of it end by a clock, and not what a
/// module made, or a newer engine.
fn can_ship(payload: &[u8]) -> bool {
    payload.first().is_some_and(|&kind| kind <= 21 && kind != 6 && kind != 7)
}
