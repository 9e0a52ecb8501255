//! A fake memcached node: a value is its key. One that is too large for it it refuses at its line, before it has read it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{json, Value};

use crate::engine::Gate;
use crate::proxy::{until, Proxy};

/// As memcached 1.4 and 1.5 say it.
pub const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";

/// What a node does with the rest of a value it has refused, once its gate is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    Swallowed,
    /// It closes the connection instead.
    Refused,
}

struct State {
    most: usize,
    rest: Rest,
    gate: Arc<Gate>,
    lines: Mutex<Vec<String>>,
    /// Bytes it has said.
    said: AtomicU64,
    is_stopped: AtomicBool,
}

pub struct Cache {
    pub address: String,
    /// A refused value is not looked at before it is open.
    pub gate: Arc<Gate>,
    state: Arc<State>,
}

impl Cache {
    /// It takes values of up to `most` bytes.
    pub fn start(most: usize, rest: Rest) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gate = Gate::closed();
        let (lines, said) = (Mutex::default(), AtomicU64::new(0));
        let state = Arc::new(State { most, rest, gate: gate.clone(), lines, said, is_stopped: AtomicBool::new(false) });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_stopped.load(SeqCst) {
                    return;
                }
                stream.set_nodelay(true).unwrap();
                let shared = shared.clone();
                thread::spawn(move || {
                    serve(&stream, &shared);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, gate, state }
    }

    /// Every command line it has read, but for what the proxy asks to see whether it lives.
    pub fn lines(&self) -> Vec<String> {
        self.state.lines.lock().unwrap().clone()
    }

    pub fn count(&self, start: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(start)).count()
    }

    /// Wait until the proxy has heard all that this node has said.
    pub fn until_heard(&self, proxy: &Proxy) {
        let path = format!("/nodes/{}/bytes_in", self.address);
        until("the proxy has heard the node", || proxy.statistic(&path) == self.state.said.load(SeqCst));
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.state.is_stopped.store(true, SeqCst);
        let _ = TcpStream::connect(&self.address); // wakes the accept
        self.gate.open();
    }
}

/// A cluster of these nodes.
pub fn pool(nodes: &[&Cache]) -> Value {
    let shards: Vec<Value> =
        nodes.iter().map(|node| json!({"primary": 0, "nodes": [{"address": node.address}]})).collect();
    json!({
        "name": "test", "engine": "memcached", "epoch": 1, "version": "1.5.22", "hashing": "ketama", "shards": shards,
        "endpoints": [{"kind": "configuration", "addresses": ["127.0.0.1:0"]}],
    })
}

fn serve(stream: &TcpStream, state: &State) {
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    while input.read_line(&mut line).is_ok_and(|n| n > 0) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if words != ["version"] {
            state.lines.lock().unwrap().push(line.trim_end().to_owned());
        }
        let reply = match words[..] {
            ["version"] => "VERSION 1.5.22\r\n".to_owned(),
            ["get", key] => format!("VALUE {key} 0 {}\r\n{key}\r\nEND\r\n", key.len()),
            ["set", _, _, _, length] | ["ms", _, length] => {
                let length: u64 = length.parse().unwrap();
                let is_refused = length > state.most as u64;
                if is_refused && !say(stream, state, &format!("{TOO_LARGE}\r\n")) {
                    return;
                }
                if is_refused {
                    state.gate.pass();
                    if state.rest == Rest::Refused {
                        return;
                    }
                }
                let value = &mut (&mut input).take(length + 2);
                if !std::io::copy(value, &mut std::io::sink()).is_ok_and(|n| n == length + 2) {
                    return;
                }
                let stored = if words[0] == "ms" { "HD\r\n" } else { "STORED\r\n" };
                if is_refused {
                    String::new()
                } else {
                    stored.to_owned()
                }
            }
            _ => "ERROR\r\n".to_owned(),
        };
        if !say(stream, state, &reply) {
            return;
        }
        line.clear();
    }
}

fn say(mut stream: &TcpStream, state: &State, text: &str) -> bool {
    state.said.fetch_add(text.len() as u64, SeqCst);
    stream.write_all(text.as_bytes()).is_ok()
}
