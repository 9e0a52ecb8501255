//! The users of one cluster.

use std::collections::HashMap;
use std::sync::Arc;

use super::User;
use crate::command::CommandTable;
pub use crate::model::UserSpec;

/// By name, compiled against a command table: when it has grown, they are compiled anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Users {
    users: HashMap<Box<[u8]>, Arc<User>>,
}

impl Users {
    /// What is wrong with which user, if something is. Names of commands that the table lacks are not: they may be learned.
    pub fn compile(specs: &[UserSpec], table: &CommandTable) -> Result<Self, String> {
        let user = |spec: &UserSpec| {
            let user = User::compile(spec, table).map_err(|why| format!("user {:?}: {why}", spec.name))?;
            Ok((Box::from(spec.name.as_bytes()), Arc::new(user)))
        };
        Ok(Self { users: specs.iter().map(user).collect::<Result<_, String>>()? })
    }

    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name)
    }
}
