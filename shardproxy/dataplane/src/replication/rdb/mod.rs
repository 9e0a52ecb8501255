//! RDB, in which engines save and send their data: read as a stream, split into records, values passed on unread.
//!
//! ```text
//!   REDIS0010 · facts · functions · database · [expires] [used] type key value · … · end crc64
//! ```
//!
//! `source` has the bytes and their checksums, `length` lengths and strings, `value` where values end, `reader` the parts,
//! `summary` what they add up to. Knows nothing of sockets, and of no more of a value than its length.

mod crc64;
mod error;
mod length;
mod lzf;
mod reader;
mod source;
mod summary;
#[cfg(test)]
mod tests;
mod value;

pub use crc64::crc64;
pub use error::RdbError;
pub use reader::{module_text, payload_write, Part, Reader, Record, Used, MOST};
pub use source::Source;
pub use summary::{summarize, summarize_file, Owned, SlotSet, Summary, Tally};
pub use value::Maker;
