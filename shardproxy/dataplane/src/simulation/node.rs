//! An engine node: who is connected to it, what they asked and what is on its way to them. What it says, `answer`
//! knows.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

use mio::net::UnixStream;

use super::answer::{self, How, Talk};
use super::ledger::Ledger;
use super::watch::Flag;

pub struct Node {
    pub number: usize,
    pub connections: Vec<Connection>,
    /// It can be connected to.
    pub is_open: bool,
    /// It reads and answers all there is after every turn.
    pub is_diligent: bool,
}

pub struct Connection {
    stream: UnixStream,
    has_unread: Flag,
    input: Vec<u8>,
    pub asked: VecDeque<Vec<Vec<u8>>>,
    output: Vec<u8>,
    pub talk: Talk,
    pub is_memcached: bool,
    /// The request whose beginning it has read is answered already.
    is_ahead: bool,
    /// It says no more and goes when all is said.
    is_ending: bool,
    is_over: bool,
}

impl Node {
    pub const fn new(number: usize) -> Self {
        Self { number, connections: Vec::new(), is_open: true, is_diligent: false }
    }

    pub fn accept(&mut self, stream: UnixStream, has_unread: Flag, is_memcached: bool) {
        self.connections.push(Connection {
            stream,
            has_unread,
            input: Vec::new(),
            asked: VecDeque::new(),
            output: Vec::new(),
            talk: Talk::of(self.number),
            is_memcached,
            is_ahead: false,
            is_ending: false,
            is_over: false,
        });
    }

    /// Those that were closed go; whatever they had asked was executed.
    pub fn bury(&mut self, ledger: &mut Ledger) {
        for connection in self.connections.iter_mut().filter(|connection| connection.is_over) {
            connection.execute_rest(ledger);
        }
        self.connections.retain(|connection| !connection.is_over);
    }

    /// Read, answer and send all there is.
    pub fn serve(&mut self, ledger: &mut Ledger) {
        for connection in &mut self.connections {
            connection.read(usize::MAX);
            while connection.answer(&How::Proper(0), ledger) {}
            connection.send(usize::MAX);
        }
        self.bury(ledger);
    }
}

impl Node {
    pub fn describe(&self) -> String {
        let head = format!("node {}: open {}\n", self.number, self.is_open);
        std::iter::once(head).chain(self.connections.iter().map(Connection::describe)).collect()
    }
}

impl Connection {
    pub fn read(&mut self, most: usize) {
        let mut buffer = [0; 16 * 1024];
        let mut left = most;
        while left > 0 && !self.is_over && self.has_unread.get() {
            let room = left.min(buffer.len());
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => self.is_over = true,
                Ok(n) => {
                    left -= n;
                    self.input.extend_from_slice(&buffer[..n]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.has_unread.set(false),
                Err(_) => self.is_over = true,
            }
        }
        let mut at = 0;
        let take = if self.is_memcached { answer::take_line } else { answer::take_command };
        while let Some((words, length)) = take(&self.input[at..]) {
            at += length;
            if !std::mem::take(&mut self.is_ahead) {
                self.asked.push_back(words);
            }
        }
        self.input.drain(..at);
    }

    /// Answer the oldest request; false if there is none, or it waits for something.
    pub fn answer(&mut self, how: &How, ledger: &mut Ledger) -> bool {
        if self.is_ending || self.talk.is_blocked() {
            return false;
        }
        let Some(words) = self.asked.pop_front() else { return false };
        self.talk.is_left = self.has_unread.is_hung_up() || self.is_over;
        let reply = if self.is_memcached {
            answer::memcached(&words, how, self.talk.is_left, ledger)
        } else {
            answer::redis(&mut self.talk, words, how, ledger)
        };
        self.output.extend_from_slice(&reply);
        true
    }

    pub fn unblock(&mut self, how: usize, ledger: &mut Ledger) {
        self.talk.is_left = self.has_unread.is_hung_up() || self.is_over;
        let reply = self.talk.unblock(how, ledger);
        self.output.extend_from_slice(&reply);
    }

    pub fn publish(&mut self, pick: usize, ledger: &mut Ledger) {
        let message = self.talk.message(pick, ledger);
        self.output.extend_from_slice(&message);
    }

    /// An error about a request of which it has read a part.
    pub fn answer_ahead(&mut self) {
        if self.is_ahead || self.is_ending || !self.asked.is_empty() || self.talk.is_blocked() {
            return;
        }
        if self.is_memcached && answer::is_value_under_way(&self.input) {
            self.output.extend_from_slice(b"SERVER_ERROR object too large for cache\r\n");
            self.is_ahead = true;
        } else if !self.is_memcached && !self.input.is_empty() && self.talk.is_plain() {
            self.output.extend_from_slice(b"-ERR Protocol error: invalid bulk length\r\n");
            self.is_ending = true;
        }
    }

    /// What no engine says. The connection is good for nothing afterwards.
    pub fn say_nonsense(&mut self, which: usize) {
        if self.is_ending {
            return;
        }
        let nonsense: [&[u8]; 4] = [b"nonsense\r\n", b"\r\n\r\n", b"$-7\r\n*x\r\n", b"VALUE\r\n\x00\xff\r\n"];
        self.output.extend_from_slice(nonsense[which % nonsense.len()]);
        self.is_ending = true;
    }

    /// A reply too many, where all that was asked is answered: it is nobody's.
    pub fn say_unasked(&mut self) {
        self.read(usize::MAX);
        let is_idle = self.asked.is_empty() && self.input.is_empty() && self.output.is_empty();
        if is_idle && !self.is_over && !self.is_ending && self.talk.is_plain() {
            self.output.extend_from_slice(if self.is_memcached { b"VA 3\r\nzzz\r\n" } else { b"+zzz\r\n" });
            self.is_ending = true;
        }
    }

    pub fn send(&mut self, most: usize) {
        let mut left = most;
        while left > 0 && !self.output.is_empty() && !self.is_over {
            match self.stream.write(&self.output[..left.min(self.output.len())]) {
                Ok(n) => {
                    self.output.drain(..n);
                    left -= n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.is_over = true,
            }
        }
        self.is_over |= self.is_ending && self.output.is_empty();
    }

    pub fn close(&mut self) {
        self.is_over = true;
    }

    fn execute_rest(&mut self, ledger: &mut Ledger) {
        if self.is_ending {
            return;
        }
        self.talk.is_left = true;
        while let Some(words) = self.asked.pop_front() {
            if self.is_memcached {
                answer::memcached(&words, &How::Proper(0), true, ledger);
            } else if !self.talk.is_blocked() {
                answer::redis(&mut self.talk, words, &How::Proper(0), ledger);
            }
        }
    }

    fn describe(&self) -> String {
        let first = self.asked.front().map(|words| {
            let words: Vec<_> = words.iter().map(|w| String::from_utf8_lossy(&w[..w.len().min(40)])).collect();
            words.join(" ")
        });
        let (input, output) = (self.input.len(), self.output.len());
        format!(
            "  connection: asked {} {first:?}, input {input}, output {output}, blocked {}, ending {}\n",
            self.asked.len(),
            self.talk.is_blocked(),
            self.is_ending
        )
    }
}
