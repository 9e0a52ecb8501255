//! A command that waits, waits as long as it said, whoever is primary meanwhile and whatever pool is used up.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{value, Client};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const DEMOTED: &str =
    "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n";
const FOR_EVER: &[&str] = &["BLPOP", "a", "0"];
const XREAD: &[&str] = &["XREAD", "BLOCK", "0", "STREAMS", "s", "0"];

/// An engine that answers blocking commands so.
fn answering(act: impl Fn() -> Act + Send + Sync + 'static) -> Engine {
    Engine::scripted(move |_, request| match request[0].as_str() {
        "BLPOP" | "XREAD" => act(),
        _ => Act::Serve,
    })
}

/// A proxy with a pool of one connection, and a client that has it.
fn used_up(engine: &Engine) -> (Proxy, Client) {
    let spec = Spec::shard(&[engine], Some(0)).limits(json!({"dedicated": 1})).timeouts(json!({"park": 0.3}));
    let proxy = Proxy::start(&spec);
    let mut first = proxy.client();
    first.send(FOR_EVER);
    engine.wait_for(FOR_EVER);
    (proxy, first)
}

/// Wait until a client is queued; its id.
fn queued(proxy: &Proxy) -> u64 {
    let mut found = None;
    until("a client is queued", || {
        found = proxy.plane.clients().iter().find(|c| c.is_blocked && c.pending == 0).map(|c| c.id);
        found.is_some()
    });
    found.unwrap_or_default()
}

fn popped() -> String {
    ["*2\r\n".to_owned(), [bulk("a"), bulk("x")].concat().iter().map(|&b| char::from(b)).collect()].concat()
}

#[test]
fn who_waits_for_a_connection_waits_no_longer_than_its_own_timeout() {
    let engine = Engine::plain();
    let (proxy, _first) = used_up(&engine);
    let mut client = proxy.client();
    let start = Instant::now();
    client.send_all(&[&["BLPOP", "b", "0.3"], &["GET", "k"]]);
    assert_eq!([client.reply(), client.reply()], ["*-1".to_owned(), value("k")]);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(client.ask(&["XREAD", "BLOCK", "20", "STREAMS", "s", "$"]), "*-1");
    assert_eq!(engine.seen().len(), 3, "CLIENT ID, the first BLPOP, and GET");
}

#[test]
fn an_engine_is_told_what_is_left_of_the_time() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = answering(move || Act::say("*-1\r\n").behind(&held));
    let (proxy, mut first) = used_up(&engine);
    let mut second = proxy.client();
    second.send(&["BLPOP", "b", "5"]);
    queued(&proxy);
    std::thread::sleep(Duration::from_millis(20)); // of its time
    gate.open();
    assert_eq!([first.reply(), second.reply()], ["*-1", "*-1"]);
    let left: f64 = engine.seen().last().unwrap()[2].parse().unwrap();
    assert!(left > 0.0 && left <= 4.98, "{left}");
}

#[test]
fn watch_waits_for_a_connection_no_longer_than_what_is_parked() {
    let engine = Engine::plain();
    let (proxy, _first) = used_up(&engine);
    let mut client = proxy.client();
    let why = "all connections of its kind are in use (limits.dedicated), command not executed";
    assert_eq!(client.ask(&["WATCH", "k"]), format!("-ERR WATCH waited 0.3 s (timeouts.park): {why}"));
    assert_eq!(client.ask(&["MULTI"]), "+OK");
    assert_eq!(client.ask(&["GET", "k"]), "+QUEUED");
    assert_eq!(client.ask(&["EXEC"]), format!("*1\r\n{}", value("k")));
}

#[test]
fn who_waits_for_a_connection_can_be_unblocked() {
    let engine = Engine::plain();
    let (proxy, _first) = used_up(&engine);
    for (with_error, reply) in [(false, "*-1"), (true, "-UNBLOCKED client unblocked via CLIENT UNBLOCK")] {
        let mut client = proxy.client();
        client.send(&["BLPOP", "b", "0"]);
        assert!(proxy.plane.unblock(queued(&proxy), with_error));
        assert_eq!(client.reply(), reply);
        assert_eq!(client.ask(&["PING"]), "+PONG");
    }
    let mut client = proxy.client();
    client.send(&["WATCH", "k"]);
    assert!(!proxy.plane.unblock(queued(&proxy), false), "an engine unblocks no WATCH");
}

#[test]
fn what_else_ends_a_wait_is_the_answer() {
    let gone = "-UNBLOCKED the stream key no longer exists";
    let engine = answering(move || Act::say(&format!("{gone}\r\n")));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(XREAD), gone);
    assert_eq!(engine.count(XREAD), 1, "it is not asked again");
}

#[test]
fn who_was_unblocked_by_a_demotion_waits_on_at_the_next_primary() {
    let (old, new) = (answering(|| Act::cut(DEMOTED)), answering(|| Act::say(&popped())));
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let (mut client, mut late) = (proxy.client(), proxy.client());
    client.send_all(&[&["CLIENT", "REPLY", "SKIP"], FOR_EVER, &["BLPOP", "a", "60"], &["GET", "k"]]);
    old.wait_for(FOR_EVER);
    proxy.apply(&Spec::shard(&[&old, &new], None));
    late.send(FOR_EVER);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!([client.reply(), client.reply()], [popped().trim_end().to_owned(), value("k")]);
    assert_eq!(late.reply(), popped().trim_end());
    assert_eq!(new.count(FOR_EVER), 2);
}

#[test]
fn a_demoted_node_is_asked_again_until_the_next_primary_is_known() {
    let readonly = "-READONLY You can't write against a read only replica.\r\n";
    let (old, new) = (answering(move || Act::say(readonly)), answering(|| Act::say(&popped())));
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    client.send(&["BLPOP", "a", "60"]);
    until("it was asked twice", || old.seen().iter().filter(|request| request[0] == "BLPOP").count() > 1);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!(client.reply(), popped().trim_end());
    assert!(new.seen().last().unwrap()[2].parse::<f64>().unwrap() < 60.0);
}

#[test]
fn who_finds_no_primary_is_told_so_in_the_end() {
    let engine = answering(|| Act::say("-LOADING Redis is loading the dataset in memory\r\n"));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"park": 0.3})));
    let mut client = proxy.client();
    assert_eq!(client.ask(FOR_EVER), "-LOADING Redis is loading the dataset in memory");
    engine.kill();
    for words in [FOR_EVER, &["BLPOP", "a", "0.1"], XREAD] {
        let reply = client.ask(words);
        assert!(reply.starts_with("-TRYAGAIN shard 0") && reply.ends_with("command not executed"), "{reply}");
    }
}

#[test]
fn who_only_reads_waits_on_when_its_connection_is_lost() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = answering(move || Act::say("*0\r\n").behind(&held));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(XREAD);
    engine.wait_for(XREAD);
    engine.cut();
    until("it asks again", || engine.count(XREAD) == 2);
    gate.open();
    assert_eq!(client.reply(), "*0");
}

#[test]
fn a_deposed_primary_ends_a_wait_but_acknowledges_none() {
    let doubt =
        "-ERR INDOUBT shard 0 primary lost, command may have been executed: the primary is being replaced".to_owned();
    let demoted = DEMOTED.to_owned();
    for (said, expected) in [("*-1\r\n".to_owned(), "*-1".to_owned()), (popped(), doubt.clone()), (demoted, popped())] {
        let (gate, new) = (Gate::closed(), answering(|| Act::say(&popped())));
        let held = gate.clone();
        let old = answering(move || Act::say(&said).behind(&held));
        let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
        let mut client = proxy.client();
        client.send(FOR_EVER);
        old.wait_for(FOR_EVER);
        proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
        gate.open();
        assert_eq!(client.reply(), expected.trim_end());
        assert_eq!(client.ask(&["GET", "k"]), value("k"));
        until("its connection is closed", || old.connections().iter().all(|seen| seen.is_closed));
    }
    let (silent, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&silent, &new], Some(0)));
    let mut client = proxy.client();
    client.send(FOR_EVER);
    silent.wait_for(FOR_EVER);
    let id = proxy.plane.clients()[0].id;
    proxy.apply(&Spec::shard(&[&silent, &new], None));
    assert!(!proxy.plane.unblock(id, false));
    assert_eq!(client.reply(), doubt);
    assert!(new.seen().is_empty());
}

#[test]
fn a_wait_that_ends_while_the_proxy_drains_is_answered() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = answering(move || Act::cut(DEMOTED).behind(&held));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(FOR_EVER);
    engine.wait_for(FOR_EVER);
    let mut idle = proxy.client();
    proxy.plane.drain(Duration::ZERO);
    assert_eq!(idle.reply(), "<end>"); // its worker drains
    gate.open();
    assert_eq!(client.reply(), "-TRYAGAIN the proxy closes this connection, command not executed");
    assert_eq!(client.reply(), "<end>");
}

#[test]
fn a_node_that_does_not_end_a_wait_in_time_is_lost() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"reply": 0.2})));
    let mut client = proxy.client();
    let doubt = client.ask(&["BLPOP", "a", "0.1"]);
    assert!(doubt.starts_with("-ERR INDOUBT shard 0") && doubt.ends_with("no reply for 0.2 s (timeouts.reply)"));
}

/// `b` is in the first of two shards, `a` in the second.
#[test]
fn a_free_connection_is_not_left_with_who_waits_for_another_by_now() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engines = [answering(move || Act::say("*-1\r\n").behind(&held)), Engine::plain()];
    let proxy = Proxy::start(&Spec::shards(&engines).limits(json!({"dedicated": 1})));
    let (mut first, mut other) = (proxy.client(), proxy.client());
    let (mut wanderer, mut next) = (proxy.client(), proxy.client());
    first.send(&["BLPOP", "b", "0"]);
    engines[0].wait_for(&["BLPOP", "b", "0"]);
    other.send(FOR_EVER);
    engines[1].wait_for(FOR_EVER);
    wanderer.send(&["BLPOP", "b", "0"]);
    assert!(proxy.plane.unblock(queued(&proxy), false));
    assert_eq!(wanderer.reply(), "*-1");
    wanderer.send(FOR_EVER);
    queued(&proxy);
    next.send(&["BLPOP", "b", "0"]);
    let waiting = || proxy.plane.clients().iter().filter(|c| c.is_blocked && c.pending == 0).count();
    until("both are queued", || waiting() == 2);
    gate.open();
    assert_eq!([first.reply(), next.reply()], ["*-1", "*-1"]);
}

#[test]
fn who_has_gone_takes_no_place_among_those_that_wait() {
    let engine = Engine::plain();
    let (proxy, _first) = used_up(&engine);
    for _ in 0..5000 {
        proxy.client().send(&["BLPOP", "b", "0"]);
    }
    until("they are gone", || proxy.plane.clients().len() == 1);
    let mut client = proxy.client();
    until("there is a place", || client.ask(&["BLPOP", "b", "0.01"]) == "*-1");
}
