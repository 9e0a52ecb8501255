//! Clients that do not read what they are sent.

use super::describe::describe;
use super::look::slow_of;
use super::untaken::{Untaken, UNTAKEN};
use super::watch::Timing;
use super::{Phases, Record, Seen};
use crate::clients::Client;
use crate::exchange::{Entry, Owed};
use crate::model::Cluster;

impl Timing {
    /// A client does not read: what it is owed from now on waits for it, and is looked at.
    #[cold]
    pub fn unread(&mut self, client: &Client, spec: &Cluster, cluster: usize, now: u32) {
        let slow = slow_of(spec);
        if slow.is_none() {
            return;
        }
        self.unread.insert(client.ticket());
        self.mask = 0;
        let is_told = self.untaken.iter().any(|one| is_of(&one.owed, client));
        if is_told || !client.replies.is_empty() || client.listens() || self.untaken.len() >= UNTAKEN {
            return; // what is still owed is looked at when it comes
        }
        let owed = client.owed(client.replies.next().wrapping_sub(1));
        if !self.may_describe(cluster, &owed, false) {
            return;
        }
        let request = Entry { owed, command: client.last_command, ..Entry::nobody(now) };
        let seen = Seen {
            cluster,
            link: None,
            request: &request,
            bytes: &[],
            length: 0,
            reply: &[],
            streamed: client.output.len(),
            is_error: false,
            now,
            elapsed: None,
        };
        let record = describe(&self.table, spec, &seen, Some(client), 0);
        let now = self.wide(now);
        let out = Some((now, client.output.left().wrapping_add(client.output.len())));
        let phases = Phases { upstream: None, ..record.phases };
        let record = Record { phases, ..record };
        let (traces, is_sampled) = (Vec::new(), false);
        self.untaken.push(Untaken { record, owed, traces, is_sampled, slow, came: now, ready: now, out });
    }
}

fn is_of(owed: &Owed, client: &Client) -> bool {
    (owed.client as usize, owed.tag) == client.ticket()
}
