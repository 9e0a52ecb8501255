//! Who may log in to a cluster, as the control plane describes it.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::durations::seconds;

/// Who a client is that has not said who it is.
pub const DEFAULT_USER: &str = "default";

/// Everybody who may.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSpec {
    pub users: Vec<UserSpec>,
}

impl AccessSpec {
    /// As an engine without passwords: nobody has to say who it is.
    pub fn open() -> Self {
        let default = UserSpec {
            name: DEFAULT_USER.into(),
            enabled: true,
            nopass: true,
            passwords: Vec::new(),
            rules: "~* &* +@all".into(),
            verified: false,
            session: Duration::ZERO,
        };
        Self { users: vec![default] }
    }
}

/// One user. Its rules are what Redis' ACL LIST shows behind the passwords.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    pub name: String,
    pub enabled: bool,
    /// Any password is right.
    #[serde(default)]
    pub nopass: bool,
    /// SHA-256 each, as 64 hexadecimal digits.
    #[serde(default)]
    pub passwords: Vec<String>,
    pub rules: String,
    /// The control plane judges what it gives for a password.
    #[serde(default)]
    pub verified: bool,
    /// How long after logging in it is to do so again; 0 = never.
    #[serde(default, deserialize_with = "seconds")]
    pub session: Duration,
}

/// Without the hashes: who has one may guess the password.
impl fmt::Debug for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSpec").field("name", &self.name).field("rules", &self.rules).finish_non_exhaustive()
    }
}
