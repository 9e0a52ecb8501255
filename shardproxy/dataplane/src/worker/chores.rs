//! What other threads ask about many clients: some of it in each turn, so that no client waits for all of it.

use std::sync::mpsc::SyncSender;
use std::sync::Arc;

use super::Worker;
use crate::clients::{ClientInfo, Flow};
use crate::dialect::texts;
use crate::metrics::CloseReason;
use crate::place::is_in_wait;
use crate::serve::{self, Heard};
use crate::shared::Access;

/// What a turn may do of all this together, in steps of about a microsecond.
const STEPS: usize = 1024;
/// To look for a client, to ask the system where it is, or for all its addresses to describe it, and to close one.
const LOOK: usize = 1;
const ADMIT: usize = 2;
const DESCRIBE: usize = 4;
const CLOSE: usize = 16;

/// Something that is asked of many clients, and how far it is.
pub enum Chore {
    /// Describe all clients.
    List {
        place: usize,
        found: Vec<ClientInfo>,
        described: SyncSender<Vec<ClientInfo>>,
    },
    /// Describe these.
    Describe {
        ids: Arc<[u64]>,
        next: usize,
        found: Vec<ClientInfo>,
        described: SyncSender<Vec<ClientInfo>>,
    },
    /// Give the clients of a cluster the rights of now; `heard`: how far the subscriptions of the one in this place were
    /// looked at.
    Follow {
        cluster: usize,
        place: usize,
        heard: Heard,
    },
    Kill {
        ids: Arc<[u64]>,
        next: usize,
        count: usize,
        killed: SyncSender<usize>,
    },
    /// Close those of the cluster that may not be connected any more.
    Review {
        cluster: usize,
        place: usize,
    },
}

impl Chore {
    pub const fn list(described: SyncSender<Vec<ClientInfo>>) -> Self {
        Self::List { place: 0, found: Vec::new(), described }
    }

    pub const fn describe(ids: Arc<[u64]>, described: SyncSender<Vec<ClientInfo>>) -> Self {
        Self::Describe { ids, next: 0, found: Vec::new(), described }
    }

    pub const fn review(cluster: usize) -> Self {
        Self::Review { cluster, place: 0 }
    }

    pub fn follow(cluster: usize) -> Self {
        Self::Follow { cluster, place: 0, heard: Heard::default() }
    }

    pub const fn kill(ids: Arc<[u64]>, killed: SyncSender<usize>) -> Self {
        Self::Kill { ids, next: 0, count: 0, killed }
    }
}

impl Worker {
    /// Do what this turn may of what is asked; each in its turn, so that what is short does not wait for what is long.
    pub(super) fn do_chores(&mut self) {
        let mut left = STEPS;
        while left > 0 {
            let Some(mut chore) = self.chores.pop_front() else { return };
            let (used, is_done) = self.go_on_with(&mut chore, left);
            self.turn.spend(used);
            left = left.saturating_sub(used);
            if is_done {
                answer(chore);
            } else {
                self.chores.push_back(chore);
            }
        }
    }

    /// Spend so many steps on it, or little more; how many were spent, and whether all is done.
    fn go_on_with(&mut self, chore: &mut Chore, steps: usize) -> (usize, bool) {
        let mut used = 0;
        while used < steps {
            match chore {
                Chore::List { place, found, .. } => {
                    if *place >= self.clients.places() {
                        return (used, true);
                    }
                    used += self.describe_client(*place, found);
                    *place += 1;
                }
                Chore::Describe { ids, next, found, .. } => {
                    let Some(&id) = ids.get(*next) else { return (used, true) };
                    *next += 1;
                    used += self.clients.place_of(id).map_or(LOOK, |place| self.describe_client(place, found));
                }
                Chore::Review { cluster, place } => {
                    if *place >= self.clients.places() {
                        return (used, true);
                    }
                    used += if self.review(*cluster, *place) { CLOSE } else { ADMIT };
                    *place += 1;
                }
                Chore::Follow { cluster, place, heard } => {
                    if *place >= self.clients.places() {
                        return (used, true);
                    }
                    let (steps, rest) = self.follow_client(*cluster, *place, *heard, steps - used);
                    used += steps;
                    *heard = rest.unwrap_or_default();
                    *place += usize::from(rest.is_none());
                }
                Chore::Kill { ids, next, count, .. } => {
                    let Some(&id) = ids.get(*next) else { return (used, true) };
                    *next += 1;
                    used += LOOK;
                    if let Some(place) = self.clients.place_of(id) {
                        used += CLOSE;
                        *count += 1;
                        self.kill(place, CloseReason::Killed);
                    }
                }
            }
        }
        (used, false)
    }

    /// Describe who is in that place, if anybody is; the steps it took.
    fn describe_client(&self, place: usize, found: &mut Vec<ClientInfo>) -> usize {
        let Some(client) = self.clients.get(place) else { return LOOK };
        if let Some(cluster) = self.turn.cluster(client.cluster) {
            found.push(client.info(self.turn.number, &cluster.spec.name, self.turn.now));
        }
        DESCRIBE
    }

    /// The client in that place, if one of the cluster is there, has the rights of now, or is closed. The steps it took, and
    /// where to go on among its subscriptions.
    fn follow_client(&mut self, cluster: usize, place: usize, heard: Heard, most: usize) -> (usize, Option<Heard>) {
        let Self { clients, turn, .. } = self;
        let client = clients.get_mut(place).filter(|client| client.cluster == cluster && client.closing.is_none());
        let Some(client) = client else { return (LOOK, None) };
        let (looked, rest) =
            if serve::follow(turn, client) { serve::listen(turn, client, heard, most) } else { (0, None) };
        if client.closing.is_some() {
            self.kill(place, CloseReason::Rules);
            return (LOOK + looked + CLOSE, None);
        }
        (LOOK + looked, rest)
    }

    /// Its user was logged in for as long as that lasts: it is told so, behind what it is owed, and closed.
    pub(super) fn end_session(&mut self, index: usize) {
        let Self { clients, turn, .. } = self;
        let client = &mut clients[index];
        turn.tell_access(client, Access::SessionEnded, "", b"");
        if client.is_blocked() || matches!(client.flow, Flow::Offloaded(_)) {
            return self.kill(index, CloseReason::SessionOver);
        }
        client.replies.answer(&mut client.output, &mut turn.pool, texts::SESSION_OVER);
        client.closing = Some(CloseReason::SessionOver);
        clients.mark(index);
    }

    /// A client that waits for the answer of the very command that closes it gets that answer first.
    fn kill(&mut self, index: usize, reason: CloseReason) {
        let client = &mut self.clients[index];
        client.closing = Some(reason);
        if !matches!(client.flow, Flow::Offloaded(_)) || is_in_wait(&self.turn, client) {
            self.close(index);
        }
    }
}

/// Whoever asked may have given up.
fn answer(chore: Chore) {
    match chore {
        Chore::List { found, described, .. } | Chore::Describe { found, described, .. } => {
            let _ = described.try_send(found);
        }
        Chore::Kill { count, killed, .. } => {
            let _ = killed.try_send(count);
        }
        Chore::Follow { .. } | Chore::Review { .. } => {}
    }
}
