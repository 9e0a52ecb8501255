//! A connected (or connecting) non-blocking socket, TCP or unix.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use super::Address;

#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
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

    /// Whether a started connect has succeeded; its error if it failed.
    pub fn connected(&self) -> io::Result<bool> {
        if let Some(error) = self.take_error()? {
            return Err(error);
        }
        let peer = match self {
            Self::Tcp(stream) => stream.peer_addr().and_then(|peer| {
                // where nobody listens, a socket that is given the very port it calls meets itself
                if stream.local_addr()? == peer {
                    Err(io::ErrorKind::ConnectionRefused.into())
                } else {
                    Ok(())
                }
            }),
            Self::Unix(stream) => stream.peer_addr().map(|_| ()),
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
        }
    }

    #[cfg(any(test, fuzzing))]
    pub fn narrow(&self, bytes: usize) {
        let _ = match self {
            Self::Tcp(stream) => SockRef::from(stream).set_send_buffer_size(bytes),
            Self::Unix(stream) => SockRef::from(stream).set_send_buffer_size(bytes),
        };
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            Self::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).read(buffer),
            Self::Unix(stream) => (&*stream).read(buffer),
        }
    }

    /// As `read`, and what was read is there to be read again.
    #[allow(unsafe_code)]
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(buffer),
            Self::Unix(stream) => {
                // SAFETY: recv only writes, so the bytes stay initialised.
                let buffer = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
                SockRef::from(stream).peek(buffer)
            }
        }
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write(bytes),
            Self::Unix(stream) => (&*stream).write(bytes),
        }
    }

    pub fn write_vectored(&self, slices: &[IoSlice]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&*stream).write_vectored(slices),
            Self::Unix(stream) => (&*stream).write_vectored(slices),
        }
    }

    pub fn shutdown_write(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// The address at its other end; a unix socket has none.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The same as Redis writes it. A client may be elsewhere: see `Client::address`.
    pub fn peer_text(&self) -> String {
        match self {
            Self::Tcp(_) => self.peer().map_or_else(String::new, |address| address.to_string()),
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
            Self::Unix(stream) => format!("unix:{}", path_of(stream)),
        }
    }
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
        let stream = Stream::Tcp(TcpStream::from_std(socket.into()));
        assert_eq!(stream.connected().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
