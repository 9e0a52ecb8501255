//! Another plane goes on with the endpoints and the clients of this one, and the clients notice nothing.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const ENDPOINT: &str = "127.0.0.1:0";

/// The next plane, which serves at the same socket and has taken no client yet.
fn heir(old: &Proxy, spec: &Spec) -> Proxy {
    let plane = Proxy::planned(2);
    for (address, socket) in old.plane.sockets().unwrap() {
        assert_eq!(address, ENDPOINT);
        plane.inherit(address, socket, false);
    }
    Proxy::over(plane, spec)
}

fn pass(old: &Proxy, new: &Proxy) {
    let (from, to) = UnixStream::pair().unwrap();
    new.plane.take_over(from.into()).unwrap();
    old.plane.pass_to(to.into()).unwrap();
}

fn count(proxy: &Proxy) -> usize {
    proxy.plane.clients().len()
}

#[test]
fn idle_clients_go_on_as_who_they_were() {
    let engine = Engine::plain();
    let spec =
        Spec::shard(&[&engine], Some(0)).users(&[("default", "on nopass ~* +@all"), ("app", "on nopass ~* +@all")]);
    let old = Proxy::with(2, 0, &spec);
    let mut clients: Vec<_> = (0..20).map(|_| old.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        assert!(client.ask(&["HELLO", "3", "AUTH", "app", "any", "SETNAME", &format!("n{number}")]).starts_with('%'));
        assert_eq!(client.ask(&["SELECT", "3"]), "+OK");
        assert_eq!(client.ask(&["GET", "key"]), value("key"));
    }
    let new = heir(&old, &spec);
    assert_eq!(new.address, old.address);
    pass(&old, &new);
    until("all have gone", || count(&old) == 0);
    until("and have come", || count(&new) == 20);
    assert_eq!(old.statistic("/closed/passed_on"), 20);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.ask(&["ACL", "WHOAMI"]), "$3\r\napp");
        assert!(client.ask(&["CLIENT", "GETNAME"]).ends_with(&format!("n{number}")));
        assert_eq!(client.ask(&["GET", "key"]), value("key"));
    }
    assert!(new.plane.clients().iter().all(|client| (client.resp, client.db) == (3, 3)));
    assert_eq!(new.client().ask(&["GET", "other"]), value("other"), "and who comes now is served there");
}

/// Nobody goes on with the rights of somebody else.
#[test]
fn who_is_no_user_there_any_more_is_not_served() {
    let engine = Engine::plain();
    let everybody = ("default", "on nopass ~* +@all");
    let old =
        Proxy::with(1, 0, &Spec::shard(&[&engine], Some(0)).users(&[everybody, ("app", "on nopass ~app:* +@all")]));
    let mut client = old.client();
    assert!(client.ask(&["HELLO", "3", "AUTH", "app", "any"]).starts_with('%'));
    let new = heir(&old, &Spec::shard(&[&engine], Some(0)).users(&[everybody]));
    pass(&old, &new);
    until("it has gone", || count(&old) == 0);
    assert_eq!(client.reply(), "<end>");
    assert_eq!((new.statistic("/closed/rules_changed"), count(&new)), (1, 0));
}

/// One that cannot be taken on is lost alone, and whoever is one too many is counted.
#[test]
fn one_that_is_lost_on_its_way_keeps_no_other_from_coming() {
    let engine = Engine::plain();
    let spec = || Spec::shard(&[&engine], Some(0));
    let old = Proxy::with(1, 0, &spec());
    let mut clients: Vec<_> = (0..3).map(|_| old.client()).collect();
    assert!(clients.iter_mut().all(|client| client.ask(&["GET", "k"]) == value("k")));
    let new = heir(&old, &spec().limits(json!({"clients": 2})));
    let (from, mut to) = UnixStream::pair().unwrap();
    to.write_all(b"words without a socket").unwrap();
    new.plane.take_over(from.into()).unwrap();
    assert_eq!(new.client().ask(&["PING"]), "+PONG", "that was accepted behind it");
    until("it has gone", || count(&new) == 0);
    old.plane.pass_to(to.into()).unwrap();
    until("all have gone", || count(&old) == 0);
    until("as many come as may", || count(&new) == 2 && new.statistic("/refused/limit") == 1);
}

#[test]
fn a_client_goes_when_it_has_its_reply() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine =
        Engine::scripted(move |_, request| if request[1] == "slow" { Act::Serve.behind(&held) } else { Act::Serve });
    let spec = Spec::shard(&[&engine], Some(0));
    let old = Proxy::with(1, 0, &spec);
    let mut client = old.client();
    client.send(&["SET", "slow", "1"]);
    engine.wait_for(&["SET", "slow", "1"]);
    let new = heir(&old, &spec);
    pass(&old, &new);
    until("nobody is accepted here", || old.plane.sockets().unwrap().is_empty());
    client.send(&["SET", "next", "1"]);
    assert_eq!((count(&old), count(&new)), (1, 0));
    gate.open();
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    until("it has gone", || count(&old) == 0);
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    assert_eq!(count(&new), 1);
}

#[test]
fn who_is_in_the_middle_of_something_stays_until_the_end() {
    let engine = Engine::plain();
    let spec = Spec::shard(&[&engine], Some(0));
    let old = Proxy::with(1, 0, &spec);
    let (mut listener, mut queuing, mut watching) = (old.client(), old.client(), old.client());
    assert!(listener.ask(&["SUBSCRIBE", "news"]).starts_with("*3"));
    assert_eq!(queuing.ask(&["MULTI"]), "+OK");
    assert_eq!(watching.ask(&["WATCH", "key"]), "+OK");
    let new = heir(&old, &spec);
    pass(&old, &new);
    assert_eq!(queuing.ask(&["SET", "key", "1"]), "+QUEUED");
    assert_eq!((count(&old), count(&new)), (3, 0));
    assert_eq!(queuing.ask(&["EXEC"]), "*1\r\n+OK");
    until("its transaction is over, and it goes", || count(&new) == 1);
    assert_eq!(watching.ask(&["UNWATCH"]), "+OK");
    until("nothing is watched", || count(&new) == 2);
    engine.publish("news", "text");
    assert!(listener.reply().ends_with("text"));
    old.plane.drain(Duration::ZERO);
    assert_eq!(listener.reply(), "<end>");
    assert_eq!([&mut queuing, &mut watching].map(|client| client.ask(&["GET", "k"])), [value("k"), value("k")]);
}

#[test]
fn who_waits_to_be_accepted_is_accepted_by_the_next() {
    let engine = Engine::plain();
    let spec = Spec::shard(&[&engine], Some(0));
    let old = Proxy::with(1, 0, &spec);
    let first = old.client();
    until("it is served", || count(&old) == 1);
    let sockets = old.plane.sockets().unwrap();
    let (from, _to) = UnixStream::pair().unwrap();
    old.plane.pass_to(from.into()).unwrap();
    until("clients are passed on, so nobody is accepted any more", || count(&old) == 0);
    let waiting: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(&old.address).unwrap()).collect();
    drop(old);
    let plane = Proxy::planned(1);
    for (address, socket) in sockets {
        plane.inherit(address, socket, false);
    }
    let new = Proxy::over(plane, &spec);
    until("all of them are", || count(&new) == waiting.len());
    drop(first);
}

#[test]
fn without_an_heir_they_are_served_on() {
    let engine = Engine::plain();
    let old = Proxy::with(1, 0, &Spec::shard(&[&engine], Some(0)));
    let mut clients: Vec<_> = (0..5).map(|_| old.client()).collect();
    assert!(clients.iter_mut().all(|client| client.ask(&["GET", "k"]) == value("k")));
    let (gone, to) = UnixStream::pair().unwrap();
    drop(gone);
    old.plane.pass_to(to.into()).unwrap();
    until("nobody is accepted here", || old.plane.sockets().unwrap().is_empty());
    assert!(clients.iter_mut().all(|client| client.ask(&["GET", "k"]) == value("k")));
    assert_eq!(count(&old), 5);
}

/// Who is idle may be about to send something.
#[test]
fn in_a_drain_with_grace_who_was_answered_goes_first() {
    let engine = Engine::plain();
    let proxy = Proxy::with(1, 0, &Spec::shard(&[&engine], Some(0)));
    let (mut busy, mut idle) = (proxy.client(), proxy.client());
    assert_eq!([&mut busy, &mut idle].map(|client| client.ask(&["GET", "k"])), [value("k"), value("k")]);
    proxy.plane.drain(Duration::from_secs(5));
    until("nobody listens", || TcpStream::connect(&proxy.address).is_err());
    assert_eq!([busy.ask(&["GET", "k"]), busy.reply()], [value("k"), "<end>".to_owned()]);
    drop(busy);
    until("it is gone", || count(&proxy) == 1);
    proxy.plane.drain(Duration::ZERO);
    assert_eq!(idle.reply(), "<end>");
}
