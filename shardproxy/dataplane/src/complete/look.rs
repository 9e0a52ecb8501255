//! Looks at requests that nodes have answered.

use std::time::Instant;

use crate::clients::Clients;
use crate::exchange::Entry;
use crate::insight::Of;
use crate::links::{durable, Link};
use crate::metrics::Class;
use crate::timing::Seen;
use crate::turn::{Drawn, Looks, Served};

/// The present turn's time, as clocks of its `Turn` have it.
#[derive(Clone, Copy)]
pub struct Clock {
    pub now: Instant,
    pub micros: u32,
    pub millis: u64,
}

/// Look at a request that is answered, if it is to be looked at. `asked_at`: as `Link::owed_since` says.
#[inline]
pub fn look(
    (looks, served, clients): (&mut Looks, &mut Served, &mut Clients),
    (link, asked_at): (&Link, u32),
    request: &Entry,
    (reply, is_error): (&[u8], bool),
    clock: Clock,
) {
    let took = clock.micros.wrapping_sub(request.since);
    let streamed = if link.is_streaming { link.streamed } else { 0 };
    if let Some(drawn) = looks.take(&mut served.gate, took, link.exchange.head_length() | (streamed + reply.len())) {
        let bytes = link.exchange.head_bytes();
        let seen = Seen {
            cluster: link.way.cluster,
            link: Some((link, asked_at)),
            request,
            bytes,
            length: bytes.len(),
            reply,
            streamed,
            is_error,
            now: clock.micros,
            elapsed: None,
        };
        look_at((looks, served, clients), seen, drawn, clock);
    }
}

#[cold]
fn look_at(
    (looks, served, clients): (&mut Looks, &mut Served, &mut Clients),
    seen: Seen,
    drawn: Drawn,
    Clock { now, millis, .. }: Clock,
) {
    let seen = Seen { elapsed: waited(&seen, now), ..seen };
    let Served { watched, cluster, metrics, .. } = served;
    let client = clients.owed(&seen.request.owed);
    looks.look(watched, Of { cluster, metrics, now: millis }, client.as_deref(), &seen, drawn);
}

/// How long it has waited at its engine, if that is what it does there: longer than the clock of requests goes, it may be.
fn waited(seen: &Seen, now: Instant) -> Option<u64> {
    let (link, _) = seen.link.filter(|_| seen.request.class == Class::Block)?;
    let waiting = link.leased()?.waiting?;
    let took = u64::from(seen.now.wrapping_sub(seen.request.since));
    Some(took.max(now.duration_since(waiting.sent).as_micros() as u64))
}

/// Look at writes that took long until replicas had them. They were counted when their primary had answered, and what was told
/// of then is told once.
pub fn look_at_held(
    looks: &mut Looks,
    served: &Served,
    (clients, cluster): (&mut Clients, usize),
    settled: &[durable::Held],
    now: u32,
) {
    for held in settled {
        let (request, reply) = (&held.request, held.reply());
        let took = now.wrapping_sub(request.since);
        if served.gate.is_long(looks.timing.mask(), took) && !looks.timing.has(&request.owed) {
            let seen = Seen {
                cluster,
                link: None,
                request,
                bytes: held.head(),
                length: held.length,
                reply,
                streamed: 0,
                is_error: reply.starts_with(b"-"),
                now,
                elapsed: None,
            };
            looks.timing.look(clients, &served.cluster, &seen, false);
        }
    }
}
