//! What is said to the targets, and what they say.

use std::time::Instant;

use super::walk::Walk;
use super::{Copier, Ended, Turn, READ};
use crate::replication::board::Phase;
use crate::replication::fault::{Fault, Kind};
use crate::replication::keys::Key;
use crate::replication::node::NodeError;
use crate::replication::target::{Back, Sent};
use crate::replication::value::Value;

impl Copier {
    pub(super) fn connect_targets(&mut self, now: Instant) -> Turn<()> {
        for at in 0..self.targets.len() {
            if self.targets[at].is_silent(now) {
                self.lose_target(at, "it does not answer");
            }
            if !self.targets[at].is_due(now) {
                continue;
            }
            let database = self.plan.database;
            match self.targets[at]
                .connect(database, &self.plan.claim, self.board.stop())
                .map_err(|fault| fault.map_or(Ended::Stopped, Ended::Failed))?
            {
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

    pub(super) fn lose_target(&mut self, at: usize, why: impl std::fmt::Display) {
        let target = &mut self.targets[at];
        self.status.why = format!("the target is away: {}: {why}", target.end);
        target.lose(Instant::now());
        let plan = &self.plan;
        self.keys.again(0, |key| plan.target_of(key) == Some(at), false);
        if let Some(reaching) = &mut self.reaching {
            reaching.begin_anew(); // with the connection goes what was asked on it, and that it was not answered
        }
        if let Some(walk) = self.cleaning.get_mut(at).filter(|walk| !walk.is_over) {
            *walk = Walk::new();
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn put(
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
            self.keys.lost(key);
        }
    }

    pub(super) fn hear_targets(&mut self, now: Instant) -> Turn<bool> {
        let mut is_busy = false;
        for at in 0..self.targets.len() {
            is_busy |= self.hear_target(at, now)?;
        }
        Ok(is_busy)
    }

    pub(super) fn hear_target(&mut self, at: usize, now: Instant) -> Turn<bool> {
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
            Some(error) => Err(Ended::by(Kind::TargetRefuses)(error)),
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
                        return Err(Ended::failed(
                            Kind::TargetRefuses,
                            format!("{}: an unexpected reply to SCAN", self.targets[at].end),
                        ));
                    };
                    let plan = &self.plan;
                    let ours = keys.into_iter().filter(|key| plan.target_of(key) == Some(at));
                    self.found.extend(ours.map(<[u8]>::to_vec));
                }
            }
            (Sent::Scan { .. }, Some(error)) => {
                return Err(Ended::failed(
                    Kind::TargetRefuses,
                    format!("the target {} refuses SCAN: {error}", self.targets[at].end),
                ));
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

    fn why_refused(&self, at: usize, key: &Key, error: &str) -> Fault {
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
        let kind = if error.starts_with("READONLY") { Kind::TargetLost } else { Kind::TargetRefuses };
        Fault::new(kind, format!("the target {target}, key {name}: {why} ({error})"))
    }
}

enum Said {
    Well,
    /// It cannot now, and will.
    NotNow(String),
}
