//! Which arguments are channels.

use std::ops::Range;

use crate::command::Act;
use crate::model::Kind;

/// Where a request with so many arguments names channels that its user must be allowed. Nobody is kept from leaving one.
#[inline]
pub const fn channels_of(act: Act, count: usize) -> Option<(Kind, Range<u32>)> {
    let all = 1..count as u32;
    let one = 1..if count > 1 { 2 } else { 1 };
    match act {
        Act::Publish => Some((Kind::Channel, one)),
        Act::ShardPublish => Some((Kind::Shard, one)),
        Act::Subscribe => Some((Kind::Channel, all)),
        Act::ShardSubscribe => Some((Kind::Shard, all)),
        Act::PatternSubscribe => Some((Kind::Pattern, all)),
        _ => None,
    }
}
