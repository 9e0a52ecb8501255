//! Clients on their way to another process that serves the same endpoints: each at a moment when nothing is owed to it, and
//! nothing it sent has been read and not answered. It notices nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{client_token, Worker};
use crate::clients::{Client, Passage};
use crate::metrics::CloseReason;
use crate::net::{Passing, MAX_PASSAGE};
use crate::shared::Access;
use crate::turn::Turn;

/// Clients that are idle are passed on by the tick: so many at once.
const PASSES: usize = 512;

impl Worker {
    /// From now on clients go to another process, as soon as they may.
    pub(super) fn pass_to(&mut self, heir: Arc<Passing>) {
        self.is_draining = true;
        self.heir = Some(heir);
        self.pass_idle();
    }

    pub(super) fn pass_idle(&mut self) {
        if self.heir.is_none() {
            return;
        }
        let idle: Vec<usize> =
            self.clients.iter().filter(|(_, c)| c.may_be_passed()).map(|(index, _)| index).take(PASSES).collect();
        for index in idle {
            if !self.pass_on(index) {
                return;
            }
        }
    }

    /// Pass a client on, if there is an heir and it may; false if it or the next one is not taken now.
    pub(super) fn pass_on(&mut self, index: usize) -> bool {
        let Some(heir) = &self.heir else { return false };
        let Self { clients, turn, .. } = self;
        let client = &mut clients[index];
        let Some(served) = turn.clusters[client.cluster].as_ref().filter(|_| client.may_be_passed()) else {
            return false;
        };
        let passage = serde_json::to_vec(&client.passage(&served.cluster.spec.name, turn.now)).unwrap_or_default();
        if passage.is_empty() || passage.len() > MAX_PASSAGE {
            return true; // it stays, and is closed with the last
        }
        let _ = client.stream.deregister(&turn.registry); // else this process hears of it as long as that one has it
        let sent = client.stream.socket().map_or(Ok(()), |socket| heir.send(&passage, socket));
        match sent {
            Ok(()) => {
                self.close_now(index, CloseReason::Passed);
                true
            }
            Err(error) => {
                let is_open = client.stream.register(&turn.registry, client_token(index)).is_ok();
                if !is_open {
                    self.close_now(index, CloseReason::Error);
                }
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.heir = None; // whoever is left is served on, until the control plane says otherwise
                }
                false
            }
        }
    }
}

/// Who was served by another process before goes on as who it was, as far as it still may: who was a user that is none any
/// more is nobody else, and is closed.
pub(super) fn resume(turn: &mut Turn, client: &mut Client, passage: Passage) {
    if let Some(name) = passage.user.as_deref() {
        let login = turn.served(client.cluster).and_then(|served| {
            let user = served.rights.find(name.as_bytes()).filter(|user| user.is_enabled)?;
            let mut login = served.rights.login(user.clone(), turn.now);
            login.ends = passage.session.map(|left| ends(turn.now, left)).or(login.ends);
            Some(login)
        });
        match login {
            Some(login) => client.log_in(login),
            None => {
                let why = "its user is gone, or disabled";
                turn.tell_access_as(client, Access::RulesChanged, name.to_owned(), why, b"");
                client.closing = Some(CloseReason::Rules);
            }
        }
    }
    client.resume(passage);
}

/// So many seconds from now, or long after.
fn ends(now: Instant, left: f64) -> Instant {
    now + Duration::try_from_secs_f64(left).unwrap_or_default().min(Duration::from_secs(365 * 24 * 3600))
}
