//! The floor: what it costs to read a request, frame it, and write a reply, when nothing else is done.
//!
//! The same kind of loop as a data-plane worker, without upstreams: one turn takes all ready events, reads and answers
//! everything, then writes once per client. No allocation per request.

mod memcache;
mod resp;

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::Protocol;

const LISTENER: Token = Token(usize::MAX - 1);
const SCRATCH: usize = 128 * 1024; // bytes per read, and the longest request
const MOST_OUTPUT: usize = 16 * 1024 * 1024; // bytes a client may leave unread

/// Frames the first request and appends its answer; `Ok(None)` when more bytes are needed, else its length.
trait Answer {
    fn answer(&self, client: &mut Talk, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Hangup>;
}

/// The client asked to go, or its bytes are no request.
struct Hangup;

/// What a client's earlier requests mean for its next ones.
#[derive(Default)]
struct Talk {
    /// Inside MULTI: commands queued so far.
    queued: Option<usize>,
}

struct Client {
    stream: TcpStream,
    talk: Talk,
    /// The start of a request whose end is not here yet.
    rest: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    is_dirty: bool,
}

/// Serve until `stop` is set (looked at a few times a second).
pub fn serve(listener: TcpListener, protocol: Protocol, value_size: usize, stop: &AtomicBool) -> io::Result<()> {
    match protocol {
        Protocol::Resp => Loop::new(listener, resp::Resp::new(value_size))?.run(stop),
        Protocol::Memcache => Loop::new(listener, memcache::Memcache::new(value_size))?.run(stop),
    }
}

struct Loop<A> {
    poll: Poll,
    listener: TcpListener,
    clients: Slab<Client>,
    scratch: Vec<u8>,
    dirty: Vec<usize>,
    answers: A,
}

impl<A: Answer> Loop<A> {
    fn new(mut listener: TcpListener, answers: A) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, clients: Slab::new(), scratch: vec![0; SCRATCH], dirty: Vec::new(), answers })
    }

    fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(Duration::from_millis(250))) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept_all()?;
                } else {
                    self.serve(event.token().0);
                }
            }
            while let Some(index) = self.dirty.pop() {
                self.flush(index);
            }
        }
        Ok(())
    }

    fn accept_all(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => continue,
                Err(e) => return Err(e),
            };
            stream.set_nodelay(true)?;
            let entry = self.clients.vacant_entry();
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(entry.key()), both)?;
            let (talk, rest, out) = (Talk::default(), Vec::new(), Vec::new());
            entry.insert(Client { stream, talk, rest, out, written: 0, is_dirty: false });
        }
    }

    fn serve(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        if !client.read(&mut self.scratch, &self.answers) {
            self.clients.remove(index);
        } else if !client.out.is_empty() && !client.is_dirty {
            client.is_dirty = true;
            self.dirty.push(index);
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        client.is_dirty = false;
        if !client.write() {
            self.clients.remove(index);
        }
    }
}

impl Client {
    /// Read and answer all that is there; false when the client is gone.
    fn read(&mut self, scratch: &mut [u8], answers: &impl Answer) -> bool {
        loop {
            let kept = self.rest.len();
            scratch[..kept].copy_from_slice(&self.rest);
            let got = match self.stream.read(&mut scratch[kept..]) {
                Ok(0) => return false,
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            let filled = kept + got;
            let mut at = 0;
            while at < filled {
                match answers.answer(&mut self.talk, &scratch[at..filled], &mut self.out) {
                    Ok(Some(length)) => at += length,
                    Ok(None) => break,
                    Err(Hangup) => {
                        self.write();
                        return false;
                    }
                }
            }
            self.rest.clear();
            self.rest.extend_from_slice(&scratch[at..filled]);
            if self.rest.len() == scratch.len() || self.out.len() > MOST_OUTPUT {
                return false;
            }
            if filled < scratch.len() {
                return true; // a short read has drained the socket
            }
        }
    }

    /// Write all the socket takes; false when the client is gone.
    fn write(&mut self) -> bool {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return false,
                Ok(count) => self.written += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.out.clear();
        self.written = 0;
        true
    }
}
