//! Replies that the near cache asked for: a value, and behind it how long its key lives.

use crate::dialect::resp::reply::integer;
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::exchange::NearAsks;
use crate::links::Link;
use crate::near::Origin;
use crate::shared::mark_of;
use crate::turn::{Feeds, Served};

/// The oldest request of the connection is answered.
pub fn take(served: &mut Served, feeds: &Feeds, link: &mut Link, asks: NearAsks, reply: &[u8], now: u64) {
    let whole = (!std::mem::take(&mut link.is_streaming)).then_some(reply);
    replied(served, feeds, link, asks, whole, now);
    link.exchange.pop();
    link.redo.count_down();
}

/// None: too large to be kept.
fn replied(served: &mut Served, feeds: &Feeds, link: &Link, asks: NearAsks, reply: Option<&[u8]>, now: u64) {
    let Some(near) = &mut served.near else { return };
    let bytes = link.exchange.head_bytes();
    let mut parser = RequestParser::new();
    if !matches!(parser.parse(bytes, &RequestLimits::NONE), Ok(Parsed::Request { .. })) {
        return;
    }
    let key = Request { bytes, spans: parser.spans() }.argument(1);
    let NearAsks { kind, is_age, serial } = asks;
    if !is_age {
        return near.replied(kind, key, serial, reply, now);
    }
    let shard = link.way.shard;
    let hearing = feeds.hearing(link.way.cluster, shard).filter(|_| !link.is_deposed());
    let origin = hearing.map(|hearing| Origin { shard, hearing });
    let age = reply.and_then(integer).unwrap_or(-2);
    near.aged((kind, key, mark_of(key)), serial, age, origin);
}
