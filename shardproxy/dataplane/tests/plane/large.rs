//! Large values: nobody else waits behind them, and whoever moves them is served in order.

use std::sync::Arc;

use serde_json::json;

use crate::client::{value, Client};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const MIB: usize = 1 << 20;

/// An engine that answers GET of `large` with a large value, and GET of `held` with one whose second half it says once
/// the gate is open.
fn engine_with_large_values(gate: &Arc<Gate>) -> Engine {
    let (gate, reply) = (gate.clone(), bulk(&"x".repeat(4 * MIB)));
    Engine::scripted(move |_, request| match request.get(1).map(String::as_str) {
        Some("large") => Act::Say(reply.clone()),
        Some("held") => {
            let (first, second) = reply.split_at(2 * MIB);
            Act::All(vec![Act::Say(first.to_vec()), Act::Say(second.to_vec()).behind(&gate)])
        }
        _ => Act::Serve,
    })
}

fn takes_a_large_value(client: &mut Client) {
    assert_eq!(client.reply().len(), "$4194304\r\n".len() + 4 * MIB);
}

/// The connections that were asked this, by their numbers.
fn asked(engine: &Engine, words: &[&str]) -> Vec<usize> {
    let connections = engine.connections();
    let is_asked = |number: &usize| connections[*number].requests.iter().any(|request| *request == words);
    (0..connections.len()).filter(is_asked).collect()
}

#[test]
fn nobody_waits_behind_a_large_reply_of_who_is_known_to_get_them() {
    let gate = Gate::closed();
    let engine = engine_with_large_values(&gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut mover, mut other) = (proxy.client(), proxy.client());
    mover.send(&["GET", "large"]);
    takes_a_large_value(&mut mover);
    mover.send(&["GET", "held"]);
    mover.take(MIB); // it is on its way
    assert_eq!(other.ask(&["GET", "key"]), value("key"));
    assert_eq!(other.ask(&["GET", "another"]), value("another"));
    gate.open();
    mover.take("$4194304\r\n\r\n".len() + 3 * MIB);
    assert_eq!(mover.ask(&["GET", "key"]), value("key"));
    assert_ne!(asked(&engine, &["GET", "large"]), asked(&engine, &["GET", "held"]));
    assert_eq!(engine.connections().len(), 2, "both kinds share theirs");
}

#[test]
fn nobody_waits_behind_a_large_request() {
    let gate = Gate::closed();
    let engine = Engine::reluctant(MIB, &gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut mover, mut other) = (proxy.client(), proxy.client());
    let large = "x".repeat(32 * MIB); // more than sockets take
    assert_eq!(other.ask(&["GET", "key"]), value("key"));
    let writer = std::thread::spawn(move || {
        mover.send(&["SET", "a", &large]);
        mover
    });
    until("its request is under way", || proxy.pending() == 1);
    assert_eq!(other.ask(&["GET", "another"]), value("another"));
    gate.open();
    let mut mover = writer.join().unwrap();
    assert_eq!(mover.reply(), "+OK");
    assert_eq!(mover.ask(&["GET", "a"]), value("a"));
}

#[test]
fn who_changes_its_connection_is_owed_nothing_on_the_other() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "INCR" => Act::Serve.behind(&held),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let large = "x".repeat(2 * MIB);
    client.send_all(&[&["INCR", "a"], &["SET", "a", &large], &["SET", "a", "1"]]);
    engine.wait_for(&["INCR", "a"]);
    for _ in 0..20 {
        assert_eq!(other.ask(&["PING"]), "+PONG"); // the worker has had as many turns
    }
    assert_eq!(proxy.pending(), 1);
    gate.open();
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+OK", "+OK"]);
    let (first, second) = (asked(&engine, &["INCR", "a"]), asked(&engine, &["SET", "a", &large]));
    assert_ne!(first, second);
    assert_eq!(asked(&engine, &["SET", "a", "1"]), second, "what comes behind it follows it");
}

#[test]
fn a_pipeline_with_large_replies_is_answered_in_order() {
    let engine = engine_with_large_values(&Gate::closed());
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    for round in 0..4 {
        let key = round.to_string();
        client.send_all(&[&["GET", &key], &["GET", "large"], &["GET", "small"], &["GET", "large"], &["GET", &key]]);
        assert_eq!(client.reply(), value(&key));
        takes_a_large_value(&mut client);
        assert_eq!(client.reply(), value("small"));
        takes_a_large_value(&mut client);
        assert_eq!(client.reply(), value(&key));
    }
    assert_eq!(asked(&engine, &["GET", "3"]), [1], "it has changed at the latest when nothing was owed");
}

#[test]
fn what_is_parked_behind_a_large_request_follows_it() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], None));
    let (mut mover, mut other) = (proxy.client(), proxy.client());
    let large = "x".repeat(2 * MIB);
    mover.send_all(&[&["SET", "a", &large], &["SET", "a", "1"]]);
    other.send(&["SET", "b", "1"]);
    until("all wait", || proxy.pending() == 3);
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!([mover.reply(), mover.reply(), other.reply()], ["+OK", "+OK", "+OK"]);
    let mine = engine.connections().into_iter().find(|seen| seen.requests.iter().any(|request| request[2] == large));
    let mine: Vec<_> = mine.unwrap().requests.into_iter().map(|request| request[2].len()).collect();
    assert_eq!(mine, [large.len(), 1]);
    assert_ne!(asked(&engine, &["SET", "b", "1"]), asked(&engine, &["SET", "a", "1"]));
}

#[test]
fn an_old_primary_acknowledges_no_large_write_either() {
    let gate = Gate::closed();
    let held = gate.clone();
    let old = Engine::scripted(move |_, _| Act::Serve.behind(&held));
    let new = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let (mut mover, large) = (proxy.client(), "x".repeat(2 * MIB));
    mover.send(&["SET", "a", &large]);
    old.wait_for(&["SET", "a", &large]);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    gate.open();
    let answer = mover.reply();
    assert!(answer.starts_with("-ERR INDOUBT"), "{answer}");
    assert_eq!(mover.ask(&["SET", "a", &large]), "+OK");
    assert_eq!((old.count(&["SET", "a", &large]), new.count(&["SET", "a", &large])), (1, 1));
}

/// On a node that is lost half-way; it is not copied for that either.
#[test]
fn a_large_request_that_was_not_sent_whole_is_sent_again() {
    let gate = Gate::closed();
    let engine = Engine::reluctant(MIB, &gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"reply": 60})));
    let mut mover = proxy.client();
    let large = "x".repeat(32 * MIB);
    let writer = std::thread::spawn(move || {
        mover.send(&["SET", "a", &large]);
        mover
    });
    until("its request is under way", || proxy.pending() == 1);
    until("it is connected", || engine.connections().len() == 1);
    gate.open();
    engine.cut();
    let mut mover = writer.join().unwrap();
    let answer = mover.reply();
    assert!(answer == "+OK" || answer.starts_with("-ERR INDOUBT"), "{answer}");
    assert_eq!(mover.ask(&["GET", "a"]), value("a"));
}
