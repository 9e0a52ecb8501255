//! An application's connection: plain RESP, every wait with a deadline.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::engine::bulk;
use crate::proxy::PATIENCE;

pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// One whose socket takes little before it is read.
    pub fn connect_narrow(address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket, &address.into())
    }

    /// One that connects from this address of the machine.
    pub fn connect_from(source: &str, address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        Self::over(socket, &address.into())
    }

    pub fn connect_unix(path: &Path) -> Self {
        Self::over(Socket::new(Domain::UNIX, Type::STREAM, None).unwrap(), &SockAddr::unix(path).unwrap())
    }

    fn over(socket: Socket, address: &SockAddr) -> Self {
        socket.connect(address).unwrap();
        let stream = TcpStream::from(OwnedFd::from(socket)); // whatever it is, it is read and written alike
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub fn send(&mut self, words: &[&str]) {
        self.send_all(&[words]);
    }

    /// All in one write.
    pub fn send_all(&mut self, requests: &[&[&str]]) {
        let bytes: Vec<u8> = requests.iter().flat_map(|words| request(words)).collect();
        self.send_bytes(&bytes);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        assert!(self.try_send(bytes), "the connection is closed");
    }

    /// Read so many bytes, whatever they are.
    pub fn take(&mut self, count: usize) {
        self.0.read_exact(&mut vec![0; count]).unwrap();
    }

    pub fn give_up_writing_after(&mut self, limit: Duration) {
        self.0.get_mut().set_write_timeout(Some(limit)).unwrap();
    }

    /// Whether the connection still takes bytes.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.get_mut().write_all(bytes).is_ok()
    }

    /// The connection is broken off: what is under way comes to nothing.
    pub fn reset(self) {
        SockRef::from(self.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// No more requests will come; replies are still read.
    pub fn finish(&mut self) {
        let _ = self.0.get_mut().shutdown(Shutdown::Write); // it may be closed already
    }

    /// The next reply as it came, without its last line end; `<end>` when the connection ended before or within it.
    pub fn reply(&mut self) -> String {
        let mut raw = Vec::new();
        if self.read_reply(&mut raw).is_none() {
            return "<end>".into();
        }
        String::from_utf8_lossy(&raw).trim_end().to_owned()
    }

    /// The next line of a memcached, without its end; `<end>` when the connection ended before or within it.
    pub fn line(&mut self) -> String {
        let mut raw = String::new();
        match self.0.read_line(&mut raw) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                panic!("no line within its time: {error}")
            }
            _ => raw.strip_suffix("\r\n").map_or_else(|| "<end>".into(), str::to_owned),
        }
    }

    /// Whatever has arrived, once something has.
    pub fn arrived(&mut self) -> String {
        let bytes = self.0.fill_buf().unwrap().to_vec();
        self.0.consume(bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    pub fn ask(&mut self, words: &[&str]) -> String {
        self.send(words);
        self.reply()
    }

    fn read_reply(&mut self, raw: &mut Vec<u8>) -> Option<()> {
        let start = raw.len();
        let n = match self.0.read_until(b'\n', raw) {
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("no reply within its time: {error}, after {:?}", String::from_utf8_lossy(raw)),
        };
        if n == 0 || raw.last() != Some(&b'\n') {
            return None;
        }
        let count: i64 = String::from_utf8_lossy(&raw[start + 1..]).trim_end().parse().unwrap_or(-1);
        match raw[start] {
            b'$' if count >= 0 => {
                let filled = raw.len();
                raw.resize(filled + count as usize + 2, 0);
                self.0.read_exact(&mut raw[filled..]).ok()
            }
            b'%' => (0..2 * count).try_for_each(|_| self.read_reply(raw)),
            b'*' | b'>' => (0..count).try_for_each(|_| self.read_reply(raw)),
            b'$' | b'+' | b'-' | b':' | b'_' => Some(()),
            other => panic!("no reply begins with {other}"),
        }
    }
}

pub fn request(words: &[&str]) -> Vec<u8> {
    let arguments: Vec<u8> = words.iter().flat_map(|word| bulk(word)).collect();
    [format!("*{}\r\n", words.len()).into_bytes(), arguments].concat()
}

/// A value as GET answers it.
pub fn value(text: &str) -> String {
    format!("${}\r\n{text}", text.len()).trim_end().to_owned()
}
