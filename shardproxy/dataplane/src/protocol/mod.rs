//! Wire formats, sans I/O.

pub mod resp;
pub mod texts;
