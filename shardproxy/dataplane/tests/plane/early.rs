//! Nodes that answer a request before they have read it all: its client gets that answer once, nobody else anything of it.

use std::sync::Arc;

use crate::cache::{pool, Cache, Rest, TOO_LARGE};
use crate::client::{value, Client};
use crate::engine::{Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// More than two sockets hold between them: some of it is still to be sent when the node answers.
const LARGE: usize = 24 << 20;
const MOST: usize = 1 << 20;

const RESTS: [Rest; 2] = [Rest::Swallowed, Rest::Refused];

fn store(line: &str, length: usize) -> Vec<u8> {
    let mut request = format!("{line}\r\n").into_bytes();
    request.resize(request.len() + length, b'x');
    request.extend_from_slice(b"\r\n");
    request
}

fn large(key: &str) -> Vec<u8> {
    store(&format!("set {key} 0 0 {LARGE}"), LARGE)
}

fn hit(client: &mut Client, key: &str) {
    let lines = [client.line(), client.line(), client.line()];
    assert_eq!(lines, [format!("VALUE {key} 0 {}", key.len()), key.to_owned(), "END".to_owned()]);
}

/// A node, and a proxy of one worker before it.
fn start(rest: Rest) -> (Cache, Proxy) {
    let node = Cache::start(MOST, rest);
    let proxy = Proxy::serving(1, &pool(&[&node]));
    (node, proxy)
}

/// The node has begun to read the request, and the proxy has what it says to it.
fn refuse(node: &Cache, proxy: &Proxy, line: &str) {
    until("the large value arrives", || node.count(line) > 0);
    node.until_heard(proxy);
    proxy.plane.clients(); // the turn that heard it is over
}

fn assert_well(proxy: &Proxy) {
    assert_eq!(proxy.plane.statistics()["workers"][0]["restarts"], 0, "the worker has panicked");
}

#[test]
fn a_large_value_is_refused_once() {
    for rest in RESTS {
        for line in [format!("set k 0 0 {LARGE}"), format!("ms k {LARGE}")] {
            let (node, proxy) = start(rest);
            let (mut client, mut other) = (proxy.client(), proxy.client());
            other.send_bytes(b"get before\r\n");
            hit(&mut other, "before");
            client.send_bytes(&store(&line, LARGE));
            refuse(&node, &proxy, &line);
            node.gate.open();
            assert_eq!(client.line(), TOO_LARGE, "{rest:?}");
            for client in [&mut client, &mut other] {
                client.send_bytes(b"get after\r\nset small 0 0 2\r\nhi\r\n");
                hit(client, "after");
                assert_eq!(client.line(), "STORED", "{rest:?}");
            }
            assert_eq!(node.count(&line), 1, "it is not sent again");
            assert_well(&proxy);
        }
    }
}

#[test]
fn who_is_before_a_refused_value_has_its_own_answer() {
    for rest in RESTS {
        let (node, proxy) = start(rest);
        let (mut client, mut other) = (proxy.client(), proxy.client());
        other.send_bytes(b"get a\r\nget b\r\n");
        client.send_bytes(&[b"get c\r\nset d 0 0 1\r\nx\r\n".to_vec(), large("k")].concat());
        refuse(&node, &proxy, "set k");
        node.gate.open();
        hit(&mut other, "a");
        hit(&mut other, "b");
        hit(&mut client, "c");
        assert_eq!([client.line(), client.line()], ["STORED", TOO_LARGE], "{rest:?}");
        assert_well(&proxy);
    }
}

#[test]
fn who_is_behind_a_refused_value_has_its_own_answer() {
    for rest in RESTS {
        let (node, proxy) = start(rest);
        let (mut client, mut other) = (proxy.client(), proxy.client());
        client.send_bytes(&[large("k"), b"get a\r\nset b 0 0 1\r\nx\r\n".to_vec(), large("l")].concat());
        client.send_bytes(b"get c\r\n");
        until("the large value arrives", || node.count("set k") > 0);
        other.send_bytes(b"get d\r\nset e 0 0 1\r\nx\r\nget f\r\n");
        until("all are under way", || proxy.pending() >= 6);
        refuse(&node, &proxy, "set k");
        node.gate.open();
        assert_eq!(client.line(), TOO_LARGE, "{rest:?}");
        hit(&mut client, "a");
        assert_eq!([client.line(), client.line()], ["STORED", TOO_LARGE], "{rest:?}");
        hit(&mut client, "c");
        hit(&mut other, "d");
        assert_eq!(other.line(), "STORED", "{rest:?}");
        hit(&mut other, "f");
        assert_eq!([node.count("set k"), node.count("set l"), node.count("set b"), node.count("set e")], [1; 4]);
        assert_well(&proxy);
    }
}

#[test]
fn who_wanted_no_reply_gets_none_to_a_refused_value() {
    for rest in RESTS {
        let (node, proxy) = start(rest);
        let mut client = proxy.client();
        let noreply = store(&format!("set k 0 0 {LARGE} noreply"), LARGE);
        client.send_bytes(&[noreply, b"get a\r\n".to_vec()].concat());
        refuse(&node, &proxy, "set k");
        node.gate.open();
        hit(&mut client, "a");
        client.send_bytes(b"get b\r\n");
        hit(&mut client, "b");
        assert_eq!(node.count("set k"), 1);
        assert_well(&proxy);
    }
}

/// What is known of the request is known: nobody waits for its rest.
#[test]
fn a_client_that_goes_once_it_was_refused_harms_nobody() {
    for rest in RESTS {
        let (node, proxy) = start(rest);
        let (mut client, mut other) = (proxy.client(), proxy.client());
        client.send_bytes(&large("k"));
        until("the large value arrives", || node.count("set k") > 0);
        other.send_bytes(b"get a\r\n");
        until("it is under way", || proxy.pending() > 0);
        refuse(&node, &proxy, "set k");
        drop(client);
        until("the client is gone", || proxy.plane.clients().len() == 1);
        let mut next = proxy.client(); // in the same place of the worker's table
        next.send_bytes(b"get b\r\n");
        node.gate.open();
        hit(&mut other, "a");
        hit(&mut next, "b");
        assert_well(&proxy);
    }
}

/// A key that this node has.
fn key_of(node: &Cache, client: &mut Client) -> String {
    let mut keys = (0..).map(|n: usize| n.to_string()).filter(|key| {
        client.send_bytes(format!("get {key}\r\n").as_bytes());
        hit(client, key);
        node.count(&format!("get {key}")) > 0
    });
    keys.next().unwrap_or_default()
}

#[test]
fn another_node_is_asked_and_answers_meanwhile() {
    let nodes = [Cache::start(MOST, Rest::Swallowed), Cache::start(MOST, Rest::Swallowed)];
    let proxy = Proxy::serving(1, &pool(&[&nodes[0], &nodes[1]]));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let [mine, its] = [&nodes[0], &nodes[1]].map(|node| key_of(node, &mut other));
    client.send_bytes(&large(&mine));
    refuse(&nodes[0], &proxy, "set ");
    other.send_bytes(format!("get {its}\r\n").as_bytes());
    hit(&mut other, &its);
    nodes[0].gate.open();
    assert_eq!(client.line(), TOO_LARGE);
    assert_well(&proxy);
}

/// An engine, or what stands before one, that says what is wrong with a large argument and then passes over the request.
fn hasty(gate: &Arc<Gate>) -> Engine {
    Engine::hasty(MOST, "-ERR value too large\r\n", gate)
}

/// The engine has answered, and some of what it answers is still to be sent.
fn answered(engine: &Engine, proxy: &Proxy) {
    let statistic = |name: &str| proxy.statistic(&format!("/nodes/{}/{name}", engine.address));
    until("the proxy has heard the engine", || {
        engine.has_refused() && statistic("bytes_in") >= "-ERR value too large\r\n".len() as u64
    });
    proxy.plane.clients(); // the turn that heard it is over
    assert!(statistic("bytes_out") < LARGE as u64);
}

#[test]
fn an_engine_that_answers_early_answers_once() {
    let gate = Gate::closed();
    let engine = hasty(&gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let large = "x".repeat(LARGE);
    client.send_all(&[&["SET", "large", &large], &["GET", "a"], &["SET", "b", "1"]]);
    until("some of it arrives", || engine.has_refused());
    other.send_all(&[&["GET", "c"], &["SET", "d", "1"]]);
    until("all are under way", || proxy.pending() >= 4);
    answered(&engine, &proxy);
    gate.open();
    assert_eq!(
        [client.reply(), client.reply(), client.reply()],
        ["-ERR value too large".into(), value("a"), "+OK".into()]
    );
    assert_eq!([other.reply(), other.reply()], [value("c"), "+OK".into()]);
    assert_eq!([engine.count(&["SET", "b", "1"]), engine.count(&["SET", "d", "1"])], [1, 1]);
    assert_eq!(engine.refused(), 1, "it is not sent again");
    assert_well(&proxy);
}

#[test]
fn an_engine_that_answers_early_and_goes_answers_once() {
    let gate = Gate::closed();
    let engine = hasty(&gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "large", &"x".repeat(LARGE)], &["GET", "a"], &["SET", "b", "1"]]);
    answered(&engine, &proxy);
    engine.cut();
    gate.open();
    assert_eq!(
        [client.reply(), client.reply(), client.reply()],
        ["-ERR value too large".into(), value("a"), "+OK".into()]
    );
    assert_eq!(engine.refused(), 1, "it is not sent again");
    assert_eq!(engine.count(&["SET", "b", "1"]), 1);
    assert_well(&proxy);
}

/// In a transaction the replies before EXEC's come early as a matter of course.
#[test]
fn an_engine_that_refuses_early_within_a_transaction_shifts_nothing() {
    let gate = Gate::closed();
    let engine = hasty(&gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let large = "x".repeat(LARGE);
    client.send_all(&[&["MULTI"], &["SET", "{k}a", "1"], &["SET", "{k}b", &large], &["EXEC"], &["GET", "{k}c"]]);
    until("some of it arrives", || engine.has_refused());
    other.send(&["GET", "d"]);
    until("it is under way", || proxy.plane.clients().iter().all(|client| client.pending > 0));
    gate.open();
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "+QUEUED"]);
    assert_eq!([client.reply(), client.reply()], ["*1\r\n+OK".to_owned(), value("{k}c")]);
    assert_eq!(other.reply(), value("d"));
    assert_well(&proxy);
}
