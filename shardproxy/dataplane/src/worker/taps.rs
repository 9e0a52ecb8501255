//! Clients that monitor are told what their queues hold.

use super::Worker;
use crate::metrics::CloseReason;
use crate::turn::{Pressure, Turn};

/// Whoever has more than this unread is told nothing while memory is used up.
const UNREAD_WHEN_FULL: usize = 128 * 1024;

impl Worker {
    pub(super) fn hear_taps(&mut self) {
        let Self { turn, clients, .. } = self;
        if !turn.tapping.is_on() {
            return;
        }
        let Turn { tapping, shared, pool, number, accounts, .. } = turn;
        tapping.tell(&shared.taps);
        for tap in tapping.taps.iter().flatten().filter(|tap| tap.worker == *number) {
            let Some(client) = clients.tagged(tap.ticket) else { continue };
            if client.closing.is_some() || !client.tap.as_deref().is_some_and(|tapping| tapping.is_of(tap)) {
                continue;
            }
            let is_full = accounts.pressure == Pressure::Full && client.output.len() > UNREAD_WHEN_FULL;
            let batches = shared.taps.take(tap).filter(|_| client.output.len() <= tap.limit);
            match batches {
                Some(_) if is_full => client.cut_off(pool, CloseReason::Buffers),
                Some(batches) if batches.is_empty() => continue,
                Some(batches) => batches.iter().for_each(|lines| client.hear(pool, lines)),
                None => client.cut_off(pool, CloseReason::Output),
            }
            clients.mark(tap.ticket.0);
        }
    }
}
