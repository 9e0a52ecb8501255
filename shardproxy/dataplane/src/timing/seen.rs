//! A request that has its answer, and where its time went.

use super::record::bounded;
use super::shown::About;
use super::Phases;
use crate::exchange::Entry;
use crate::links::Link;
use crate::model::Cluster;

#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Number of its cluster.
    pub cluster: usize,
    /// Where it was answered, and since when its node had nothing else to answer first.
    pub link: Option<(&'a Link, u32)>,
    pub request: &'a Entry,
    /// Its bytes, as far as they are known, and how many there are.
    pub bytes: &'a [u8],
    pub length: usize,
    pub reply: &'a [u8],
    /// Bytes of the reply that left before.
    pub streamed: usize,
    pub is_error: bool,
    /// Microseconds on the worker's wrapping clock.
    pub now: u32,
    /// Microseconds since it came, where that clock may have wrapped since.
    pub elapsed: Option<u64>,
}

/// Since a request came the clock may have wrapped: what is earlier on it cannot be told.
const LONG: u64 = 1 << 31;

impl Seen<'_> {
    pub(super) fn about(&self, spec: &Cluster) -> About {
        About {
            engine: spec.spec.engine,
            command: self.request.command,
            inner: self.request.inner(),
            is_exec: self.request.is_exec(),
            has_values: spec.spec.slow_log.values,
        }
    }

    /// Microseconds from when it was taken to its answer.
    pub(super) fn took(&self) -> u64 {
        self.elapsed.unwrap_or_else(|| u64::from(self.now.wrapping_sub(self.request.since)))
    }

    /// Bytes of the whole reply.
    pub fn size(&self) -> usize {
        self.streamed + self.reply.len()
    }

    /// What is known when the reply has come.
    pub(super) fn phases(&self) -> Phases {
        let &Self { link, request, .. } = self;
        let took = self.took();
        let Some((link, asked_at)) = link else {
            // who was never asked cost nothing; who was and did not answer has had all of it
            let was_asked = !self.is_error || self.reply.starts_with(b"-ERR INDOUBT ");
            let (parked, upstream) = if was_asked { (0, bounded(took)) } else { (bounded(took), 0) };
            return Phases { waited: Some(0), parked: Some(parked), upstream: Some(upstream), client: None };
        };
        let later = |a: u32, b: u32| if a.wrapping_sub(b) as i32 > 0 { a } else { b };
        let until =
            |moment: u32| if took < LONG { later(moment, request.since).wrapping_sub(request.since) } else { 0 };
        let before = until(asked_at);
        let parked = if request.is_parked || request.is_retry {
            before
        } else {
            link.up_again.map_or(0, |up| until(up).min(before))
        };
        Phases {
            waited: Some(before - parked),
            parked: Some(parked),
            upstream: Some(bounded(took.saturating_sub(u64::from(before)))),
            client: None,
        }
    }
}
