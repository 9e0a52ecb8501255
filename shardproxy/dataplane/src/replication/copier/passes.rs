//! The first copy: what is asked of whom, and when it is over.

use std::collections::VecDeque;
use std::time::Instant;

use super::walk::Walk;
use super::Copier;
use crate::replication::board::Phase;
use crate::replication::keys::Next;
use crate::replication::pace::LARGE;
use crate::replication::source::Asked;
use crate::replication::target::Sent;

/// Requests to a target without replies: bytes.
const WINDOW: usize = 4 << 20;
/// Keys found and not begun.
const FOUND: usize = 4096;
/// Steps of a SCAN.
const STEP: &[u8] = b"256";
/// Keys whose values came and are not known to be behind the stream.
const UNSETTLED: usize = 100_000;

impl Copier {
    /// Copy from the beginning: what the targets have is compared again, and every key is read.
    pub(super) fn begin_pass(&mut self) {
        self.keys.clear();
        self.compare_anew();
        self.found.clear();
        self.weighed.clear();
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
        if let Some(source) = &mut self.source {
            source.forget_walk();
            source.ask(&[b"DBSIZE"], Asked::Size, Instant::now());
        }
    }

    /// Whether every key found has been asked for.
    pub(super) fn is_all_begun(&self) -> bool {
        self.found.is_empty() && self.weighed.is_empty()
    }

    pub(super) fn advance(&mut self) {
        let Some(source) = &self.source else { return };
        let is_idle = source.asked.is_empty() && self.is_all_begun();
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
    pub(super) fn ask_targets(&mut self, now: Instant) {
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

    pub(super) fn ask_source(&mut self, now: Instant) {
        if self.is_comparison_due(now) {
            return;
        }
        let offset = self.offset();
        let Some(source) = self.source.as_mut().filter(|source| source.asked.is_empty()) else { return };
        let has_room = self.targets.iter().all(|target| target.node.is_some() && target.unanswered < WINDOW);
        if self.status.phase == Phase::Attaching || !has_room {
            return;
        }
        let hurries = self.reaching.is_some();
        let awaits_history = self.reaching.as_ref().is_some_and(|one| *one.place.replid != *self.status.replid);
        if !hurries && !self.pace.rest(now).is_zero() {
            return;
        }
        let unsettled: usize = self.fresh.len() + self.unsettled.iter().map(|(_, keys)| keys.len()).sum::<usize>();
        let mut room = if unsettled > UNSETTLED { 0 } else { self.pace.batch() };
        let goes_on = self.pace.rest_of_copy(now).is_zero();
        let has_copy =
            !if self.status.phase == Phase::Cleaning { self.found.is_empty() } else { self.weighed.is_empty() };
        let kept = if goes_on && has_copy && self.is_passed_over { room.div_ceil(2) } else { 0 };
        room -= kept;
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
        room += kept;
        if goes_on {
            self.is_passed_over = has_copy && room == 0;
            if self.status.phase == Phase::Cleaning {
                for key in self.found.drain(..room.min(self.found.len())) {
                    source.ask(&[b"EXISTS", &key], Asked::Exists(key.clone()), now);
                }
            } else {
                let mut bytes = 0;
                while let Some(key) = next_weighed(&mut self.weighed, &mut room, &mut bytes) {
                    if let Some((key, ticket)) = self.keys.begin(&key, offset) {
                        source.ask_value(&key, ticket, true, now);
                    }
                }
                // the next ones, while these come
                let more = self.pace.most().saturating_sub(self.weighed.len()).min(self.found.len());
                for key in self.found.drain(..more) {
                    if self.weighs {
                        source.ask(&[b"MEMORY", b"USAGE", &key], Asked::Weight(key.clone()), now);
                    } else {
                        self.weighed.push_back((key, 0));
                    }
                }
            }
            if self.status.phase == Phase::Copying && !self.walk.is_over && self.found.len() < FOUND {
                source.ask(&[b"SCAN", &self.walk.cursor, b"COUNT", STEP], Asked::Scan, now);
            }
        }
        let is_followed = source.stream.is_some();
        if is_followed && !self.fresh.is_empty() || source.is_look_due(awaits_history, now) {
            source.ask_offset(std::mem::take(&mut self.fresh), now);
        }
        if !source.asked.is_empty() {
            source.ask_no_more();
            self.pace.asked(now);
        }
        self.changes_had_their_turn();
    }
}

/// The next key whose value is asked for, as long as so many, and about so many bytes, fit into the batch. One fits, however
/// large.
fn next_weighed(weighed: &mut VecDeque<(Vec<u8>, u64)>, room: &mut usize, bytes: &mut u64) -> Option<Vec<u8>> {
    let &(_, weight) = weighed.front().filter(|_| *room > 0)?;
    if *bytes > 0 && *bytes + weight > LARGE {
        return None;
    }
    *room -= 1;
    *bytes += weight.max(1);
    weighed.pop_front().map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_so_many_keys_and_so_many_bytes_but_for_one_that_is_larger() {
        let batch = |weights: &[u64], mut room: usize| {
            let mut weighed: VecDeque<_> = weights.iter().map(|&weight| (vec![], weight)).collect();
            let mut bytes = 0;
            std::iter::from_fn(|| next_weighed(&mut weighed, &mut room, &mut bytes)).count()
        };
        for (weights, room, expected) in [
            (&[100; 600][..], 512, 512),
            (&[0; 600][..], 512, 512),
            (&[100, 100, 10 << 20, 100][..], 512, 2),
            (&[10 << 20, 100, 100][..], 512, 1),
            (&[LARGE / 2, LARGE / 2 - 1, 100][..], 512, 2),
            (&[100, 100][..], 1, 1),
            (&[100][..], 0, 0),
            (&[][..], 512, 0),
        ] {
            assert_eq!(batch(weights, room), expected, "{weights:?}");
        }
    }
}
