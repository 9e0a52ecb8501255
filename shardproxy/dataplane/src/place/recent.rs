//! Read your writes: whether a key was written so lately that only its primary has it for sure.

use super::Need;
use crate::exchange::{Mark, MANY_MARKS, NO_MARK};
use crate::shared::mark_of;
use crate::turn::{Turn, Writes};

/// What a command on these keys needs; a write's key is remembered with it, to be marked again when it is done.
#[inline]
pub fn need<'k>(turn: &Turn, cluster: usize, is_read: bool, keys: impl Iterator<Item = &'k [u8]>) -> (Need, Mark) {
    match turn.served(cluster).and_then(|served| served.writes.as_ref()) {
        Some(writes) => need_tracked(turn, writes, is_read, keys),
        None => (if is_read { Need::Read } else { Need::Write }, NO_MARK),
    }
}

#[cold]
fn need_tracked<'k>(
    turn: &Turn,
    writes: &Writes,
    is_read: bool,
    mut keys: impl Iterator<Item = &'k [u8]>,
) -> (Need, Mark) {
    if is_read {
        let is_fresh = keys.any(|key| writes.is_recent(mark_of(key), turn.millis));
        return (if is_fresh { Need::FreshRead } else { Need::Read }, NO_MARK);
    }
    let mut only = NO_MARK;
    for mark in keys.map(mark_of) {
        writes.begin(mark, turn.millis);
        only = if only == NO_MARK { mark } else { MANY_MARKS };
    }
    (Need::Write, only)
}
