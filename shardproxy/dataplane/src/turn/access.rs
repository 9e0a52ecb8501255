//! Who came in and who was kept out, as the control plane is told.

use std::mem;

use super::Turn;
use crate::clients::Client;
use crate::shared::{Access, AccessEvent, Events, Spent, STRANGER};

/// Of so many of a cluster and a kind a worker tells between two ticks; of more it tells how many they were. Whoever is refused
/// all the time keeps nobody busy, and hides no other.
const TOLD: u32 = 100;

#[derive(Default)]
pub struct Accesses {
    /// By cluster.
    told: Vec<Spent<u32>>,
    /// Those that nobody is told of: of which cluster, what happened and why, and how often.
    untold: Vec<(usize, Access, &'static str, u64)>,
}

/// What a client did.
pub struct Did<'a> {
    pub kind: Access,
    /// As whom, or as whom it wanted to.
    pub user: String,
    pub why: &'static str,
    pub object: &'a [u8],
    pub is_in_multi: bool,
}

impl Accesses {
    /// Tell what a client of the cluster of this name did.
    #[cold]
    pub fn tell(&mut self, events: &Events, cluster: &str, client: &Client, did: Did) {
        let Did { kind, user, why, object, is_in_multi } = did;
        if !self.may_tell(client.cluster, kind.purse(why)) {
            return self.count(client.cluster, kind, why);
        }
        events.tell_access(AccessEvent {
            cluster: cluster.to_owned(),
            endpoint: client.endpoint.name(),
            kind,
            client_id: client.id,
            address: client.address(),
            user,
            why: why.to_owned(),
            object: object[..object.len().min(AccessEvent::MAX_OBJECT)].to_vec(),
            is_in_multi,
        });
    }

    fn may_tell(&mut self, cluster: usize, purse: usize) -> bool {
        if self.told.len() <= cluster {
            self.told.resize(cluster + 1, Spent::default());
        }
        let told = &mut self.told[cluster][purse];
        let may_tell = *told < TOLD;
        *told += u32::from(may_tell);
        may_tell
    }

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
        let is_in_multi = client.transaction.as_deref().is_some_and(|transaction| transaction.is_open);
        let did = Did { kind, user, why, object, is_in_multi };
        let served = self.clusters.get(client.cluster).and_then(Option::as_ref);
        let name = served.map_or("", |served| served.cluster.spec.name.as_str());
        self.accesses.tell(&self.shared.events, name, client, did);
    }

    /// One who has not said who it is is denied something: that is told once of a connection, then counted.
    #[cold]
    pub fn tell_stranger(&mut self, client: &mut Client, object: &[u8]) {
        if mem::replace(&mut client.is_told_strange, true) {
            self.accesses.count(client.cluster, Access::Denied, STRANGER);
        } else {
            self.tell_access(client, Access::Denied, STRANGER, object);
        }
    }

    /// As many may be told again.
    pub fn tell_more_accesses(&mut self) {
        let Accesses { told, untold } = &mut self.accesses;
        told.fill(Spent::default());
        for (cluster, kind, why, count) in mem::take(untold) {
            self.shared.events.leave_untold(self.name_of(cluster), kind, why, count);
        }
    }

    fn name_of(&self, cluster: usize) -> String {
        self.cluster(cluster).map_or_else(String::new, |cluster| cluster.spec.name.clone())
    }
}
