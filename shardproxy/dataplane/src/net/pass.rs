//! Open sockets on their way to another process on this machine: each with what has to be known of it.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use mio::event::Source;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

/// Bytes that go with one socket; so few leave whole, or not at all.
pub const MAX_PASSAGE: usize = 16 * 1024;
/// What one descriptor takes as ancillary data, and more.
const CONTROL: usize = 8;

/// A descriptor of our own for what that number, which Python owns, stands for.
#[cfg(feature = "python")]
pub fn copy_of(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: it is only copied; one that is not open is an error of that call.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

/// One end of a connected unix stream socket.
#[derive(Debug)]
pub struct Passing(UnixStream);

impl Passing {
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        socket2::SockRef::from(&socket).set_nonblocking(true)?;
        Ok(Self(UnixStream::from_std(socket.into())))
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.0.register(registry, token, Interest::READABLE)
    }

    /// Send a socket; `WouldBlock` while the other process has too much to take.
    pub fn send(&self, words: &[u8], socket: BorrowedFd) -> io::Result<()> {
        let mut control = [0u64; CONTROL];
        let mut part = libc::iovec { iov_base: words.as_ptr().cast_mut().cast(), iov_len: words.len() };
        let size = size_of::<RawFd>() as u32;
        // SAFETY: all zero is an empty message. The control buffer is aligned for a header and larger than one with a
        // descriptor, so CMSG_FIRSTHDR is in it; sendmsg only reads what is pointed to, all of which outlives the call.
        let sent = unsafe {
            let mut message: libc::msghdr = mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(socket.as_raw_fd());
            libc::sendmsg(self.0.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
        };
        match usize::try_from(sent) {
            Ok(sent) if sent == words.len() => Ok(()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::WriteZero, "a passage was cut short")),
            Err(_) => {
                let error = io::Error::last_os_error();
                let is_full = error.raw_os_error() == Some(libc::ETOOMANYREFS); // too many are on their way
                Err(if is_full { io::ErrorKind::WouldBlock.into() } else { error })
            }
        }
    }

    /// The next socket, and what came with it; none when the other process has closed its end.
    pub fn receive(&self) -> io::Result<Option<(Vec<u8>, OwnedFd)>> {
        let mut words = vec![0; MAX_PASSAGE];
        let mut control = [0u64; CONTROL];
        let mut part = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: words.len() };
        // SAFETY: as in `send`; recvmsg writes no more than the two lengths say. A descriptor that it reports is open and
        // nobody else's.
        let (count, socket) = unsafe {
            let mut message: libc::msghdr = mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
            let count = libc::recvmsg(self.0.as_raw_fd(), &raw mut message, flags);
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            let is_socket = count > 0
                && !header.is_null()
                && (*header).cmsg_level == libc::SOL_SOCKET
                && (*header).cmsg_type == libc::SCM_RIGHTS;
            let socket =
                is_socket.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()));
            (count, socket)
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        words.truncate(count);
        match socket {
            Some(socket) => Ok(Some((words, socket))),
            None if count == 0 => Ok(None),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "words came without a socket")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::{io, Passing};

    #[test]
    fn a_socket_arrives_with_its_words_and_what_was_on_its_way() {
        let (one, other) = UnixStream::pair().unwrap();
        let (one, other) = (Passing::new(one.into()).unwrap(), Passing::new(other.into()).unwrap());
        assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut clients = Vec::new();
        for number in 0..3u8 {
            let (mut client, served) = UnixStream::pair().unwrap();
            client.write_all(&[number]).unwrap();
            one.send(&[b'w', number], served.as_fd()).unwrap();
            clients.push(client);
        }
        for number in 0..3u8 {
            let (words, socket) = other.receive().unwrap().unwrap();
            assert_eq!(words, [b'w', number]);
            let mut read = [9];
            UnixStream::from(socket).read_exact(&mut read).unwrap();
            assert_eq!(read, [number]);
        }
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }

    #[test]
    fn who_takes_none_holds_nobody_up() {
        let (one, other) = UnixStream::pair().unwrap();
        let one = Passing::new(one.into()).unwrap();
        let mut sent = 0;
        let why = loop {
            match one.send(&[0; 1000], other.as_fd()) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(why.kind(), io::ErrorKind::WouldBlock, "after {sent}");
        drop(other);
    }
}
