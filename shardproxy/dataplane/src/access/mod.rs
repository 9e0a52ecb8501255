//! Who may do what: users of a cluster, their passwords and rules, in Redis' rule language (acl.c). Pure: knows nothing of
//! clients, connections, or where users come from.
//!
//! ```text
//!   "on ~app:* +@read (~tmp:* +@all)"
//!      words ─> modifiers ─> Rules: flags, passwords, selectors ─> a User that requests are checked against
//!                                     selector: keys, channels, commands by their dense ids
//! ```
//!
//! Rules are kept in the order they were given, as Redis 7.2 keeps them, for what a category means changes when commands
//! are learned: then users are compiled anew from the same text.

mod channels;
mod commands;
mod fault;
mod password;
mod pattern;
mod rules;
mod selector;
#[cfg(test)]
mod tests;
mod text;
mod user;
mod users;
mod vocabulary;
mod words;

pub use fault::{Fault, Wrong};
pub use password::Hash;
pub use rules::Rules;
pub use selector::Selector;
pub use text::Form;
pub use user::{Denied, User};
pub use users::{UserSpec, Users};
pub use vocabulary::Vocabulary;
