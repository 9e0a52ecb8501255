//! Copies of engines' data, made by threads of their own beside the workers: no client waits for them, and they know
//! nothing of clients.
//!
//! ```text
//!   copier   one source's keys of some slots ─> targets, and kept fresh (keys, stream, source, target, verify)
//!   node     a connection of such a thread
//! ```

mod attach;
pub mod board;
pub mod copier;
pub mod end;
mod history;
mod keys;
pub mod load;
pub mod node;
pub mod rdb;
pub mod snapshot;
mod told;
mod pace;
pub mod plan;
mod sample;
mod source;
pub mod stream;
mod target;
pub mod value;
mod verify;
