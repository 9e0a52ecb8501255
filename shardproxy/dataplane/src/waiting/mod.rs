//! Clients that wait for keys: lists, sorted sets and streams in which there is nothing yet. They wait here, without a
//! connection of their own, and are served in the order they came.
//!
//! ```text
//!   BLPOP ─> its turn? ─ yes ─> MULTI BLPOP EXEC on the shared connection ─┬─ something ─> reply
//!              │ no                    ^                                   └─ nothing: waits
//!              v                       │ there may be something
//!            in line behind others ────┴── the key has changed <─ invalidate ─ node, on a connection that tracks
//!                                                                              the keys somebody waits for
//! ```
//!
//! Within MULTI an engine does not wait: it says what there is. Whoever gets something leaves, and the next one is asked
//! for at once. A key is *watched* by asking for its type on a connection that has said CLIENT TRACKING: whatever changes it
//! after that, also by others than this proxy, is told there, once; then it is asked for again. So every key is looked at
//! after its last change:
//!
//! ```text
//!   TYPE k ──> none: nothing to ask for      any change ──> invalidate k ──> TYPE k ──> list: ask for the first in line
//! ```
//!
//! All who wait for a key are kept by one worker, its home; those of other workers write to it (shared/letters.rs).

mod attempt;
mod end;
mod enter;
mod outcome;
mod request;
mod watch;

pub use attempt::go_on;
pub use end::{deliver, leave, left, lost_worker, unblock};
pub use enter::{begin, enter};
pub use watch::{connected, is_refused, lost, ping, receive_all, refresh};

use crate::clients::Clients;
use crate::turn::Turn;

/// Steps that an attempt costs beside those it is for.
const ATTEMPT: usize = 2;

/// See to what came, and ask for those whose turn it is, as far as this turn's steps reach.
pub fn work(turn: &mut Turn, clients: &mut Clients) {
    if turn.waits.is_empty() && !turn.waits.is_busy() {
        return;
    }
    let mut has_room = true;
    loop {
        for (owed, outcome) in std::mem::take(&mut turn.waits.results) {
            outcome::settle(turn, &owed, outcome);
        }
        while let Some(id) = turn.waits.next_over(turn.now) {
            end::over(turn, id);
        }
        has_room = has_room && turn.pubsub.left > 0;
        if has_room {
            has_room = attempt::next(turn);
        }
        for (worker, answer) in std::mem::take(&mut turn.waits.answers) {
            end::send(turn, clients, usize::from(worker), answer);
        }
        if turn.waits.results.is_empty() && (!has_room || !attempt::is_due(turn)) {
            break;
        }
    }
    watch::ask_some(turn);
    turn.settle_waits();
}

/// What only time tells.
pub fn tick(turn: &mut Turn) {
    turn.waits.resume();
    watch::tick(turn);
    turn.waits.trim();
    turn.settle_waits();
}
