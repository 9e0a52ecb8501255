//! Every request gets its own reply, whatever the engines' timing.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::client::{request, value, Client};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{Proxy, Spec};

fn key(client: usize, number: usize) -> String {
    format!("key:{client}:{number}")
}

/// A pipeline over all shards, its commands of different kinds.
fn pipeline(mut client: Client, number: usize) {
    for round in 0..10 {
        let keys: Vec<String> = (0..24).map(|n| key(number, round * 24 + n)).collect();
        let echo = format!("{number}/{round}");
        let mget: Vec<&str> = ["MGET"].into_iter().chain(keys.iter().map(String::as_str)).collect();
        let mut requests: Vec<Vec<&str>> = keys.iter().map(|key| vec!["GET", key.as_str()]).collect();
        requests.insert(5, vec!["ECHO", &echo]);
        requests.insert(11, vec!["SET", &keys[3], "x"]);
        requests.insert(17, mget);
        requests.push(vec!["DEL", &keys[0], &keys[1], &keys[2]]);
        client.send_all(&requests.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for request in &requests {
            let expected = match request[0] {
                "GET" | "ECHO" => value(request[1]),
                "SET" => "+OK".into(),
                "DEL" => ":3".into(),
                _ => {
                    let values: Vec<String> = keys.iter().map(|key| value(key)).collect();
                    format!("*{}\r\n{}", keys.len(), values.join("\r\n"))
                }
            };
            assert_eq!(client.reply(), expected, "client {number}, round {round}, {request:?}");
        }
    }
}

#[test]
fn replies_are_never_shifted() {
    let engines = [0, 1, 2].map(|shard| {
        let turn = AtomicUsize::new(shard);
        Engine::scripted(move |_, request| match turn.fetch_add(1, SeqCst) % 7 {
            n @ 0..=1 if request[0] == "GET" => Act::Split(bulk(&request[1]), n * 5 + 1),
            _ => Act::Serve,
        })
    });
    let proxy = Proxy::with(2, 0, &Spec::shards(&engines));
    std::thread::scope(|scope| {
        for number in 0..6 {
            let client = proxy.client();
            scope.spawn(move || pipeline(client, number));
        }
    });
}

#[test]
fn a_reply_may_break_at_any_byte() {
    let reply = b"*3\r\n$5\r\na\r\nbc\r\n$-1\r\n*2\r\n:12\r\n+x\r\n";
    let engine = Engine::scripted(move |_, request| match request[1].parse() {
        Ok(at) => Act::Split(reply.to_vec(), at),
        Err(_) => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    for at in 0..=reply.len() {
        client.send_all(&[&["GET", &at.to_string()], &["GET", "next"]]);
        assert_eq!(format!("{}\r\n", client.reply()).as_bytes(), reply, "broken at {at}");
        assert_eq!(client.reply(), value("next"), "broken at {at}");
    }
}

/// Requests and replies of all sizes, so that what one read leaves over is now little, now much.
#[test]
fn what_a_read_leaves_over_is_joined_to_the_next() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut client = proxy.client();
            scope.spawn(move || {
                let sizes = [1, 70, 3_000, 4_090, 16_384, 16_300, 40, 33_000, 131_072, 5, 200_000, 9_000, 131_050, 600];
                let keys: Vec<String> =
                    (0..60).map(|n| format!("{n}:{}", "x".repeat(sizes[n % sizes.len()]))).collect();
                for _ in 0..3 {
                    let bytes: Vec<u8> = keys.iter().flat_map(|key| request(&["GET", key])).collect();
                    client.send_bytes(&bytes);
                    assert!(keys.iter().all(|key| client.reply() == value(key)));
                }
            });
        }
    });
}

#[test]
fn a_large_reply_streams_behind_a_slow_one() {
    let (gate, large) = (Gate::closed(), "x".repeat(700_000));
    let (held, text) = (gate.clone(), large.clone());
    let engines = [
        Engine::scripted(move |_, _| Act::Serve.behind(&held)),
        Engine::scripted(move |_, request| match request[0].as_str() {
            "GET" => Act::Split(bulk(&text), 300_000),
            _ => Act::Serve,
        }),
    ];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let mut client = proxy.client();
    // slots 5061 (bar: shard 0) and 12182 (foo: shard 1)
    client.send_all(&[&["GET", "bar"], &["GET", "foo"], &["SET", "foo", "1"], &["GET", "foo"], &["PING"]]);
    engines[1].wait_for(&["SET", "foo", "1"]);
    gate.open();
    let replies: Vec<String> = (0..5).map(|_| client.reply()).collect();
    assert!(replies == [value("bar"), value(&large), "+OK".into(), value(&large), "+PONG".into()]);
}

#[test]
fn a_client_that_went_leaves_its_reply_to_nobody() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[1].as_str() {
        "slow" => Act::Serve.behind(&held),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut gone = proxy.client();
    gone.send(&["GET", "slow"]);
    engine.wait_for(&["GET", "slow"]);
    let ids: Vec<u64> = proxy.plane.clients().iter().map(|client| client.id).collect();
    assert_eq!(proxy.plane.kill(ids), 1);
    let mut next = proxy.client(); // in the same place of the worker's table
    next.send(&["GET", "mine"]);
    gate.open();
    assert_eq!(next.reply(), value("mine"));
    assert_eq!(gone.reply(), "<end>");
}
