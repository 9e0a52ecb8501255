//! Names to addresses on a thread of its own, since the system's resolver blocks.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{sync_channel, SyncSender, TrySendError};
use std::{io, thread};

#[cfg(test)]
mod tests;

type Job = (String, u16, usize, Box<dyn FnOnce(io::Result<SocketAddr>) + Send>);

/// At most so many lookups wait; there is one per connecting upstream at a time.
const WAITING: usize = 4096;

#[derive(Clone)]
pub struct Resolver {
    jobs: SyncSender<Job>,
}

impl Resolver {
    /// The thread ends when the last `Resolver` is dropped.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(WAITING);
        thread::Builder::new().name("shardproxy-dns".into()).spawn(move || {
            for (host, port, turn, done) in queue {
                done(lookup(&host, port, turn));
            }
        })?;
        Ok(Self { jobs })
    }

    /// Look a name up and call `done` on the resolver's thread. A name may have several addresses, of which some do not
    /// answer: each `turn` gets the next one.
    pub fn resolve(&self, host: &str, port: u16, turn: usize, done: Box<dyn FnOnce(io::Result<SocketAddr>) + Send>) {
        match self.jobs.try_send((host.to_owned(), port, turn, done)) {
            Ok(()) => {}
            Err(TrySendError::Full((.., done)) | TrySendError::Disconnected((.., done))) => {
                done(Err(io::Error::other("too many names wait for resolution")));
            }
        }
    }
}

fn lookup(host: &str, port: u16, turn: usize) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    found.get(turn % found.len().max(1)).copied().ok_or_else(|| io::Error::other("the name has no address"))
}
