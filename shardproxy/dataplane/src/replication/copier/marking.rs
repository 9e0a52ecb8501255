//! The stream of the source: which keys changed, and commands that are sent on.

use std::time::Instant;

use super::{Copier, Ended, Turn, READ};
use crate::replication::fault::Kind;
use crate::replication::keys::Sending;
use crate::replication::node::NodeError;
use crate::replication::stream::Change;
use crate::replication::target::Sent;

/// Marked keys, and bytes of their names, beyond which changes come faster than they can be copied.
const MARKED: usize = 4_000_000;
const MARKED_BYTES: usize = 512 << 20;

impl Copier {
    pub(super) fn hear_stream(&mut self, now: Instant) -> Turn<bool> {
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
            match step.map_err(|why| Ended::failed(Kind::SourceRefuses, why))? {
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
            return Err(Ended::failed(
                Kind::Outrun,
                "keys change faster than they can be copied: copy fewer slots at once, or later",
            ));
        }
        let offset = self.offset();
        while self.unsettled.front().is_some_and(|(at, _)| *at <= offset) {
            self.unsettled.pop_front();
        }
        Ok(is_busy)
    }
}
