//! A connection's bytes: plain, or within TLS.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

#[derive(Debug)]
pub struct Wire {
    pub stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

/// What TLS is spoken with: the certificates in this file vouch for the other side.
pub fn tls_config(file: &str) -> Result<Arc<ClientConfig>, String> {
    let pem = fs::read(file).map_err(|e| format!("--cacert {file}: {e}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| format!("--cacert {file}: {e}"))?;
        roots.add(certificate).map_err(|e| format!("--cacert {file}: {e}"))?;
    }
    if roots.is_empty() {
        return Err(format!("--cacert {file}: no certificate"));
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

impl Wire {
    /// Connected, and its handshake done.
    pub fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::from(address.ip());
                let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                while tls.is_handshaking() {
                    tls.complete_io(&mut stream)?;
                }
                Some(Box::new(tls))
            }
        };
        stream.set_nonblocking(true)?;
        Ok(Self { stream: TcpStream::from_std(stream), tls })
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else { return stream.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if tls.read_tls(stream)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Whether a read of so many bytes into so much room has left nothing in the socket.
    pub const fn has_drained(&self, got: usize, room: usize) -> bool {
        got < room && self.tls.is_none() // of TLS a record is given at a time
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        let taken = tls.writer().write(bytes)?;
        self.flush()?;
        Ok(taken)
    }

    /// Write what TLS has ready and the socket would not take before.
    pub fn flush(&mut self) -> io::Result<()> {
        let Self { stream, tls } = self;
        let Some(tls) = tls else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(stream) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}
