//! An engine, and how it is spoken to. Holds its password: never printed.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::model::NodeTlsSpec;
use crate::net::tls::ClientConfig;
use crate::net::{Address, Secure};

/// As the control plane tells it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndSpec {
    pub address: String,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<String>,
    #[serde(default)]
    pub tls: Option<NodeTlsSpec>,
    /// Which process it is to be, by its `run_id`; none where any will do.
    #[serde(default)]
    pub process: Option<String>,
}

#[derive(Clone)]
pub struct End {
    pub address: Address,
    /// What comes behind AUTH; none where nobody has to log in.
    pub login: Vec<Vec<u8>>,
    /// The only process that is meant, if there is one: an address may be another's by now.
    pub process: Option<String>,
    tls: Option<(NodeTlsSpec, Arc<ClientConfig>)>,
}

impl End {
    pub fn plain(address: &str) -> Result<Self, String> {
        Self::new(EndSpec { address: address.to_owned(), username: None, password: None, tls: None, process: None })
    }

    pub fn new(spec: EndSpec) -> Result<Self, String> {
        let login = spec.password.map_or_else(Vec::new, |password| {
            spec.username.into_iter().chain([password]).map(String::into_bytes).collect()
        });
        let tls = spec.tls.map(|tls| tls.build().map(|config| (tls, config))).transpose()?;
        let end = Self { address: Address::parse(&spec.address)?, login, process: spec.process, tls };
        end.secure()?;
        Ok(end)
    }

    /// Whether another process than the one that is meant answers there.
    pub fn is_another(&self, run_id: &str) -> bool {
        self.process.as_ref().is_some_and(|process| process != run_id)
    }

    /// What to speak TLS with, where it is spoken.
    pub fn secure(&self) -> Result<Option<Secure>, String> {
        let secure = |(tls, config): &(NodeTlsSpec, Arc<ClientConfig>)| {
            Ok(Secure { config: config.clone(), name: tls.name_of(&self.address)? })
        };
        self.tls.as_ref().map(secure).transpose()
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "End({})", self.address)
    }
}
