//! What is known of a cluster's primaries counts until a deadline: past it they acknowledge nothing.

use std::fs;

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// Seconds of the boot clock.
fn now() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

const LONG: f64 = 60.0;

fn arm(proxy: &Proxy, seconds: f64) {
    proxy.plane.lease("test", Some(now() + seconds));
}

/// No request reaches a primary any more.
fn lapse(proxy: &Proxy) {
    proxy.plane.lease("test", Some(now() - 1.0));
    until("every worker knows", || proxy.plane.clients().len() < 1000);
    let begun: Vec<u64> = turns(proxy);
    until("every worker has taken a turn", || turns(proxy).iter().zip(&begun).all(|(now, then)| now > then));
}

fn turns(proxy: &Proxy) -> Vec<u64> {
    let statistics = proxy.plane.statistics();
    statistics["workers"].as_array().unwrap().iter().map(|worker| worker["turns"].as_u64().unwrap()).collect()
}

#[test]
fn while_it_holds_nothing_is_different() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    for _ in 0..5 {
        arm(&proxy, LONG);
        assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    }
    proxy.plane.lease("test", None);
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    assert_eq!(engine.connections().len(), 1);
}

#[test]
fn a_reply_that_comes_after_it_acknowledges_nothing() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |number, _| if number == 0 { Act::Serve.behind(&held) } else { Act::Serve });
    let proxy = Proxy::with(2, 0, &Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    arm(&proxy, 0.3);
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    engine.wait_for(&["SET", "key", "1"]);
    let doubt = client.reply();
    assert!(doubt.starts_with("-ERR INDOUBT shard 0 primary lost"), "{doubt}");
    gate.open();
    client.send(&["SET", "key", "2"]);
    until("it waits, and so does the read", || proxy.pending() == 2);
    assert_eq!(engine.count(&["SET", "key", "2"]), 0);
    arm(&proxy, LONG);
    assert_eq!([client.reply(), client.reply()], [value("key"), "+OK".to_owned()]);
    assert_eq!(engine.count(&["SET", "key", "1"]), 1, "a write is never repeated");
    until("the former connection is closed", || engine.connections()[0].is_closed);
}

#[test]
fn only_another_deadline_ends_it() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    lapse(&proxy);
    client.send(&["SET", "key", "2"]);
    until("it waits", || proxy.pending() == 1);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!((proxy.pending(), new.count(&["SET", "key", "2"])), (1, 0));
    proxy.plane.lease("test", None);
    assert_eq!(client.reply(), "+OK");
    assert_eq!((old.count(&["SET", "key", "2"]), new.count(&["SET", "key", "2"])), (0, 1));
}

#[test]
fn who_waits_too_long_is_told_that_nothing_was_executed() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(serde_json::json!({"park": 0.2})));
    lapse(&proxy);
    assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "-TRYAGAIN shard 0 failing over, command not executed");
    assert!(engine.seen().is_empty());
}

#[test]
fn replicas_answer_on_and_the_former_primary_is_none() {
    let (primary, replica) = (Engine::plain(), Engine::plain());
    let proxy = Proxy::start(&Spec { reads: "nearest", ..Spec::shard(&[&primary, &replica], Some(0)) });
    let mut client = proxy.client();
    lapse(&proxy);
    for _ in 0..10 {
        assert_eq!(client.ask(&["GET", "key"]), value("key"));
    }
    assert_eq!((primary.count(&["GET", "key"]), replica.count(&["GET", "key"])), (0, 10));
}

#[test]
fn subscribers_and_whoever_waits_for_keys_are_served_on_by_the_next_primary() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let (mut subscriber, mut watcher) = (proxy.client(), proxy.client());
    assert!(subscriber.ask(&["SUBSCRIBE", "news"]).starts_with("*3"));
    old.wait_for(&["subscribe", "news"]);
    assert_eq!(watcher.ask(&["WATCH", "key"]), "+OK");
    lapse(&proxy);
    until("the old one is left", || old.connections().iter().all(|seen| seen.is_closed));
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    arm(&proxy, LONG);
    new.wait_for(&["subscribe", "news"]);
    let replies: Vec<String> =
        [&["MULTI"][..], &["SET", "key", "1"], &["EXEC"]].iter().map(|words| watcher.ask(words)).collect();
    assert_eq!(replies, ["+OK", "+QUEUED", "*-1"], "what was watched is not known any more");
}

#[test]
fn each_cluster_has_its_own() {
    let (engine, other) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    proxy.plane.lease("other", Some(now() - 1.0)); // before it is served
    let address = proxy.apply_to("other", &Spec::shard(&[&other], Some(0)));
    assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK");
    let mut client = crate::client::Client::connect(&address);
    client.send(&["SET", "key", "1"]);
    until("it waits", || proxy.pending() == 1);
    assert!(other.seen().is_empty());
    proxy.plane.lease("other", Some(now() + LONG));
    assert_eq!(client.reply(), "+OK");
    proxy.plane.lease("other", Some(now() - 1.0));
    proxy.plane.remove("other");
    let address = proxy.apply_to("other", &Spec::shard(&[&other], Some(0)));
    assert_eq!(crate::client::Client::connect(&address).ask(&["SET", "key", "2"]), "+OK", "it went with the cluster");
}
