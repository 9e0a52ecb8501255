//! Records whose clients have not taken their replies yet.

use std::sync::Arc;

use super::record::{bounded, GONE};
use super::{Record, Timings, Trace};
use crate::clients::Client;
use crate::exchange::Owed;

/// So many of them; of more it is not known when they are taken.
pub const UNTAKEN: usize = 256;

/// A record, until its client has taken the reply. Times are microseconds on `Timing`'s clock, which does not wrap.
pub struct Untaken {
    pub record: Record,
    pub owed: Owed,
    pub traces: Vec<Arc<Trace>>,
    pub is_sampled: bool,
    /// From so many microseconds on it is told as slow, and by so many entries.
    pub slow: Option<(u32, usize)>,
    pub came: u64,
    pub ready: u64,
    /// When its reply was the client's next one, and what has left with its end (`Output::left`).
    pub out: Option<(u64, usize)>,
}

impl Untaken {
    /// Whether the client has all of the reply, or will never have.
    pub fn is_taken(&mut self, client: Option<&mut Client>, now: u64) -> bool {
        let Some(client) = client else {
            self.record.outcome = GONE;
            return true;
        };
        if self.out.is_none() && client.replies.owes(self.owed.sequence) {
            return false;
        }
        let &mut (_, end) =
            self.out.get_or_insert_with(|| (now, client.output.left().wrapping_add(client.output.len())));
        client.output.is_empty() || client.output.left().wrapping_sub(end) as isize >= 0
    }

    /// Whether it is told, if not as slow.
    pub fn is_wanted(&self) -> bool {
        self.is_sampled || !self.traces.is_empty()
    }

    pub fn end(mut self, timings: &Timings, now: u64) {
        let record = &mut self.record;
        if let Some((out, _)) = self.out {
            record.phases.client = Some(bounded(now.saturating_sub(out)));
            let behind = bounded(out.saturating_sub(self.ready));
            record.phases.waited = record.phases.waited.map(|waited| waited.saturating_add(behind));
        }
        record.micros = now.saturating_sub(self.came);
        record.id = timings.number();
        let slow = self.slow.filter(|&(from, _)| record.micros >= u64::from(from));
        let record = Arc::new(self.record);
        if let Some((_, most)) = slow {
            timings.add_slow(record.clone(), most);
        }
        if self.is_sampled {
            timings.add_span(record.clone());
        }
        for trace in &self.traces {
            timings.tell(trace, record.clone());
        }
    }
}
