//! Errors that say "not executed": the request waits, and is tried again there or on the next primary.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{Proxy, Spec};

const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

/// Says `reply` so many times, then serves.
fn refusing(times: usize, reply: &'static str) -> Engine {
    let count = AtomicUsize::new(0);
    Engine::scripted(move |_, _| if count.fetch_add(1, SeqCst) < times { Act::say(reply) } else { Act::Serve })
}

#[test]
fn client_no_touch_is_what_the_engines_version_has() {
    let engine = Engine::plain();
    for (version, on, off) in [
        ("7.0.15", "-ERR unknown subcommand 'No-Touch'. Try CLIENT HELP.", "-ERR unknown subcommand 'No-Touch'. Try CLIENT HELP."),
        (
            "7.2.0",
            "-ERR CLIENT NO-TOUCH is refused by this proxy: connections to nodes are shared, so a node cannot tell whose reads \
             are to leave no trace",
            "+OK",
        ),
        ("10.0", "-ERR CLIENT NO-TOUCH is refused", "+OK"),
    ] {
        let mut spec: serde_json::Value =
            serde_json::from_str(&Spec::shard(&[&engine], Some(0)).json("test", 1)).unwrap();
        spec["version"] = version.into();
        let proxy = Proxy::serving(1, &spec);
        let mut client = proxy.client();
        assert!(client.ask(&["CLIENT", "No-Touch", "on"]).starts_with(on));
        assert_eq!(client.ask(&["CLIENT", "No-Touch", "OFF"]), off);
        assert!(client.ask(&["CLIENT", "No-Touch", "x"]).starts_with("-ERR "));
    }
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

/// The engine refuses a client's write and takes the next one, as when it gets its replicas back between the two.
#[test]
fn a_refused_write_is_not_executed_after_a_later_one_of_its_client() {
    for is_held in [false, true] {
        let (gate, count) = (Gate::closed(), AtomicUsize::new(0));
        let held = gate.clone();
        let engine = Engine::scripted(move |_, request| match request[2].as_str() {
            "1" if count.fetch_add(1, SeqCst) == 0 => Act::say("-NOREPLICAS Not enough good replicas to write.\r\n"),
            "2" => Act::Serve.behind(&held),
            _ => Act::Serve,
        });
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let (mut client, mut other) = (proxy.client(), proxy.client());
        client.send_all(&[&["SET", "key", "1"], &["SET", "key", "2"], &["SET", "key", "3"]]);
        engine.wait_for(&["SET", "key", "2"]);
        if is_held {
            thread::sleep(Duration::from_millis(300)); // longer than a refused request waits
        }
        gate.open();
        let refused = client.reply();
        assert_eq!(refused, "-TRYAGAIN shard 0 refused the command and took a later one, command not executed");
        assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
        assert_eq!(engine.count(&["SET", "key", "1"]), 1);
        assert_eq!(other.ask(&["SET", "key", "4"]), "+OK");
    }
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

/// A script may have changed data before it said this: `-TRYAGAIN` and the like in words that are not the engine's.
#[test]
fn a_script_that_fails_in_an_engines_words_runs_once() {
    let script: &[&str] = &["EVAL", "redis.call('INCR', KEYS[1]); return redis.error_reply('...')", "1", "key"];
    for word in ["READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "TRYAGAIN"] {
        let reply = format!("-{word} of its own");
        let engine = Engine::scripted(move |_, _| Act::say(&format!("-{word} of its own\r\n")));
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        assert_eq!(proxy.client().ask(script), reply);
        assert_eq!(engine.count(script), 1);
    }
}

#[test]
fn a_script_whose_first_write_the_engine_refused_runs_again() {
    let script: &[&str] = &["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "key"];
    let engine =
        refusing(2, "-READONLY You can't write against a read only replica. script: db8d8f63, on @user_script:1.\r\n");
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(script), "+OK");
    assert_eq!(engine.count(script), 3);
}

/// The transaction was executed, whatever one of its commands says.
#[test]
fn a_transaction_with_a_refusal_among_its_replies_runs_once() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "EXEC" => Act::say("*2\r\n+OK\r\n-NOREPLICAS Not enough good replicas to write.\r\n"),
        "MULTI" => Act::say("+OK\r\n"),
        _ => Act::say("+QUEUED\r\n"),
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EVAL", "return 1", "1", "key"], &["EXEC"]]);
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert!(replies[3].contains("NOREPLICAS"), "{replies:?}");
    assert_eq!(engine.count(&["EXEC"]), 1);
}
