//! What it is ordered to do, done once that is possible.

use std::time::Instant;

use super::comparing::Comparing;
use super::{Copier, Ended, Turn};
use crate::replication::board::{Order, Phase};
use crate::replication::end::End;
use crate::replication::fault::{Fault, Kind};
use crate::replication::history::Place;
use crate::replication::node::{Node, NodeError};
use crate::replication::target::Sent;
use crate::replication::verify;

/// With more marked keys than so, none is looked for that is older than what is to be reached.
const SCANNED: usize = 10_000;

pub(super) struct Reaching {
    pub(super) place: Place,
    pub(super) replicas: u32,
    pub(super) until: Instant,
    pub(super) ticket: u64,
    /// How many requests each target had been sent when nothing was marked any more.
    pub(super) asked: Option<Vec<u64>>,
    /// Replicas of each target were asked to confirm.
    pub(super) has_waited: bool,
    pub(super) refused: Option<String>,
}

impl Reaching {
    /// Nothing counts that was asked for it.
    pub(super) fn begin_anew(&mut self) {
        self.asked = None;
        self.has_waited = false;
    }
}

/// Whether it writes nothing: the targets are about to be others' to write to, and what the source does then is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resting {
    No,
    Wanted(Instant, u64),
    Rests,
}

impl Copier {
    pub(super) fn take_orders(&mut self) {
        while let Some(order) = self.board.take() {
            match order {
                Order::Sources(sources) => {
                    let is_there =
                        |end: &End| end.address.to_string() == self.status.source && !end.is_another(&self.run_id);
                    let gone = !sources.iter().any(is_there);
                    self.sources = sources;
                    self.away = Instant::now();
                    if gone && self.source.is_some() {
                        self.lose_source("it left its shard");
                    }
                }
                Order::Reach { place, replicas, until, ticket } => {
                    self.reaching = Some(Reaching {
                        place,
                        replicas,
                        until,
                        ticket,
                        asked: None,
                        has_waited: false,
                        refused: None,
                    });
                }
                Order::Rest { until, ticket } => self.resting = Resting::Wanted(until, ticket),
                Order::GoOn => {
                    if let Resting::Wanted(_, ticket) = std::mem::replace(&mut self.resting, Resting::No) {
                        self.refuse(ticket, "it was told to go on");
                    }
                }
                Order::Verify { until, ticket } => self.verifying = Some((until, ticket)),
                Order::Compare { until, ticket } => {
                    self.status.compared = 0;
                    self.comparing = Some(Comparing::new(until, ticket, &self.plan));
                }
            }
            if self.resting != Resting::No {
                self.refuse_reaching();
            }
        }
    }

    /// How far its source is by now it does not hear: whoever has it rest asks before, or once it goes on. What is at both
    /// sides it can still compare.
    fn refuse_reaching(&mut self) {
        if let Some(reaching) = self.reaching.take() {
            self.refuse(reaching.ticket, "it rests, or is about to: it is to go on before it is asked for more");
        }
    }

    fn refuse(&self, ticket: u64, why: &str) {
        self.board.answer(ticket, Err(Fault::new(Kind::Late, why)));
    }

    /// Rest, once all changes that are known are with the targets.
    pub(super) fn settle_rest(&mut self, now: Instant) {
        let Resting::Wanted(until, ticket) = self.resting else { return };
        if now >= until {
            self.resting = Resting::No; // whoever asked does not wait any more
        } else if self.status.phase == Phase::Following
            && self.keys.dirty() == 0
            && self.source.as_ref().is_some_and(|source| source.asked.is_empty())
            && self.targets.iter().all(|target| target.node.is_some() && target.sent.is_empty())
        {
            self.resting = Resting::Rests;
            self.board.answer(ticket, Ok(0));
        }
    }

    /// Whether what is followed has that place: a number of another history says nothing.
    pub(super) fn is_history_of(&self, place: &Place) -> bool {
        *self.status.replid == *place.replid || self.source.as_ref().is_some_and(|source| source.has_passed(place))
    }

    pub(super) fn settle_orders(&mut self, now: Instant) {
        let Some(mut reaching) = self.reaching.take() else { return };
        if now >= reaching.until {
            return; // whoever asked does not wait any more
        }
        if let Some(why) = reaching.refused.take() {
            return self.board.answer(reaching.ticket, Err(Fault::new(Kind::Late, why)));
        }
        let is_there = self.status.phase == Phase::Following
            && self.is_history_of(&reaching.place)
            && self.offset() >= reaching.place.offset
            && self.targets.iter().all(|target| target.node.is_some())
            && self.keys.dirty() < SCANNED
            && self.keys.oldest().is_none_or(|oldest| oldest > reaching.place.offset);
        if !is_there {
            reaching.begin_anew();
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

    pub(super) fn verify(&mut self) -> Turn<()> {
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
        let ends = source.ends_by();
        match verify::compare(&self.plan, &mut source.asker, askers, &self.sample, ends, until) {
            Ok(count) => {
                self.status.checked += count;
                self.tell(Instant::now());
                self.board.answer(ticket, Ok(count));
            }
            Err(verify::Unequal::Differs(why)) => {
                self.board.answer(ticket, Err(Fault::new(Kind::Differs, why)));
            }
            Err(verify::Unequal::Node(NodeError::Stopped)) => return Err(Ended::Stopped),
            Err(verify::Unequal::Node(error)) => {
                self.board.answer(ticket, Err(Fault::new(Kind::Late, error.to_string())));
                self.comparison_broke(&error.to_string());
            }
        }
        Ok(())
    }
}
