//! A process without file descriptors: that is its own lack, and no node's fault. Alone in its process, as no other test
//! could open anything meanwhile.
#![allow(unsafe_code)]

#[path = "../plane/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../plane/engine.rs"]
#[allow(dead_code)]
mod engine;
#[path = "../plane/proxy.rs"]
#[allow(dead_code)]
mod proxy;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::thread;

use serde_json::{json, Value};
use shardproxy_dataplane::{Cluster, Event, Plane};

use crate::client::{value, Client};
use crate::engine::Engine;
use crate::proxy::{until, TABLE};

/// A memcached node that has nothing; its address.
fn empty_node() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        for mut stream in listener.incoming().map_while(Result::ok) {
            while let Ok(n @ 1..) = stream.read(&mut bytes) {
                let answer: &[u8] = if bytes[..n].starts_with(b"version") { b"VERSION 1.6.0\r\n" } else { b"END\r\n" };
                let _ = stream.write_all(answer);
            }
        }
    });
    address
}

/// So many may be open from now on; what is open stays so. What it was before.
fn limit_descriptors(most: libc::rlim_t) -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both get a pointer to a value that outlives the call.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, most);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        before
    }
}

fn spec(name: &str, engine: &str, node: &str) -> Value {
    json!({
        "name": name, "engine": engine, "epoch": 1, "timeouts": {"park": 60.0},
        "endpoints": [{"kind": "configuration", "addresses": ["127.0.0.1:0"]}],
        "shards": [{"slots": [[0, 16383]], "primary": 0, "nodes": [{"address": node}]}],
        "memcached": {"on_failure": {"failures": 1, "retry": 60.0}},
    })
}

#[test]
fn a_process_without_descriptors_blames_no_node_and_goes_on_when_it_has_some() {
    let engine = Engine::plain();
    let node = empty_node();
    let plane = Plane::start(1, TABLE, 0).unwrap();
    let serve = |spec: &Value| plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap()[0].1.clone();
    let of_engine = serve(&spec("c", "redis", &engine.address));
    let of_pool = serve(&spec("m", "memcached", &node));
    let mut clients = [(); 4].map(|()| Client::connect(&of_engine));
    let mut reader = Client::connect(&of_pool);
    until("all are there", || plane.clients().len() == 5);
    let next = File::open("/dev/null").unwrap().as_raw_fd();
    let before = limit_descriptors(next as libc::rlim_t);
    assert!(File::open("/dev/null").is_err());

    clients[0].send(&["GET", "key"]);
    clients[1].send(&["BLPOP", "list", "0"]);
    clients[2].send(&["SUBSCRIBE", "news"]);
    reader.send_bytes(b"get key\r\n");
    let lacking = || plane.statistics()["lacking"].as_u64().unwrap();
    until("each was tried, and tried again", || lacking() > 8);
    for (cluster, node) in [("c", &engine.address), ("m", &node)] {
        let counted = &plane.statistics()["clusters"][cluster]["nodes"][node];
        assert_eq!([&counted["connect_failures"], &counted["lost"]], [0, 0], "{cluster}");
    }
    let told = plane.take();
    assert!(matches!(told[..], [Event::OutOfFiles(_)]), "told once, and of nothing else: {told:?}");
    assert_eq!(clients[3].ask(&["PING"]), "+PONG");

    limit_descriptors(before);
    assert_eq!(clients[0].reply(), value("key"));
    engine.wait_for(&["BLPOP", "list", "0"]);
    engine.wait_for(&["subscribe", "news"]);
    assert_eq!(reader.line(), "END");
    let told = plane.take();
    assert!(told.iter().all(|event| matches!(event, Event::OutOfFiles(_))), "{told:?}");
}
