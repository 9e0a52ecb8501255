//! What caching rules mean to single requests and replies: which replies are misses, whose age is known, what leases are
//! called, and which requests of one client may overtake each other. Pure; knows nothing of sockets.

mod ages;
mod leases;
pub mod memcached;
mod missing;
mod order;

pub use ages::{digest_of_key, Ages, ASKED_FOR};
pub use leases::{cancel, count_leased, write_name};
pub use missing::{is_missing, missing_key};
pub use order::{Order, Way};
