//! Requests that took long, as a turn comes upon them.

use super::Turn;
use crate::clients::{Came, Client, Flow};
use crate::exchange::Entry;
use crate::timing::Seen;

impl Turn {
    /// A request that was not taken when it came may be under way now, or answered.
    #[cold]
    pub fn note_taken(&mut self, client: &mut Client) {
        let Some(came) = client.came.take() else { return };
        let waits = matches!(client.flow, Flow::Barrier | Flow::Stopped | Flow::Queued | Flow::Held);
        if client.replies.owes(came.sequence) {
            self.looks.timing.waited(client.ticket(), &came);
        } else if waits && client.replies.next() == came.sequence {
            client.came = Some(came);
        } else {
            self.note_answered_at_once(client, &came);
        }
    }

    /// It had only to be taken.
    fn note_answered_at_once(&mut self, client: &Client, came: &Came) {
        let took = self.long_micros().saturating_sub(came.at).try_into().unwrap_or(u32::MAX);
        let Self { looks, clusters, micros, .. } = self;
        let Some(served) = &clusters[client.cluster] else { return };
        let timing = &mut looks.timing;
        if served.gate.is_long(timing.mask(), took) {
            timing.waited(client.ticket(), came);
            let owed = client.owed(came.sequence);
            let seen = Seen {
                cluster: client.cluster,
                link: None,
                request: &Entry { owed, command: client.last_command, ..Entry::nobody(*micros) },
                bytes: came.request.bytes(),
                length: came.request.length(),
                reply: came.refusal.as_deref().unwrap_or_default(),
                streamed: 0,
                is_error: came.refusal.is_some(),
                now: *micros,
                elapsed: None,
            };
            timing.see(Some(client), &served.cluster, &seen, false);
        }
    }

    /// A client does not take what it is sent.
    #[cold]
    pub fn note_unread(&mut self, client: &Client) {
        let Self { looks, clusters, micros, .. } = self;
        if let Some(served) = &clusters[client.cluster] {
            looks.timing.unread(client, &served.cluster, client.cluster, *micros);
        }
    }
}
