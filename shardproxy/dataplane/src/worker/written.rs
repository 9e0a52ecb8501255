//! What was written long after it was routed: by a client that was blocked, or by EXEC. Its keys are remembered anew when
//! the engine has answered, so that no replica is asked for them too soon.

use super::{Core, Worker};
use crate::command::{key_positions, Flags};
use crate::protocol::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::recent::mark_of;
use crate::request::Request;

const NO_LIMITS: RequestLimits =
    RequestLimits { max_request: usize::MAX, max_arguments: usize::MAX >> 1, authenticated: true };

impl Worker {
    /// Mark the keys of every request in `bytes` as written now; all keys, if one names none.
    pub(super) fn mark_written(&mut self, cluster: usize, mut bytes: &[u8]) {
        let Self { core, table, .. } = self;
        let Core { clusters, keys, millis, .. } = core;
        let Some(recent) = clusters[cluster].as_ref().and_then(|s| s.writes.as_ref()).map(|w| &w.recent) else {
            return;
        };
        let mut parser = RequestParser::new();
        while let Ok(Parsed::Request { consumed }) = parser.parse(bytes, &NO_LIMITS) {
            let request = Request { bytes: &bytes[..consumed], spans: parser.spans() };
            bytes = &bytes[consumed..];
            let Some(command) = table.find(request.argument(0)).filter(|command| !command.is_read()) else { continue };
            if key_positions(command, request.spans, request.bytes, keys).is_err() {
                continue;
            }
            if keys.is_empty() && command.flags.contains(Flags::WRITE) {
                recent.write_all(*millis);
            }
            for &at in keys.iter() {
                recent.write(mark_of(request.argument(at as usize)), *millis);
            }
        }
    }
}
