//! A fake engine: it remembers every request it saw, and answers as its script says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::proxy::until;

/// What to do about one request.
pub enum Act {
    /// As an ordinary engine: a value is its key, whatever else succeeds, and who blocks waits for ever.
    Serve,
    Say(Vec<u8>),
    /// In two writes, the second a moment later.
    Split(Vec<u8>, usize),
    /// So many bytes at a time, and the pause after each.
    Drip(Vec<u8>, usize, Duration),
    /// Say so much, then close.
    Cut(Vec<u8>),
    /// As a stopped process: from now on no connection is read or answered.
    Freeze,
    /// One after another.
    All(Vec<Act>),
    /// Do nothing before the gate opens.
    Hold(Arc<Gate>, Box<Act>),
}

/// The requests one connection sent, and whether it is closed.
#[derive(Default, Clone)]
pub struct Seen {
    pub requests: Vec<Vec<String>>,
    pub is_closed: bool,
}

type Script = dyn Fn(usize, &[String]) -> Act + Send + Sync;

/// How a connection takes in what it is sent.
#[derive(Default)]
struct Intake {
    /// A longer argument than this makes it say so much and close.
    narrow: Option<(usize, &'static str)>,
    /// A longer argument than this makes it say so much, and pass over the request once the gate is open.
    hasty: Option<(usize, &'static str, Arc<Gate>)>,
    /// Of a longer argument than this it reads so much, and the rest once the gate is open.
    gated: Option<(usize, Arc<Gate>)>,
    /// So many bytes at a time, and the pause after each.
    pace: Option<(usize, Duration)>,
    hears_pings: bool,
    /// It tells of changes to keys. Others do not, and there is nothing for who asks within a transaction what there is;
    /// that is not remembered, for those who wait then do so on connections of their own.
    tracks: bool,
    /// It remembers no request.
    forgets: bool,
}

struct State {
    script: Box<Script>,
    intake: Intake,
    /// Said to whoever connects, before anything is read.
    greeting: Mutex<Option<Vec<u8>>>,
    seen: Mutex<Vec<Seen>>,
    /// Open connections by their numbers.
    streams: Mutex<Vec<(usize, TcpStream)>>,
    /// Requests it answered before it had read them.
    refused: AtomicUsize,
    is_frozen: AtomicBool,
    is_stopped: AtomicBool,
}

pub struct Engine {
    pub address: String,
    state: Arc<State>,
}

impl Engine {
    pub fn plain() -> Self {
        Self::scripted(|_, _| Act::Serve)
    }

    /// `script` is asked with the number of the connection, from 0, and the request.
    pub fn scripted(script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static) -> Self {
        Self::started("127.0.0.1:0", script, Intake::default())
    }

    /// Its script is asked about PING too, which only the proxy sends; the others answer that by themselves.
    pub fn pinged(script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static) -> Self {
        Self::started("127.0.0.1:0", script, Intake { hears_pings: true, ..Intake::default() })
    }

    /// It tells of changes to keys, as its script has it: who waits, waits in the proxy.
    pub fn tracking(script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static) -> Self {
        Self::started("127.0.0.1:0", script, Intake { tracks: true, ..Intake::default() })
    }

    /// It remembers nothing of what it is asked, however much that is.
    pub fn forgetful(script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static) -> Self {
        Self::started("127.0.0.1:0", script, Intake { forgets: true, ..Intake::default() })
    }

    /// A plain one in the place of one that was killed.
    pub fn at(address: &str) -> Self {
        Self::started(address, |_, _| Act::Serve, Intake::default())
    }

    /// As `scripted`, at the address of one that was killed.
    pub fn scripted_at(address: &str, script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static) -> Self {
        Self::started(address, script, Intake::default())
    }

    /// A plain one that says `farewell` and closes when an argument is longer than `limit`.
    pub fn narrow(limit: usize, farewell: &'static str) -> Self {
        Self::started("127.0.0.1:0", |_, _| Act::Serve, Intake { narrow: Some((limit, farewell)), ..Intake::default() })
    }

    /// A plain one that answers a request by `answer` as soon as it sees that an argument is longer than `limit`, and takes
    /// the rest of it when the gate opens.
    pub fn hasty(limit: usize, answer: &'static str, gate: &Arc<Gate>) -> Self {
        let hasty = Some((limit, answer, gate.clone()));
        Self::started("127.0.0.1:0", |_, _| Act::Serve, Intake { hasty, ..Intake::default() })
    }

    /// A plain one that reads long arguments so many bytes at a time, and pauses after each.
    pub fn slow(piece: usize, pause: Duration) -> Self {
        Self::started("127.0.0.1:0", |_, _| Act::Serve, Intake { pace: Some((piece, pause)), ..Intake::default() })
    }

    /// A plain one that reads no more of longer arguments than `limit` bytes before the gate opens.
    pub fn reluctant(limit: usize, gate: &Arc<Gate>) -> Self {
        let intake = Intake { gated: Some((limit, gate.clone())), ..Intake::default() };
        Self::started("127.0.0.1:0", |_, _| Act::Serve, intake)
    }

    fn started(
        address: &str,
        script: impl Fn(usize, &[String]) -> Act + Send + Sync + 'static,
        intake: Intake,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            script: Box::new(script),
            intake,
            greeting: Mutex::default(),
            seen: Mutex::default(),
            streams: Mutex::default(),
            refused: AtomicUsize::new(0),
            is_frozen: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_stopped.load(SeqCst) {
                    return; // and nobody listens any more
                }
                stream.set_nodelay(true).unwrap();
                let number = {
                    let mut seen = shared.seen.lock().unwrap();
                    seen.push(Seen::default());
                    seen.len() - 1
                };
                shared.streams.lock().unwrap().push((number, stream.try_clone().unwrap()));
                let greeting = shared.greeting.lock().unwrap().take();
                if let Some(text) = greeting {
                    let _ = (&stream).write_all(&text);
                    let _ = stream.shutdown(Shutdown::Both);
                    continue;
                }
                let shared = shared.clone();
                thread::spawn(move || serve(number, &stream, &shared));
            }
        });
        Self { address, state }
    }

    /// Say this to the next connection, and close it.
    pub fn turn_away_next(&self, text: &[u8]) {
        *self.state.greeting.lock().unwrap() = Some(text.to_vec());
    }

    pub fn connections(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// All requests, of one connection after another; not those about changes to keys.
    pub fn seen(&self) -> Vec<Vec<String>> {
        let watches =
            |seen: &Seen| seen.requests.iter().any(|request| request[0] == "CLIENT" && request[1] == "TRACKING");
        self.connections().into_iter().filter(|seen| !watches(seen)).flat_map(|seen| seen.requests).collect()
    }

    /// Forget what it saw.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap().iter_mut().for_each(|seen| seen.requests.clear());
    }

    pub fn count(&self, words: &[&str]) -> usize {
        self.seen().iter().filter(|request| *request == words).count()
    }

    /// How often it was asked for this command, whatever its arguments.
    pub fn asked(&self, name: &str) -> usize {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().flat_map(|seen| &seen.requests).filter(|request| request[0] == name).count()
    }

    /// How many requests it answered before it had read them.
    pub fn refused(&self) -> usize {
        self.state.refused.load(SeqCst)
    }

    pub fn has_refused(&self) -> bool {
        self.refused() > 0
    }

    pub fn wait_for(&self, words: &[&str]) {
        until(&format!("the engine sees {words:?}"), || self.count(words) > 0);
    }

    /// Close every connection; new ones are accepted.
    pub fn cut(&self) {
        for (_, stream) in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Publish: every connection that has subscribed to anything and is not closed hears it.
    pub fn publish(&self, channel: &str, payload: &str) {
        self.publish_all(channel, &[payload.to_owned()]);
    }

    /// Several messages in one write.
    pub fn publish_all(&self, channel: &str, payloads: &[String]) {
        self.say_to_subscribers(&payloads.iter().flat_map(|payload| message(channel, payload)).collect::<Vec<u8>>());
    }

    /// The same for a message that is written out already.
    pub fn say_to_subscribers(&self, message: &[u8]) {
        let has_subscribed = |seen: &Seen| seen.requests.iter().any(|request| request[0] == "subscribe");
        for (number, _) in self.connections().iter().enumerate().filter(|(_, seen)| has_subscribed(seen)) {
            self.tell(number, message);
        }
    }

    /// Say this on one connection; it may be closed.
    pub fn tell(&self, connection: usize, bytes: &[u8]) {
        for (_, stream) in self.state.streams.lock().unwrap().iter().filter(|(number, _)| *number == connection) {
            let _ = (&mut &*stream).write_all(bytes);
        }
    }

    /// As a killed process.
    pub fn kill(&self) {
        if !self.state.is_stopped.swap(true, SeqCst) {
            let _ = TcpStream::connect(&self.address); // wakes the accept
            until("the engine is gone", || TcpStream::connect(&self.address).is_err());
        }
        self.cut();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Holds replies back until it opens.
#[derive(Default)]
pub struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn closed() -> Arc<Self> {
        Arc::default()
    }

    pub fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    pub fn pass(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_timeout_while(is_open, Duration::from_secs(10), |open| !*open).unwrap());
    }
}

impl Act {
    pub fn say(text: &str) -> Self {
        Self::Say(text.as_bytes().to_vec())
    }

    pub fn cut(text: &str) -> Self {
        Self::Cut(text.as_bytes().to_vec())
    }

    pub fn behind(self, gate: &Arc<Gate>) -> Self {
        Self::Hold(gate.clone(), Box::new(self))
    }
}

fn serve(number: usize, stream: &TcpStream, state: &State) {
    let mut input = BufReader::new(stream);
    let mut queued = None;
    let mut asked: Option<usize> = None;
    let thawed = || {
        while state.is_frozen.load(SeqCst) && !state.is_stopped.load(SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        true
    };
    while let Some(request) = thawed().then(|| read_request(&mut input, state)).flatten() {
        let Heard::Request(request) = request else { continue };
        if request == ["PING"] && !state.intake.hears_pings {
            let _ = { stream }.write_all(b"+PONG\r\n"); // the proxy asks whether this still lives; no client does
            continue;
        }
        if !state.intake.tracks {
            if let Some(reply) = nothing(&request, &mut asked, &mut queued, (number, state)) {
                let _ = { stream }.write_all(&reply);
                continue;
            }
        }
        if !state.intake.forgets {
            state.seen.lock().unwrap()[number].requests.push(request.clone());
        }
        let act = (state.script)(number, &request);
        if matches!(act, Act::Freeze) {
            state.is_frozen.store(true, SeqCst);
            continue;
        }
        if !perform(act, number, &request, &mut queued, stream) {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    state.seen.lock().unwrap()[number].is_closed = true;
}

fn request_of(word: &str) -> Vec<String> {
    vec![word.to_owned()]
}

const BLOCKING: [&str; 7] = ["BLPOP", "BRPOP", "BLMOVE", "BLMPOP", "BZPOPMIN", "XREAD", "XREADGROUP"];

/// What is said to who asks within a transaction what there is: `asked` counts the commands since MULTI. A transaction of
/// another kind is remembered and served from its second request on.
fn nothing(
    request: &[String],
    asked: &mut Option<usize>,
    queued: &mut Option<Vec<Vec<u8>>>,
    (number, state): (usize, &State),
) -> Option<Vec<u8>> {
    let Some(count) = asked else {
        *asked = (request == ["MULTI"] && matches!((state.script)(number, request), Act::Serve)).then_some(0);
        return asked.map(|_| b"+OK\r\n".to_vec());
    };
    if request == ["EXEC"] && *count > 0 {
        let reply = [format!("*{count}\r\n").into_bytes(), b"*-1\r\n".repeat(*count)].concat();
        *asked = None;
        return Some(reply);
    }
    if *count > 0 || BLOCKING.contains(&request[0].to_uppercase().as_str()) {
        *count += 1;
        return Some(b"+QUEUED\r\n".to_vec());
    }
    *asked = None;
    *queued = Some(Vec::new());
    if !state.intake.forgets {
        state.seen.lock().unwrap()[number].requests.push(request_of("MULTI"));
    }
    None
}

/// Whether the connection goes on.
fn perform(
    act: Act,
    number: usize,
    request: &[String],
    queued: &mut Option<Vec<Vec<u8>>>,
    mut stream: &TcpStream,
) -> bool {
    match act {
        Act::Serve => stream.write_all(&ordinary(number, request, queued)).is_ok(),
        Act::Say(reply) => stream.write_all(&reply).is_ok(),
        Act::Split(reply, at) => {
            let (head, tail) = reply.split_at(at.min(reply.len()));
            let is_open = stream.write_all(head).is_ok();
            thread::sleep(Duration::from_micros(300)); // so that the two arrive apart
            is_open && stream.write_all(tail).is_ok()
        }
        Act::Drip(reply, piece, pause) => reply.chunks(piece).all(|piece| {
            let is_open = stream.write_all(piece).is_ok();
            thread::sleep(pause);
            is_open
        }),
        Act::Cut(reply) => {
            let _ = stream.write_all(&reply);
            false
        }
        Act::Freeze => false,
        Act::All(acts) => acts.into_iter().all(|act| perform(act, number, request, queued, stream)),
        Act::Hold(gate, then) => {
            gate.pass();
            perform(*then, number, request, queued, stream)
        }
    }
}

/// What an ordinary engine says. `queued`: the replies of an open transaction.
fn ordinary(number: usize, request: &[String], queued: &mut Option<Vec<Vec<u8>>>) -> Vec<u8> {
    let name = request[0].to_uppercase();
    if name == "EXEC" {
        let replies = queued.take().unwrap_or_default();
        return [format!("*{}\r\n", replies.len()).into_bytes(), replies.concat()].concat();
    }
    let reply = match name.as_str() {
        "GET" => bulk(&request[1]),
        "MGET" => {
            let values: Vec<u8> = request[1..].iter().flat_map(|key| bulk(key)).collect();
            [format!("*{}\r\n", request.len() - 1).into_bytes(), values].concat()
        }
        "CLIENT" if request[1] == "TRACKING" => b"-ERR unknown subcommand\r\n".to_vec(),
        "CLIENT" => format!(":{}\r\n", number + 1).into_bytes(),
        "DEL" | "EXISTS" => format!(":{}\r\n", request.len() - 1).into_bytes(),
        "BLPOP" if queued.is_some() => b"*-1\r\n".to_vec(),
        "BLPOP" => Vec::new(),
        "PING" => b"+PONG\r\n".to_vec(),
        "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" => confirmation(&request[0], &request[1], 1),
        "UNSUBSCRIBE" | "PUNSUBSCRIBE" | "SUNSUBSCRIBE" => confirmation(&request[0], &request[1], 0),
        "HELLO" => b"%0\r\n".to_vec(),
        "MULTI" => {
            *queued = Some(Vec::new());
            return b"+OK\r\n".to_vec();
        }
        _ => b"+OK\r\n".to_vec(),
    };
    match queued {
        Some(replies) => {
            replies.push(reply);
            b"+QUEUED\r\n".to_vec()
        }
        None => reply,
    }
}

pub fn subscribed(channel: &str) -> Vec<u8> {
    confirmation("subscribe", channel, 1)
}

fn confirmation(word: &str, topic: &str, count: usize) -> Vec<u8> {
    [b"*3\r\n".to_vec(), bulk(word), bulk(topic), format!(":{count}\r\n").into_bytes()].concat()
}

pub fn message(channel: &str, payload: &str) -> Vec<u8> {
    [b"*3\r\n".to_vec(), bulk("message"), bulk(channel), bulk(payload)].concat()
}

pub fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// What a connection was sent.
enum Heard {
    Request(Vec<String>),
    /// Was answered before it was read, and passed over.
    Answered,
}

fn read_request(input: &mut BufReader<&TcpStream>, state: &State) -> Option<Heard> {
    let count = read_count(input, '*')?;
    let (mut words, mut is_answered) = (Vec::new(), false);
    for _ in 0..count {
        words.push(read_word(input, state, &mut is_answered)?);
    }
    Some(if is_answered { Heard::Answered } else { Heard::Request(words) })
}

fn read_word(input: &mut BufReader<&TcpStream>, state: &State, is_answered: &mut bool) -> Option<String> {
    let intake = &state.intake;
    let length = read_count(input, '$')?;
    if let Some((_, farewell)) = intake.narrow.filter(|&(limit, _)| length > limit) {
        let _ = input.get_mut().write_all(farewell.as_bytes());
        thread::sleep(Duration::from_millis(20)); // so that it arrives before the connection breaks
        return None;
    }
    if let Some((_, answer, gate)) = intake.hasty.as_ref().filter(|&&(limit, ..)| length > limit && !*is_answered) {
        input.get_mut().write_all(answer.as_bytes()).ok()?;
        state.refused.fetch_add(1, SeqCst);
        *is_answered = true;
        gate.pass();
    }
    let mut word = vec![0; length + 2];
    if let Some((limit, gate)) = intake.gated.as_ref().filter(|(limit, _)| length > *limit) {
        input.read_exact(&mut word[..*limit]).ok()?;
        gate.pass();
        input.read_exact(&mut word[*limit..]).ok()?;
        word.truncate(length);
        return String::from_utf8(word).ok();
    }
    let (piece, pause) = intake.pace.unwrap_or((word.len(), Duration::ZERO));
    for piece in word.chunks_mut(piece) {
        input.read_exact(piece).ok()?;
        if length > piece.len() {
            thread::sleep(pause);
        }
    }
    word.truncate(word.len() - 2);
    String::from_utf8(word).ok()
}

fn read_count(input: &mut impl BufRead, kind: char) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    line.strip_prefix(kind)?.trim_end().parse().ok()
}
