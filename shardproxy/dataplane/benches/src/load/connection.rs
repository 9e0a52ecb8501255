//! One client: a socket, the batch it has sent and the replies that are due.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::batch::Batch;
use super::tally::Tally;
use super::wire::Wire;
use crate::reply::judge;
use crate::workload::Shape;

const INPUT: usize = 16 * 1024; // bytes to start with; grows to one reply when that is larger

#[derive(Debug)]
pub struct Connection {
    pub wire: Wire,
    pub batch: Batch,
    written: usize,
    input: Vec<u8>,
    filled: usize,
    /// Requests of the batch that are answered, and replies of the next one that are in.
    answered: usize,
    replies: usize,
    /// When the batch was due, ns.
    sent_at: u64,
}

/// How a call left the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    /// Every request of the batch is answered.
    Idle,
    /// Closed by the other side, or its bytes are no replies.
    Ended,
}

impl Connection {
    pub fn open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        shape: &Shape,
        pipeline: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            wire: Wire::open(address, tls)?,
            batch: Batch::new(shape, pipeline),
            written: 0,
            input: vec![0; INPUT],
            filled: 0,
            answered: 0,
            replies: 0,
            sent_at: 0,
        })
    }

    /// Send the batch as it is filled now.
    pub fn send(&mut self, due: u64) -> State {
        (self.written, self.answered, self.replies, self.sent_at) = (0, 0, 0, due);
        self.flush()
    }

    /// Write what the socket would not take before.
    pub fn flush(&mut self) -> State {
        if self.wire.flush().is_err() {
            return State::Ended;
        }
        while self.written < self.batch.bytes().len() {
            match self.wire.write(&self.batch.bytes()[self.written..]) {
                Ok(0) => return State::Ended,
                Ok(count) => self.written += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return State::Ended,
            }
        }
        State::Waiting
    }

    /// Read all that is there and judge it; `now` is asked once per read, `count` says whether to count.
    pub fn receive(
        &mut self,
        shape: &Shape,
        verify: bool,
        tally: &mut Tally,
        now: impl Fn() -> u64,
        count: bool,
    ) -> State {
        loop {
            if self.filled == self.input.len() {
                self.input.resize(2 * self.input.len(), 0);
            }
            let room = self.input.len() - self.filled;
            match self.wire.read(&mut self.input[self.filled..]) {
                Ok(0) => return State::Ended,
                Ok(got) => {
                    self.filled += got;
                    let state = self.judge_all(shape, verify, tally, now(), count);
                    if self.wire.has_drained(got, room) || state != State::Waiting {
                        return state; // a short read has drained the socket: the next bytes are a new event
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return State::Waiting,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return State::Ended,
            }
        }
    }

    fn judge_all(&mut self, shape: &Shape, verify: bool, tally: &mut Tally, now: u64, count: bool) -> State {
        let mut at = 0;
        while at < self.filled {
            if self.answered == self.batch.requests() {
                tally.broken(&self.input[at..self.filled]); // nobody asked for this
                return State::Ended;
            }
            let (batch, request) = (&self.batch, self.answered);
            let key = |n: usize| verify.then(|| batch.key(request, &shape.keys[n].name));
            let bytes = &self.input[at..self.filled];
            match judge(shape.replies[self.replies], bytes, key) {
                Ok(Some(verdict)) => {
                    tally.reply(&verdict, &bytes[..verdict.length], count);
                    at += verdict.length;
                    self.replies += 1;
                }
                Ok(None) => break,
                Err(_) => {
                    tally.broken(bytes);
                    return State::Ended;
                }
            }
            if self.replies == shape.replies.len() {
                self.replies = 0;
                self.answered += 1;
                if count {
                    tally.requests += 1;
                    tally.latency.record(now.saturating_sub(self.sent_at));
                }
            }
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        if self.answered == self.batch.requests() {
            State::Idle
        } else {
            State::Waiting
        }
    }

    pub fn unanswered(&self) -> u64 {
        (self.batch.requests() - self.answered) as u64
    }
}
