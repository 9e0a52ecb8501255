//! MONITOR: what all clients of a cluster ask for, as an engine shows it; and nothing of what is secret.

use serde_json::json;

use crate::client::{request, value, Client};
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// A client that monitors.
fn monitor(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    assert_eq!(client.ask(&["MONITOR"]), "+OK");
    proxy.plane.clients(); // every worker has had a turn since
    client
}

/// What the next line shows behind the time and the client.
fn shown(monitor: &mut Client) -> String {
    let line = monitor.reply();
    let (head, words) = line.split_once("] ").unwrap_or_else(|| panic!("{line}"));
    assert!(head.starts_with("+1") && head.contains(" [0 127.0.0.1:"), "{line}");
    words.to_owned()
}

#[test]
fn requests_of_all_workers_are_shown_each_client_s_in_their_order() {
    let engine = Engine::plain();
    let proxy = Proxy::with(3, 0, &Spec::shard(&[&engine], Some(0)));
    let mut monitors = [monitor(&proxy), monitor(&proxy)];
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    for number in 0..20 {
        for (name, client) in clients.iter_mut().enumerate() {
            client.send(&["GET", &format!("{name}:{number}")]);
        }
    }
    for monitor in &mut monitors {
        let mut seen = [0; 6];
        for _ in 0..120 {
            let words = shown(monitor);
            let (name, number) = words.trim_matches('"').strip_prefix("GET\" \"").unwrap().split_once(':').unwrap();
            let next = &mut seen[name.parse::<usize>().unwrap()];
            assert_eq!(number.parse(), Ok(*next));
            *next += 1;
        }
    }
    until("two are known to monitor", || proxy.plane.clients().iter().filter(|client| client.is_monitor).count() == 2);
}

#[test]
fn what_is_executed_is_shown_and_no_password_is() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut monitor = monitor(&proxy);
    let mut client = proxy.client();
    client.send_bytes(b"*3\r\n$3\r\nset\r\n$1\r\nk\r\n$5\r\n\"\x00\xff\\\n\r\n");
    client.send_all(&[
        &["GET"],
        &["NOBODY|KNOWS"],
        &["AUTH", "secret"],
        &["AUTH", "somebody", "secret"],
        &["HELLO", "2", "AUTH", "somebody", "secret"],
        &["CONFIG", "SET", "requirepass", "secret"],
        &["SHUTDOWN"],
        &["MULTI"],
        &["SET", "k", "1"],
        &["EXEC"],
        &["MULTI"],
        &["NOPE|NOPE"],
        &["EXEC"],
        &["EXEC"],
        &["PING"],
    ]);
    for _ in 0..2 {
        proxy.plane.retry(proxy.offload().token);
    }
    let lines: Vec<String> = (0..10).map(|_| shown(&mut monitor)).collect();
    let expected = [
        r#""set" "k" "\"\x00\xff\\\n""#,
        r#""AUTH" "(redacted)""#,
        r#""AUTH" "(redacted)" "(redacted)""#,
        r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)""#,
        r#""MULTI""#,
        r#""SET" "k" "1""#,
        r#""EXEC""#,
        r#""MULTI""#,
        r#""EXEC""#,
        r#""EXEC""#,
    ];
    assert_eq!(lines, expected);
    assert_eq!(shown(&mut monitor), r#""PING""#);
}

#[test]
fn who_monitors_may_not_touch_keys_until_it_is_reset() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut monitor = monitor(&proxy);
    let refusal = "-ERR Replica can't interact with the keyspace";
    for words in [&["GET", "k"][..], &["SET", "k", "v"], &["PUBLISH", "c", "m"], &["EVAL", "return 1", "0"]] {
        assert_eq!(monitor.ask(words), refusal);
    }
    monitor.send_all(&[&["MONITOR"], &["PING"]]); // the first has no answer, as an engine's
    assert_eq!(monitor.reply(), "+PONG");
    assert_eq!(shown(&mut monitor), r#""PING""#);
    monitor.send(&["MULTI"]);
    assert_eq!((monitor.reply(), shown(&mut monitor)), ("+OK".into(), r#""MULTI""#.into()));
    monitor.send(&["DISCARD"]);
    assert_eq!((monitor.reply(), shown(&mut monitor)), ("+OK".into(), r#""DISCARD""#.into()));
    assert_eq!(monitor.ask(&["GET", "k"]), refusal, "it still monitors");
    assert_eq!(monitor.ask(&["RESET"]), "+RESET");
    assert_eq!(monitor.ask(&["GET", "k"]), value("k"));
    assert!(!proxy.plane.clients()[0].is_monitor);
}

#[test]
fn lines_stand_between_replies() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "GET" => Act::Hold(held.clone(), Box::new(Act::Serve)),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut late = proxy.client();
    late.send_all(&[&["GET", "k"], &["MONITOR"]]);
    until("the engine is asked", || engine.count(&["GET", "k"]) == 1);
    assert_eq!(proxy.client().ask(&["PING"]), "+PONG");
    gate.open();
    assert_eq!([late.reply(), late.reply()], [value("k"), "+OK".into()]);
    assert_eq!(proxy.client().ask(&["ECHO", "a"]), value("a"));
    assert_eq!(shown(&mut late), r#""ECHO" "a""#, "nothing from before it monitored");
}

#[test]
fn who_does_not_read_is_cut_and_holds_nobody_up() {
    let engine = Engine::forgetful(|_, _| Act::Serve);
    let limits = json!({"client_output": 256 << 10});
    let proxy = Proxy::with(2, 0, &Spec::shard(&[&engine], Some(0)).limits(limits));
    let mut slow = Client::connect_narrow(&proxy.address);
    assert_eq!(slow.ask(&["MONITOR"]), "+OK");
    let mut client = proxy.client();
    let long = "x".repeat(64 << 10);
    until("it is cut", || {
        assert_eq!(client.ask(&["SET", "k", &long]), "+OK");
        proxy.statistic("/closed/output_limit") == 1
    });
    assert_eq!(client.ask(&["SET", "k", &long]), "+OK");
    assert!(proxy.plane.clients().iter().all(|client| !client.is_monitor));
}

#[test]
fn a_command_that_waits_is_shown_when_it_comes_and_once() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(json!({"dedicated": 1})));
    let mut monitor = monitor(&proxy);
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send(&["BLPOP", "a", "0"]);
    assert_eq!(shown(&mut monitor), r#""BLPOP" "a" "0""#);
    second.send(&["BLPOP", "b", "0"]);
    assert_eq!(shown(&mut monitor), r#""BLPOP" "b" "0""#);
    drop(first);
    until("the other is served", || engine.count(&["BLPOP", "b", "0"]) == 1);
    assert_eq!(proxy.client().ask(&["PING"]), "+PONG");
    assert_eq!(shown(&mut monitor), r#""PING""#);
}

#[test]
fn a_request_that_is_held_is_shown_when_it_is_served_and_once() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, _| Act::Serve.behind(&held));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(json!({"shard_queue": 1000})));
    let mut monitor = monitor(&proxy);
    let (mut first, mut second) = (proxy.client(), proxy.client());
    let large = "x".repeat(1000);
    first.send(&["SET", "a", &large]);
    engine.wait_for(&["SET", "a", &large]);
    assert_eq!(shown(&mut monitor), format!(r#""SET" "a" "{large}""#));
    second.send(&["SET", "b", "1"]);
    until("it is held", || proxy.statistic("/held") == 1);
    assert_eq!(proxy.client().ask(&["PING"]), "+PONG");
    assert_eq!(shown(&mut monitor), r#""PING""#);
    gate.open();
    assert_eq!([first.reply(), second.reply()], ["+OK", "+OK"]);
    assert_eq!(shown(&mut monitor), r#""SET" "b" "1""#);
    assert_eq!(second.ask(&["PING"]), "+PONG");
    assert_eq!(shown(&mut monitor), r#""PING""#);
}

#[test]
fn other_clusters_are_not_heard() {
    let (engine, other) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let address = proxy.apply_to("other", &Spec::shard(&[&other], Some(0)));
    let mut monitor = monitor(&proxy);
    let mut client = Client::connect(&address);
    assert_eq!(client.ask(&["GET", "theirs"]), value("theirs"));
    let mut own = proxy.client();
    own.send_bytes(&request(&["GET", "own"]));
    assert_eq!(shown(&mut monitor), r#""GET" "own""#);
}
