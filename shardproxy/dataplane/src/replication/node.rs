//! A connection to one engine, for a thread that may wait: login, requests in a pipeline, replies in their order.
//!
//! ```text
//!   send ─> outgoing ─ flush ─> socket ─ fill ─> incoming ─ take ─> replies, one after another
//! ```
//!
//! Whoever has several of them waits for all at once (`wanted`) and calls `flush` and `fill`; whoever has one calls `reply`.
//! Nothing waits longer than it is told, nor after the thread was told to stop.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::end::End;
use super::names::Names;
use super::value::Value;
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::resp::write;
use crate::net::{wait_ready, Address, EventFd, Stream, Wanted};

/// Bytes read at once.
const READ: usize = 256 * 1024;
/// The largest reply that holds no value.
const MAX_REPLY: usize = 64 * 1024 * 1024;
/// The largest one: `proto-max-bulk-len` as engines have it, and what a few of its fellows in a transaction take.
const MAX_VALUE: usize = 1024 * 1024 * 1024;
/// What is waited for longer is waited for no longer.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// What a buffer that is empty keeps.
const KEPT: usize = 4 * 1024 * 1024;

/// Why a connection is of no use, or an answer did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeError {
    /// It could not be reached, or has gone: another attempt may do.
    Lost(String),
    /// It did not answer in time.
    Late(String),
    /// It refuses what it was asked, in these words: so it will again.
    Refused(String),
    /// The thread was told to stop.
    Stopped,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(why) | Self::Late(why) | Self::Refused(why) => f.write_str(why),
            Self::Stopped => f.write_str("it was told to stop"),
        }
    }
}

impl std::error::Error for NodeError {}

/// So long from now, a year at most.
pub fn in_time(within: Duration) -> Instant {
    Instant::now() + within.min(LONGEST)
}

/// How a thread is told that there is something new for it, and to end.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Signal>);

#[derive(Debug)]
struct Signal {
    is_over: AtomicBool,
    woken: EventFd,
}

impl Stop {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Signal { is_over: AtomicBool::new(false), woken: EventFd::new()? })))
    }

    /// End the thread: each of its waits ends now.
    pub fn stop(&self) {
        self.0.is_over.store(true, Ordering::Release);
        self.wake();
    }

    /// End the wait it is in, if it waits for several things.
    pub fn wake(&self) {
        self.0.woken.raise();
    }

    pub fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }

    pub fn check(&self) -> Result<(), NodeError> {
        if self.is_over() {
            Err(NodeError::Stopped)
        } else {
            Ok(())
        }
    }

    pub fn wanted(&self) -> Wanted {
        Wanted::read(self.0.woken.as_fd())
    }

    /// It was heard: the next wait lasts until it is woken anew, or at once for ever after `stop`.
    pub fn heard(&self) {
        if !self.is_over() {
            self.0.woken.clear();
        }
    }

    /// Do nothing for so long.
    pub fn rest(&self, pause: Duration) -> Result<(), NodeError> {
        let until = in_time(pause);
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            wait_ready(&mut [self.wanted()], left).map_err(|error| NodeError::Lost(error.to_string()))?;
            self.heard();
        }
    }
}

pub struct Node {
    stream: Stream,
    address: Address,
    stop: Stop,
    outgoing: Vec<u8>,
    sent: usize,
    /// Its first `end` bytes came.
    incoming: Vec<u8>,
    end: usize,
    /// Where the reply begins that is not taken yet, and up to where it is framed.
    start: usize,
    framed: usize,
    framer: ReplyFramer,
    is_ended: bool,
    /// Bytes of a reply.
    most: usize,
}

impl Node {
    /// Connect and log in; `within` is for all of it.
    pub fn connect(end: &End, stop: &Stop, within: Duration) -> Result<Self, NodeError> {
        let until = in_time(within);
        let mut node = Self {
            stream: reach(end, stop, until)?,
            address: end.address.clone(),
            stop: stop.clone(),
            outgoing: Vec::new(),
            sent: 0,
            incoming: Vec::new(),
            end: 0,
            start: 0,
            framed: 0,
            framer: ReplyFramer::new(),
            is_ended: false,
            most: MAX_REPLY,
        };
        if !end.login.is_empty() {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(end.login.iter().map(Vec::as_slice));
            node.send(&words);
            node.accepted(until)?;
        }
        Ok(node)
    }

    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// It is asked for values: its replies may be as large as those.
    pub const fn takes_values(&mut self) {
        self.most = MAX_VALUE;
    }

    /// Queue one request.
    pub fn send(&mut self, words: &[&[u8]]) {
        write::command(&mut self.outgoing, words);
    }

    /// Queue bytes that are requests already.
    pub fn send_raw(&mut self, requests: &[u8]) {
        self.outgoing.extend_from_slice(requests);
    }

    /// Bytes queued that the socket has not taken.
    pub fn unsent(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// What to wait for, beside others.
    pub fn wanted(&self) -> Wanted {
        Wanted::read(self.stream.as_fd()).or_write(self.unsent() > 0 || self.stream.owes())
    }

    /// Give the socket what it takes now.
    pub fn flush(&mut self) -> Result<(), NodeError> {
        self.stream.push_out();
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(0) => return Err(self.lost("it takes nothing")),
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.lost(error)),
            }
        }
        if self.sent == self.outgoing.len() {
            self.sent = 0;
            self.outgoing.clear();
            self.outgoing.shrink_to(KEPT);
        } else if self.sent > KEPT {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Read what has come, up to about so many bytes; whether there may be more. An end shows once all before it is taken.
    pub fn fill(&mut self, most: usize) -> Result<bool, NodeError> {
        if self.is_ended {
            return Ok(false);
        }
        self.make_room();
        let before = self.end;
        while self.end - before < most {
            if self.incoming.len() - self.end < READ {
                self.incoming.resize(self.end + READ, 0);
            }
            let room = self.incoming.len() - self.end;
            match self.stream.read(&mut self.incoming[self.end..]) {
                Ok(0) => {
                    self.is_ended = true;
                    return Ok(false);
                }
                Ok(n) => {
                    self.end += n;
                    if !self.stream.may_have_more(n, room) {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(true)
    }

    /// What came and is not taken.
    pub fn untaken(&self) -> &[u8] {
        &self.incoming[self.start..self.end]
    }

    /// Take so many bytes off what came: of a stream that is not replies.
    pub fn take_bytes(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.framed = self.start;
    }

    /// The other side has said its last, and all of it is taken, or will never be whole.
    pub const fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The next reply, if it has come whole.
    pub fn take(&mut self) -> Result<Option<&[u8]>, NodeError> {
        let (start, buffer) = (self.start, &self.incoming[self.framed..self.end]);
        let scan = match self.framer.scan(buffer) {
            Ok(scan) => scan,
            Err(error) => return Err(self.lost(format_args!("it does not speak RESP: {error}"))),
        };
        self.framed += scan.consumed;
        if scan.complete {
            self.start = self.framed;
            return Ok(Some(&self.incoming[start..self.framed]));
        }
        if self.end - start > self.most {
            // another connection would bring the same again
            return Err(NodeError::Refused(format!("{}: a reply of more than {} MiB", self.address, self.most >> 20)));
        }
        if self.is_ended {
            return Err(self.lost("it closed the connection"));
        }
        Ok(None)
    }

    /// Wait for the next reply; what is queued leaves meanwhile.
    pub fn reply(&mut self, until: Instant) -> Result<Vec<u8>, NodeError> {
        let mut has_more = false;
        loop {
            self.flush()?;
            if let Some(reply) = self.take()? {
                return Ok(reply.to_vec());
            }
            if !has_more {
                self.wait(until)?;
            }
            has_more = self.fill(READ)?;
        }
    }

    /// Wait until there is something to read, or to be written again.
    pub fn wait(&self, until: Instant) -> Result<(), NodeError> {
        self.stop.check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NodeError::Late(format!("{} did not answer in time", self.address)));
        }
        let mut wanted = [self.wanted(), self.stop.wanted()];
        wait_ready(&mut wanted, left).map_err(|error| self.lost(error))?;
        if wanted[1].read {
            self.stop.heard();
        }
        self.stop.check()
    }

    /// Do nothing for so long.
    pub fn rest(&self, pause: Duration) -> Result<(), NodeError> {
        self.stop.rest(pause)
    }

    /// Close it so that what the other side has not taken yet never gets there.
    pub fn cut(self) {
        let _ = SockRef::from(&self.stream.as_fd()).set_linger(Some(Duration::ZERO));
        // else it is only closed
    }

    /// Ask one thing and wait for its reply, which is whole.
    pub fn ask(&mut self, words: &[&[u8]], within: Duration) -> Result<Vec<u8>, NodeError> {
        self.send(words);
        self.reply(in_time(within))
    }

    /// Ask for a text: `INFO`, and what else is one string. An error of the engine's is `Refused`.
    pub fn ask_text(&mut self, words: &[&[u8]], within: Duration) -> Result<String, NodeError> {
        let reply = self.ask(words, within)?;
        match Value::read(&reply) {
            Some(Value::Simple(text) | Value::Bulk(text)) => Ok(String::from_utf8_lossy(text).into_owned()),
            _ => Err(self.refused(&reply)),
        }
    }

    /// Wait for a reply that is no error.
    pub fn accepted(&mut self, until: Instant) -> Result<(), NodeError> {
        let reply = self.reply(until)?;
        if reply.starts_with(b"-") {
            return Err(self.refused(&reply));
        }
        Ok(())
    }

    /// What to make of a reply that is an error, or none that was expected.
    pub fn refused(&self, reply: &[u8]) -> NodeError {
        let text = match Value::read(reply) {
            Some(Value::Error(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => "an unexpected reply".to_owned(),
        };
        let why = format!("{}: {text}", self.address);
        // a node that is not ready says so, and will be
        let is_passing = ["LOADING", "BUSY ", "MASTERDOWN", "NOMASTERLINK", "ERR max number of clients"];
        if is_passing.iter().any(|word| text.starts_with(word)) {
            return NodeError::Lost(why);
        }
        NodeError::Refused(why)
    }

    pub fn lost(&self, why: impl fmt::Display) -> NodeError {
        NodeError::Lost(format!("{}: {why}", self.address))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            self.end = 0;
            if self.incoming.len() > KEPT {
                self.incoming = Vec::new();
            }
        } else if self.start > READ.max(self.end / 2) {
            self.incoming.copy_within(self.start..self.end, 0);
            self.end -= self.start;
        } else {
            return;
        }
        self.framed -= self.start;
        self.start = 0;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.address)
    }
}

/// Connect, and shake hands where TLS is spoken. Each address of a name is tried, for its part of the time that is left.
fn reach(end: &End, stop: &Stop, until: Instant) -> Result<Stream, NodeError> {
    let candidates = match &end.address {
        Address::Name(host, port) => {
            let asks = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
            let found = Names::shared()?.find(host, *port, stop, asks)?;
            found.into_iter().map(Address::Ip).collect()
        }
        other => vec![other.clone()],
    };
    reach_any(&candidates, end, stop, until)
}

fn reach_any(candidates: &[Address], end: &End, stop: &Stop, until: Instant) -> Result<Stream, NodeError> {
    let mut why = NodeError::Lost(format!("{}: the name has no address", end.address));
    for (at, candidate) in candidates.iter().enumerate() {
        let now = Instant::now();
        let part = until.saturating_duration_since(now) / u32::try_from(candidates.len() - at).unwrap_or(u32::MAX);
        match reach_one(candidate, end, stop, now + part) {
            Ok(stream) => return Ok(stream),
            Err(error @ (NodeError::Lost(_) | NodeError::Late(_))) => why = error,
            Err(error) => return Err(error),
        }
    }
    Err(why)
}

fn reach_one(address: &Address, end: &End, stop: &Stop, until: Instant) -> Result<Stream, NodeError> {
    let lost = |error: io::Error| NodeError::Lost(format!("{}: {error}", end.address));
    let mut stream = Stream::connect(address).map_err(lost)?;
    let mut is_open = false;
    let mut secure = end.secure().map_err(NodeError::Refused)?;
    loop {
        stop.check()?;
        if stream.connected().map_err(lost)? {
            let Some(secure) = secure.take() else { return Ok(stream) };
            stream = stream.secured(secure).map_err(lost)?;
            is_open = true;
            continue;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NodeError::Late(format!("{} was not reached in time", end.address)));
        }
        let wanted = Wanted::read(stream.as_fd()).or_write(!is_open || stream.owes());
        let mut wanted = [wanted, stop.wanted()];
        wait_ready(&mut wanted, left).map_err(lost)?;
        if wanted[1].read {
            stop.heard();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    /// What an engine does with one connection.
    fn engine(act: impl FnOnce(TcpStream) + Send + 'static) -> End {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = End::plain(&listener.local_addr().unwrap().to_string()).unwrap();
        thread::spawn(move || act(listener.accept().unwrap().0));
        end
    }

    fn connect(end: &End) -> (Node, Stop) {
        let stop = Stop::new().unwrap();
        (Node::connect(end, &stop, SOON).unwrap(), stop)
    }

    #[test]
    fn replies_come_in_their_order_however_they_are_cut() {
        let end = engine(|mut stream| {
            let mut asked = [0; 64];
            let mut came = 0;
            while came < 2 * b"*1\r\n$4\r\nPING\r\n".len() {
                came += stream.read(&mut asked[came..]).unwrap();
            }
            for byte in b"+PONG\r\n*2\r\n$3\r\na\r\n\r\n:1\r\n" {
                stream.write_all(&[*byte]).unwrap();
            }
        });
        let (mut node, _stop) = connect(&end);
        node.send(&[b"PING"]);
        node.send(&[b"PING"]);
        let until = Instant::now() + SOON;
        assert_eq!(node.reply(until).unwrap(), b"+PONG\r\n");
        assert_eq!(node.reply(until).unwrap(), b"*2\r\n$3\r\na\r\n\r\n:1\r\n");
        assert!(matches!(node.reply(until), Err(NodeError::Lost(why)) if why.ends_with("it closed the connection")));
    }

    #[test]
    fn more_than_sockets_take_goes_both_ways_at_once() {
        const COUNT: usize = 200;
        let body = vec![b'x'; 100_000];
        let expected = body.clone();
        let end = engine(|mut stream| {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
        });
        let (mut node, _stop) = connect(&end);
        for _ in 0..COUNT {
            node.send(&[&body]); // which comes back as it is
        }
        for _ in 0..COUNT {
            let reply = node.reply(Instant::now() + SOON).unwrap();
            let value = Value::read(&reply).unwrap();
            assert_eq!(value.array().unwrap()[0], Value::Bulk(&expected));
        }
        assert_eq!((node.unsent(), node.untaken().len()), (0, 0));
    }

    #[test]
    fn who_is_silent_is_late_and_who_is_stopped_waits_no_more() {
        let end = engine(|mut stream| {
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let (mut node, stop) = connect(&end);
        let late = node.ask(&[b"PING"], Duration::from_millis(20));
        assert!(matches!(late, Err(NodeError::Late(_))), "{late:?}");
        let waiting = thread::spawn(move || node.ask(&[b"PING"], Duration::from_secs(3600)));
        stop.stop();
        assert_eq!(waiting.join().unwrap(), Err(NodeError::Stopped));
        assert_eq!(stop.rest(Duration::from_secs(3600)), Err(NodeError::Stopped));
        assert_eq!(Node::connect(&end, &stop, SOON).unwrap_err(), NodeError::Stopped);
    }

    #[test]
    fn a_login_is_said_first_and_its_refusal_told() {
        for (answer, expected) in [
            (&b"+OK\r\n"[..], None),
            (b"-WRONGPASS no\r\n", Some("WRONGPASS no")),
            (b"-LOADING later\r\n", Some("LOADING later")),
        ] {
            let mut end = engine(move |mut stream| {
                let wanted = b"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n";
                let mut said = vec![0; wanted.len()];
                stream.read_exact(&mut said).unwrap();
                assert_eq!(said, wanted);
                stream.write_all(answer).unwrap();
                let _ = stream.read(&mut [0]);
            });
            end.login = vec![b"u".to_vec(), b"p".to_vec()];
            let told = Node::connect(&end, &Stop::new().unwrap(), SOON).err().map(|error| error.to_string());
            assert_eq!(told, expected.map(|text| format!("{end}: {text}")));
        }
    }

    #[test]
    fn who_cannot_be_reached_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = End::plain(&listener.local_addr().unwrap().to_string()).unwrap();
        drop(listener);
        let error = Node::connect(&end, &Stop::new().unwrap(), SOON).unwrap_err();
        assert!(matches!(&error, NodeError::Lost(why) if why.starts_with(&end.to_string())), "{error}");
    }

    #[test]
    fn an_address_that_is_silent_leaves_time_for_the_next() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let speaks = TcpListener::bind("127.0.0.1:0").unwrap();
        let full = fill_backlog(&silent);
        let end = End::plain("localhost:1").unwrap();
        let addresses = [&silent, &speaks].map(|one| Address::Ip(one.local_addr().unwrap()));
        let stop = Stop::new().unwrap();
        let begun = Instant::now();
        let reached = reach_any(&addresses, &end, &stop, begun + Duration::from_millis(600));
        assert!(reached.is_ok() && begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
        drop(full);
    }

    /// Have a listener that accepts nobody take nobody any more.
    #[allow(unsafe_code)]
    fn fill_backlog(listener: &TcpListener) -> Vec<TcpStream> {
        use std::os::fd::AsRawFd;
        // SAFETY: it is a listening socket; its queue becomes as short as can be.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let address = listener.local_addr().unwrap();
        let connects = || TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
        std::iter::from_fn(connects).take(64).collect()
    }

    #[test]
    fn times_that_cannot_be_are_long_ones() {
        let stop = Stop::new().unwrap();
        stop.stop();
        assert_eq!(stop.rest(Duration::MAX), Err(NodeError::Stopped));
        assert!(in_time(Duration::MAX) > Instant::now());
    }

    #[test]
    fn only_who_is_asked_for_values_may_say_as_much() {
        let announced = format!("${}\r\n", 6 << 20);
        for takes_values in [false, true] {
            let announced = announced.clone();
            let end = engine(move |mut stream| {
                stream.write_all(announced.as_bytes()).unwrap();
                let body = vec![b'x'; 1 << 20];
                while stream.write_all(&body).is_ok() {}
            });
            let (mut node, _stop) = connect(&end);
            assert_eq!(node.most, MAX_REPLY);
            node.most = 4 << 20;
            if takes_values {
                node.takes_values();
            }
            let reply = node.reply(Instant::now() + SOON);
            match (takes_values, reply) {
                (false, Err(NodeError::Refused(why))) => assert!(why.contains("more than 4 MiB"), "{why}"),
                (true, Err(NodeError::Lost(why))) => assert!(why.contains("RESP"), "{why}"),
                (_, reply) => panic!("{takes_values} {:?}", reply.map(|reply| reply.len())),
            }
        }
    }

    #[test]
    fn what_is_no_reply_loses_the_connection() {
        let end = engine(|mut stream| {
            stream.write_all(b"HTTP/1.1 400\r\n").unwrap();
            let _ = stream.read(&mut [0]);
        });
        let (mut node, _stop) = connect(&end);
        let error = node.ask(&[b"PING"], SOON).unwrap_err();
        assert!(error.to_string().contains("does not speak RESP"), "{error}");
    }
}
