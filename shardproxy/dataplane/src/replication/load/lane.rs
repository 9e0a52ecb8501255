//! A pipeline of RESTORE to one target: what was sent, in its order, until it is answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::refusal::told;
use crate::dialect::resp::write::{bulk, decimal};
use crate::net::Wanted;
use crate::replication::end::End;
use crate::replication::node::{Node, NodeError, Stop};
use crate::replication::rdb::{crc64, Record, Used};
use crate::replication::value::Value;

const REACHED: Duration = Duration::from_secs(10);
const ANSWERED: Duration = Duration::from_secs(10);
/// What an engine takes unless told otherwise: `proto-max-bulk-len`.
const MOST: u64 = 512 << 20;
/// Queued before the socket is tried: one call for many requests.
const BATCH: usize = 64 * 1024;
/// A value is given to the socket in such pieces.
const PIECE: usize = 1 << 20;
/// Read at once of replies.
const READ: usize = 64 * 1024;
const OK: &[u8] = b"+OK\r\n";
/// Behind the value of a payload: two bytes of its version, eight of its checksum.
const FOOTER: usize = 10;

/// A request that is not answered.
struct Sent {
    /// Where its record begins in the file.
    start: u64,
    bytes: u32,
    /// None for what is about no key.
    key_length: Option<u32>,
}

pub struct Lane {
    node: Node,
    name: String,
    sent: VecDeque<Sent>,
    /// The keys of `sent`, one behind the other.
    keys: VecDeque<u8>,
    unanswered: usize,
    head: Vec<u8>,
    database: u32,
    version: u16,
    /// The longest argument that the target takes.
    most: u64,
    /// Keys that are restored.
    pub answered: u64,
}

impl Lane {
    pub fn open(end: &End, version: u16, stop: &Stop) -> Result<Self, String> {
        let said = |error: NodeError| error.to_string();
        let mut node = Node::connect(end, stop, REACHED).map_err(said)?;
        let limit = node.ask(&[b"CONFIG", b"GET", b"proto-max-bulk-len"], ANSWERED).map_err(said)?;
        let limit = Value::read(&limit).and_then(|limit| {
            let text = limit.array()?.get(1)?.text()?;
            std::str::from_utf8(text).ok()?.parse().ok()
        });
        Ok(Self {
            node,
            name: end.to_string(),
            sent: VecDeque::new(),
            keys: VecDeque::new(),
            unanswered: 0,
            head: Vec::new(),
            database: 0,
            version,
            most: limit.unwrap_or(MOST), // whoever does not tell has it as it comes
            answered: 0,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes sent, or to be sent, that are not answered.
    pub const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Where the record begins that waits longest for its answer.
    pub fn oldest(&self) -> Option<u64> {
        self.sent.front().map(|sent| sent.start)
    }

    pub fn wanted(&self) -> Wanted {
        self.node.wanted()
    }

    /// Whether enough is queued to be worth a call.
    pub fn is_ripe(&self) -> bool {
        self.node.unsent() >= BATCH
    }

    /// Queue the record that begins at `start`.
    pub fn restore(&mut self, record: &Record, start: u64, replaces: bool) -> Result<(), String> {
        let length = 1 + record.value.len() + FOOTER;
        if length as u64 > self.most {
            let key = super::refusal::shown(record.key);
            let (name, most) = (&self.name, self.most);
            return Err(format!(
                "{name} takes no value of {length} bytes, as the key {key} has, but of {most} at most: \
                 raise its proto-max-bulk-len"
            ));
        }
        self.select(record.database, start);
        let extra = usize::from(replaces) + if record.used.is_some() { 2 } else { 0 };
        let head = &mut self.head;
        head.clear();
        head.push(b'*');
        decimal(head, 5 + extra as u64);
        head.extend_from_slice(b"\r\n$7\r\nRESTORE\r\n");
        bulk(head, record.key);
        let mut ttl = Vec::with_capacity(20);
        decimal(&mut ttl, record.expires.unwrap_or(0));
        bulk(head, &ttl);
        head.push(b'$');
        decimal(head, length as u64);
        head.extend_from_slice(b"\r\n");
        head.push(record.kind);
        let crc = crc64(crc64(0, &[record.kind]), record.value);
        let version = self.version.to_le_bytes();
        let crc = crc64(crc, &version);
        self.node.send_raw(head);
        self.give(record.value)?;
        let (head, node) = (&mut self.head, &mut self.node);
        let begun = head.len() + record.value.len();
        head.clear();
        head.extend_from_slice(&version);
        head.extend_from_slice(&crc.to_le_bytes());
        head.extend_from_slice(b"\r\n$6\r\nABSTTL\r\n");
        if replaces {
            head.extend_from_slice(b"$7\r\nREPLACE\r\n");
        }
        let mut number = Vec::with_capacity(20);
        match record.used {
            Some(Used::Idle(seconds)) => {
                decimal(&mut number, seconds);
                bulk(head, b"IDLETIME");
                bulk(head, &number);
            }
            Some(Used::Often(count)) => {
                decimal(&mut number, u64::from(count));
                bulk(head, b"FREQ");
                bulk(head, &number);
            }
            None => {}
        }
        node.send_raw(head);
        let bytes = begun + head.len();
        self.keys.extend(record.key);
        self.note(start, bytes, Some(record.key.len() as u32));
        Ok(())
    }

    /// Queue a value; a large one is sent in pieces as the target takes them.
    fn give(&mut self, value: &[u8]) -> Result<(), String> {
        if value.len() <= PIECE {
            self.node.send_raw(value);
            return Ok(());
        }
        for piece in value.chunks(PIECE) {
            self.node.send_raw(piece);
            while self.node.unsent() > PIECE {
                self.node.flush().map_err(|error| error.to_string())?;
                if self.node.unsent() > PIECE {
                    self.node.wait(Instant::now() + super::run::SILENCE).map_err(|error| error.to_string())?;
                    self.node.fill(READ).map_err(|error| error.to_string())?;
                    if self.node.is_ended() {
                        return Err(format!("{} closed the connection", self.name));
                    }
                }
            }
        }
        Ok(())
    }

    fn select(&mut self, database: u32, start: u64) {
        if database != self.database {
            self.database = database;
            self.node.send(&[b"SELECT", database.to_string().as_bytes()]);
            self.note(start, 0, None);
        }
    }

    fn note(&mut self, start: u64, bytes: usize, key_length: Option<u32>) {
        self.unanswered += bytes;
        self.sent.push_back(Sent { start, bytes: bytes as u32, key_length });
    }

    /// Send what the socket takes and read what has come, without waiting; whether anything was answered.
    pub fn turn(&mut self) -> Result<bool, String> {
        let said = |error: NodeError| error.to_string();
        self.node.flush().map_err(said)?;
        let mut is_answered = false;
        while self.node.fill(READ).map_err(said)? {
            is_answered |= self.take()?;
        }
        Ok(self.take()? || is_answered)
    }

    /// Look at the replies that have come.
    fn take(&mut self) -> Result<bool, String> {
        let said = |error: NodeError| error.to_string();
        let mut is_answered = false;
        while let Some(reply) = self.node.take().map_err(said)? {
            let Some(sent) = self.sent.front() else {
                return Err(format!("{} answers what it was not asked", self.name));
            };
            let is_key = sent.key_length.is_some();
            let length = sent.key_length.unwrap_or(0) as usize;
            if reply == OK {
                self.answered += u64::from(is_key);
            } else if is_key {
                let key: Vec<u8> = self.keys.iter().copied().take(length).collect();
                return Err(told(&self.name, &key, self.version, reply)); // and it stays: it is what to go on with
            } else {
                let text = String::from_utf8_lossy(reply);
                return Err(format!("{}: {}", self.name, text.trim_start_matches('-').trim_end()));
            }
            is_answered = true;
            self.unanswered -= sent.bytes as usize;
            self.sent.pop_front();
            self.keys.drain(..length);
        }
        Ok(is_answered)
    }

    /// Load a library of functions; all that was sent before is answered.
    pub fn load(&mut self, library: &[u8], replaces: bool) -> Result<(), String> {
        let said = |error: NodeError| error.to_string();
        let words: &[&[u8]] = &[b"FUNCTION", b"LOAD", b"REPLACE", library];
        let without: &[&[u8]] = &[b"FUNCTION", b"LOAD", library];
        let reply = self.node.ask(if replaces { words } else { without }, ANSWERED).map_err(said)?;
        if !reply.starts_with(b"-") {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&reply).trim_start_matches('-').trim_end().to_owned();
        if text.contains("already exists") {
            let found = self.node.ask(&[b"FUNCTION", b"LIST", b"WITHCODE"], ANSWERED).map_err(said)?;
            let mut code = Vec::new();
            bulk(&mut code, library);
            if memchr::memmem::find(&found, &code).is_some() {
                return Ok(()); // the very same is there
            }
            return Err(format!("{}: {text}, and it is another: delete it, or restore with --replace", self.name));
        }
        Err(format!("{} does not take a library of functions: {text}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn a_target_that_says_no_more_and_reads_nothing_ends_it_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = End::plain(&listener.local_addr().unwrap().to_string()).unwrap();
        let (over, is_over) = std::sync::mpsc::channel::<()>();
        let target = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(b"*0\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = is_over.recv();
        });
        let mut lane = Lane::open(&end, 11, &Stop::new().unwrap()).unwrap();
        let value = vec![0; 16 << 20];
        let begun = Instant::now();
        let error = lane.give(&value).unwrap_err();
        assert!(error.contains("closed the connection"), "{error}");
        assert!(begun.elapsed() < super::super::run::SILENCE / 2);
        drop(over);
        target.join().unwrap();
    }
}
