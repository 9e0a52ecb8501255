//! What is asked for, and by which keys: seen at the exit, where a request, its reply and its time are known.
//!
//! ```text
//!   a request that is looked at ─┬─ its turn (countdown.rs) ─> its keys ─> hot.rs (keys, slots, families of keys, shards)
//!   (turn/gate.rs)               └─ large ───────────────────> its keys ─> big.rs
//! ```
//!
//! Of the rest nothing is known but their times. Nothing here is told to clients, and no value is kept.

mod big;
mod countdown;
mod families;
mod hot;
mod layout;
mod look;
mod memory;
mod report;
mod top;
mod watched;

pub use big::LARGE;
pub use countdown::Countdown;
pub use look::{Answered, Insight, Of};
pub use memory::Memory;
pub use report::{tell, tell_big, Report};
pub use watched::Watched;
