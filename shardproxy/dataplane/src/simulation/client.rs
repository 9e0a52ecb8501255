//! A client of the proxy: its socket, what it has still to send, what it is owed and what it hears.

use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use mio::net::UnixStream;

use super::frame;
use super::model::{is_error, Expect, Shape, Verdict};
use super::request::{Made, Session};
use super::watch::Flag;

pub struct Client {
    pub id: u64,
    stream: Option<UnixStream>,
    has_unread: Flag,
    is_memcached: bool,
    unsent: Vec<u8>,
    /// Bytes it has sent and has still to send.
    queued: u64,
    pub owed: VecDeque<Expect>,
    input: Vec<u8>,
    /// Bytes it has read.
    pub received: usize,
    pub session: Session,
    /// It reads what there is after every turn.
    pub is_reading: bool,
    pub is_half_closed: bool,
    /// It asked for the end of the connection: what else it is owed may be left out.
    is_leaving: bool,
    topics: HashSet<(Vec<u8>, Vec<u8>)>,
    heard: HashSet<u64>,
}

impl Client {
    pub fn new(id: u64, stream: UnixStream, has_unread: Flag, is_memcached: bool) -> Self {
        Self {
            id,
            stream: Some(stream),
            has_unread,
            is_memcached,
            unsent: Vec::new(),
            queued: 0,
            owed: VecDeque::new(),
            input: Vec::new(),
            received: 0,
            session: Session::default(),
            is_reading: true,
            is_half_closed: false,
            is_leaving: false,
            topics: HashSet::new(),
            heard: HashSet::new(),
        }
    }

    pub const fn is_closed(&self) -> bool {
        self.stream.is_none()
    }

    /// Whether it has nothing to send and is owed nothing.
    pub fn is_quiet(&self) -> bool {
        self.is_closed() || (self.unsent.is_empty() || self.is_half_closed) && self.owed.iter().all(|o| o.is_optional)
    }

    pub fn ask(&mut self, made: Made) {
        if self.is_half_closed || self.is_closed() {
            return;
        }
        self.queued += made.bytes.len() as u64;
        self.unsent.extend_from_slice(&made.bytes);
        if let Some(mut expect) = made.expect {
            expect.end = self.queued;
            expect.must_succeed &= !self.is_leaving;
            expect.what = made.bytes[..made.bytes.len().min(80)].to_vec();
            self.owed.push_back(expect);
        }
        self.is_leaving |= made.leaves;
        if self.is_leaving {
            self.owed.iter_mut().for_each(|owed| owed.must_succeed = false);
        }
    }

    /// Send so much of what is to be sent.
    pub fn send(&mut self, most: usize) {
        let Some(stream) = &mut self.stream else { return };
        if self.is_half_closed {
            return;
        }
        let mut left = most;
        while left > 0 && !self.unsent.is_empty() {
            match stream.write(&self.unsent[..left.min(self.unsent.len())]) {
                Ok(sent) => {
                    self.unsent.drain(..sent);
                    left -= sent;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.unsent.clear(); // it was closed: what came before is still to be read
                    self.is_half_closed = true;
                }
            }
        }
    }

    /// Read so much, and judge it.
    pub fn receive(&mut self, most: usize) {
        let mut buffer = [0; 16 * 1024];
        let mut left = most;
        while left > 0 && self.has_unread.get() {
            let Some(stream) = &mut self.stream else { return };
            let room = left.min(buffer.len());
            match stream.read(&mut buffer[..room]) {
                Ok(0) => return self.end(),
                Ok(n) => {
                    self.received += n;
                    self.input.extend_from_slice(&buffer[..n]);
                    self.judge();
                    left -= n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.has_unread.set(false),
                Err(_) => return self.end(),
            }
        }
    }

    fn end(&mut self) {
        self.stream = None;
        self.owed.clear();
        self.unsent.clear();
    }

    pub fn half_close(&mut self) {
        if let Some(stream) = &self.stream {
            let _ = stream.shutdown(Shutdown::Write);
        }
        self.is_half_closed = true;
        let sent = self.queued - self.unsent.len() as u64;
        self.owed.retain(|owed| owed.end <= sent);
    }

    pub fn close(&mut self) {
        self.end();
    }

    fn judge(&mut self) {
        let mut at = 0;
        loop {
            let rest = &self.input[at..];
            if rest.is_empty() {
                break;
            }
            let found = if self.is_memcached { frame::memcached(rest) } else { frame::resp(rest) };
            match found {
                Ok(Some(length)) => {
                    let reply = self.input[at..at + length].to_vec();
                    at += length;
                    self.take(&reply);
                }
                Ok(None) => break,
                Err(garbled) => self.complain(garbled.0, &self.input[at..]),
            }
        }
        self.input.drain(..at);
    }

    fn take(&mut self, reply: &[u8]) {
        if super::is_traced() {
            let start = String::from_utf8_lossy(&reply[..reply.len().min(100)]);
            eprintln!("  client {} gets {start:?}", self.id);
        }
        if !self.is_memcached && self.hears(reply) {
            return;
        }
        loop {
            let sent = self.queued - self.unsent.len() as u64;
            let Some(owed) = self.owed.front_mut() else {
                if self.is_leaving || self.is_half_closed || is_error(reply) {
                    return; // a farewell
                }
                self.complain("a reply to nothing", reply)
            };
            if owed.end > sent && !is_error(reply) && !owed.is_optional {
                self.complain("a reply to what was not sent yet", reply);
            }
            match owed.judge(reply) {
                Ok(Verdict::Done) => {
                    let done = self.owed.pop_front();
                    return self.learn(done, reply);
                }
                Ok(Verdict::More) => return self.note_topic(reply),
                Ok(Verdict::NotMine) => _ = self.owed.pop_front(),
                Err(why) => self.complain(why, reply),
            }
        }
    }

    /// Whether it is a message, which it is to hear once, and only between its subscription and the end of that.
    fn hears(&mut self, reply: &[u8]) -> bool {
        if !matches!(reply[0], b'*' | b'>') {
            return false;
        }
        let elements = frame::elements(reply);
        let kind: &[u8] = match elements.first().map(|word| frame::text(word)) {
            Some(b"message") => b"subscribe",
            Some(b"pmessage") => b"psubscribe",
            Some(b"smessage") => b"ssubscribe",
            _ => return false,
        };
        let topic = (kind.to_vec(), frame::text(elements[1]).to_vec());
        if !self.topics.contains(&topic) {
            self.complain("a message of a topic it does not subscribe to", reply);
        }
        let payload = elements.last().map(|payload| frame::text(payload)).unwrap_or_default();
        let number = std::str::from_utf8(payload).ok().and_then(|text| text.strip_prefix('M')?.parse().ok());
        let Some(number) = number else { self.complain("a message nobody published", reply) };
        if !self.heard.insert(number) {
            self.complain("a message for the second time", reply);
        }
        true
    }

    fn learn(&mut self, done: Option<Expect>, reply: &[u8]) {
        match done.map(|done| done.shape) {
            Some(Shape::Topics(..)) => self.note_topic(reply),
            Some(Shape::Exact(b"+RESET\r\n")) if reply == b"+RESET\r\n" => self.topics.clear(),
            _ => {}
        }
    }

    fn note_topic(&mut self, reply: &[u8]) {
        let elements = frame::elements(reply);
        let [word, name, ..] = elements[..] else { return };
        let (word, name) = (frame::text(word).to_vec(), frame::text(name).to_vec());
        match word.as_slice() {
            b"unsubscribe" => _ = self.topics.remove(&(b"subscribe".to_vec(), name)),
            b"punsubscribe" => _ = self.topics.remove(&(b"psubscribe".to_vec(), name)),
            b"sunsubscribe" => _ = self.topics.remove(&(b"ssubscribe".to_vec(), name)),
            _ => _ = self.topics.insert((word, name)),
        }
    }

    fn complain(&self, why: &str, reply: &[u8]) -> ! {
        let start = String::from_utf8_lossy(&reply[..reply.len().min(300)]);
        panic!("client {}: {why}: {start:?}\n{}", self.id, self.describe());
    }

    pub fn describe(&self) -> String {
        let owed = self.owed.iter().take(5).map(|owed| {
            let what = String::from_utf8_lossy(&owed.what);
            format!("  owed {:?} tokens {:?} for {what:?}\n", owed.shape, owed.tokens)
        });
        let head = format!(
            "client {}: closed {}, half closed {}, unsent {}, owed {}\n",
            self.id,
            self.is_closed(),
            self.is_half_closed,
            self.unsent.len(),
            self.owed.len()
        );
        std::iter::once(head).chain(owed).collect()
    }
}
