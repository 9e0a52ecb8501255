//! Whether a request may leave at all now: its slot may be held, or its client's earlier requests be on their way to who had
//! the slot before.

use super::Unplaced;
use crate::clients::Client;
use crate::model::{NO_SHARD, NO_SLOT};
use crate::turn::Turn;

/// Of one shard's slot; or of none, and then what may have keys of any.
pub fn pass(turn: &Turn, client: &Client, (shard, slot): (u16, u16), is_read: bool) -> Result<(), Unplaced> {
    let Some(served) = turn.served(client.cluster).filter(|served| served.is_guarded) else { return Ok(()) };
    if served.cluster.hold_of(shard).is_some_and(|hold| hold.concerns(slot, is_read)) {
        return Err(Unplaced::Closed(shard));
    }
    if is_behind(turn, client, slot) {
        return Err(Unplaced::Behind);
    }
    Ok(())
}

/// Whether the client has requests under way that may be on their way to who served the slot before, or come to wait for the
/// slot. They would be overtaken.
fn is_behind(turn: &Turn, client: &Client, slot: u16) -> bool {
    let Some(served) = turn.served(client.cluster).filter(|_| slot != NO_SLOT && !client.replies.is_empty()) else {
        return false;
    };
    let is_unsettled = served.unsettled().is_some_and(|slots| slots.contains(slot));
    is_unsettled || served.lot(NO_SHARD, slot, client.speech()).is_some()
}
