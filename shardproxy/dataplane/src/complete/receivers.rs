//! How many clients heard a message.

use crate::dialect::resp::reply::integer;
use crate::dialect::resp::write;
use crate::model::Kind;
use crate::shared::Shared;

/// The reply to PUBLISH or SPUBLISH with the clients that heard it, where the engine counted workers. The asker is a
/// worker.
pub fn count_receivers(
    (shared, worker): (&Shared, usize),
    cluster: usize,
    request: &[u8],
    reply: &[u8],
) -> Option<Vec<u8>> {
    let delivered = integer(reply)?;
    let array = |at: usize| -> Option<(usize, usize)> {
        let start = at + memchr::memchr(b'\n', request.get(at..)?)? + 1;
        let length: usize = std::str::from_utf8(request.get(at + 1..start - 2)?).ok()?.parse().ok()?;
        Some((start, start + length))
    };
    let (first, _) = array(0)?;
    let word = array(first)?;
    let channel = array(word.1 + 2)?;
    let kind = if matches!(request.get(word.0), Some(b's' | b'S')) { Kind::Shard } else { Kind::Channel };
    let (receivers, looked_at) = shared.census.receivers(cluster, kind, request.get(channel.0..channel.1)?, delivered);
    shared.workers[worker].steps.add(looked_at as u64);
    let mut corrected = Vec::new();
    write::integer(&mut corrected, receivers);
    Some(corrected)
}
