//! What a copier and those who ordered it tell each other: how far it is, and what is wanted of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::end::End;
use super::fault::{Fault, Kind};
use super::history::Place;
use super::node::{in_time, Stop};
use crate::net::boot_time;
use crate::sync::lock;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Attaching,
    Cleaning,
    Copying,
    Following,
    Finished,
    Failed,
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Cleaning => "cleaning",
            Self::Copying => "copying",
            Self::Following => "following",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub phase: Phase,
    pub why: String,
    /// Of which kind that is; once it failed.
    pub kind: Option<Kind>,
    pub keys: u64,
    pub bytes: u64,
    pub scanned: u64,
    pub total: u64,
    pub dirty: u64,
    pub unanswered: u64,
    pub offset: i64,
    pub replid: String,
    pub passes: u64,
    pub resumed: u64,
    pub shipped: u64,
    pub checked: u64,
    pub compared: u64,
    pub source: String,
    pub source_is_primary: bool,
    pub unguarded: String,
    pub seconds: f64,
}

#[derive(Debug)]
pub enum Order {
    /// All changes up to there are to be with the targets, and with so many replicas of each.
    Reach {
        place: Place,
        replicas: u32,
        until: Instant,
        ticket: u64,
    },
    /// Compare a sample, while nothing changes.
    Verify {
        until: Instant,
        ticket: u64,
    },
    /// Compare all, whatever changes.
    Compare {
        until: Instant,
        ticket: u64,
    },
    Sources(Vec<End>),
    /// Write nothing more, once all that was written is answered.
    Rest {
        until: Instant,
        ticket: u64,
    },
    GoOn,
}

impl Order {
    const fn ticket(&self) -> Option<u64> {
        match self {
            Self::Reach { ticket, .. }
            | Self::Verify { ticket, .. }
            | Self::Compare { ticket, .. }
            | Self::Rest { ticket, .. } => Some(*ticket),
            Self::Sources(_) | Self::GoOn => None,
        }
    }
}

type Answer = Result<u64, Fault>;

#[derive(Default)]
struct State {
    status: Status,
    orders: VecDeque<Order>,
    answers: Vec<(u64, Answer)>,
    tickets: u64,
}

pub struct Board {
    state: Mutex<State>,
    told: Condvar,
    stop: Stop,
    /// Nothing is written to a target from then on: nanoseconds of the boot clock.
    lease: AtomicU64,
}

impl Board {
    /// `until`: the end of its lease, in nanoseconds of the boot clock; none = it needs none.
    pub fn new(stop: Stop, until: Option<u64>) -> Self {
        let lease = AtomicU64::new(until.unwrap_or(u64::MAX));
        Self { state: Mutex::default(), told: Condvar::new(), stop, lease }
    }

    /// Its lease ends then.
    pub fn keep(&self, until: u64) {
        self.lease.store(until, Ordering::Release);
    }

    /// Whether it may write now, by a clock that went on while it was stopped.
    pub fn may_write(&self) -> bool {
        let lease = self.lease.load(Ordering::Acquire);
        lease == u64::MAX || boot_time() < lease
    }

    pub fn rest(&self, within: Duration) -> Answer {
        self.ask(within, |until, ticket| Order::Rest { until, ticket })
    }

    pub fn go_on(&self) {
        lock(&self.state).orders.push_back(Order::GoOn);
        self.stop.wake();
    }

    pub const fn stop(&self) -> &Stop {
        &self.stop
    }

    pub fn status(&self) -> Status {
        lock(&self.state).status.clone()
    }

    pub fn set_sources(&self, sources: Vec<End>) {
        lock(&self.state).orders.push_back(Order::Sources(sources));
        self.stop.wake();
    }

    /// How far the source's stream was read, once it is there. An offset of another history is never reached.
    pub fn reach(&self, place: Place, replicas: u32, within: Duration) -> Answer {
        let wanted = place.replid.clone();
        let answer = self.ask(within, |until, ticket| Order::Reach { place, replicas, until, ticket });
        answer.map_err(|fault| match &*self.status().replid {
            followed if fault.kind == Kind::Late && !followed.is_empty() && *followed != *wanted => {
                let why = format!(
                    "the copy is of another history ({followed:.8}) than that ({wanted:.8}): the source fails over, or has \
                     just done so: {}",
                    fault.why
                );
                Fault::new(Kind::Late, why)
            }
            _ => fault,
        })
    }

    pub fn verify(&self, within: Duration) -> Answer {
        self.ask(within, |until, ticket| Order::Verify { until, ticket })
    }

    pub fn compare(&self, within: Duration) -> Answer {
        self.ask(within, |until, ticket| Order::Compare { until, ticket })
    }

    /// Give an order and wait for its answer. It is forgotten when that takes too long.
    fn ask(&self, within: Duration, order: impl FnOnce(Instant, u64) -> Order) -> Answer {
        let until = in_time(within);
        let mut state = lock(&self.state);
        state.tickets += 1;
        let ticket = state.tickets;
        state.orders.push_back(order(until, ticket));
        self.stop.wake();
        loop {
            if let Some(at) = state.answers.iter().position(|(answered, _)| *answered == ticket) {
                return state.answers.swap_remove(at).1;
            }
            if state.status.phase == Phase::Failed {
                return Err(Fault::new(state.status.kind.unwrap_or(Kind::Defect), state.status.why.clone()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.stop.is_over() {
                state.orders.retain(|order| order.ticket() != Some(ticket));
                let Status { phase, why, dirty, unanswered, offset, .. } = &state.status;
                let held = if why.is_empty() { String::new() } else { format!(": {why}") };
                let why = format!(
                    "not done in {} ms: the copy is {} at {offset}, {dirty} keys are to be copied again, {unanswered} requests \
                     are unanswered{held}",
                    within.as_millis(),
                    phase.name(),
                );
                return Err(Fault::new(Kind::Late, why));
            }
            let left = left.min(Duration::from_millis(100)); // `stop` does not tell
            state =
                self.told.wait_timeout(state, left).map_or_else(|poisoned| poisoned.into_inner().0, |woken| woken.0);
        }
    }

    /// The next order, for the copier's thread.
    pub fn take(&self) -> Option<Order> {
        lock(&self.state).orders.pop_front()
    }

    pub fn answer(&self, ticket: u64, answer: Answer) {
        let mut state = lock(&self.state);
        state.answers.retain(|(other, _)| ticket - other.min(&ticket) < 64); // of those who did not wait
        state.answers.push((ticket, answer));
        drop(state);
        self.told.notify_all();
    }

    pub fn tell(&self, status: Status) {
        lock(&self.state).status = status;
        self.told.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_may_have_all_the_time_there_is() {
        let board = Board::new(Stop::new().unwrap(), None);
        board.stop().stop();
        let place = Place { replid: "a".into(), offset: i64::MAX };
        let why = board.reach(place, 0, Duration::MAX).unwrap_err();
        assert!(why.why.starts_with("not done in"), "{}", why.why);
    }

    #[test]
    fn who_waits_for_another_history_is_told_so() {
        let board = Board::new(Stop::new().unwrap(), None);
        board.tell(Status { phase: Phase::Following, replid: "followed".into(), ..Status::default() });
        for (replid, is_told) in [("followed", false), ("other", true)] {
            let place = Place { replid: replid.into(), offset: 1 };
            let fault = board.reach(place, 0, Duration::ZERO).unwrap_err();
            assert_eq!((fault.kind, fault.why.contains("another history (followed)")), (Kind::Late, is_told));
        }
    }
}
