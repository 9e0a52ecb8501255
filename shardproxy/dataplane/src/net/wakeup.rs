//! An eventfd: how the worker threads wake the control plane.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};

#[derive(Debug)]
pub struct EventFd(File);

impl EventFd {
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers; a negative result is checked before the descriptor is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fd is open, and nothing else owns it.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    pub fn raise(&self) {
        let _ = (&self.0).write(&1u64.to_ne_bytes()); // EAGAIN means it is raised already
    }

    pub fn clear(&self) {
        let _ = (&self.0).read(&mut [0; 8]); // EAGAIN means it was clear
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
