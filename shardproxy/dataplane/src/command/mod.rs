//! What commands there are, and where their keys stand.

mod act;
mod categories;
mod definition;
mod flags;
mod key_specs;
mod keys;
mod load;
mod load_specs;
mod misses;
mod otherwise;
mod overrides;
mod span;
mod table;
mod waits;

pub use act::Act;
pub use categories::{Categories, CategoryNames};
pub use definition::{Code, Command, Join, Keys, Route};
pub use flags::Flags;
pub use key_specs::{KeyAccess, KeySpecs};
pub use keys::{key_positions, sort_positions, streams, KeysError};
pub use misses::Misses;
pub use overrides::Overrides;
pub use span::Span;
pub use table::CommandTable;
pub use waits::{wait_of, Form, Kind, Wait};
