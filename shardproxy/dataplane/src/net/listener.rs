//! A listening socket, TCP or unix.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Address, Stream};

#[cfg(test)]
mod tests;

const BACKLOG: i32 = 4096; // the kernel caps it at net.turn.somaxconn

#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A listening socket that another process has opened; or that systemd has, and keeps.
#[derive(Debug)]
pub struct Inherited {
    pub socket: OwnedFd,
    pub is_kept: bool,
}

/// The file of a unix socket, removed with its listener unless another has taken its place since.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: Option<u64>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|file| file.ino())
}

impl Listener {
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Ip(ip) => {
                let socket = Socket::new(Domain::for_address(*ip), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
                socket.set_reuse_address(true)?;
                if ip.is_ipv6() {
                    socket.set_only_v6(true)?;
                }
                socket.bind(&(*ip).into())?;
                socket.listen(BACKLOG)?;
                Ok(Self::Tcp(TcpListener::from_std(socket.into())))
            }
            Address::Name(host, port) => {
                let mut found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), *port))?;
                let first = found.next().ok_or_else(|| io::Error::other("the name has no address"))?;
                Self::bind(&Address::Ip(first))
            }
            Address::Unix(path) => {
                if is_abandoned(path) {
                    std::fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                Ok(Self::Unix(listener, SocketFile { path: path.clone(), inode: inode(path) }))
            }
        }
    }

    /// One that somebody else has bound. The file of a unix socket is this listener's, unless it is kept elsewhere.
    pub fn inherit(socket: OwnedFd, is_kept: bool) -> io::Result<Self> {
        let view = SockRef::from(&socket);
        view.set_nonblocking(true)?;
        if !view.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket that was passed does not listen"));
        }
        let path = view.local_addr()?.as_pathname().map(Path::to_path_buf);
        Ok(match path {
            None => Self::Tcp(TcpListener::from_std(socket.into())),
            Some(path) => {
                let inode = if is_kept { None } else { inode(&path) };
                Self::Unix(UnixListener::from_std(socket.into()), SocketFile { path, inode })
            }
        })
    }

    /// Somebody else goes on with it: what it is found by stays.
    pub fn leave(&mut self) {
        if let Self::Unix(_, file) = self {
            file.inode = None;
        }
    }

    /// The same socket once more.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Self::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        }
    }

    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(Address::Ip(listener.local_addr()?)),
            Self::Unix(_, file) => Ok(Address::Unix(file.path.clone())),
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Self::Unix(listener, _) => listener.register(registry, token, Interest::READABLE),
        }
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.deregister(registry),
            Self::Unix(listener, _) => listener.deregister(registry),
        }
    }

    /// The next connection, and where it comes from unless that is a unix socket.
    pub fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                let stream = Stream::Tcp(stream);
                stream.tune()?;
                Ok((stream, Some(peer)))
            }
            Self::Unix(listener, _) => Ok((Stream::Unix(listener.accept()?.0), None)),
        }
    }
}

/// A socket file nobody listens on any more (its process was killed).
fn is_abandoned(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    is_socket
        && matches!(std::os::unix::net::UnixStream::connect(path), Err(e) if e.kind() == io::ErrorKind::ConnectionRefused)
}
