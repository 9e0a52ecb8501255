//! Who came in and who was kept out, as the control plane is told.

use super::Turn;
use crate::clients::Client;
use crate::shared::{Access, AccessEvent};

/// Of so many a worker tells between two ticks; more are counted. Whoever is refused all the time keeps nobody busy.
pub const TOLD: u32 = 100;

impl Turn {
    /// Tell what a client did as the user it is.
    #[cold]
    pub fn tell_access(&mut self, client: &Client, kind: Access, why: &'static str, object: &[u8]) {
        let user = client.login.user.as_deref().map_or_else(String::new, |user| user.name.to_string());
        self.tell_access_as(client, kind, user, why, object);
    }

    /// The same of one who would be that user.
    #[cold]
    pub fn tell_access_as(&mut self, client: &Client, kind: Access, user: String, why: &'static str, object: &[u8]) {
        self.count_access(client.cluster, kind, why);
        if self.access_left == 0 {
            return self.shared.events.count_untold();
        }
        self.access_left -= 1;
        self.shared.events.tell_access(AccessEvent {
            cluster: self.cluster(client.cluster).map_or_else(String::new, |cluster| cluster.spec.name.clone()),
            endpoint: client.endpoint.name(),
            kind,
            client_id: client.id,
            address: client.stream.peer(),
            user,
            why: why.to_owned(),
            object: object[..object.len().min(AccessEvent::MAX_OBJECT)].to_vec(),
            is_in_multi: client.transaction.as_deref().is_some_and(|transaction| transaction.is_open),
        });
    }

    fn count_access(&self, cluster: usize, kind: Access, why: &str) {
        let Some(served) = self.served(cluster) else { return };
        let counts = &served.metrics.access;
        match (kind, why) {
            (Access::Login, _) => counts.logins.increment(),
            (Access::LoginRefused, _) => counts.logins_refused.increment(),
            (Access::Denied, "command") => counts.denied_commands.increment(),
            (Access::Denied, "key") => counts.denied_keys.increment(),
            (Access::Denied, "channel") => counts.denied_channels.increment(),
            (Access::Denied, _) => counts.strangers.increment(),
            (Access::SessionEnded, _) => counts.sessions_ended.increment(),
            _ => {}
        }
    }
}
