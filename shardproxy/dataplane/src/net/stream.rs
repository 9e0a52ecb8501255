//! A connected (or connecting) non-blocking socket, TCP or unix, or a TLS session over one: to its user they are alike.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use super::tls::{self, Fault, Tls};
use super::Address;

#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Tls>),
}

/// How a node is spoken to in TLS: what with, and by which name its certificate has to call it.
pub struct Secure {
    pub config: Arc<tls::ClientConfig>,
    pub name: tls::ServerName<'static>,
}

impl Stream {
    /// Start to connect. The result shows when the socket becomes writable: see `connected`.
    pub fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Ip(ip) => {
                let stream = TcpStream::connect(*ip)?;
                let stream = Self::Tcp(stream);
                stream.tune()?;
                Ok(stream)
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
            Address::Name(..) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is not resolved yet")),
        }
    }

    /// Speak TLS to a node from the first byte on: `connected` tells when the handshake is done.
    pub fn secured(self, secure: Secure) -> io::Result<Self> {
        let Self::Tcp(socket) = self else { return Err(io::Error::other("TLS is spoken over TCP only")) };
        Ok(Self::Tls(Box::new(Tls::connect(socket, secure.config, secure.name)?)))
    }

    /// Expect a client to speak TLS from the first byte on: `shake` tells when the handshake is done.
    pub fn securing(self, config: Arc<tls::ServerConfig>) -> Result<Self, Fault> {
        let Self::Tcp(socket) = self else { return Err(Fault::new("TLS is spoken over TCP only")) };
        Ok(Self::Tls(Box::new(Tls::accept(socket, config)?)))
    }

    /// Go on with a handshake, if there is one; whether none is left to do.
    pub fn shake(&mut self) -> Result<bool, Fault> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(true),
            Self::Tls(tls) => tls.shake(),
        }
    }

    /// The TLS session on it.
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(tls) => Some(tls),
        }
    }

    /// Small writes leave at once, and a peer that vanished is noticed while the connection idles.
    pub fn tune(&self) -> io::Result<()> {
        if let Self::Tcp(stream) = self {
            stream.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(60))
                .with_interval(Duration::from_secs(15))
                .with_retries(4);
            SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
        }
        Ok(())
    }

    /// Whether a started connect has succeeded, and the handshake after it if there is one; its error if it failed.
    pub fn connected(&mut self) -> io::Result<bool> {
        Ok(self.has_peer()? && self.shake()?)
    }

    fn has_peer(&self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        let peer = match self {
            Self::Unix(stream) => stream.peer_addr().map(|_| ()),
            Self::Tcp(stream) => tcp_peer(stream),
            Self::Tls(tls) => tcp_peer(tls.socket()),
        };
        match peer {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
            Self::Tls(tls) => tls.socket().take_error(),
        }
    }

    #[cfg(any(test, fuzzing))]
    pub fn narrow(&self, bytes: usize) {
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_send_buffer_size(bytes),
            Self::Unix(stream) => SockRef::from(stream).set_send_buffer_size(bytes),
            Self::Tls(tls) => SockRef::from(tls.socket()).set_send_buffer_size(bytes),
        };
    }

    /// The socket, unless it is worth nothing without what is known of it here.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Some(stream.as_fd()),
            Self::Unix(stream) => Some(stream.as_fd()),
            Self::Tls(_) => None,
        }
    }

    /// What to wait for, by whoever polls it itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(tls) => tls.socket().as_fd(),
        }
    }

    /// Whether a TLS session has bytes of its own that the socket has not taken.
    pub const fn owes(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(tls) => tls.is_blocked(),
        }
    }

    /// A client's connection that another process has accepted.
    pub fn passed(socket: OwnedFd) -> io::Result<Self> {
        socket2::SockRef::from(&socket).set_nonblocking(true)?;
        if SockRef::from(&socket).local_addr()?.is_unix() {
            return Ok(Self::Unix(UnixStream::from_std(socket.into())));
        }
        Ok(Self::Tcp(TcpStream::from_std(socket.into())))
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(registry),
            Self::Unix(stream) => stream.deregister(registry),
            Self::Tls(tls) => tls.socket_mut().deregister(registry),
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            Self::Unix(stream) => stream.register(registry, token, interest),
            Self::Tls(tls) => tls.socket_mut().register(registry, token, interest),
        }
    }

    /// As `read`, and what was read is there to be read again; before a handshake, if there is one.
    #[allow(unsafe_code)]
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(buffer),
            Self::Tls(tls) => tls.socket().peek(buffer),
            Self::Unix(stream) => {
                // SAFETY: recv only writes, so the bytes stay initialised.
                let buffer = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
                SockRef::from(stream).peek(buffer)
            }
        }
    }

    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Whether there may be more than the `n` bytes that were read last, into room for so many, of which no event will
    /// tell: a short read has emptied a socket.
    #[inline]
    pub fn may_have_more(&self, n: usize, room: usize) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => n == room,
            Self::Tls(tls) => tls.has_more(),
        }
    }

    /// Send bytes; so many have left. Whoever has the rest presents it again, as it was.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    #[inline]
    pub fn write_vectored(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
            Self::Tls(tls) => tls.write_vectored(slices),
        }
    }

    /// Send what waits for the socket beside what is presented again: a TLS session has more to say than its user. What keeps
    /// it from that shows at the next read or write.
    pub fn push_out(&mut self) {
        if let Self::Tls(tls) = self {
            tls.push_out();
        }
    }

    pub fn shutdown_write(&mut self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(tls) => return tls.shutdown_write(),
        };
    }

    /// Bytes of buffers it holds, beside the kernel's.
    #[inline]
    pub fn held(&self) -> usize {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Tls(tls) => tls.held(),
        }
    }

    /// The address at its other end; a unix socket has none.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Tls(tls) => tls.socket().peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The same as Redis writes it. A client may be elsewhere: see `Client::address`.
    pub fn peer_text(&self) -> String {
        match self {
            Self::Tcp(_) | Self::Tls(_) => self.peer().map_or_else(String::new, |address| address.to_string()),
            Self::Unix(stream) => path_of(stream) + ":0",
        }
    }

    pub const fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// As `Address` writes it: a path is told by its `unix:`.
    pub fn local(&self) -> String {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or_else(|_| String::new(), |a| a.to_string()),
            Self::Tls(tls) => tls.socket().local_addr().map_or_else(|_| String::new(), |a| a.to_string()),
            Self::Unix(stream) => format!("unix:{}", path_of(stream)),
        }
    }
}

fn tcp_peer(stream: &TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    // where nobody listens, a socket that is given the very port it calls meets itself
    if stream.local_addr()? == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

fn path_of(stream: &UnixStream) -> String {
    let path = stream.local_addr().ok().and_then(|a| a.as_pathname().map(|p| p.display().to_string()));
    path.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_socket_that_met_itself_is_connected_to_nobody() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        let mut stream = Stream::Tcp(TcpStream::from_std(socket.into()));
        assert_eq!(stream.connected().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
