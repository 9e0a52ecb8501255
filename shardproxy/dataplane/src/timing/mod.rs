//! Where the time of requests goes: those that took long, those that somebody traces, and a sample for spans.
//!
//! ```text
//!   reply ─> took long? traced? sampled? ─no─> nothing was spent but a comparison (turn/gate.rs)
//!                      └─yes─> Record (command, keys, whose, phases so far) ─> its client has taken the reply ─┬─> slow log
//!                                                                                                            ├─> traces
//!                                                                                                            └─> spans
//! ```
//!
//! Of a request nothing more is kept while it is under way: its bytes are there until its reply is in.

mod board;
mod budget;
mod came;
mod describe;
mod keys;
mod look;
mod record;
mod secret;
mod seen;
mod shown;
#[cfg(test)]
mod tests;
mod unread;
mod untaken;
mod watch;

pub use board::{Timings, Trace, Traced};
pub use record::{Phases, Record};
pub use secret::is_secret;
pub use seen::Seen;
pub use watch::Timing;
