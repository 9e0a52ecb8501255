//! How clients speak TLS to a cluster, and the cluster to its nodes. Holds private keys: never printed.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::net::tls::{self, Certificate, ClientConfig, Demand, Pair, ServerConfig, ServerName};
use crate::net::Address;

/// For clients; all PEM.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSpec {
    /// The one that is for the name a client asks for is shown, else the first.
    certificates: Vec<PairSpec>,
    /// Whose certificates of clients are good; without it none is asked for.
    #[serde(default)]
    client_ca: Option<String>,
    #[serde(default)]
    client: ClientCertificate,
    #[serde(default)]
    minimum: Version,
    /// A client is the user that its certificate names.
    #[serde(default)]
    pub user: Option<NamedBy>,
}

#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PairSpec {
    certificate: String,
    key: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientCertificate {
    #[default]
    Required,
    Optional,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// What of a client's certificate names its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamedBy {
    /// Its common name.
    Cn,
    /// The first DNS name, email address or URI among its alternative names.
    San,
}

impl NamedBy {
    pub fn name_in(self, certificate: Certificate) -> Option<String> {
        match self {
            Self::Cn => certificate.common_name,
            Self::San => certificate.names.into_iter().next(),
        }
    }
}

/// For nodes; all PEM.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTlsSpec {
    /// Who signed the nodes' certificates.
    ca: String,
    /// What the proxy shows them.
    #[serde(default)]
    certificate: Option<String>,
    #[serde(default)]
    key: Option<String>,
    /// The name their certificates have, if it is not each one's own host.
    #[serde(default)]
    server_name: Option<String>,
}

impl TlsSpec {
    /// Whether clients are asked for certificates.
    pub const fn asks_certificates(&self) -> bool {
        self.client_ca.is_some()
    }

    pub fn build(&self) -> Result<Arc<ServerConfig>, String> {
        let pairs: Vec<Pair> = self.certificates.iter().map(PairSpec::pair).collect();
        let demand = match self.client {
            ClientCertificate::Required => Demand::Required,
            ClientCertificate::Optional => Demand::Optional,
        };
        let client = self.client_ca.as_deref().map(|ca| (ca, demand));
        if self.user.is_some() && client.is_none() {
            return Err("tls: user needs client_ca".into());
        }
        let config = tls::server_config(&pairs, client, self.minimum == Version::Tls13);
        config.map_err(|error| format!("tls: {error}"))
    }
}

impl PairSpec {
    fn pair(&self) -> Pair<'_> {
        Pair { certificate: &self.certificate, key: &self.key }
    }
}

impl NodeTlsSpec {
    pub fn build(&self) -> Result<Arc<ClientConfig>, String> {
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(Pair { certificate, key }),
            (None, None) => None,
            _ => return Err("node_tls: certificate and key go together".into()),
        };
        tls::client_config(&self.ca, own).map_err(|error| format!("node_tls: {error}"))
    }

    /// By which name a node's certificate has to call it.
    pub fn name_of(&self, node: &Address) -> Result<ServerName<'static>, String> {
        let host = match node {
            Address::Ip(ip) => ip.ip().to_string(),
            Address::Name(host, _) => host.clone(),
            Address::Unix(_) => return Err(format!("node_tls: TLS is spoken over TCP, not at {node}")),
        };
        let name = self.server_name.clone().unwrap_or(host);
        ServerName::try_from(name.clone()).map_err(|_| format!("node_tls: no certificate can be for {name:?}"))
    }
}

impl fmt::Debug for TlsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsSpec(..)")
    }
}

impl fmt::Debug for NodeTlsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeTlsSpec(..)")
    }
}
