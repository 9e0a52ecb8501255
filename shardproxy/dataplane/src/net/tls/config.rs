//! Certificates, keys and what is demanded of the other side, made ready for sessions. Read from PEM; knows no files.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_name, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme, SupportedProtocolVersion,
};

use super::Certificate;

/// A certificate with those that vouch for it, and its key; both PEM.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub certificate: &'a str,
    pub key: &'a str,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    Required,
    Optional,
}

/// What clients are served with that a certificate is chosen for by the name they ask for; `client` is whose certificates
/// of theirs are good, PEM. Whoever has a ticket resumes a session of this config, and of no other.
pub fn server_config(
    pairs: &[Pair],
    client: Option<(&str, Demand)>,
    is_13_only: bool,
) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let versions = versions(is_13_only);
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(|e| e.to_string())?;
    let asks_client = client.is_some();
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some((ca, demand)) => builder.with_client_cert_verifier(client_verifier(ca, demand)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice::read(pairs)?));
    if asks_client {
        // a session that goes on shows the certificate that it began with, and not the one that has replaced it
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
    } else {
        config.ticketer = ring::Ticketer::new().map_err(|e| e.to_string())?;
    }
    Ok(Arc::new(config))
}

/// What nodes are reached with: who signed their certificates, and what the proxy shows them.
pub fn client_config(ca: &str, own: Option<Pair>) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions(false));
    let builder = builder.map_err(|e| e.to_string())?;
    let known = certificates(ca, "ca")?;
    let roots = Arc::new(roots(&known)?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build().map_err(|e| e.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(NodeVerifier { verifier, known }));
    Ok(Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = certificates(pair.certificate, "certificate")?;
            builder.with_client_auth_cert(chain, key(pair.key)?).map_err(|error| unfit(&error))?
        }
    }))
}

/// What the certificates of a PEM say of themselves.
#[cfg(feature = "python")]
pub fn read_certificates(pem: &str) -> Result<Vec<Certificate>, String> {
    let unreadable = || "there is one in it that cannot be read".to_owned();
    let certificates = certificates(pem, "certificate")?;
    certificates.iter().map(|certificate| Certificate::read(certificate).ok_or_else(unreadable)).collect()
}

/// Whether the key is the certificate's.
#[cfg(feature = "python")]
pub fn check_pair(pair: Pair) -> Result<(), String> {
    Choice::read(&[pair]).map(|_| ())
}

fn versions(is_13_only: bool) -> &'static [&'static SupportedProtocolVersion] {
    const ONLY_13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    if is_13_only {
        ONLY_13
    } else {
        rustls::ALL_VERSIONS
    }
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|error| format!("{what}: {error}"))?;
    if read.is_empty() {
        return Err(format!("{what}: there is no certificate in it"));
    }
    Ok(read)
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "key: there is no private key in it".to_owned())
}

fn unfit(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "key: it is not the certificate's".into(),
        other => format!("key: {other}"),
    }
}

fn roots(known: &[CertificateDer<'static>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for one in known {
        roots.add(one.clone()).map_err(|error| format!("ca: {error}"))?;
    }
    Ok(roots)
}

fn client_verifier(ca: &str, demand: Demand) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = Arc::new(roots(&certificates(ca, "client_ca")?)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()));
    let builder = match demand {
        Demand::Required => builder,
        Demand::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| format!("client_ca: {error}"))
}

/// The certificates of an endpoint, and for which names each is.
struct Choice(Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl Choice {
    fn read(pairs: &[Pair]) -> Result<Self, String> {
        let provider = ring::default_provider();
        let mut all = Vec::new();
        for pair in pairs {
            let chain = certificates(pair.certificate, "certificate")?;
            let names = Certificate::read(&chain[0]).map(|read| read.names).unwrap_or_default();
            let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
            let key = CertifiedKey::from_der(chain, key(pair.key)?, &provider).map_err(|error| unfit(&error))?;
            all.push((names, Arc::new(key)));
        }
        if all.is_empty() {
            return Err("there is no certificate".into());
        }
        Ok(Self(all))
    }
}

impl ResolvesServerCert for Choice {
    /// The first that is for the name and that the client can verify; else the first that it can.
    fn resolve(&self, hello: ClientHello) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fits = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        let usable = || self.0.iter().filter(|(_, key)| fits(key));
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let named = name.and_then(|name| usable().find(|(names, _)| names.iter().any(|one| is_for(one, &name))));
        named.or_else(|| usable().next()).map(|(_, key)| key.clone())
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(names, _)| names)).finish() // no key is ever printed
    }
}

/// Whether a name of a certificate, which may begin with `*.`, is that name; both in lower case.
fn is_for(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => name.split_once('.').is_some_and(|(host, rest)| !host.is_empty() && rest == domain),
        None => pattern == name,
    }
}

/// Verifies nodes. One whose very certificate is known is trusted though no CA signed it.
#[derive(Debug)]
struct NodeVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    known: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its certificate is self-signed, and not the one in node_tls.ca")
    }
}

impl std::error::Error for SelfSigned {}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let error = match self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(error)) => error,
            other => return other,
        };
        // another one of the same name looks as if it were badly signed, and one that may sign others as out of place
        if !matches!(
            error,
            CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::Other(_)
        ) {
            return Err(error.into());
        }
        let read = Certificate::read(end_entity).ok_or(CertificateError::BadEncoding)?;
        if !read.is_self_issued {
            return Err(error.into());
        }
        if !self.known.iter().any(|known| known == end_entity) {
            return Err(CertificateError::Other(OtherError(Arc::new(SelfSigned))).into());
        }
        let time = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(seconds.max(0) as u64));
        if now > time(read.not_after) {
            return Err(CertificateError::Expired.into());
        }
        if now < time(read.not_before) {
            return Err(CertificateError::NotValidYet.into());
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (pattern, name, is_so) in [
            ("a.example", "a.example", true),
            ("*.example", "a.example", true),
            ("*.example", "a.b.example", false),
            ("*.example", ".example", false),
            ("*.example", "example", false),
            ("b.example", "a.example", false),
        ] {
            assert_eq!(is_for(pattern, name), is_so, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
        let (certificate, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let wrong = other.signing_key.serialize_pem();
        let why = |certificate: &str, key: &str| server_config(&[Pair { certificate, key }], None, false).err();
        assert_eq!(why(&certificate, &key), None);
        assert_eq!(why(&certificate, &wrong).unwrap(), "key: it is not the certificate's");
        assert_eq!(why("nothing", &key).unwrap(), "certificate: there is no certificate in it");
        assert_eq!(why(&certificate, "nothing").unwrap(), "key: there is no private key in it");
        assert!(server_config(&[], None, false).is_err());
    }
}
