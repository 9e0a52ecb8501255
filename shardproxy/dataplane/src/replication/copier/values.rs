//! The answers of the source: values, and how far it is.

use std::time::Instant;

use super::{Copier, Ended, Turn, READ};
use crate::replication::attach::clock_of;
use crate::replication::fault::Kind;
use crate::replication::history::Facts;
use crate::replication::keys::Key;
use crate::replication::node::NodeError;
use crate::replication::source::{Asked, Source};
use crate::replication::target::Sent;
use crate::replication::value::Value;

/// A value that is larger is not read again at each change, where its commands can be sent on instead.
const BIG: usize = 4096;

impl Copier {
    pub(super) fn hear_source(&mut self, now: Instant) -> Turn<bool> {
        let Some(mut source) = self.source.take() else { return Ok(false) };
        let result = self.hear_replies(&mut source, now);
        self.source = Some(source);
        match result {
            Ok(is_busy) => Ok(is_busy),
            Err(NodeError::Lost(why) | NodeError::Late(why)) => {
                self.lose_source(why);
                Ok(true)
            }
            Err(error) => Err(Ended::by(Kind::SourceRefuses)(error)),
        }
    }

    fn hear_replies(&mut self, source: &mut Source, now: Instant) -> Result<bool, NodeError> {
        let mut is_busy = source.fill(READ, now)?;
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
            match asked {
                Asked::Forgotten => continue,
                Asked::Clock => {
                    let at = clock_of(reply);
                    source.clock_showed(at);
                    continue;
                }
                _ => {}
            }
            match self.heard(asked, reply, &mut source.ends, source.clock, now) {
                Heard::Nothing => {}
                Heard::Wrong => {
                    let reply = reply.to_vec();
                    return Err(source.asker.refused(&reply));
                }
                Heard::Facts(facts) => {
                    if source.stream.is_some() && !facts.replid.is_empty() && facts.replid != self.status.replid {
                        if !facts.was_called(&self.status.replid, self.offset()) {
                            return Err(source.asker.lost("it has another history than what was read of it"));
                        }
                        self.status.replid.clone_from(&facts.replid); // its stream goes on
                    }
                    source.told(*facts, now);
                }
            }
        }
        if source.asked.is_empty() {
            self.pace.answered(source.spent(), now);
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
        if let Asked::Weight(key) = asked {
            self.weighs &= value.error().is_none(); // what it may not say is done without
            self.weighed.push_back((key, value.integer().and_then(|n| n.try_into().ok()).unwrap_or(0)));
            return Heard::Nothing;
        }
        if value.error().is_some() {
            return Heard::Wrong;
        }
        match asked {
            Asked::Queued | Asked::Weight(_) | Asked::Clock | Asked::Forgotten => {}
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
            Asked::Size => self.status.total = value.integer().and_then(|n| n.try_into().ok()).unwrap_or(0),
            Asked::Scan => {
                let Some(keys) = self.walk.take(reply) else { return Heard::Wrong };
                self.status.scanned += keys.len() as u64;
                let plan = &self.plan;
                let ours = keys.into_iter().filter(|key| plan.target_of(key).is_some());
                self.found.extend(ours.map(<[u8]>::to_vec));
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
}

enum Heard {
    Nothing,
    /// Not what answers the question.
    Wrong,
    Facts(Box<Facts>),
}

/// Whether commands do to a copy of this value what they do to it: not where parts of it end by a clock, and not what a
/// module made, or a newer engine.
fn can_ship(payload: &[u8]) -> bool {
    payload.first().is_some_and(|&kind| kind <= 21 && kind != 6 && kind != 7)
}
