//! What engines say: properly, or that they would rather not. Knows nothing of sockets.

use super::ledger::Ledger;
use super::request::DIGEST;
use super::token;
use super::wire::{bulk, bulk_of, padded};
use crate::model::RESERVED;

/// How one request is answered.
pub enum How {
    /// As asked, values so long.
    Proper(usize),
    /// It was not executed, and may be in a moment.
    Refusal(usize),
    Error,
    /// A value that is not there.
    Miss,
}

const REFUSALS: [&str; 7] = [
    "-READONLY You can't write against a read only replica.\r\n",
    "-LOADING Redis is loading the dataset in memory\r\n",
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
    "-NOREPLICAS Not enough good replicas to write.\r\n",
    "-CLUSTERDOWN The cluster is down\r\n",
    "-TRYAGAIN in a moment\r\n",
    "-BUSY Redis is busy running a script.\r\n",
];

/// What one connection has agreed on.
pub struct Talk {
    node: usize,
    resp: u8,
    multi: Option<Multi>,
    blocked: Option<Vec<Vec<u8>>>,
    /// The database it was last told to select.
    db: Vec<u8>,
    /// Topics by the words of their messages.
    topics: Vec<(&'static str, Vec<u8>)>,
    /// Keys whose next change it is told.
    watched: Option<Vec<Vec<u8>>>,
    /// The proxy has closed the connection: what is read now was sent before.
    pub is_left: bool,
}

#[derive(Default)]
struct Multi {
    replies: Vec<u8>,
    count: usize,
    writes: Vec<Vec<u8>>,
    /// Keys of whose elements some are taken.
    popped: Vec<Vec<u8>>,
    is_refused: bool,
    db: Option<Vec<u8>>,
}

/// The words of a whole command at the front, and its length.
pub fn take_command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let number = |at: usize| -> Option<(usize, usize)> {
        let end = memchr::memchr(b'\n', bytes.get(at..)?)? + at;
        Some((std::str::from_utf8(&bytes[at + 1..end - 1]).ok()?.parse().ok()?, end + 1))
    };
    let (count, mut at) = number(0)?;
    assert_eq!(
        bytes[0],
        b'*',
        "the proxy sent no command: {:?}",
        String::from_utf8_lossy(&bytes[..bytes.len().min(99)])
    );
    let mut spans = Vec::new();
    for _ in 0..count {
        let (length, start) = number(at)?;
        at = start + length + 2;
        spans.push(start..start + length);
    }
    (at <= bytes.len()).then(|| (spans.into_iter().map(|span| bytes[span].to_vec()).collect(), at))
}

/// The words of a whole memcached request at the front, and its length with its data.
pub fn take_line(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let end = memchr::memchr(b'\n', bytes)? + 1;
    let words: Vec<Vec<u8>> = bytes[..end].trim_ascii_end().split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect();
    let length = end + value_length(&words).map_or(0, |length| length + 2);
    (length <= bytes.len()).then_some((words, length))
}

fn value_length(words: &[Vec<u8>]) -> Option<usize> {
    let at = match words.first().map(Vec::as_slice) {
        Some(b"set" | b"add") => 4,
        Some(b"ms") => 2,
        _ => return None,
    };
    std::str::from_utf8(words.get(at)?).ok()?.parse().ok()
}

/// Whether the bytes are those of a request with a value, of which some is still to come.
pub fn is_value_under_way(bytes: &[u8]) -> bool {
    memchr::memchr(b'\n', bytes).is_some() && (bytes.starts_with(b"set ") || bytes.starts_with(b"ms "))
}

fn is_write(word: &str) -> bool {
    matches!(word, "SET" | "MSET" | "DEL" | "INCR" | "EVALSHA" | "PUBLISH" | "SPUBLISH")
}

impl Talk {
    pub const fn of(node: usize) -> Self {
        let (multi, blocked, watched) = (None, None, None);
        Self { node, resp: 2, multi, blocked, db: Vec::new(), topics: Vec::new(), watched, is_left: false }
    }

    pub const fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Neither in a transaction nor blocked nor a subscriber.
    pub fn is_plain(&self) -> bool {
        self.multi.is_none() && self.blocked.is_none() && self.topics.is_empty() && self.watched.is_none()
    }

    fn null(&self) -> Vec<u8> {
        if self.resp == 3 {
            b"_\r\n".to_vec()
        } else {
            b"*-1\r\n".to_vec()
        }
    }

    /// A key somebody waits for gets an element.
    fn push(&mut self, ledger: &mut Ledger) -> Vec<u8> {
        let Some(key) = self.watched.as_mut().and_then(Vec::pop) else { return Vec::new() };
        let mut told = b">2\r\n$10\r\ninvalidate\r\n*1\r\n".to_vec();
        bulk(&mut told, &key);
        ledger.there.insert(key);
        told
    }

    /// Whoever is blocked gets a value, or nothing, or hears that the node is no primary any more.
    pub fn unblock(&mut self, how: usize, ledger: &mut Ledger) -> Vec<u8> {
        if self.watched.is_some() && how == 0 {
            return self.push(ledger);
        }
        let Some(words) = self.blocked.take() else { return Vec::new() };
        match how {
            0 => {}
            1 => return self.null(),
            _ => return b"-UNBLOCKED force unblock from blocking operation, instance state changed\r\n".to_vec(),
        }
        ledger.execute(&words[1], self.is_left);
        popped(&words[1])
    }

    /// A message to one of its topics.
    pub fn message(&self, pick: usize, ledger: &mut Ledger) -> Vec<u8> {
        if self.topics.is_empty() {
            return Vec::new();
        }
        let (word, name) = &self.topics[pick % self.topics.len()];
        let is_pattern = *word == "pmessage";
        let mut message = if is_pattern { b"*4\r\n".to_vec() } else { b"*3\r\n".to_vec() };
        bulk(&mut message, word.as_bytes());
        bulk(&mut message, name);
        if is_pattern {
            bulk(&mut message, b"news");
        }
        bulk(&mut message, format!("M{}", ledger.next_message()).as_bytes());
        message
    }
}

fn popped(key: &[u8]) -> Vec<u8> {
    let mut reply = b"*2\r\n".to_vec();
    bulk(&mut reply, key);
    bulk(&mut reply, b"popped");
    reply
}

fn holder(key: &[u8], ledger: &Ledger) -> &'static [u8] {
    if ledger.there.contains(key) {
        b"+list\r\n"
    } else {
        b"+none\r\n"
    }
}

/// Nodes of the second shard tell nobody what changes.
const SILENT: std::ops::Range<usize> = 2..4;

/// The reply to a command; nothing if it waits.
pub fn redis(talk: &mut Talk, words: Vec<Vec<u8>>, how: &How, ledger: &mut Ledger) -> Vec<u8> {
    let word = String::from_utf8_lossy(&words[0]).to_uppercase();
    let own = words.iter().find_map(|word| token::first(word)).unwrap_or(0);
    // leases may be deleted twice
    let is_lease = words.get(1).is_some_and(|word| word.starts_with(RESERVED));
    let write_key = words.iter().find(|word| token::first(word).is_some());
    let write_key = write_key.filter(|_| is_write(&word) && !is_lease).cloned();
    let refusal = match how {
        How::Refusal(which) => Some(REFUSALS[which % REFUSALS.len()].as_bytes().to_vec()),
        _ => None,
    };
    if let Some(multi) = &mut talk.multi {
        match word.as_str() {
            "EXEC" => {
                let multi = talk.multi.take().unwrap_or_default();
                if multi.is_refused || refusal.is_some() {
                    ledger.there.extend(multi.popped);
                }
                if multi.is_refused {
                    return b"-EXECABORT Transaction discarded because of previous errors.\r\n".to_vec();
                }
                if let Some(refusal) = refusal {
                    return refusal;
                }
                multi.writes.iter().for_each(|key| ledger.execute(key, talk.is_left));
                let default = if talk.db.is_empty() { b"0" } else { talk.db.as_slice() };
                let db = multi.db.as_deref().unwrap_or(default);
                assert_eq!(db, default, "a transaction leaves its connection, which others share, in another database");
                let mut reply = format!("*{}\r\n", multi.count).into_bytes();
                reply.extend_from_slice(&multi.replies);
                return reply;
            }
            _ => {
                if let Some(refusal) = refusal {
                    multi.is_refused = true;
                    return refusal;
                }
                multi.count += 1;
                if word == "BLPOP" && ledger.there.remove(&words[1]) {
                    multi.popped.push(words[1].clone());
                    multi.writes.push(words[1].clone());
                    multi.replies.extend_from_slice(&popped(&words[1]));
                    return b"+QUEUED\r\n".to_vec();
                }
                if word == "TYPE" {
                    multi.replies.extend_from_slice(holder(&words[1], ledger));
                    return b"+QUEUED\r\n".to_vec();
                }
                multi.writes.extend(write_key);
                if word == "SELECT" {
                    multi.db = Some(words[1].clone());
                }
                let reply = value(&word, &words, own, 0);
                multi.replies.extend_from_slice(&reply.unwrap_or_else(|| b"+OK\r\n".to_vec()));
                return b"+QUEUED\r\n".to_vec();
            }
        }
    }
    if let (Some(watched), "TYPE") = (&mut talk.watched, word.as_str()) {
        if refusal.is_some() || matches!(how, How::Error) {
            return b"-ERR no\r\n".to_vec();
        }
        watched.push(words[1].clone());
        return holder(&words[1], ledger).to_vec();
    }
    if word == "SELECT" {
        talk.db.clone_from(&words[1]);
    }
    if let Some(reply) = connection(talk, &word, &words, how) {
        return reply;
    }
    if let Some(refusal) = refusal {
        return refusal;
    }
    if matches!(how, How::Error) {
        if let Some(key) = &write_key {
            ledger.execute(key, talk.is_left);
        }
        return if own == 0 {
            b"-ERR no\r\n".to_vec()
        } else {
            format!("-ERR no {}\r\n", token::text(own)).into_bytes()
        };
    }
    if matches!(how, How::Miss) && word == "EVALSHA" {
        return b"-NOSCRIPT No matching script. Please use EVAL.\r\n".to_vec();
    }
    if word == "BLPOP" {
        if matches!(how, How::Miss) {
            return talk.null();
        }
        talk.blocked = Some(words);
        return Vec::new();
    }
    if let Some(key) = &write_key {
        ledger.execute(key, talk.is_left);
    }
    let length = if let How::Proper(length) = how { *length } else { 0 };
    value(&word, &words, own, length).unwrap_or_else(|| format!("-ERR unknown {}\r\n", token::text(own)).into_bytes())
}

/// Commands about the connection.
fn connection(talk: &mut Talk, word: &str, words: &[Vec<u8>], how: &How) -> Option<Vec<u8>> {
    const KINDS: [(&str, &str, &str); 3] = [
        ("SUBSCRIBE", "UNSUBSCRIBE", "message"),
        ("PSUBSCRIBE", "PUNSUBSCRIBE", "pmessage"),
        ("SSUBSCRIBE", "SUNSUBSCRIBE", "smessage"),
    ];
    if matches!(how, How::Refusal(_)) && matches!(word, "PING" | "INFO" | "SUBSCRIBE" | "WAIT" | "SCRIPT") {
        return Some(REFUSALS[1].as_bytes().to_vec());
    }
    if matches!(how, How::Error) && matches!(word, "HELLO" | "SELECT" | "WATCH" | "SSUBSCRIBE" | "ROLE" | "CLIENT") {
        return Some(b"-ERR no\r\n".to_vec());
    }
    if let Some((join, _, message)) = KINDS.iter().find(|(join, leave, _)| *join == word || *leave == word) {
        let name = words[1].clone();
        talk.topics.retain(|(kind, known)| kind != message || *known != name);
        if *join == word {
            talk.topics.push((message, name.clone()));
        }
        let mut reply = b"*3\r\n".to_vec();
        bulk(&mut reply, word.to_lowercase().as_bytes());
        bulk(&mut reply, &name);
        reply.extend_from_slice(format!(":{}\r\n", talk.topics.len()).as_bytes());
        return Some(reply);
    }
    Some(match word {
        "PING" if talk.topics.is_empty() => b"+PONG\r\n".to_vec(),
        "PING" => b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec(),
        "MULTI" => {
            talk.multi = Some(Multi::default());
            b"+OK\r\n".to_vec()
        }
        "WATCH" | "UNWATCH" | "SELECT" | "AUTH" | "READONLY" => b"+OK\r\n".to_vec(),
        "HELLO" => {
            talk.resp = if words.get(1).is_some_and(|version| version == b"3") { 3 } else { 2 };
            if talk.resp == 3 {
                b"%1\r\n+proto\r\n:3\r\n".to_vec()
            } else {
                b"*2\r\n+proto\r\n:2\r\n".to_vec()
            }
        }
        "CLIENT" if words[1] == b"TRACKING" && !SILENT.contains(&talk.node) => {
            talk.watched = Some(Vec::new());
            b"+OK\r\n".to_vec()
        }
        "CLIENT" => b":77\r\n".to_vec(),
        "INFO" => bulk_of(format!("run_id:node{}\r\nrole:master\r\n", talk.node).as_bytes()),
        "WAIT" if matches!(how, How::Miss) => b":0\r\n".to_vec(),
        "WAIT" => b":1\r\n".to_vec(),
        "ROLE" => b"*3\r\n$6\r\nmaster\r\n:10\r\n*0\r\n".to_vec(),
        "SCRIPT" => bulk_of(DIGEST.as_bytes()),
        _ => return None,
    })
}

/// Commands about keys.
fn value(word: &str, words: &[Vec<u8>], own: u64, length: usize) -> Option<Vec<u8>> {
    let text = token::text(own);
    Some(match word {
        "GET" | "EVALSHA" | "ECHO" | "NEW.COMMAND" => bulk_of(&padded(&text, length)),
        "PING" => b"+PONG\r\n".to_vec(),
        "SET" => format!("+{text}\r\n").into_bytes(),
        "MGET" => {
            let mut reply = format!("*{}\r\n", words.len() - 1).into_bytes();
            for key in &words[1..] {
                let start = memchr::memchr(b'}', key).map_or(0, |at| at + 1);
                bulk(&mut reply, &padded(&String::from_utf8_lossy(&key[start..]), length));
            }
            reply
        }
        "MSET" => b"+OK\r\n".to_vec(),
        "DEL" | "EXISTS" => format!(":{}\r\n", own * (words.len() as u64 - 1)).into_bytes(),
        "INCR" => format!(":{own}\r\n").into_bytes(),
        "PUBLISH" | "SPUBLISH" => b":1\r\n".to_vec(),
        "BLPOP" => b"*-1\r\n".to_vec(),
        _ => return None,
    })
}

/// The reply to a memcached request.
pub fn memcached(words: &[Vec<u8>], how: &How, is_left: bool, ledger: &mut Ledger) -> Vec<u8> {
    let own = words.iter().find_map(|word| token::first(word)).unwrap_or(0);
    let key = words.get(1).map_or(&b""[..], Vec::as_slice);
    let word = words[0].as_slice();
    if matches!(word, b"set" | b"add" | b"ms" | b"incr" | b"delete") {
        ledger.execute(key, is_left);
    }
    let text = token::text(own);
    if matches!(how, How::Error | How::Refusal(_)) && word != b"version" {
        return if own == 0 {
            "SERVER_ERROR no\r\n".into()
        } else {
            format!("SERVER_ERROR no {text}\r\n").into_bytes()
        };
    }
    let is_miss = matches!(how, How::Miss);
    let length = if let How::Proper(length) = how { *length } else { 0 };
    match word {
        b"get" | b"gets" | b"gat" => {
            let mut reply = Vec::new();
            for key in words[if word == b"gat" { 2 } else { 1 }..].iter().filter(|_| !is_miss) {
                let value = padded(&text, length);
                reply.extend_from_slice(format!("VALUE {} 0 {}", String::from_utf8_lossy(key), value.len()).as_bytes());
                reply.extend_from_slice(if word == b"gets" { b" 1\r\n" } else { b"\r\n" });
                reply.extend_from_slice(&value);
                reply.extend_from_slice(b"\r\n");
            }
            reply.extend_from_slice(b"END\r\n");
            reply
        }
        b"set" | b"add" => {
            if is_miss {
                b"NOT_STORED\r\n".to_vec()
            } else {
                b"STORED\r\n".to_vec()
            }
        }
        b"incr" => {
            if is_miss {
                b"NOT_FOUND\r\n".to_vec()
            } else {
                format!("{own}\r\n").into_bytes()
            }
        }
        b"delete" => {
            if is_miss {
                b"NOT_FOUND\r\n".to_vec()
            } else {
                b"DELETED\r\n".to_vec()
            }
        }
        b"touch" => b"TOUCHED\r\n".to_vec(),
        b"mg" if is_miss => b"EN\r\n".to_vec(),
        b"mg" => {
            let value = padded(&text, length);
            let mut reply = format!("VA {} k{} O{text}\r\n", value.len(), String::from_utf8_lossy(key)).into_bytes();
            reply.extend_from_slice(&value);
            reply.extend_from_slice(b"\r\n");
            reply
        }
        b"ms" => format!("HD O{text}\r\n").into_bytes(),
        b"version" => b"VERSION 1.6.18\r\n".to_vec(),
        b"stats" => b"STAT pid 1\r\nSTAT curr_items 2\r\nEND\r\n".to_vec(),
        b"flush_all" | b"verbosity" => b"OK\r\n".to_vec(),
        _ => b"ERROR\r\n".to_vec(),
    }
}
