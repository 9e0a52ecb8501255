//! Who came in and who was kept out, as the control plane is told.

use std::mem;

use super::Turn;
use crate::clients::Client;
use crate::shared::{Access, AccessEvent};

/// Of so many a worker tells between two ticks; of more it tells how many they were. Whoever is refused all the time keeps
/// nobody busy.
const TOLD: u32 = 100;

#[derive(Default)]
pub struct Accesses {
    told: u32,
    /// Those that nobody is told of: of which cluster, what happened and why, and how often.
    untold: Vec<(usize, Access, &'static str, u64)>,
}

impl Accesses {
    fn count(&mut self, cluster: usize, kind: Access, why: &'static str) {
        match self.untold.iter_mut().find(|known| (known.0, known.1, known.2) == (cluster, kind, why)) {
            Some((.., count)) => *count += 1,
            None => self.untold.push((cluster, kind, why, 1)),
        }
    }
}

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
        if self.accesses.told >= TOLD {
            return self.accesses.count(client.cluster, kind, why);
        }
        self.accesses.told += 1;
        self.shared.events.tell_access(AccessEvent {
            cluster: self.name_of(client.cluster),
            endpoint: client.endpoint.name(),
            kind,
            client_id: client.id,
            address: client.address(),
            user,
            why: why.to_owned(),
            object: object[..object.len().min(AccessEvent::MAX_OBJECT)].to_vec(),
            is_in_multi: client.transaction.as_deref().is_some_and(|transaction| transaction.is_open),
        });
    }

    /// As many may be told again.
    pub fn tell_more_accesses(&mut self) {
        for (cluster, kind, why, count) in mem::take(&mut self.accesses).untold {
            self.shared.events.leave_untold(self.name_of(cluster), kind, why, count);
        }
    }

    fn name_of(&self, cluster: usize) -> String {
        self.cluster(cluster).map_or_else(String::new, |cluster| cluster.spec.name.clone())
    }
}
