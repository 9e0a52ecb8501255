//! Requests clients may make, and what each is owed for them.

use super::input::Input;
use super::model::{Expect, Shape};
use super::token;
use super::wire::{command, padded, LONGEST};

/// What a client remembers of what it has asked.
#[derive(Default)]
pub struct Session {
    reply: Reply,
    /// The token of the MULTI that may be under way.
    multi: Option<u64>,
    /// Commands other than those of a subscriber may be refused.
    may_subscribe: bool,
    /// Some may ask for no ordinary reply. Not where the proxy itself may refuse them, in words that no token tells
    /// from those to the next request.
    pub is_quiet: bool,
    /// Its values are no longer.
    pub longest: usize,
    /// Nothing goes wrong: what is asked of nodes succeeds.
    pub is_peaceful: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Reply {
    #[default]
    On,
    Off,
    SkipNext,
}

/// A request, and what is owed for it: nothing where it asks for silence.
pub struct Made {
    pub bytes: Vec<u8>,
    pub expect: Option<Expect>,
    /// It may end the connection.
    pub leaves: bool,
}

/// Tags of keys, over all slots.
const TAGS: [&str; 5] = ["a", "b", "c", "d", "e"];
const LENGTHS: [usize; 24] = [
    0, 0, 0, 0, 0, 0, 0, 0, 10, 10, 100, 1000, 1000, 3000, 5000, 5000, 5000, 20_000, 20_000, 40_000, 70_000, 140_000,
    300_000, LONGEST,
];
const CHANNELS: [&str; 4] = ["news", "sport", "{a}x", "n*"];
pub const DIGEST: &str = "0123456789abcdef0123456789abcdef01234567";

const LOCAL: &[&[&str]] = &[
    &["CLIENT", "ID"],
    &["CLIENT", "GETNAME"],
    &["CLIENT", "NO-EVICT", "ON"],
    &["TIME"],
    &["READONLY"],
    &["READWRITE"],
    &["ASKING"],
    &["CLIENT", "SETINFO", "LIB-NAME", "x"],
    &["AUTH", "default", "x"],
];
const ERRORS: &[&[&str]] =
    &[&["GET"], &["SET", "x"], &["CLIENT", "NOTHING"], &["MGET"], &["DEBUG", "SLEEP"], &["EVALSHA", "x"], &["BLPOP"]];

const SUBSCRIBING: [&[u8]; 6] =
    [b"subscribe", b"psubscribe", b"ssubscribe", b"unsubscribe", b"punsubscribe", b"sunsubscribe"];

impl Session {
    /// As after RESET.
    fn renewed(&self) -> Self {
        let &Self { is_quiet, longest, is_peaceful, .. } = self;
        Self { is_quiet, longest, is_peaceful, ..Self::default() }
    }
}

struct Maker<'s, 'i, 'b> {
    session: &'s mut Session,
    input: &'i mut Input<'b>,
    token: u64,
    text: String,
}

pub fn redis(session: &mut Session, input: &mut Input, tokens: &mut u64) -> Made {
    *tokens += 1;
    let token = *tokens;
    Maker { session, input, token, text: token::text(token) }.redis()
}

pub fn memcached(session: &mut Session, input: &mut Input, tokens: &mut u64) -> Made {
    *tokens += 1;
    let token = *tokens;
    Maker { session, input, token, text: token::text(token) }.memcached()
}

impl Maker<'_, '_, '_> {
    fn key(&mut self, number: usize) -> String {
        let tag = self.input.pick(&TAGS);
        format!("{{{tag}}}{}{number}", self.text)
    }

    fn value(&mut self) -> Vec<u8> {
        let length = self.input.pick(&LENGTHS).min(self.session.longest);
        padded(&self.text, length)
    }

    fn redis(mut self) -> Made {
        if self.session.reply == Reply::Off && self.session.multi.is_none() && self.input.once_in(4) {
            self.session.reply = Reply::On;
            return self.told(command(&["CLIENT", "REPLY", "ON"]), Shape::Exact(b"+OK\r\n"));
        }
        match self.input.below(40) {
            0..=4 => {
                let key = self.key(0);
                self.made(command(&["GET", &key]), Shape::Told(b"$"))
            }
            5..=9 => {
                let (key, value) = (self.key(0), self.value());
                self.made(command(&[b"SET", key.as_bytes(), &value]), Shape::Told(b"+"))
            }
            10 | 11 => self.keys("MGET"),
            12 => self.keys("MSET"),
            13 => self.keys("DEL"),
            14 => self.keys("EXISTS"),
            15 => {
                let (key, own) = (self.key(0), self.token as i64);
                self.made(command(&["INCR", &key]), Shape::Integer(own))
            }
            16 => {
                let text = self.text.clone();
                self.made(command(&["ECHO", &text]), Shape::Told(b"$"))
            }
            17 => self.ping(),
            18..=20 => self.transaction(),
            21 | 22 => {
                let key = self.key(0);
                let timeout = self.input.pick(&["0", "0.2", "2", "30", "9223372036854775807", "-1"]);
                self.made(command(&["BLPOP", &key, timeout]), Shape::Told(b"*_$"))
            }
            23..=25 => self.subscribe(),
            26 => {
                let (channel, text) = (self.input.pick(&CHANNELS), self.text.clone());
                let word = self.input.pick(&["PUBLISH", "SPUBLISH"]);
                self.made(command(&[word, channel, &text]), Shape::Kind(b":"))
            }
            27 | 28 => {
                let key = self.key(0);
                self.made(command(&["EVALSHA", DIGEST, "1", &key]), Shape::Told(b"$"))
            }
            29 => self.reply_mode(),
            30 => self.hello(),
            31 => {
                let text = self.text.clone();
                self.made(command(&["NEW.COMMAND", &text]), Shape::Told(b"$"))
            }
            32 | 33 => self.offloaded(),
            34 => {
                let database = self.input.pick(&["0", "1", "99"]);
                self.made(command(&["SELECT", database]), Shape::Exact(b"+OK\r\n"))
            }
            35 => {
                let words = self.input.pick(LOCAL);
                self.made(command(words), Shape::Kind(b"+$:*_"))
            }
            36 => {
                let words = self.input.pick(ERRORS);
                self.made(command(words), Shape::Exact(b"an error"))
            }
            37 => self.end(),
            38 => {
                let name = vec![b'n'; self.input.pick(&LENGTHS).min(self.session.longest)];
                self.made(command(&[&b"CLIENT"[..], b"SETNAME", &name]), Shape::Exact(b"+OK\r\n"))
            }
            _ => self.made(b"PING\r\n".to_vec(), Shape::Kind(b"+*")),
        }
    }

    fn keys(mut self, word: &str) -> Made {
        let count = self.input.pick(&[1, 2, 3, 5, 9]);
        let mut words = vec![word.as_bytes().to_vec()];
        for number in 0..count {
            words.push(self.key(number).into_bytes());
            if word == "MSET" {
                words.push(self.value());
            }
        }
        let shape = match word {
            "MGET" => Shape::Values(count),
            "MSET" => Shape::Exact(b"+OK\r\n"),
            _ => Shape::Integer(self.token as i64 * count as i64),
        };
        self.made(command(&words), shape)
    }

    fn ping(self) -> Made {
        let text = self.text.clone();
        self.made(command(&["PING", &text]), Shape::Told(b"$*"))
    }

    fn transaction(mut self) -> Made {
        if self.session.multi.is_some() && self.input.once_in(2) {
            return self.exec("EXEC", Shape::Kind(b"*_"));
        }
        match self.input.below(6) {
            0 | 1 => {
                self.session.multi.get_or_insert(self.token);
                self.made(command(&["MULTI"]), Shape::Exact(b"+OK\r\n"))
            }
            2 => self.exec("DISCARD", Shape::Exact(b"+OK\r\n")),
            3 => self.exec("EXEC", Shape::Kind(b"*_")),
            4 => self.made(command(&["UNWATCH"]), Shape::Exact(b"+OK\r\n")),
            _ => {
                let key = self.key(0);
                self.made(command(&["WATCH", &key]), Shape::Exact(b"+OK\r\n"))
            }
        }
    }

    fn exec(self, word: &str, shape: Shape) -> Made {
        let since = self.session.multi.take().unwrap_or(self.token);
        let token = self.token;
        let mut made = self.made(command(&[word]), shape);
        if let Some(expect) = &mut made.expect {
            expect.tokens = since..=token;
        }
        made
    }

    fn subscribe(self) -> Made {
        if self.session.reply != Reply::On {
            return self.ping();
        }
        let word = self.input.pick(&SUBSCRIBING);
        let count = if word.starts_with(b"s") && word != b"subscribe" { 1 } else { self.input.below(3) + 1 };
        let names: Vec<Vec<u8>> = (0..count).map(|_| self.input.pick(&CHANNELS).as_bytes().to_vec()).collect();
        let words: Vec<Vec<u8>> = std::iter::once(word.to_vec()).chain(names.iter().cloned()).collect();
        self.session.may_subscribe = true;
        self.made(command(&words), Shape::Topics(word, names.into(), false))
    }

    fn reply_mode(self) -> Made {
        let is_certain = self.session.multi.is_none() && !self.session.may_subscribe;
        if !is_certain || self.session.reply != Reply::On {
            return self.ping();
        }
        let (mode, word) = if self.input.once_in(2) { (Reply::Off, "OFF") } else { (Reply::SkipNext, "SKIP") };
        self.session.reply = mode;
        Made { bytes: command(&["CLIENT", "REPLY", word]), expect: None, leaves: false }
    }

    fn hello(self) -> Made {
        if self.session.reply != Reply::On {
            return self.ping();
        }
        let version = self.input.pick(&["2", "3", "3"]);
        self.made(command(&["HELLO", version]), Shape::Kind(b"*%"))
    }

    fn offloaded(self) -> Made {
        let text = self.text.clone();
        match self.input.below(5) {
            0 => self.made(command(&["KEYS", &text]), Shape::Told(b"*")),
            1 => self.made(command(&["CONFIG", "GET", &text]), Shape::Told(b"*")),
            2 => self.made(command(&["SCRIPT", "LOAD", &text]), Shape::Kind(b"$")),
            3 => self.made(command(&["FLUSHALL"]), Shape::Kind(b"+")),
            _ => self.made(command(&["WAIT", "1", "0"]), Shape::Kind(b":")),
        }
    }

    fn end(self) -> Made {
        if self.session.reply != Reply::On {
            return self.ping();
        }
        match self.input.below(3) {
            0 => {
                *self.session = self.session.renewed();
                self.made(command(&["RESET"]), Shape::Exact(b"+RESET\r\n"))
            }
            1 => {
                let mut made = self.made(command(&["QUIT"]), Shape::Exact(b"+OK\r\n"));
                made.leaves = true;
                made
            }
            _ => {
                let bytes = self.input.pick(&[&b"*1\r\n$-5\r\n"[..], b"*1\r\nx\r\n", b"GET \"x\r\n"]).to_vec();
                Made { bytes, expect: None, leaves: true }
            }
        }
    }

    fn made(self, bytes: Vec<u8>, shape: Shape) -> Made {
        match self.session.reply {
            Reply::On => self.told(bytes, shape),
            Reply::Off => Made { bytes, expect: None, leaves: false },
            Reply::SkipNext => {
                self.session.reply = Reply::On;
                Made { bytes, expect: None, leaves: false }
            }
        }
    }

    fn told(self, bytes: Vec<u8>, shape: Shape) -> Made {
        let is_of_nodes = matches!(
            shape,
            Shape::Told(b"$" | b"+") | Shape::Integer(_) | Shape::Values(_) | Shape::Get(_) | Shape::Meta(..)
        );
        let is_special = self.session.multi.is_some() || self.session.may_subscribe;
        let expect = Expect {
            what: Vec::new(),
            end: 0,
            tokens: self.token..=self.token,
            shape,
            may_be_queued: self.session.multi.is_some(),
            must_succeed: self.session.is_peaceful && is_of_nodes && !is_special,
            is_optional: false,
        };
        Made { bytes, expect: Some(expect), leaves: false }
    }

    fn memcached(mut self) -> Made {
        let own = self.token;
        match self.input.below(24) {
            0..=4 => {
                let key = self.key(0);
                self.line(&format!("get {key}"), Shape::Get(1))
            }
            5 | 6 => {
                let count = self.input.pick(&[2, 3, 5, 9]);
                let keys: Vec<String> = (0..count).map(|number| self.key(number)).collect();
                let word = self.input.pick(&["get", "gets"]);
                self.line(&format!("{word} {}", keys.join(" ")), Shape::Get(count))
            }
            7 => {
                let key = self.key(0);
                self.line(&format!("gat 10 {key}"), Shape::Get(1))
            }
            8..=11 => self.store("set", ""),
            12 => self.store("add", ""),
            13 => {
                let mut made = self.store("set", " noreply");
                made.expect = None;
                made
            }
            14 => {
                let key = self.key(0);
                self.line(&format!("incr {key} 1"), Shape::Number(own))
            }
            15 => {
                let key = self.key(0);
                let noreply = self.input.once_in(3);
                let mut made = self.line(
                    &format!("delete {key}{}", if noreply { " noreply" } else { "" }),
                    Shape::Line(&[b"DELETED", b"NOT_FOUND"]),
                );
                made.expect = made.expect.filter(|_| !noreply);
                made
            }
            16 => {
                let key = self.key(0);
                self.line(&format!("touch {key} 10"), Shape::Line(&[b"TOUCHED", b"NOT_FOUND"]))
            }
            17 | 18 => {
                let (key, text) = (self.key(0), self.text.clone());
                let is_quiet = self.input.once_in(2) && self.session.is_quiet;
                let quiet = if is_quiet { " q" } else { "" };
                let mut made = self.line(&format!("mg {key} v k O{text}{quiet}"), Shape::Meta(b"VA ", b"EN\r\n"));
                if let Some(expect) = &mut made.expect {
                    expect.is_optional = is_quiet;
                }
                made
            }
            19 => {
                let (key, value, text) = (self.key(0), self.value(), self.text.clone());
                let mut bytes = format!("ms {key} {} O{text}\r\n", value.len()).into_bytes();
                bytes.extend_from_slice(&value);
                bytes.extend_from_slice(b"\r\n");
                self.told(bytes, Shape::Meta(b"HD", b"NS"))
            }
            20 => self.line("mn", Shape::Exact(b"MN\r\n")),
            21 => self.line("flush_all", Shape::Exact(b"OK\r\n")),
            22 => self.line("stats", Shape::Line(&[b"STAT ", b"END"])),
            _ => match self.input.below(6) {
                0 => {
                    let mut made = self.line("quit", Shape::Exact(b""));
                    (made.expect, made.leaves) = (None, true);
                    made
                }
                1 => self.line("version", Shape::Line(&[b"VERSION"])),
                2 => self.line("verbosity 1", Shape::Exact(b"OK\r\n")),
                3 => self.line("get", Shape::Exact(b"ERROR\r\n")),
                4 => self.line("config get cluster", Shape::Line(&[b"CONFIG"])),
                _ => self.line("nothing", Shape::Exact(b"ERROR\r\n")),
            },
        }
    }

    fn line(self, line: &str, shape: Shape) -> Made {
        self.told(format!("{line}\r\n").into_bytes(), shape)
    }

    fn store(mut self, word: &str, noreply: &str) -> Made {
        let (key, value) = (self.key(0), self.value());
        let mut bytes = format!("{word} {key} 0 0 {}{noreply}\r\n", value.len()).into_bytes();
        bytes.extend_from_slice(&value);
        bytes.extend_from_slice(b"\r\n");
        self.told(bytes, Shape::Line(&[b"STORED", b"NOT_STORED"]))
    }
}
