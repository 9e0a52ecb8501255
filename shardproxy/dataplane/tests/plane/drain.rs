//! The plane leaves: what is under way is finished, nothing new begins.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::{request, value};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec, PATIENCE};

#[test]
fn draining_finishes_what_is_under_way() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, _| Act::Serve.behind(&held));
    let proxy = Proxy::with(2, 0, &Spec::shard(&[&engine], Some(0)));
    let (mut busy, mut idle) = (proxy.client(), proxy.client());
    assert_eq!(idle.ask(&["PING"]), "+PONG");
    busy.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    engine.wait_for(&["SET", "key", "1"]);
    proxy.plane.drain(Duration::ZERO);
    assert_eq!(idle.reply(), "<end>");
    until("nobody listens", || TcpStream::connect(&proxy.address).is_err());
    gate.open();
    assert_eq!([busy.reply(), busy.reply(), busy.reply()], ["+OK".to_owned(), value("key"), "<end>".to_owned()]);
    until("all are gone", || proxy.plane.clients().is_empty());
}

/// What it sent meanwhile is not read any more; closing at once would answer it with a reset, which the reply may lose to.
#[test]
fn a_drained_client_gets_its_last_reply_and_an_orderly_end() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, _| Act::Serve.behind(&held));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = TcpStream::connect(&proxy.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&request(&["SET", "key", "1"])).unwrap();
    engine.wait_for(&["SET", "key", "1"]);
    let mut idle = proxy.client();
    assert_eq!(idle.ask(&["PING"]), "+PONG");
    proxy.plane.drain(Duration::ZERO);
    assert_eq!(idle.reply(), "<end>", "the worker knows");
    client.write_all(&request(&["SET", "key", "2"])).unwrap();
    gate.open();
    let mut replies = String::new();
    client.read_to_string(&mut replies).unwrap();
    assert_eq!(replies, "+OK\r\n");
}

/// It takes the ten seconds of the limit.
#[test]
fn a_client_that_never_reads_does_not_stay_for_its_last_replies() {
    let large = "x".repeat(1 << 20);
    let engine = Engine::scripted(move |_, _| Act::Say(bulk(&large)));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = TcpStream::connect(&proxy.address).unwrap();
    client.write_all(&request(&["GET", "key"]).repeat(20)).unwrap();
    client.write_all(&request(&["QUIT"])).unwrap();
    until("its socket is full", || proxy.plane.clients().iter().any(|client| client.output > 1 << 20));
    let start = Instant::now();
    until("it is still there after some seconds", || start.elapsed() > Duration::from_secs(5));
    assert_eq!(proxy.plane.clients().len(), 1);
    until("it is gone", || proxy.plane.clients().is_empty());
    assert_eq!(proxy.statistic("/closed/quit"), 1);
}

#[test]
fn a_cluster_that_is_removed_takes_its_clients_along() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    proxy.plane.remove("test");
    assert_eq!(client.reply(), "<end>");
    until("its connections are closed", || engine.connections().iter().all(|seen| seen.is_closed));
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(&["GET", "key"]), value("key"));
}

#[test]
fn stopping_closes_everything() {
    let engine = Engine::plain();
    let proxy = Proxy::with(3, 0, &Spec::shard(&[&engine], Some(0)));
    let mut clients: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    assert!(clients.iter_mut().all(|client| client.ask(&["GET", "key"]) == value("key")));
    proxy.plane.stop();
    assert!(clients.iter_mut().all(|client| client.reply() == "<end>"));
    until("the engine is left", || engine.connections().iter().all(|seen| seen.is_closed));
}
