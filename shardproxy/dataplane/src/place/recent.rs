//! Read your writes: whether a key was written so lately that only its primary has it for sure.

use super::Need;
use crate::exchange::NO_KEY;
use crate::shared::Recent;
use crate::turn::{Served, Turn};

/// What a command on these keys needs; a write's first key is remembered with it, to be marked again when it is done.
#[inline]
pub fn need<'k>(turn: &Turn, cluster: usize, is_read: bool, keys: impl Iterator<Item = &'k [u8]>) -> (Need, u32) {
    let plain = if is_read { Need::Read } else { Need::Write };
    match turn.served(cluster) {
        Some(served) if served.tracks_writes => need_tracked(turn, served, cluster, is_read, keys),
        _ => (plain, NO_KEY),
    }
}

#[cold]
fn need_tracked<'k>(
    turn: &Turn,
    served: &Served,
    cluster: usize,
    is_read: bool,
    keys: impl Iterator<Item = &'k [u8]>,
) -> (Need, u32) {
    let recent = &turn.shared.recent;
    let timeouts = served.cluster.spec.timeouts;
    let staleness = (served.cluster.spec.max_staleness * 1e3) as u32;
    // until its reply a write may be executed at any time within these
    let horizon = turn.millis + ((timeouts.park + timeouts.reply) * 1e3) as u64;
    let mut first = NO_KEY;
    for (number, key) in keys.enumerate() {
        let place = Recent::place(cluster, key);
        if is_read {
            if recent.is_recent(place, turn.millis, staleness) {
                return (Need::FreshRead, NO_KEY);
            }
        } else {
            if number == 0 {
                first = u32::from(place);
            }
            recent.write(place, horizon);
        }
    }
    (if is_read { Need::Read } else { Need::Write }, first)
}
