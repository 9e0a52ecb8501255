//! All keys compared on both sides while clients go on writing, so that nobody waits for it.
//!
//! ```text
//!   names of the source ─┐                       same
//!                        ├─> both sides asked ───────────> (done)
//!   names of the target ─┘        │ not                      ^
//!                                 v                          │ changed meanwhile: it is copied again, and a sample sees it
//!                              suspect, at the offset that the source was asked at
//!                                 │ the stream is there, and told of no change
//!                                 v
//!                              differs
//! ```
//!
//! Keys that are under way are left out. So what it cannot see is a change that got lost after its key was compared, or of a
//! key that changes all the time; and within large values only how many elements there are.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::walk::Walk;
use super::{Copier, Ended, Turn};
use crate::replication::board::Phase;
use crate::replication::fault::{Fault, Kind};
use crate::replication::history::Facts;
use crate::replication::keys::Key;
use crate::replication::node::{in_time, Node, NodeError};
use crate::replication::plan::Plan;
use crate::replication::source::Source;
use crate::replication::value::Value;
use crate::replication::verify;

/// For one step of it. The stream is not read meanwhile.
const WITHIN: Duration = Duration::from_secs(5);
const STEP: &[u8] = b"256";
/// What targets owe is waited for so long: else the changes have their turn.
const OWED: Duration = Duration::from_millis(500);
/// Keys compared at once: what small values take engines a millisecond for.
const AT_ONCE: usize = 128;

struct Suspect {
    what: &'static str,
    /// What the source had done when the two were found different.
    at: i64,
}

pub(super) struct Comparing {
    until: Instant,
    ticket: u64,
    ours: Walk,
    theirs: Vec<Walk>,
    /// Found and not compared, and whether at the source.
    found: VecDeque<Key>,
    is_of_source: bool,
    suspects: HashMap<Key, Suspect>,
    /// Changes had their turn.
    is_due: bool,
}

impl Comparing {
    pub(super) fn new(until: Instant, ticket: u64, plan: &Plan) -> Self {
        let theirs = plan.targets.iter().map(|_| Walk { is_over: !plan.replaces, ..Walk::new() }).collect();
        Self {
            until,
            ticket,
            ours: Walk::new(),
            theirs,
            found: VecDeque::new(),
            is_of_source: true,
            suspects: HashMap::new(),
            is_due: false,
        }
    }

    /// The stream told of a change: what was found of that key says nothing any more.
    pub(super) fn changed(&mut self, key: &[u8]) {
        if !self.suspects.is_empty() {
            self.suspects.remove(key);
        }
    }

    /// Whether there are keys that were not looked at.
    fn has_more(&self) -> bool {
        !self.found.is_empty() || !self.ours.is_over || self.theirs.iter().any(|walk| !walk.is_over)
    }

    /// Look for more names: the source's first.
    fn look(
        &mut self,
        plan: &Plan,
        source: &mut Node,
        targets: &mut [&mut Node],
        until: Instant,
    ) -> Result<(), NodeError> {
        self.is_of_source = !self.ours.is_over;
        let at = self.theirs.iter().position(|walk| !walk.is_over).filter(|_| !self.is_of_source);
        let (walk, node) = match at {
            Some(at) => (&mut self.theirs[at], &mut *targets[at]),
            None if self.is_of_source => (&mut self.ours, source),
            None => return Ok(()),
        };
        let is_wanted = |key: &[u8]| plan.target_of(key).is_some_and(|owner| at.is_none_or(|at| at == owner));
        node.send(&[b"SCAN", &walk.cursor, b"COUNT", STEP]);
        let reply = node.reply(until)?;
        let keys = walk.take(&reply).ok_or_else(|| node.refused(&reply))?;
        self.found.extend(keys.into_iter().filter(|key| is_wanted(key)).map(Key::from));
        Ok(())
    }
}

impl Copier {
    /// Begin to compare again, if that was ordered: what was found is of another node, or of what is copied anew.
    pub(super) fn compare_anew(&mut self) {
        if let Some(comparing) = &mut self.comparing {
            *comparing = Comparing::new(comparing.until, comparing.ticket, &self.plan);
            self.status.compared = 0;
        }
    }

    /// Whether nothing is to be asked until some more are compared: each has its turn.
    pub(super) fn is_comparison_due(&self, now: Instant) -> bool {
        self.status.phase == Phase::Following
            && self.reaching.is_none()
            && self.comparing.as_ref().is_some_and(|comparing| comparing.is_due && comparing.has_more())
            && self.pace.rest_of_copy(now).is_zero()
    }

    /// Changes were asked for, as many as there were.
    pub(super) fn changes_had_their_turn(&mut self) {
        if let Some(comparing) = &mut self.comparing {
            comparing.is_due = true;
        }
    }

    /// Compare some more; whether something was done.
    pub(super) fn compare(&mut self, now: Instant) -> Turn<bool> {
        self.comparing.take_if(|comparing| now >= comparing.until); // whoever asked does not wait any more
        let Some(comparing) = self.comparing.as_mut().filter(|_| self.status.phase == Phase::Following) else {
            return Ok(false);
        };
        let offset = self.decoder.as_ref().map_or(-1, super::Decoder::offset);
        let keys = &self.keys;
        comparing.suspects.retain(|key, _| keys.is_with_target(key));
        let proven = comparing.suspects.iter().find(|(_, suspect)| suspect.at <= offset);
        if let Some((key, suspect)) = proven {
            let why = verify::differs(key, suspect.what);
            self.board.answer(comparing.ticket, Err(Fault::new(Kind::Differs, why)));
            self.comparing = None;
            return Ok(true);
        }
        if !comparing.has_more() && comparing.suspects.is_empty() {
            self.board.answer(comparing.ticket, Ok(self.status.compared));
            self.comparing = None;
            return Ok(true);
        }
        if !self.source.as_ref().is_some_and(|source| source.asked.is_empty()) || !self.is_comparison_due(now) {
            return Ok(false);
        }
        if !self.targets_answer(now)? {
            if let Some(comparing) = &mut self.comparing {
                comparing.is_due = false; // who waits for them waits in vain, and changes do not
            }
            return Ok(true);
        }
        match self.compare_some() {
            Ok(()) => {}
            Err(NodeError::Lost(why) | NodeError::Late(why)) => self.comparison_broke(&why),
            Err(error) => return Err(Ended::by(Kind::SourceRefuses)(error)),
        }
        Ok(true)
    }

    /// Have the targets answer all that they were sent, and send them nothing more meanwhile: commands of the stream come
    /// without end. Whether they have.
    fn targets_answer(&mut self, now: Instant) -> Turn<bool> {
        let until = in_time(OWED);
        for at in 0..self.targets.len() {
            while !self.targets[at].sent.is_empty() {
                self.check_lease()?;
                let target = &mut self.targets[at];
                let flushed = target.flush(now);
                match flushed.and_then(|()| target.node.as_ref().map_or(Ok(()), |node| node.wait(until))) {
                    Ok(()) => {}
                    Err(NodeError::Late(_)) => return Ok(false),
                    Err(NodeError::Lost(why)) => self.lose_target(at, why),
                    Err(error) => return Err(Ended::by(Kind::TargetRefuses)(error)),
                }
                self.hear_target(at, now)?;
            }
        }
        Ok(self.targets.iter().all(|target| target.node.is_some()))
    }

    fn compare_some(&mut self) -> Result<(), NodeError> {
        let (Some(comparing), Some(source)) = (&mut self.comparing, &mut self.source) else { return Ok(()) };
        let (until, began) = (in_time(WITHIN), Instant::now());
        comparing.is_due = false;
        let mut targets: Vec<&mut Node> = self.targets.iter_mut().filter_map(|target| target.node.as_mut()).collect();
        if comparing.found.is_empty() {
            comparing.look(&self.plan, &mut source.asker, &mut targets, until)?;
        }
        let several = comparing.found.len().min(AT_ONCE);
        let (known, suspects) = (&self.keys, &comparing.suspects);
        let keys: Vec<Key> = comparing
            .found
            .drain(..several)
            .filter(|key| known.is_with_target(key) && !suspects.contains_key(key))
            .collect();
        let ends = source.ends_by();
        let compared = if comparing.is_of_source {
            verify::values(&self.plan, &mut source.asker, &mut targets, &keys, ends, until)?
        } else {
            verify::extra(&self.plan, &mut source.asker, &mut targets, &keys, until)?
        };
        self.status.compared += compared.keys;
        if !compared.differing.is_empty() {
            let at = offset_of(source, until)?;
            comparing.suspects.extend(compared.differing.into_iter().map(|(key, what)| (key, Suspect { what, at })));
        }
        let now = Instant::now();
        self.pace.took(compared.bytes, now);
        self.pace.compared(now - began, now);
        Ok(())
    }

    /// Replies may be on their way that nobody waits for.
    pub(super) fn comparison_broke(&mut self, why: &str) {
        self.lose_source(format_args!("a comparison was not finished: {why}"));
        for at in 0..self.targets.len() {
            self.lose_target(at, format_args!("a comparison was not finished: {why}"));
        }
    }
}

/// What the source has done until now.
fn offset_of(source: &mut Source, until: Instant) -> Result<i64, NodeError> {
    source.asker.send(&[b"INFO", b"replication"]);
    let reply = source.asker.reply(until)?;
    let value = Value::read(&reply);
    let text = value.as_ref().and_then(Value::text).ok_or_else(|| source.asker.refused(&reply))?;
    Ok(Facts::read(&String::from_utf8_lossy(text)).offset)
}
