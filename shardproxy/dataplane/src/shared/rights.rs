//! Who may do what in a cluster, ready to be asked: its users, compiled against the command table of the moment.

use std::sync::Arc;

use crate::access::{User, Users};
use crate::command::CommandTable;
use crate::model::{AccessSpec, Cluster, DEFAULT_USER};

/// A cluster, and who may do what in it.
#[derive(Clone)]
pub struct Ruled {
    pub cluster: Arc<Cluster>,
    pub rights: Arc<Rights>,
}

pub struct Rights {
    /// No others have this number.
    pub number: u32,
    users: Users,
    spec: Option<AccessSpec>,
    /// Its commands' numbers are those the users know.
    table: Arc<CommandTable>,
}

impl Rights {
    /// What is wrong with which user, if something is. Without users everybody may do everything.
    pub fn compile(number: u32, spec: Option<&AccessSpec>, table: &Arc<CommandTable>) -> Result<Self, String> {
        let users = match spec {
            Some(spec) => Users::compile(&spec.users, table)?,
            None => Users::compile(&AccessSpec::open().users, table)?,
        };
        Ok(Self { number, users, spec: spec.cloned(), table: table.clone() })
    }

    /// Nobody may do anything.
    pub fn nobodys(number: u32, cluster: &Cluster, table: &Arc<CommandTable>) -> Self {
        Self { number, users: Users::default(), spec: cluster.spec.access.clone(), table: table.clone() }
    }

    /// Whether this is the table whose commands they know.
    pub fn are_by(&self, table: &Arc<CommandTable>) -> bool {
        Arc::ptr_eq(&self.table, table)
    }

    /// Whether they are these users', by this table.
    pub fn are_of(&self, spec: Option<&AccessSpec>, table: &Arc<CommandTable>) -> bool {
        self.are_by(table) && self.spec.as_ref() == spec
    }

    pub fn table(&self) -> &CommandTable {
        &self.table
    }

    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.find(name)
    }

    /// Who a client is that has not said who it is; none where that has to be said.
    pub fn anybody(&self) -> Option<&Arc<User>> {
        self.find(DEFAULT_USER.as_bytes()).filter(|user| user.is_enabled && user.is_nopass && !user.is_verified)
    }
}
