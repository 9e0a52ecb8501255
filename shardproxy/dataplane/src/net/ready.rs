//! Waiting for a few sockets at once, by a thread that has nothing else to do meanwhile. Level triggered.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// What one socket is waited for, and whether it came.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    fd: RawFd,
    /// To be read: it is worth a try, be it only to be told that it has ended.
    pub read: bool,
    /// To take bytes.
    pub write: bool,
}

impl Wanted {
    pub fn read(socket: BorrowedFd<'_>) -> Self {
        Self { fd: socket.as_raw_fd(), read: true, write: false }
    }

    #[must_use]
    pub fn or_write(mut self, write: bool) -> Self {
        self.write = write;
        self
    }
}

/// Wait until one of these is as it is wanted, or for so long. Says in `wanted` which are; none after a signal.
pub fn wait_ready(wanted: &mut [Wanted], within: Duration) -> io::Result<()> {
    let mut polled: Vec<libc::pollfd> = wanted
        .iter()
        .map(|one| libc::pollfd {
            fd: one.fd,
            events: if one.read { libc::POLLIN } else { 0 } | if one.write { libc::POLLOUT } else { 0 },
            revents: 0,
        })
        .collect();
    let timeout = i32::try_from(within.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: the pointer and the count are those of one vector, which outlives the call; poll writes only `revents`.
    let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    if count < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        for one in &mut polled {
            one.revents = 0;
        }
    }
    for (one, polled) in wanted.iter_mut().zip(&polled) {
        one.read &= polled.revents & !libc::POLLOUT != 0;
        one.write &= polled.revents & !libc::POLLIN != 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_ready_is_told_apart() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let wait = |wanted: &mut [Wanted]| wait_ready(wanted, Duration::from_millis(1)).unwrap();
        let mut wanted = [Wanted::read(one.as_fd()), Wanted::read(other.as_fd()).or_write(true)];
        wait(&mut wanted);
        assert_eq!((wanted[0].read, wanted[1].read, wanted[1].write), (false, false, true));
        other.write_all(b"x").unwrap();
        let mut wanted = [Wanted::read(one.as_fd())];
        wait(&mut wanted);
        assert!(wanted[0].read);
        drop(one);
        let mut wanted = [Wanted::read(other.as_fd())];
        wait(&mut wanted);
        assert!(wanted[0].read, "that it has ended is worth a read");
    }
}
