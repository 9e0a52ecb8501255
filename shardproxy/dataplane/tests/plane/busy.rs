//! Engines that are silent because of what they were sent, and those who wait for them.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::value;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const BUSY: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";
const EVAL: [&str; 3] = ["EVAL", "return 1", "0"];

/// An engine that answers nobody from a command that begins with `slow` on, until the gate opens.
fn engaged(slow: &'static str, gate: &Arc<Gate>) -> Engine {
    let (gate, is_busy) = (gate.clone(), AtomicBool::new(false));
    Engine::scripted(move |_, request| {
        is_busy.fetch_or(request[0] == slow, SeqCst);
        if is_busy.load(SeqCst) {
            Act::Serve.behind(&gate)
        } else {
            Act::Serve
        }
    })
}

fn with_timeouts(engine: &Engine, reply: f64, slow: f64) -> Proxy {
    Proxy::with(2, 0, &Spec::shard(&[engine], Some(0)).timeouts(json!({"reply": reply, "slow": slow, "connect": 0.5})))
}

/// The command the engine is known to owe for so long.
fn owed_for(proxy: &Proxy, engine: &Engine, seconds: f64) -> String {
    let mut command = String::new();
    until("the engine is known to be busy", || {
        let slow = proxy.plane.standing("test", &engine.address).slow.filter(|slow| slow.age > seconds);
        slow.map(|slow| command = slow.command).is_some()
    });
    command
}

fn timeouts(proxy: &Proxy, engine: &Engine) -> u64 {
    proxy.statistic(&format!("/nodes/{}/timeouts", engine.address))
}

#[test]
fn what_may_take_long_is_told_with_its_client_until_it_is_answered() {
    let gate = Gate::closed();
    let engine = engaged("EVAL", &gate);
    let proxy = with_timeouts(&engine, 5.0, 10.0);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    assert_eq!(client.ask(&["CLIENT", "SETNAME", "reports"]), "+OK");
    client.send_all(&[&["GET", "a"], &EVAL, &["GET", "b"]]);
    engine.wait_for(&EVAL);
    other.send(&["GET", "c"]);
    assert_eq!(owed_for(&proxy, &engine, 0.1), "eval");
    let standing = proxy.plane.standing("test", &engine.address);
    let slow = standing.slow.unwrap();
    let known = proxy.plane.find_clients(vec![slow.client]);
    assert_eq!((known.len(), &known[0].address), (1, &slow.address));
    assert_eq!(slow.name, b"reports");
    assert!(proxy.plane.standing("other", &engine.address).slow.is_none(), "it is the cluster's own affair");
    gate.open();
    assert_eq!([client.reply(), client.reply(), client.reply()], [value("a"), "+OK".into(), value("b")]);
    assert_eq!(other.reply(), value("c"));
    until("it owes nothing", || proxy.plane.standing("test", &engine.address).slow.is_none());
    assert!(proxy.plane.standing("test", &engine.address).heard.is_some());
}

/// A script that is sent later does not explain that it is silent: by then it was.
#[test]
fn a_node_was_not_heard_later_than_it_spoke() {
    let engine = Engine::plain();
    let proxy = with_timeouts(&engine, 5.0, 10.0);
    let mut client = proxy.client();
    for key in ["a", "b", "c"] {
        assert_eq!(client.ask(&["GET", key]), value(key));
        let answered = Instant::now();
        until("workers have told how it stands", || answered.elapsed() > Duration::from_millis(230));
        let silent_for = answered.elapsed().as_secs_f64();
        let heard = proxy.plane.standing("test", &engine.address).heard.unwrap();
        assert!((silent_for - 0.001..silent_for + 0.1).contains(&heard), "{heard} s ago, {silent_for} s silent");
    }
}

#[test]
fn a_transaction_counts_by_what_is_in_it() {
    let gate = Gate::closed();
    let engine = engaged("EXEC", &gate);
    let proxy = with_timeouts(&engine, 5.0, 10.0);
    let mut client = proxy.client();
    for words in [&["MULTI"][..], &EVAL, &["EXEC"]] {
        client.send(words);
    }
    assert_eq!(owed_for(&proxy, &engine, 0.1), "exec");
    gate.open();
}

#[test]
fn what_took_long_before_may_again_but_for_what_is_quick_by_its_nature() {
    let gate = Gate::closed();
    let engine = engaged("LRANGE", &gate);
    let proxy = with_timeouts(&engine, 5.0, 10.0);
    proxy.plane.expect_slow("test", vec!["lrange".into(), "get".into(), "nobody's".into()]);
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    clients[0].send(&["LRANGE", "list", "0", "-1"]);
    engine.wait_for(&["LRANGE", "list", "0", "-1"]);
    clients[1].send(&["GET", "key"]);
    assert_eq!(owed_for(&proxy, &engine, 0.1), "lrange");
    gate.open();
    until("it owes nothing", || proxy.plane.standing("test", &engine.address).slow.is_none());
}

/// Whoever waits behind it on any worker's connection, also on one that is opened meanwhile.
#[test]
fn no_connection_is_given_up_while_its_node_is_busy() {
    let gate = Gate::closed();
    let engine = engaged("EVAL", &gate);
    let proxy = with_timeouts(&engine, 0.5, 8.0);
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    }
    clients[0].send(&EVAL);
    engine.wait_for(&EVAL);
    for client in &mut clients[1..] {
        client.send(&["SET", "key", "2"]);
    }
    let mut late = proxy.client();
    late.send_all(&[&["WATCH", "key"], &["MULTI"], &["SET", "key", "3"], &["EXEC"]]);
    assert_eq!(owed_for(&proxy, &engine, 1.2), "eval");
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply(), "+OK");
    }
    assert_eq!([late.reply(), late.reply(), late.reply()], ["+OK", "+OK", "+QUEUED"]);
    assert_eq!(timeouts(&proxy, &engine), 0);
}

#[test]
fn a_busy_node_has_its_time_and_no_more() {
    let gate = Gate::closed();
    let engine = engaged("EVAL", &gate);
    let proxy = with_timeouts(&engine, 0.1, 0.5);
    let mut client = proxy.client();
    let reply = client.ask(&EVAL);
    assert!(reply.starts_with("-ERR INDOUBT "), "{reply}");
    assert!(reply.ends_with("no reply for 0.5 s (failover.slow_after)"), "{reply}");
    gate.open();
}

#[test]
fn a_node_that_is_known_to_be_only_busy_is_given_more() {
    let gate = Gate::closed();
    let engine = engaged("SET", &gate);
    let proxy = with_timeouts(&engine, 0.1, 0.1);
    proxy.plane.spare("test", &engine.address, 60.0);
    let mut client = proxy.client();
    client.send(&["SET", "key", "1"]);
    engine.wait_for(&["SET", "key", "1"]);
    let sent = Instant::now();
    until("it would be overdue", || sent.elapsed() > Duration::from_millis(500));
    assert_eq!(timeouts(&proxy, &engine), 0);
    proxy.plane.spare("test", &engine.address, 0.0);
    assert!(client.reply().contains("INDOUBT"));
    gate.open();
}

/// As an engine tells everybody; nothing was executed.
#[test]
fn who_waits_for_a_node_that_greets_with_busy_is_told_so() {
    let is_busy = Arc::new(AtomicBool::new(true));
    let busy = is_busy.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "INFO" if busy.load(SeqCst) => Act::say(BUSY),
        "INFO" if request[1] == "server" => Act::Say(bulk("run_id:aaaa\r\n")),
        "INFO" => Act::Say(bulk("role:master\r\n")),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec { run_id: Some("aaaa"), ..Spec::shard(&[&engine], Some(0)) });
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), BUSY.trim_end());
    assert_eq!(client.ask(&["WATCH", "key"]), BUSY.trim_end());
    assert_eq!(engine.asked("SET"), 0);
    is_busy.store(false, SeqCst);
    until("it is served", || client.ask(&["SET", "key", "1"]) == "+OK");
}

#[test]
fn a_subscription_outlives_a_script() {
    let engine = Engine::pinged(|_, request| match request[0].as_str() {
        "PING" => Act::say(BUSY),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.ask(&["SUBSCRIBE", "news"]);
    until("it was asked whether it lives, again", || engine.asked("PING") > 2);
    engine.publish("news", "still here");
    assert!(client.reply().contains("message"));
    assert_eq!(proxy.statistic("/subscription_gaps"), 0);
    assert_eq!(engine.connections().len(), 1);
}
