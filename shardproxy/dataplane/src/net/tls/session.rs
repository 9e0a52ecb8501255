//! A TLS session over a TCP socket, to whoever reads and writes it much like the socket alone.
//!
//! ```text
//!   read:   socket ─ ciphertext ─> scratch ─> records ─> plaintext ─> the caller's buffer
//!                     incoming: the record that is incomplete        plain: what found no room there
//!   write:  the caller's bytes ─> records ─> socket
//!                                   outgoing: what it did not take
//! ```
//!
//! An idle session holds none of these buffers: those that work are the thread's.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};

use super::engine::{Engine, RECORD, RECORD_OVERHEAD};
use super::fault::CLOSED;
use super::{Certificate, Fault};

/// Ciphertext that is read at once. Records may be as small as a byte, so this bounds how long it takes.
const READ: usize = 64 * 1024;
/// The socket is read so often in one read while nothing comes of it.
const ROUNDS: usize = 16;
/// Plaintext that is encrypted at once, and so about what waits for the socket at most.
const WRITE: usize = 4 * RECORD;
/// All that may come before a session is there: two hellos, and a long chain of certificates.
const HANDSHAKE: usize = 64 * 1024;
/// What a client's first record begins with: it is one of a handshake.
const HELLO: u8 = 0x16;
/// Answers that the other side provokes and does not read.
const UNREAD: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static MADE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub struct Tls {
    socket: TcpStream,
    engine: Engine,
    /// What a client is served with.
    served_by: Option<Arc<ServerConfig>>,
    /// What came and is no complete record, or no complete message of the handshake.
    incoming: Vec<u8>,
    /// What was decrypted and not asked for yet.
    plain: Vec<u8>,
    /// What the socket did not take, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    /// The last byte given to `write` is in `outgoing`, and was not told as written yet: so that whoever has more to write
    /// waits until the socket takes more, and whoever has no more has this byte.
    owes_byte: bool,
    /// The handshake is done.
    is_open: bool,
    /// Nothing more comes: the other side said so, or the socket. It may be told something all the same.
    is_ended: bool,
    /// The other side was told that it is told no more.
    has_said_end: bool,
    /// There may be more to read of which no event tells.
    has_more: bool,
    /// Bytes of the handshake that came.
    came: usize,
}

impl Tls {
    pub fn accept(socket: TcpStream, config: Arc<ServerConfig>) -> Result<Self, Fault> {
        let side = UnbufferedServerConnection::new(config.clone()).map_err(|error| Fault::from(&error))?;
        Ok(Self::new(socket, Engine::Server(Box::new(side)), Some(config)))
    }

    pub fn connect(socket: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Fault> {
        let side = UnbufferedClientConnection::new(config, name).map_err(|error| Fault::from(&error))?;
        Ok(Self::new(socket, Engine::Client(Box::new(side)), None))
    }

    const fn new(socket: TcpStream, engine: Engine, served_by: Option<Arc<ServerConfig>>) -> Self {
        Self {
            socket,
            engine,
            served_by,
            incoming: Vec::new(),
            plain: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            owes_byte: false,
            is_open: false,
            is_ended: false,
            has_said_end: false,
            has_more: false,
            came: 0,
        }
    }

    pub const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub const fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Go on with the handshake as far as that can be now; whether it is done. Reads once, so that it takes a bounded time;
    /// with `has_more` there may be more to read.
    pub fn shake(&mut self) -> Result<bool, Fault> {
        if self.is_open {
            return Ok(true);
        }
        if matches!(self.engine, Engine::Client(_)) && self.came == 0 && self.outgoing.is_empty() && self.sent == 0 {
            self.digest_handshake(&mut [])?;
        }
        if !self.flush_quietly()? {
            return Ok(false);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ + HANDSHAKE, 0);
            let kept = self.incoming.len();
            let most = HANDSHAKE - self.came;
            if most == 0 {
                return Err(Fault::new("the handshake is too long"));
            }
            match (&self.socket).read(&mut scratch[kept..kept + most]) {
                Ok(0) => Err(Fault::new(CLOSED)),
                Ok(n) => {
                    self.has_more = n == most;
                    let is_first = self.came == 0;
                    self.came += n;
                    if is_first && scratch[kept] != HELLO && matches!(self.engine, Engine::Server(_)) {
                        return Err(Fault::plain());
                    }
                    scratch[..kept].copy_from_slice(&self.incoming);
                    self.digest_handshake(&mut scratch[..kept + n])
                }
                Err(error) if is_later(&error) => {
                    self.has_more = false;
                    Ok(false)
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Whether the socket has not taken all there was to say.
    pub const fn is_blocked(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Whether anything has come yet.
    pub const fn has_begun(&self) -> bool {
        self.came > 0
    }

    fn digest_handshake(&mut self, came: &mut [u8]) -> Result<bool, Fault> {
        let result = self.digest(came, &mut []);
        let is_out = self.flush_quietly();
        match result {
            Err(error) => Err(Fault::from(&error)),
            Ok(_) if self.engine.state().is_handshaking() => {
                is_out?;
                Ok(false)
            }
            Ok(_) => {
                is_out?;
                self.is_open = true;
                self.has_more |= !self.plain.is_empty() || self.is_ended;
                Ok(true)
            }
        }
    }

    /// Digest what came, into `buffer` as far as there is room; how much of that is filled.
    fn digest(&mut self, came: &mut [u8], buffer: &mut [u8]) -> Result<usize, Error> {
        let Self { engine, plain, outgoing, .. } = self;
        let mut filled = 0;
        let digested = engine.digest(came, outgoing, &mut |bytes| {
            let room = bytes.len().min(buffer.len() - filled);
            buffer[filled..filled + room].copy_from_slice(&bytes[..room]);
            plain.extend_from_slice(&bytes[room..]);
            filled += room;
        })?;
        self.is_ended |= digested.is_closed;
        let rest = &came[digested.used..];
        if rest.is_empty() {
            self.incoming = Vec::new();
        } else {
            self.incoming.clear();
            self.incoming.extend_from_slice(rest);
        }
        Ok(filled)
    }

    /// What the other side has sent, as reading a socket gives it; where there is nothing yet, `has_more` tells whether the
    /// socket may have more all the same. What stands before the handshake is read as it is.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if !self.is_open && self.came == 0 {
            return self.socket.read(buffer);
        }
        if !self.plain.is_empty() {
            let n = self.plain.len().min(buffer.len());
            buffer[..n].copy_from_slice(&self.plain[..n]);
            self.plain.drain(..n);
            if self.plain.is_empty() {
                self.plain = Vec::new();
            }
            self.has_more = true;
            return Ok(n);
        }
        if self.is_ended {
            return Ok(0);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ + HANDSHAKE, 0);
            for _ in 0..ROUNDS {
                let kept = self.incoming.len();
                if kept > HANDSHAKE {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
                }
                let n = match (&self.socket).read(&mut scratch[kept..kept + READ]) {
                    Ok(n) => n,
                    Err(error) => {
                        self.has_more = false;
                        return Err(error);
                    }
                };
                self.is_ended = n == 0;
                scratch[..kept].copy_from_slice(&self.incoming);
                let result = self.digest(&mut scratch[..kept + n], buffer);
                if !self.outgoing.is_empty() {
                    self.flush_quietly()?;
                    if self.outgoing.len() - self.sent > UNREAD + WRITE + WRITE / RECORD * RECORD_OVERHEAD {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "it reads no answers"));
                    }
                }
                let filled = result.map_err(|error| io::Error::from(Fault::from(&error)))?;
                self.has_more = n == READ || !self.plain.is_empty() || self.is_ended;
                if filled > 0 || self.is_ended {
                    return Ok(filled);
                }
                // be it part of a record: the socket alone knows whether there is more, as the end that came with it
            }
            self.has_more = true;
            Err(io::ErrorKind::WouldBlock.into())
        })
    }

    /// Whether there may be more than the last `read` gave, of which no event tells.
    pub const fn has_more(&self) -> bool {
        self.has_more
    }

    /// Send bytes as writing them to a socket does: so many of them have left. What did not is presented again, even if it
    /// is none but the last byte.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.flush()?;
        let told = usize::from(mem::take(&mut self.owes_byte));
        let fresh = &bytes[told..];
        if fresh.is_empty() {
            return Ok(told);
        }
        let fresh = &fresh[..fresh.len().min(WRITE)];
        let is_out = self.send(|engine, incoming, made| engine.encrypt(incoming, fresh, made))?;
        self.owes_byte = !is_out;
        match told + fresh.len() - usize::from(!is_out) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }

    pub fn write_vectored(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(READ + HANDSHAKE, 0);
            let mut filled = 0;
            for slice in slices {
                let room = slice.len().min(WRITE - filled);
                scratch[filled..filled + room].copy_from_slice(&slice[..room]);
                filled += room;
            }
            self.write(&scratch[..filled])
        })
    }

    /// Make ciphertext and give it to the socket; whether that took all of it. Nothing older waits.
    fn send(
        &mut self,
        make: impl FnOnce(&mut Engine, &mut [u8], &mut Vec<u8>) -> Result<(), Error>,
    ) -> io::Result<bool> {
        MADE.with_borrow_mut(|made| {
            made.clear();
            make(&mut self.engine, &mut self.incoming, made).map_err(io::Error::other)?;
            let mut sent = 0;
            while sent < made.len() {
                match (&self.socket).write(&made[sent..]) {
                    Ok(n) => sent += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            self.outgoing.extend_from_slice(&made[sent..]);
            Ok(sent == made.len())
        })
    }

    /// Give the socket what waits for it; an error when it does not take all.
    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            match (&self.socket).write(&self.outgoing[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent > 0 {
            self.outgoing = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// The same; whether all is out.
    fn flush_quietly(&mut self) -> io::Result<bool> {
        match self.flush() {
            Ok(()) => Ok(true),
            Err(error) if is_later(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Give the socket what waits for it, as far as it takes that.
    pub fn push_out(&mut self) {
        let _ = self.flush_quietly();
    }

    /// No more comes: the other side is told so, if its socket takes that.
    pub fn shutdown_write(&mut self) {
        self.say_end();
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn say_end(&mut self) {
        let can_say = self.is_open && !self.has_said_end && !self.engine.state().wants_write();
        if can_say && self.flush_quietly().unwrap_or(false) {
            self.has_said_end = true;
            let _ = self.send(Engine::close);
        }
    }

    /// Say something to who does not speak TLS.
    pub fn say_plainly(&self, bytes: &[u8]) {
        let _ = (&self.socket).write(bytes);
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Bytes of buffers it holds.
    pub const fn held(&self) -> usize {
        self.incoming.capacity() + self.plain.capacity() + self.outgoing.capacity()
    }

    /// What the other side's certificate says, if it showed one; it is verified.
    pub fn peer_certificate(&self) -> Option<Certificate> {
        Certificate::read(self.engine.state().peer_certificates()?.first()?)
    }

    /// Whether a client is served with this, and no other.
    pub fn is_served_by(&self, config: &Arc<ServerConfig>) -> bool {
        self.served_by.as_ref().is_some_and(|served_by| Arc::ptr_eq(served_by, config))
    }

    /// Whether the session goes on from an earlier one.
    pub fn is_resumed(&self) -> bool {
        self.engine.state().handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// A connection that is closed for a reason of ours ends as one that has nothing more to say, so that the other side takes
/// that for no attack; and one that the other side ends is ended by both.
impl Drop for Tls {
    fn drop(&mut self) {
        self.say_end();
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("socket", &self.socket).finish_non_exhaustive()
    }
}
