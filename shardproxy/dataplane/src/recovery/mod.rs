//! What becomes of requests that were not executed, or may have been: when a connection breaks, an engine refuses, an epoch
//! changes or a wait is over.
//!
//! ```text
//!   no primary (fenced) ──────────┐
//!   engine said READONLY, LOADING ├──> parking lot of the shard ── primary known, in order ──> its connection
//!   connection broke, not sent ───┘         └── waited too long ──> -TRYAGAIN, not executed
//!   connection broke, sent ──> a read is asked again, a write is in doubt
//!   its shard holds it ──> not even taken: its client waits at the door (door.rs)
//!   engine said MOVED, ASK, TRYAGAIN ──> the node it names, or the lot of the slot (redirect.rs)
//! ```

mod door;
mod epoch;
mod errands;
mod holding;
mod lease;
mod lost;
mod memcached;
mod moved;
mod parking;
mod redirect;
mod waiting;

pub use epoch::apply;
pub use errands::run;
pub use lease::{came_late, look_at_leases};
pub use lost::{give_up, lost, out_of_files};
pub use parking::{drain_lots, send_taken};
pub use waiting::unblock;

use crate::clients::Clients;
use crate::turn::Turn;

/// Let those go on that may now.
pub fn settle(turn: &mut Turn, clients: &mut Clients) {
    waiting::settle(turn, clients);
    holding::settle(turn, clients);
    door::settle(turn);
}

/// See to those whose time is over.
pub fn tick(turn: &mut Turn, clients: &mut Clients) {
    waiting::tick(turn, clients);
    holding::tick(turn, clients);
    door::tick(turn, clients);
    redirect::tick(turn);
    for cluster in 0..turn.clusters.len() {
        drain_lots(turn, clients, cluster);
    }
}
