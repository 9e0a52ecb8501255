//! What commands there are, and where their keys stand.

mod definition;
mod flags;
mod keys;
mod load;
mod overrides;
mod table;

pub use definition::{Command, Join, Keys, Route};
pub use flags::Flags;
pub use keys::{key_positions, sort_positions, streams, KeysError};
pub use overrides::Overrides;
pub use table::CommandTable;
