//! Nodes that answer, but so slowly that nobody can wait for it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{value, Client};
use crate::engine::{bulk, Act, Engine};
use crate::proxy::{Proxy, Spec};

const PAUSE: Duration = Duration::from_millis(50);

/// An engine that says a byte at a time of what it says to a request that is about `slow`.
fn trickling(reply: &'static str) -> Engine {
    Engine::scripted(move |_, request| match request.get(1).map(String::as_str) {
        Some("slow") => Act::Drip(reply.as_bytes().to_vec(), 1, PAUSE),
        _ => Act::Serve,
    })
}

fn limited(engine: &Engine, reply: f64) -> Proxy {
    Proxy::start(&Spec::shard(&[engine], Some(0)).timeouts(json!({"reply": reply})))
}

fn assert_overdue(reply: &str) {
    assert!(reply.starts_with("-ERR") && reply.ends_with("no reply for 0.3 s (timeouts.reply)"), "{reply}");
}

#[test]
fn a_reply_that_trickles_is_overdue() {
    let engine = trickling("+OK, but only in the end, and that is far\r\n");
    let proxy = limited(&engine, 0.3);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    for words in [&["SET", "slow", "1"][..], &["GET", "slow"], &["INCR", "slow"]] {
        assert_overdue(&client.ask(words));
        assert_eq!(other.ask(&["GET", "key"]), value("key"));
    }
    let timeouts = proxy.statistic(&format!("/nodes/{}/timeouts", engine.address));
    assert_eq!(timeouts, 4, "one for each write, two for the read, which is asked again once");
}

/// What comes behind it is no progress of it, nor is what is sent.
#[test]
fn a_reply_that_trickles_is_overdue_however_busy_its_connection_is() {
    let engine = trickling("+OK, but only in the end, and that is far\r\n");
    let proxy = limited(&engine, 0.3);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(&["SET", "slow", "1"]);
    engine.wait_for(&["SET", "slow", "1"]);
    let start = Instant::now();
    let mut sent = 0;
    while proxy.statistic(&format!("/nodes/{}/timeouts", engine.address)) == 0 && start.elapsed().as_secs() < 8 {
        other.send(&["SET", "key", &"x".repeat(1000)]);
        sent += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_overdue(&client.reply());
    let answered = (0..sent).map(|_| other.reply()).filter(|reply| reply == "+OK").count();
    assert!(answered < sent, "some were under way, and are in doubt");
    assert_eq!(other.ask(&["GET", "key"]), value("key"));
}

/// Each of many is answered in time, if all of them together are not.
#[test]
fn a_node_that_answers_one_after_another_in_time_is_well() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "GET" => Act::Drip(bulk(&request[1]), 64, Duration::from_millis(100)),
        _ => Act::Serve,
    });
    let proxy = limited(&engine, 0.4);
    let mut client = proxy.client();
    let keys: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let requests: Vec<[&str; 2]> = keys.iter().map(|key| ["GET", key.as_str()]).collect();
    client.send_all(&requests.iter().map(<[&str; 2]>::as_slice).collect::<Vec<_>>());
    for key in &keys {
        assert_eq!(client.reply(), value(key));
    }
    assert_eq!(engine.connections().len(), 1);
}

/// A large reply takes longer than a reply may, and comes on: 300 KiB/s at least.
#[test]
fn a_large_reply_that_comes_on_is_not_overdue() {
    let text = "x".repeat(600_000);
    let large = text.clone();
    let engine = Engine::scripted(move |_, request| match request[1].as_str() {
        "large" => Act::Drip(bulk(&large), 30_000, PAUSE),
        _ => Act::Serve,
    });
    let proxy = limited(&engine, 0.4);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(&["GET", "large"]);
    engine.wait_for(&["GET", "large"]);
    other.send(&["GET", "key"]);
    assert!(client.reply() == value(&text));
    assert_eq!(other.reply(), value("key"));
    assert_eq!(engine.connections().len(), 1);
}

/// It began well: its client has some of it already, and can be told nothing else.
#[test]
fn a_large_reply_that_comes_to_a_trickle_ends_its_client() {
    let large = bulk(&"x".repeat(300_000));
    let engine = Engine::scripted(move |_, request| match request[1].as_str() {
        "large" => Act::All(vec![Act::Say(large[..200_000].to_vec()), Act::Drip(large[200_000..].to_vec(), 16, PAUSE)]),
        _ => Act::Serve,
    });
    let proxy = limited(&engine, 0.3);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(&["GET", "large"]);
    engine.wait_for(&["GET", "large"]);
    other.send(&["GET", "key"]);
    assert_eq!(client.reply(), "<end>");
    assert_eq!(other.reply(), value("key"), "asked again on another connection");
    assert_eq!(proxy.statistic("/closed/reply_cut"), 1);
}

/// On the connections that blocked and watching clients have: a wait is no trickle, its answer may be one.
#[test]
fn what_ends_a_wait_may_not_trickle() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "BLPOP" => {
            Act::Drip(b"*2\r\n$1\r\na\r\n$40\r\n0123456789012345678901234567890123456789\r\n".to_vec(), 1, PAUSE)
        }
        "EXEC" => Act::Drip(b"*1\r\n+012345678901234567890123456789\r\n".to_vec(), 1, PAUSE),
        _ => Act::Serve,
    });
    let proxy = limited(&engine, 0.3);
    let (mut blocked, mut watching) = (proxy.client(), proxy.client());
    assert_overdue(&blocked.ask(&["BLPOP", "a", "0"]));
    watching.send_all(&[&["WATCH", "key"], &["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
    assert_eq!([watching.reply(), watching.reply(), watching.reply()], ["+OK", "+OK", "+QUEUED"]);
    assert_overdue(&watching.reply());
}

/// A greeting has to be said in the time a connection may take, however many replies it has.
#[test]
fn a_node_that_trickles_its_greeting_is_not_connected() {
    let engine = Engine::scripted(|number, request| match request[0].as_str() {
        "HELLO" if number == 0 => Act::Drip(b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(), 1, Duration::from_millis(200)),
        _ => Act::Serve,
    });
    let spec = Spec::shard(&[&engine], Some(0)).timeouts(json!({"connect": 0.4}));
    let proxy = Proxy::start(&spec);
    let mut client: Client = proxy.client();
    client.send(&["HELLO", "3"]);
    assert!(client.reply().starts_with('%'));
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    assert_eq!(engine.connections().len(), 2);
}
