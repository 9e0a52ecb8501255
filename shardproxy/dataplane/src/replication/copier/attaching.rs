//! Which node is read, and what becomes of what was asked of one that went.

use std::time::{Duration, Instant};

use super::walk::Walk;
use super::{Copier, Ended, Turn, RETRY};
use crate::replication::attach::{attach, Attached, Wishes};
use crate::replication::board::Phase;
use crate::replication::fault::Kind;
use crate::replication::history::Place;
use crate::replication::node::NodeError;
use crate::replication::pace::Pace;
use crate::replication::source::{Asked, Source};
use crate::replication::stream::Decoder;

/// How long there may be no source.
const AWAY: Duration = Duration::from_secs(120);
/// How often in a row a history may break before all is copied.
const BREAKS: u32 = 5;

impl Copier {
    pub(super) fn connect_source(&mut self, now: Instant) -> Turn<()> {
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
        let from = self.decoder.as_ref().map(|decoder| Place { replid: replid.into(), offset: decoder.offset() });
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
                    return Err(Ended::failed(
                        Kind::SourceLost,
                        format!("there was no source for {} s: {why}", AWAY.as_secs()),
                    ));
                }
                self.status.why = format!("no source: {why}");
                self.retry = Instant::now() + RETRY;
                Ok(())
            }
            Err(error) => Err(Ended::by(Kind::SourceRefuses)(error)),
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
                return Err(Ended::failed(Kind::SourceLost, why));
            }
        }
        self.begin_pass();
        Ok(())
    }

    pub(super) fn lose_source(&mut self, why: impl std::fmt::Display) {
        let Some(source) = self.source.take() else { return };
        self.status.why = format!("no source: {why}");
        self.away = Instant::now();
        self.retry = self.away;
        self.keys.again(0, |_| false, true);
        self.compare_anew();
        // a node that went may have shown what those who stay never heard of
        let mut unproven = std::mem::take(&mut self.fresh);
        unproven.extend(self.unsettled.drain(..).flat_map(|(_, keys)| keys));
        for asked in source.asked {
            match asked {
                Asked::Info(keys) => unproven.extend(keys),
                Asked::Exists(key) | Asked::Weight(key) => self.found.push_back(key),
                _ => {}
            }
        }
        for key in unproven {
            self.keys.mark(&key, 0);
        }
    }
}
