//! From a key to where it lives: slots, and the placements of memcached clients and proxies; and what scripts are called.
//! Knows nothing of nodes' state.

mod crc16;
mod crc32;
mod distribution;
mod fnv;
mod function;
mod jenkins;
mod ketama;
mod murmur;
mod one_at_a_time;
mod rendezvous;
mod ring;
mod sha1;
mod tags;

pub use crc16::{crc16, slot, slot_of_part, tag_of, SLOTS};
pub use distribution::{Distribution, Method};
pub use function::KeyHash;
pub use ketama::Server;
pub use sha1::sha1;
pub use tags::tag_of_slot;

/// A byte as C's `char` on x86, widened: what hash functions written for `char *` see of bytes above 127.
#[inline]
const fn signed(byte: u8) -> u32 {
    byte.cast_signed() as u32
}
