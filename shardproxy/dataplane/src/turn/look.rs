//! A look at one request that has its answer, for all who remember such: what took long and where its time went (timing/), and
//! what is asked for (insight/).

use super::gate::{Drawn, Gate};
use super::{Served, Turn};
use crate::clients::Client;
use crate::exchange::Entry;
use crate::insight::{Answered, Insight, Of, Watched};
use crate::metrics::Class;
use crate::timing::{Seen, Timing};

/// Who looks.
pub struct Looks {
    pub timing: Timing,
    pub insight: Insight,
}

/// What is known of a request that no node answered, beside its entry.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// The beginning of it, or all; and how many bytes it has.
    pub bytes: &'a [u8],
    pub length: usize,
    pub reply: &'a [u8],
    pub is_error: bool,
    /// Microseconds since it came, where the clock may have wrapped since.
    pub elapsed: Option<u64>,
}

impl Looks {
    /// Count a request that has its answer; whether it is looked at. `bytes`: of the request or of the reply, the larger, or
    /// some more.
    #[inline]
    pub fn take(&self, gate: &mut Gate, took: u32, bytes: usize) -> Option<Drawn> {
        gate.take(self.timing.mask(), took, bytes)
    }

    /// Look at one that was taken.
    #[cold]
    pub fn look(&mut self, watched: &mut Watched, of: Of, client: Option<&Client>, seen: &Seen, drawn: Drawn) {
        if was_asked_for(seen) {
            self.insight.see(watched, of, &answered(seen), drawn.for_hot);
        }
        if drawn.is_long || drawn.for_spans {
            self.timing.see(client, of.cluster, seen, drawn.for_spans);
        }
    }
}

/// What was refused was no load for anybody, and what waits is looked at as often as it is asked for.
fn was_asked_for(seen: &Seen) -> bool {
    !seen.request.is_nobodys() && (seen.link.is_some() || !seen.is_error && seen.request.class != Class::Block)
}

fn answered<'a>(seen: &Seen<'a>) -> Answered<'a> {
    let request = seen.request;
    Answered {
        shard: seen.link.map(|(link, _)| link.way.shard),
        slot: request.slot,
        command: request.command,
        is_read: request.is_read,
        inner: request.inner(),
        micros: seen.now.wrapping_sub(request.since),
        request: seen.bytes,
        reply: seen.reply,
        size: seen.size(),
    }
}

impl Turn {
    /// A request was answered without a node, or by no node.
    pub fn note_answered(&mut self, client: Option<&Client>, cluster: usize, request: &Entry, told: Told) {
        let Self { looks, clusters, micros, millis, .. } = self;
        let Some(Served { gate, watched, cluster: spec, metrics, .. }) =
            clusters.get_mut(cluster).and_then(Option::as_mut)
        else {
            return;
        };
        let Told { bytes, length, reply, is_error, elapsed } = told;
        let took = elapsed.map_or(micros.wrapping_sub(request.since), |elapsed| elapsed.try_into().unwrap_or(u32::MAX));
        if let Some(drawn) = looks.take(gate, took, length | reply.len()) {
            let (link, streamed, now) = (None, 0, *micros);
            let seen = Seen { cluster, link, request, bytes, length, reply, streamed, is_error, now, elapsed };
            looks.look(watched, Of { cluster: spec, metrics, now: *millis }, client, &seen, drawn);
        }
    }
}
