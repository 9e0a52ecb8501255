//! What was written long after it was routed: by a client that was blocked, or by EXEC. Its keys are remembered anew when
//! the engine has answered, so that no replica is asked for them too soon.

use crate::command::{key_positions, CommandTable, Flags};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::shared::mark_of;
use crate::turn::{Turn, Writes};

/// Mark the keys of every request in `bytes` as written now; all keys, if one names none.
pub fn mark_written(turn: &mut Turn, table: &CommandTable, cluster: usize, mut bytes: &[u8]) {
    let Turn { clusters, scratch, millis, .. } = turn;
    let Some(Writes { recent, .. }) = clusters[cluster].as_ref().and_then(|served| served.writes.as_ref()) else {
        return;
    };
    let mut parser = RequestParser::new();
    while let Ok(Parsed::Request { consumed }) = parser.parse(bytes, &RequestLimits::NONE) {
        let request = Request { bytes: &bytes[..consumed], spans: parser.spans() };
        bytes = &bytes[consumed..];
        let Some(command) = table.find(request.argument(0)).filter(|command| !command.is_read()) else { continue };
        let keys = &mut scratch.keys;
        if key_positions(command, request.spans, request.bytes, keys).is_err() {
            continue;
        }
        if keys.is_empty() && command.flags.contains(Flags::WRITE) {
            recent.write_all(*millis);
        }
        for &position in &*keys {
            recent.write(mark_of(request.argument(position as usize)), *millis);
        }
    }
}
