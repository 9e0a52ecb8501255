//! RDB files restored: each is split by slot into pipelines of RESTORE, one to each target.
//!
//! ```text
//!   file ─ Reader ─ record ─> is it the file's, matched, alive? ─ slot ─> lane of its target ─ RESTORE, RESTORE, ...
//!                                                                          └─ replies in order ─> how far all is answered
//! ```
//!
//! A file is read by one thread; what is unanswered is bounded, so that a slow target slows its reading. `order` is what is
//! asked for, `lane` one pipeline, `refusal` what replies mean, `file` the walk through one file, `run` all of them.

mod file;
mod lane;
mod order;
mod refusal;
mod run;

pub use order::{FileOrder, LoadOrder, TargetOrder};
pub use run::{Load, Status};
