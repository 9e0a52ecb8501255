//! One side of a session without a socket: ciphertext and plaintext in and out of slices.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error};

/// A record adds so much to what it holds, at most.
pub const RECORD_OVERHEAD: usize = 64;
/// Plaintext of a full record.
pub const RECORD: usize = 16 * 1024;

pub enum Engine {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// How far what came has been digested.
pub struct Digested {
    /// So many bytes of it are not needed any more.
    pub used: usize,
    /// The other side says that it sends no more.
    pub is_closed: bool,
}

impl Engine {
    pub fn state(&self) -> &CommonState {
        match self {
            Self::Server(side) => side,
            Self::Client(side) => side,
        }
    }

    /// Digest what came: what it says goes to `told`, what is to be answered is added to `outgoing`, be it why nothing
    /// more of it is digested.
    pub fn digest(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Vec<u8>,
        told: &mut impl FnMut(&[u8]),
    ) -> Result<Digested, Error> {
        match self {
            Self::Server(side) => digest(&mut **side, incoming, outgoing, told),
            Self::Client(side) => digest(&mut **side, incoming, outgoing, told),
        }
    }

    /// Add what `bytes` are as ciphertext to `outgoing`; `incoming` is what came and is not digested.
    pub fn encrypt(&mut self, incoming: &mut [u8], bytes: &[u8], outgoing: &mut Vec<u8>) -> Result<(), Error> {
        let send = &mut |sink: Sink, room: &mut [u8]| sink.encrypt(bytes, room);
        let room = bytes.len() + (bytes.len() / RECORD + 1) * RECORD_OVERHEAD;
        match self {
            Self::Server(side) => produce(&mut **side, incoming, outgoing, room, send),
            Self::Client(side) => produce(&mut **side, incoming, outgoing, room, send),
        }
    }

    /// Add to `outgoing` that no more comes.
    pub fn close(&mut self, incoming: &mut [u8], outgoing: &mut Vec<u8>) -> Result<(), Error> {
        let send = &mut |sink: Sink, room: &mut [u8]| sink.close(room);
        match self {
            Self::Server(side) => produce(&mut **side, incoming, outgoing, RECORD_OVERHEAD, send),
            Self::Client(side) => produce(&mut **side, incoming, outgoing, RECORD_OVERHEAD, send),
        }
    }
}

/// What both sides have in common that their types do not.
trait Side {
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// What is asked of a session that may send.
trait Send {
    fn encrypt(&mut self, bytes: &[u8], room: &mut [u8]) -> Result<usize, EncryptError>;
    fn close(&mut self, room: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Send for rustls::unbuffered::WriteTraffic<'_, Data> {
    fn encrypt(&mut self, bytes: &[u8], room: &mut [u8]) -> Result<usize, EncryptError> {
        Self::encrypt(self, bytes, room)
    }

    fn close(&mut self, room: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(room)
    }
}

type Sink<'a> = &'a mut dyn Send;
/// Asks it for something, in that room; how much of that it takes.
type Produce<'a> = &'a mut dyn FnMut(Sink, &mut [u8]) -> Result<usize, EncryptError>;

fn digest<S: Side>(
    side: &mut S,
    incoming: &mut [u8],
    outgoing: &mut Vec<u8>,
    told: &mut impl FnMut(&[u8]),
) -> Result<Digested, Error> {
    let mut digested = Digested { used: 0, is_closed: false };
    let mut failed = None;
    loop {
        let UnbufferedStatus { discard, state, .. } = side.process(&mut incoming[digested.used..]);
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    digested.used += record.discard;
                    told(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(outgoing, |room| data.encode(room))?,
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => digested.is_closed = true,
            // to a session that takes no early data, none comes
            Ok(_) => {
                digested.used += discard;
                return failed.map_or(Ok(digested), Err);
            }
            // the reason is told, and then the error comes again
            Err(error) if failed.is_some() => return Err(error),
            Err(error) => failed = Some(error),
        }
        digested.used += discard;
    }
}

/// Add what a session that may send makes of something.
fn produce<S: Side>(
    side: &mut S,
    incoming: &mut [u8],
    outgoing: &mut Vec<u8>,
    room: usize,
    send: Produce,
) -> Result<(), Error> {
    loop {
        match side.process(incoming).state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let mut room = room;
                loop {
                    let start = outgoing.len();
                    outgoing.resize(start + room, 0);
                    let made = send(&mut traffic, &mut outgoing[start..]);
                    outgoing.truncate(start + made.as_ref().map_or(0, |made| *made));
                    match made {
                        Ok(_) => return Ok(()),
                        Err(EncryptError::InsufficientSize(error)) => room = error.required_size,
                        Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
                    }
                }
            }
            ConnectionState::EncodeTlsData(mut data) => encode(outgoing, |room| data.encode(room))?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            _ => return Err(Error::General("the session is over".into())),
        }
    }
}

fn encode(outgoing: &mut Vec<u8>, mut data: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) -> Result<(), Error> {
    let start = outgoing.len();
    let mut room = 1024;
    loop {
        outgoing.resize(start + room, 0);
        match data(&mut outgoing[start..]) {
            Ok(made) => {
                outgoing.truncate(start + made);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(error)) => room = error.required_size,
            Err(EncodeError::AlreadyEncoded) => {
                outgoing.truncate(start);
                return Ok(());
            }
        }
    }
}
