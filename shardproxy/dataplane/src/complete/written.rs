//! What was written long after it was routed, by a client that was blocked or by EXEC, and what wrote several keys: they are
//! remembered anew when the engine has answered, so that no replica is asked for them too soon, and nothing older is kept.

use crate::command::{key_positions, sort_positions, Command, CommandTable, KeysError};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::shared::mark_of;
use crate::turn::Turn;

/// Mark the keys of every write in `bytes` as written now; all keys, if one names none.
pub fn mark_written(turn: &mut Turn, table: &CommandTable, cluster: usize, bytes: &[u8]) {
    mark(turn, table, cluster, bytes, |command| !command.is_read());
}

/// The same of what was loaded, or written by the control plane.
pub fn mark_loaded(turn: &mut Turn, table: &CommandTable, cluster: usize, bytes: &[u8]) {
    mark(turn, table, cluster, bytes, |_| true);
}

fn mark(turn: &mut Turn, table: &CommandTable, cluster: usize, mut bytes: &[u8], is_wanted: impl Fn(&Command) -> bool) {
    let Turn { clusters, scratch, millis, .. } = turn;
    let Some(writes) = clusters[cluster].as_ref().and_then(|served| served.writes.as_ref()) else {
        return;
    };
    let mut parser = RequestParser::new();
    while let Ok(Parsed::Request { consumed }) = parser.parse(bytes, &RequestLimits::NONE) {
        let request = Request { bytes: &bytes[..consumed], spans: parser.spans() };
        bytes = &bytes[consumed..];
        let Some(command) = table.find(request.argument(0)).filter(|command| is_wanted(command)) else { continue };
        let keys = &mut scratch.keys;
        if let Err(KeysError::Pattern(_)) = key_positions(command, request.spans, request.bytes, keys) {
            sort_positions(command, request.spans, request.bytes, keys);
        }
        if keys.is_empty() && command.may_write() {
            writes.all_done(*millis);
        }
        for &position in &*keys {
            writes.done(mark_of(request.argument(position as usize)), *millis);
        }
    }
}
