//! Who may do what: users of a cluster, their passwords and rules, in Redis' rule language. Pure: knows nothing of clients,
//! connections or where users come from.

mod user;
mod users;

pub use user::{Denied, User};
pub use users::{UserSpec, Users};
