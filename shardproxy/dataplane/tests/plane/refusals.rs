//! Errors that say "not executed": the request waits, and is tried again there or on the next primary.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::json;

use crate::client::value;
use crate::engine::{Act, Engine};
use crate::proxy::{Proxy, Spec};

const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

/// Says `reply` so many times, then serves.
fn refusing(times: usize, reply: &'static str) -> Engine {
    let count = AtomicUsize::new(0);
    Engine::scripted(move |_, _| if count.fetch_add(1, SeqCst) < times { Act::say(reply) } else { Act::Serve })
}

#[test]
fn a_refused_request_waits_and_is_tried_again() {
    for refusal in [READONLY, LOADING, "-MASTERDOWN Link\r\n", "-NOREPLICAS Not enough\r\n", "-MISCONF disk\r\n"] {
        let engine = refusing(2, refusal);
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK", "{refusal}");
        assert_eq!(engine.count(&["SET", "key", "1"]), 3);
    }
}

#[test]
fn refused_writes_reach_the_next_primary_in_their_order() {
    let (old, new) = (refusing(usize::MAX, READONLY), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    let values: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let requests: Vec<Vec<&str>> = values.iter().map(|value| vec!["SET", "key", value.as_str()]).collect();
    client.send_all(&requests.iter().map(Vec::as_slice).collect::<Vec<_>>());
    old.wait_for(&["SET", "key", "19"]);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    for _ in &values {
        assert_eq!(client.reply(), "+OK");
    }
    assert_eq!(new.seen(), requests);
}

#[test]
fn a_read_does_not_overtake_its_clients_refused_write() {
    let engine = refusing(1, LOADING);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
    let seen = engine.seen();
    let place = |words: &[&str]| seen.iter().rposition(|request| request == words);
    assert!(place(&["SET", "key", "1"]) < place(&["GET", "key"]), "{seen:?}");
}

/// What was refused just before the connection broke has not been forgotten.
#[test]
fn a_refusal_outlives_its_connection() {
    for end in ["", "?nonsense\r\n"] {
        let engine = Engine::scripted(move |number, _| match number {
            0 => Act::Cut([LOADING, end].concat().into_bytes()),
            _ => Act::Serve,
        });
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK", "then {end:?}");
        assert_eq!(engine.count(&["SET", "key", "1"]), 2);
    }
}

#[test]
fn who_waited_too_long_is_told_that_nothing_happened() {
    let engine = refusing(usize::MAX, READONLY);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"park": 0.3})));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["PING"]]);
    assert_eq!(client.reply(), "-TRYAGAIN shard 0 failing over, command not executed");
    assert_eq!(client.reply(), "+PONG");
}

#[test]
fn an_ordinary_error_is_the_clients_own() {
    let engine = Engine::scripted(|_, _| Act::say("-WRONGTYPE no\r\n"));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(&["GET", "key"]), "-WRONGTYPE no");
    assert_eq!(engine.seen().len(), 1);
}
