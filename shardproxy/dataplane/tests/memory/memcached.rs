//! A fake memcached node: a line in, its script's answer out.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use serde_json::json;

use crate::engine::Gate;
use crate::proxy::Proxy;

/// Serves until the process ends; says nothing but VERSION before the gate opens.
pub fn node(gate: &Arc<Gate>, script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (script, gate) = (Arc::new(script), gate.clone());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (script, gate) = (script.clone(), gate.clone());
            thread::spawn(move || {
                for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                    let reply = if line == "version" { b"VERSION 1.6.0\r\n".to_vec() } else { script(&line) };
                    if line != "version" {
                        gate.pass();
                    }
                    if (&stream).write_all(&reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A proxy before such nodes.
pub fn proxy(buffers: usize, nodes: &[String], reply_timeout: f64) -> Proxy {
    let shards: Vec<_> = nodes.iter().map(|node| json!({"primary": 0, "nodes": [{"address": node}]})).collect();
    let endpoint = json!({"kind": "configuration", "addresses": ["127.0.0.1:0"]});
    let spec = json!({"name": "test", "engine": "memcached", "epoch": 1, "version": "1.6.0", "hashing": "modula",
                      "endpoints": [endpoint], "shards": shards, "timeouts": {"reply": reply_timeout}});
    Proxy::holding(1, buffers, &spec)
}
