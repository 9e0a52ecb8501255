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

mod attaching;
mod comparing;
mod marking;
mod orders;
mod passes;
mod targets;
mod values;
mod walk;

#[cfg(test)]
mod busy_tests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::comparing::Comparing;
use self::orders::{Reaching, Resting};
use self::walk::Walk;
use super::board::{Board, Phase, Status};
use super::end::End;
use super::fault::{Fault, Kind};
use super::keys::{Key, Keys};
use super::node::{Node, NodeError};
use super::pace::Pace;
use super::plan::Plan;
use super::sample::Sample;
use super::source::Source;
use super::stream::Decoder;
use super::target::Target;
use crate::command::CommandTable;
use crate::net::{wait_ready, Wanted};

/// Bytes of the stream and of replies per turn.
const READ: usize = 1 << 20;
const RETRY: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(100);
const TELLS_EVERY: Duration = Duration::from_millis(20);

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
    /// Those found whose values are asked for next, and about how many bytes each takes.
    weighed: VecDeque<(Vec<u8>, u64)>,
    /// The source says how many; else batches are bounded by what the values of late were like.
    weighs: bool,
    /// Changes took all of the last batch: of the next one the first copy has its part.
    is_passed_over: bool,
    walk: Walk,
    cleaning: Vec<Walk>,
    pace: Pace,
    /// Keys whose values came since the source was asked how far it is, and the others by the offset it told.
    fresh: Vec<Key>,
    unsettled: VecDeque<(i64, Vec<Key>)>,
    sample: Sample,
    reaching: Option<Reaching>,
    verifying: Option<(Instant, u64)>,
    comparing: Option<Comparing>,
    resting: Resting,
    status: Status,
    run_id: String,
    breaks: u32,
    started: Instant,
    told: Instant,
}

/// Why it ends: a reason that is final, or it was told to.
enum Ended {
    Failed(Fault),
    Stopped,
}

type Turn<T> = Result<T, Ended>;

impl Ended {
    fn failed(kind: Kind, why: impl Into<String>) -> Self {
        Self::Failed(Fault::new(kind, why))
    }

    /// What cannot be mended by another connection, or that it was told to stop.
    fn by(kind: Kind) -> impl FnOnce(NodeError) -> Self {
        move |error| match error {
            NodeError::Stopped => Self::Stopped,
            error => Self::failed(kind, error.to_string()),
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
            weighed: VecDeque::new(),
            weighs: true,
            is_passed_over: false,
            walk: Walk::new(),
            cleaning: Vec::new(),
            fresh: Vec::new(),
            unsettled: VecDeque::new(),
            sample: Sample::default(),
            reaching: None,
            verifying: None,
            comparing: None,
            resting: Resting::No,
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
        for target in &mut self.targets {
            target.lose(Instant::now());
        }
        let defect = Fault::new(Kind::Defect, "a defect in the copier: the log has its place");
        if let Some(Fault { kind, why }) = end.unwrap_or(Some(defect)) {
            self.status.phase = Phase::Failed;
            self.status.kind = Some(kind);
            self.status.why = why;
        }
        self.tell(Instant::now());
    }

    /// Why it could not go on.
    fn copy(&mut self) -> Option<Fault> {
        loop {
            match self.turn() {
                Ok(()) if self.status.phase == Phase::Finished => return None,
                Ok(()) => {}
                Err(Ended::Stopped) => return None,
                Err(Ended::Failed(fault)) => return Some(fault),
            }
        }
    }

    fn turn(&mut self) -> Turn<()> {
        self.board.stop().check().map_err(|_| Ended::Stopped)?;
        let now = Instant::now();
        self.take_orders();
        self.check_lease()?;
        if self.resting == Resting::Rests {
            self.verify()?; // what is compared stays as it is
            return self.wait(now);
        }
        self.connect_targets(now)?;
        self.connect_source(now)?;
        let mut is_busy = self.resting == Resting::No && self.hear_stream(now)?;
        is_busy |= self.hear_source(now)?;
        is_busy |= self.hear_targets(now)?;
        self.advance();
        self.ask_targets(now);
        self.ask_source(now);
        self.settle_orders(now);
        self.settle_rest(now);
        self.verify()?;
        is_busy |= self.compare(now)?;
        self.flush(now)?;
        if now.saturating_duration_since(self.told) >= TELLS_EVERY {
            self.tell(now);
        }
        if is_busy {
            return Ok(());
        }
        self.wait(now)
    }

    /// Past the end of its lease others may write.
    fn check_lease(&self) -> Turn<()> {
        if self.board.may_write() {
            return Ok(());
        }
        Err(Ended::failed(
            Kind::Lapsed,
            "its lease is over: this process may not lead any more, or was stopped too long",
        ))
    }

    fn offset(&self) -> i64 {
        self.decoder.as_ref().map_or(-1, Decoder::offset)
    }

    fn flush(&mut self, now: Instant) -> Turn<()> {
        if let Some(source) = &mut self.source {
            source.live(now);
            match source.flush() {
                Ok(()) => {}
                Err(NodeError::Lost(why) | NodeError::Late(why)) => self.lose_source(why),
                Err(error) => return Err(Ended::by(Kind::SourceRefuses)(error)),
            }
        }
        for at in 0..self.targets.len() {
            self.check_lease()?;
            match self.targets[at].flush(now) {
                Ok(()) => {}
                Err(NodeError::Lost(why) | NodeError::Late(why)) => self.lose_target(at, why),
                Err(error) => return Err(Ended::by(Kind::TargetRefuses)(error)),
            }
        }
        Ok(())
    }

    fn wait(&mut self, now: Instant) -> Turn<()> {
        let (mut wanted, most) = self.wanted(now);
        wait_ready(&mut wanted, most).map_err(|error| Ended::failed(Kind::Defect, error.to_string()))?;
        if wanted[0].read {
            self.board.stop().heard();
        }
        Ok(())
    }

    /// What it waits for, that it is woken first, and for how long at most.
    fn wanted(&self, now: Instant) -> (Vec<Wanted>, Duration) {
        let mut wanted = vec![self.board.stop().wanted()];
        let mut most = TICK;
        if self.resting == Resting::Rests {
            return (wanted, most);
        }
        wanted.extend(self.targets.iter().filter_map(|target| target.node.as_ref().map(Node::wanted)));
        if let Some(source) = &self.source {
            wanted.push(source.asker.wanted());
            // who is about to rest hears no more changes
            wanted.extend(source.stream.as_ref().filter(|_| self.resting == Resting::No).map(Node::wanted));
            let is_walking = self.status.phase == Phase::Copying || self.comparing.is_some();
            let has_more = self.keys.has_waiting() || !self.is_all_begun() || is_walking;
            if source.asked.is_empty() && has_more {
                let rest = self.pace.rest_of_copy(now);
                let rest = if self.keys.has_waiting() { self.pace.rest(now) } else { rest };
                most = most.min(rest.max(Duration::from_millis(1)));
            }
        } else {
            most = most.min(RETRY);
        }
        (wanted, most)
    }

    fn tell(&mut self, now: Instant) {
        self.told = now;
        let status = &mut self.status;
        status.dirty = self.keys.dirty() as u64;
        status.shipped = self.keys.shipped() as u64;
        status.unanswered = self.targets.iter().map(|target| target.sent.len() as u64).sum();
        let unguarded = self.targets.iter().find(|target| !target.unguarded.is_empty());
        status.unguarded.clone_from(unguarded.map_or(&String::new(), |target| &target.unguarded));
        status.offset = self.decoder.as_ref().map_or(-1, Decoder::offset);
        status.seconds = now.saturating_duration_since(self.started).as_secs_f64();
        self.board.tell(status.clone());
    }
}
