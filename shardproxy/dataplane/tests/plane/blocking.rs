//! Clients that wait at an engine hold a connection of their own, and take it with them when they go.

use serde_json::json;

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const BLPOP: &[&str] = &["BLPOP", "list", "0"];

fn is_forgotten(engine: &Engine) -> bool {
    engine.connections().iter().filter(|seen| seen.requests.iter().any(|r| r == BLPOP)).all(|seen| seen.is_closed)
}

#[test]
fn a_blocked_client_that_goes_is_forgotten_by_the_engine() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(BLPOP);
    engine.wait_for(BLPOP);
    drop(client);
    until("its connection is closed", || is_forgotten(&engine));
    until("the client is gone", || proxy.plane.clients().is_empty());
    assert_eq!(proxy.client().ask(&["GET", "key"]), value("key"));
}

#[test]
fn a_client_that_blocks_with_its_last_breath_is_forgotten_too() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    for _ in 0..10 {
        let mut client = proxy.client();
        client.send(BLPOP);
        drop(client);
    }
    until("the clients are gone", || proxy.plane.clients().is_empty());
    until("their connections are closed", || is_forgotten(&engine));
}

#[test]
fn the_pools_next_connection_goes_to_who_still_waits() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "BLPOP" => Act::say("*-1\r\n").behind(&held),
        _ => Act::Serve,
    });
    let spec = Spec::shard(&[&engine], Some(0)).limits(json!({"dedicated": 1}));
    let proxy = Proxy::start(&spec);
    let (mut first, mut second, mut third) = (proxy.client(), proxy.client(), proxy.client());
    first.send(BLPOP);
    engine.wait_for(BLPOP);
    for waiting in [&mut second, &mut third] {
        assert_eq!(waiting.ask(&["PING"]), "+PONG");
        waiting.send(&["WATCH", "key"]);
        waiting.send(&["PING"]); // behind it
    }
    proxy.plane.clients(); // the worker has read them
    drop(second);
    until("one of the waiting is gone", || proxy.plane.clients().len() == 2);
    gate.open();
    assert_eq!(first.reply(), "*-1");
    assert_eq!([third.reply(), third.reply()], ["+OK", "+PONG"]);
}

/// Its number there means another client elsewhere: the order waits for no primary, and goes to no other.
#[test]
fn a_wait_is_ended_at_the_engine_where_it_is() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "SET" => Act::say("-LOADING Redis is loading the dataset in memory\r\n"),
        _ => Act::Serve,
    });
    let next = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine, &next], Some(0)));
    let (mut blocked, mut waiting, mut other) = (proxy.client(), proxy.client(), proxy.client());
    blocked.send(BLPOP);
    engine.wait_for(BLPOP);
    let blocking = proxy.plane.clients().iter().find(|client| client.is_blocked).map(|client| client.id);
    assert!(proxy.plane.unblock(blocking.unwrap(), false));
    let asked =
        |how: &str| engine.seen().into_iter().filter(|r| r[0] == "CLIENT" && r[1] == "UNBLOCK" && r[3] == how).count();
    until("it is asked to end the wait", || asked("TIMEOUT") == 1);
    waiting.send(&["SET", "key", "1"]);
    engine.wait_for(&["SET", "key", "1"]);
    assert_eq!(other.ask(&["GET", "key"]), value("key")); // behind the refusal, which is known now
    assert!(proxy.plane.unblock(blocking.unwrap(), true));
    until("and to do so by an error", || asked("ERROR") == 1);
    proxy.apply(&Spec::shard(&[&engine, &next], Some(1)));
    assert_eq!(waiting.reply(), "+OK");
    assert_eq!(next.seen(), [["SET", "key", "1"]]);
}

#[test]
fn others_are_served_while_one_blocks() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut blocked, mut other) = (proxy.client(), proxy.client());
    blocked.send(BLPOP);
    engine.wait_for(BLPOP);
    for n in 0..50 {
        assert_eq!(other.ask(&["GET", &n.to_string()]), value(&n.to_string()));
    }
}
