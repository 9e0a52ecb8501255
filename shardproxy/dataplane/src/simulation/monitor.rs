//! A client that monitors: it reads all it is told, and knows a line when it sees one.

use std::io::{ErrorKind, Read, Write};

use mio::net::UnixStream;

pub struct Monitor {
    stream: Option<UnixStream>,
    input: Vec<u8>,
    /// It was told that it monitors.
    is_told: bool,
}

impl Monitor {
    pub fn new(mut stream: UnixStream) -> Self {
        stream.write_all(b"MONITOR\r\n").expect("the socket is empty");
        Self { stream: Some(stream), input: Vec::new(), is_told: false }
    }

    pub const fn is_closed(&self) -> bool {
        self.stream.is_none()
    }

    pub fn close(&mut self) {
        self.stream = None;
    }

    pub fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut buffer) {
                Ok(n @ 1..) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => self.stream = None, // it was closed for want of memory, or drained
            }
        }
        while let Some(end) = memchr::memchr(b'\n', &self.input) {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            self.judge(&line);
        }
    }

    /// A line stands between replies, of which it has one.
    fn judge(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let is_line =
            line.is_ascii() && text.starts_with('+') && text.ends_with("\"\r\n") && text.contains(" unix:] \"");
        let is_answer = ["+OK\r\n", "-TRYAGAIN", "-OOM", "-ERR"].iter().any(|start| text.starts_with(start));
        assert!(if self.is_told { is_line } else { is_answer }, "a client that monitors is told {text:?}");
        self.is_told |= is_answer;
        if is_answer && !text.starts_with("+OK") {
            self.close();
        }
    }
}
