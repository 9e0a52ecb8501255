//! TLS over a TCP socket: sessions, what they are made with, and why one fails. Knows nothing of clients and nodes.

mod certificate;
mod config;
mod engine;
mod fault;
mod session;
#[cfg(test)]
mod tests;

pub use certificate::Certificate;
#[cfg(feature = "python")]
pub use config::{check_pair, read_certificates};
pub use config::{client_config, server_config, Demand, Pair};
pub use fault::Fault;
pub use rustls::pki_types::ServerName;
pub use rustls::{ClientConfig, ServerConfig};
pub use session::Tls;
