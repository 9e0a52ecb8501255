//! A lease that is over, and one that holds again: the same epoch, without and with its primaries.

use super::apply;
use crate::clients::Clients;
use crate::shared::Ruled;
use crate::turn::Turn;

/// Cut the connections to primaries that may be none any more, and let requests wait; or let them go on.
#[inline]
pub fn look_at_leases(turn: &mut Turn, clients: &mut Clients) {
    for index in 0..turn.clusters.len() {
        if turn.served(index).is_some_and(|served| served.lease.is_over() != served.withheld.is_some()) {
            change(turn, clients, index);
        }
    }
}

/// Whether what was just read of a connection came too late: then that is cut, and nobody hears of it.
#[inline]
pub fn came_late(turn: &mut Turn, clients: &mut Clients, link: usize) -> bool {
    let cluster = turn.links[link].way.cluster;
    let is_over = turn.served(cluster).is_some_and(|served| served.lease.is_over() && served.withheld.is_none());
    is_over && is_cut(turn, clients, cluster, link)
}

#[cold]
fn is_cut(turn: &mut Turn, clients: &mut Clients, cluster: usize, link: usize) -> bool {
    let attempt = turn.links[link].attempt;
    change(turn, clients, cluster);
    turn.links.get(link).is_none_or(|link| link.attempt != attempt || link.stream.is_none())
}

#[cold]
fn change(turn: &mut Turn, clients: &mut Clients, index: usize) {
    let Some(served) = turn.served(index) else { return };
    let cluster = served.withheld.as_ref().unwrap_or(&served.cluster).clone();
    let rights = served.rights.clone();
    apply(turn, clients, index, Some(Ruled { cluster, rights }));
}
