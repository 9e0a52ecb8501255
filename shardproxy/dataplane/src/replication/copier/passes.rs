//! The first copy: what is asked of whom, and when it is over.

use std::time::Instant;

use super::walk::Walk;
use super::Copier;
use crate::replication::board::Phase;
use crate::replication::keys::Next;
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

    pub(super) fn advance(&mut self) {
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
}
