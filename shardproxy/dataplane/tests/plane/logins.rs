//! What nodes are logged in to with: a connection that is open keeps what it has, and says anew what is current in time.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::Arc;

use serde_json::{json, Value};

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

fn with(engine: &Engine, node_auth: Value) -> Spec<'_> {
    Spec { node_auth, ..Spec::shard(&[engine], Some(0)) }
}

#[test]
fn another_password_is_for_connections_to_come() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&with(&engine, json!({"username": "app", "password": "first"})));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["GET", "a"]), value("a"));
    proxy.apply(&with(&engine, json!({"username": "app", "password": "second"})));
    assert_eq!(client.ask(&["GET", "b"]), value("b"));
    assert_eq!(engine.connections().len(), 1);
    assert_eq!((engine.count(&["AUTH", "app", "first"]), engine.asked("AUTH")), (1, 1));
    engine.cut();
    until("it is connected anew", || client.ask(&["GET", "c"]) == value("c"));
    assert_eq!(engine.count(&["AUTH", "app", "second"]), 1);
}

#[test]
fn what_logged_in_long_ago_logs_in_anew_with_what_is_current_and_stays_connected() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&with(&engine, json!({"password": "first", "renew": 0.2})));
    let mut clients = [proxy.client(), proxy.client()];
    assert_eq!(clients[0].ask(&["GET", "a"]), value("a"));
    proxy.apply(&with(&engine, json!({"password": "second", "renew": 0.2})));
    until("it has logged in anew", || {
        for client in &mut clients {
            assert_eq!(client.ask(&["GET", "b"]), value("b")); // none is lost, whatever is said between them
        }
        engine.count(&["AUTH", "second"]) > 1
    });
    assert_eq!(engine.connections().len(), 1);
    assert_eq!(engine.count(&["AUTH", "first"]), 1);
}

#[test]
fn a_connection_without_requests_logs_in_anew_too() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&with(&engine, json!({"password": "first", "renew": 0.2})));
    assert_eq!(proxy.client().ask(&["GET", "a"]), value("a"));
    until("it has logged in anew", || engine.count(&["AUTH", "first"]) > 1);
    assert_eq!(engine.connections().len(), 1);
}

#[test]
fn a_reply_that_is_owed_comes_before_the_login_and_what_came_since_after_it() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[1].as_str() {
        "slow" => Act::Serve.behind(&held),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&with(&engine, json!({"password": "first", "renew": 0.2})));
    let (mut slow, mut other) = (proxy.client(), proxy.client());
    slow.send(&["GET", "slow"]);
    engine.wait_for(&["GET", "slow"]);
    std::thread::sleep(std::time::Duration::from_millis(500)); // by now it is due
    other.send(&["GET", "since"]);
    assert_eq!(engine.count(&["AUTH", "first"]), 1);
    gate.open();
    assert_eq!([slow.reply(), other.reply()], [value("slow"), value("since")]);
    let seen = engine.seen();
    let place = |name: &str| seen.iter().position(|request| request[1] == name).unwrap();
    let login = seen.iter().rposition(|request| request[0] == "AUTH").unwrap();
    assert!(place("slow") < login && login < place("since"), "{seen:?}");
}

#[test]
fn a_login_that_is_refused_has_it_connect_anew_and_no_request_is_lost() {
    let refuses = Arc::new(AtomicBool::new(false));
    let script = refuses.clone();
    let engine = Engine::scripted(move |connection, request| match request[0].as_str() {
        "AUTH" if connection == 0 && script.load(SeqCst) => Act::say("-WRONGPASS expired\r\n"),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&with(&engine, json!({"password": "first", "renew": 0.2})));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["GET", "a"]), value("a"));
    refuses.store(true, SeqCst);
    until("it is connected anew", || {
        assert_eq!(client.ask(&["GET", "b"]), value("b"));
        engine.connections().len() == 2
    });
}
