//! Copies of engines' data, made by threads of their own beside the workers: no client waits for them, and they know
//! nothing of clients.
//!
//! ```text
//!   copier   one source's keys of some slots ─> targets, and kept fresh (keys, stream, source, target, verify)
//!   snapshot one engine's RDB ─> a file, verified while it is written (rdb, told)
//!   load     RDB files ─> targets (rdb, told)
//!   node     a connection of such a thread
//! ```

mod attach;
pub mod board;
mod claim;
pub mod copier;
pub mod end;
pub mod fault;
pub mod history;
mod keys;
pub mod load;
mod names;
pub mod node;
mod pace;
pub mod plan;
pub mod rdb;
mod sample;
pub mod snapshot;
mod source;
pub mod stream;
mod target;
mod told;
pub mod value;
mod verify;
