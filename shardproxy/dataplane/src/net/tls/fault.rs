//! Why a handshake failed, in words.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why there is no session.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub why: String,
    /// What came is no TLS at all.
    pub is_plain: bool,
}

impl Fault {
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_plain: false }
    }

    /// What came is no TLS.
    pub fn plain() -> Self {
        Self { why: "it does not speak TLS".into(), is_plain: true }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::new(CLOSED),
            _ => Self::new(error.to_string()),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(format!("TLS: {}", fault.why))
    }
}

pub const CLOSED: &str = "the connection was closed within the handshake";

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self::new(match error {
            Error::NoCertificatesPresented => "it showed no certificate".into(),
            Error::InvalidCertificate(error) => certificate(error),
            Error::PeerIncompatible(error) => incompatible(error),
            Error::AlertReceived(alert) => alert_received(*alert),
            Error::InvalidMessage(_) => return Self::plain(),
            Error::NoApplicationProtocol => "no protocol in common".into(),
            other => other.to_string(),
        })
    }
}

/// What is wrong with the certificate of the other side.
fn certificate(error: &CertificateError) -> String {
    let text = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: is a clock wrong?"
        }
        CertificateError::UnknownIssuer => "its certificate is signed by an unknown CA",
        CertificateError::BadSignature => "its certificate is not signed by who it says",
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let presented = if presented.is_empty() { "no name at all".into() } else { presented.join(", ") };
            return format!("its certificate is for {presented}, not for {}", expected.to_str());
        }
        CertificateError::NotValidForName => "its certificate is for another name",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is for another purpose (extendedKeyUsage)"
        }
        CertificateError::Other(other) => return other.to_string(),
        other => return format!("its certificate is refused: {other}"),
    };
    text.to_owned()
}

/// A name as webpki prints it, without its kind.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}

fn incompatible(error: &PeerIncompatible) -> String {
    match error {
        // whoever speaks none newer than 1.1 does not send that extension
        PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => "no version of TLS in common".into(),
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite in common".into(),
        PeerIncompatible::NoKxGroupsInCommon => "no key exchange group in common".into(),
        PeerIncompatible::NoSignatureSchemesInCommon => "no signature scheme in common".into(),
        other => format!("incompatible: {other:?}"),
    }
}

/// What the other side gave as its reason.
fn alert_received(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "it does not know the CA of our certificate".into(),
        AlertDescription::CertificateRequired => "it wants a certificate of ours".into(),
        AlertDescription::CertificateExpired => "to it our certificate has expired".into(),
        AlertDescription::CertificateUnknown | AlertDescription::BadCertificate => "it refused our certificate".into(),
        AlertDescription::ProtocolVersion => "no version of TLS in common".into(),
        AlertDescription::HandshakeFailure => "it found nothing in common (handshake failure)".into(),
        other => format!("it gave up: {other:?}"),
    }
}
