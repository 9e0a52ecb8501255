//! What is told of requests that took long, and of keys that are asked for often.

use std::thread;
use std::time::Duration;

use serde_json::{json, Value};

use crate::client::request;
use crate::engine::{Act, Engine};
use crate::proxy::{until, Proxy, Spec};

/// A cluster of one node, with this besides.
fn with(engine: &Engine, wait: u32, more: &Value) -> Value {
    let spec = Spec { wait, ..Spec::shard(&[engine], Some(0)) };
    let mut cluster: Value = serde_json::from_str(&spec.json("test", 1)).unwrap();
    cluster.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    cluster
}

/// A proxy that tells of all requests that took so many seconds.
fn telling(engine: &Engine, wait: u32, threshold: f64) -> Proxy {
    Proxy::serving(1, &with(engine, wait, &json!({"slow_log": {"threshold": threshold, "entries": 100}})))
}

/// Of a request that was told of: its arguments, key, bytes, error, and microseconds of it that it was parked.
type Told = (Vec<String>, Option<String>, usize, String, u32);

fn told(proxy: &Proxy, command: &str) -> Told {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let mut found = None;
    until(&format!("{command} is told of"), || {
        let requests = proxy.plane.slow_requests("test", 100).unwrap().0;
        let record = requests.iter().find(|record| record.command == command);
        found = record.map(|record| {
            let arguments = record.arguments.iter().map(text).collect();
            let (key, parked) = (record.key.as_ref().map(text), record.phases.parked.unwrap());
            (arguments, key, record.request_bytes, record.error.clone(), parked)
        });
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_write_that_waits_for_replicas_is_told_with_its_key() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "WAIT" => {
            thread::sleep(Duration::from_millis(100)); // its replicas are slow
            Act::say(":1\r\n")
        }
        _ => Act::Serve,
    });
    let proxy = telling(&engine, 1, 0.05);
    let words = ["SET", "durable", &"x".repeat(2000)];
    assert_eq!(proxy.client().ask(&words), "+OK");
    let (arguments, key, bytes, ..) = told(&proxy, "set");
    assert_eq!(arguments, ["SET", "durable", "... (1 more arguments)"]);
    assert_eq!((key.as_deref(), bytes), (Some("durable"), request(&words).len()));
}

#[test]
fn what_was_held_and_then_answered_at_once_is_told_and_what_follows_was_not() {
    let engine = Engine::plain();
    let proxy = telling(&engine, 0, 0.0);
    let mut client = proxy.client();
    proxy.plane.pause("test", 60.0, false, Vec::new());
    client.send(&["ECHO", "x"]);
    until("it is held", || proxy.statistic("/blocked") == 1);
    thread::sleep(Duration::from_millis(20)); // so long it waits at least
    proxy.plane.pause("test", 0.0, false, Vec::new());
    assert_eq!(client.reply(), "$1\r\nx");
    let (arguments, _, bytes, _, parked) = told(&proxy, "echo");
    assert_eq!(arguments, ["ECHO", "... (1 more arguments)"]);
    assert_eq!(bytes, request(&["ECHO", "x"]).len());
    assert!(parked >= 20_000, "{parked}");
    client.ask(&["GET", "k"]);
    assert_eq!(told(&proxy, "get").4, 0, "it has not waited for anything");
}

#[test]
fn what_was_held_in_vain_is_told_as_an_error() {
    let engine = Engine::plain();
    let mut cluster = with(&engine, 0, &json!({"slow_log": {"threshold": 0.1, "entries": 100}}));
    cluster["timeouts"] = json!({"park": 0.2});
    cluster["shards"][0]["hold"] = json!({"slots": [[0, 16383]], "only_writes": false});
    let proxy = Proxy::serving(1, &cluster);
    let reply = proxy.client().ask(&["GET", "k"]);
    assert!(reply.starts_with("-TRYAGAIN"), "{reply}");
    let (.., error, parked) = told(&proxy, "get");
    assert_eq!(error, "TRYAGAIN");
    assert!(parked >= 100_000, "{parked}");
}

#[test]
fn what_the_control_plane_answers_is_told_with_its_keys_and_is_asked_for() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "EVALSHA" => Act::say("-NOSCRIPT No matching script.\r\n"),
        _ => Act::Serve,
    });
    let more = json!({"slow_log": {"threshold": 0.0, "entries": 100}, "hot_keys": {"sample": 1, "keys": 10}});
    let proxy = Proxy::serving(1, &with(&engine, 0, &more));
    let mut client = proxy.client();
    client.send(&["EVALSHA", &"a".repeat(40), "1", "script:key", "v"]);
    proxy.plane.answer(proxy.offload().token, b":7\r\n".to_vec());
    assert_eq!(client.reply(), ":7");
    let (arguments, key, ..) = told(&proxy, "evalsha");
    assert_eq!(arguments, ["EVALSHA", "script:key", "... (3 more arguments)"]);
    assert_eq!(key.as_deref(), Some("script:key"));
    let hot = proxy.plane.hot("test").unwrap();
    assert_eq!((&hot["sampled"], &hot["by_requests"][0]["key"]), (&json!(1), &json!("script:key")));
}

#[test]
fn what_is_remembered_of_keys_counts_among_buffers_and_is_bounded() {
    let engine = Engine::plain();
    let cluster = with(&engine, 0, &json!({"hot_keys": {"sample": 1, "keys": 100}}));
    for (buffers, is_remembered) in [(0, true), (64 << 20, true), (4 << 20, false)] {
        let proxy = Proxy::holding(1, buffers, &cluster);
        let held = || proxy.plane.statistics()["buffers"].as_u64().unwrap();
        let (mut client, before) = (proxy.client(), held());
        for n in 0..1000 {
            client.ask(&["SET", &format!("key:{n}"), "v"]);
        }
        assert_eq!(proxy.plane.hot("test").unwrap()["sampled"] == json!(1000), is_remembered, "{buffers}");
        if is_remembered {
            until("it is counted", || held() > before + 128 * 1024);
        }
    }
}
