//! Numbers that are as large as they can be written: nothing panics, and who sent them is answered.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::value;
use crate::engine::{Act, Engine};
use crate::proxy::{until, Proxy, Spec};

/// The latest time an `Instant` can hold is so far away, in whole seconds as floating-point numbers have them.
fn farthest() -> f64 {
    let can_be = |seconds: &f64| Instant::now().checked_add(Duration::from_secs_f64(*seconds)).is_some();
    (1..1 << 30).map(|n| 9_223_372_036_854_775_808.0 - f64::from(n) * 1024.0).find(can_be).unwrap()
}

fn timeouts() -> Vec<String> {
    let numbers = [farthest(), farthest() - 4096.0, 9_223_372_036_854_775_807.0, 1.8e19, 1e300, 1e308, f64::MAX];
    let written = ["9223372036854775807", "9223372036854775.807", "18446744073709551615", "1e18", "1e19", "1e400"];
    numbers.iter().map(|seconds| format!("{seconds:.1}")).chain(written.map(str::to_owned)).collect()
}

/// Commands that wait as long as they can be told to.
fn waits() -> Vec<Vec<String>> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    let forms = timeouts().into_iter().flat_map(|t| {
        [
            format!("BLPOP a {t}"),
            format!("BLMPOP {t} 1 a LEFT"),
            format!("BLMOVE a a LEFT RIGHT {t}"),
            format!("BZPOPMIN a {t}"),
        ]
    });
    let milliseconds = [i64::MAX, i64::MAX / 1000, 999_999_999_999_999_999, 1 << 62].map(|ms| ms.to_string());
    let more = ["18446744073709551615", "18446744073709551616"].map(str::to_owned);
    let streams = milliseconds.into_iter().chain(more).map(|ms| format!("XREAD BLOCK {ms} STREAMS a $"));
    forms.chain(streams).map(words).collect()
}

fn is_wait(request: &[String]) -> bool {
    ["BLPOP", "BLMPOP", "BLMOVE", "BZPOPMIN", "XREAD"].contains(&request[0].as_str())
}

/// An engine that ends no wait.
fn stalling() -> Engine {
    Engine::scripted(|_, request| if is_wait(request) { Act::say("") } else { Act::Serve })
}

/// How many waits have reached the engine.
fn arrived(engine: &Engine) -> usize {
    engine.seen().iter().filter(|request| is_wait(request)).count()
}

/// So that every connection is looked at: the tick does.
fn let_it_tick(proxy: &Proxy) {
    let start = Instant::now();
    until("it has ticked", || {
        proxy.plane.clients();
        start.elapsed() > Duration::from_millis(350)
    });
}

#[test]
fn a_wait_may_be_as_long_as_it_can_be_written() {
    let waits = waits();
    for reply in [5.0, 2000.0, 86_400.0, 31_536_000.0] {
        let engine = stalling();
        let timeouts = json!({"reply": reply, "park": reply});
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(timeouts));
        let mut clients: Vec<_> = waits.iter().map(|_| proxy.client()).collect();
        for (client, words) in clients.iter_mut().zip(&waits) {
            client.send(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        until("all wait", || arrived(&engine) == waits.len());
        let_it_tick(&proxy);
        assert_eq!(proxy.plane.statistics()["workers"][0]["restarts"], 0, "while the engine stalls, reply {reply}");
        engine.cut(); // those that may have been executed are in doubt, the others are asked again
        until("they are asked again", || {
            let blocked = proxy.plane.clients().iter().filter(|client| client.is_blocked).count();
            blocked < waits.len() && arrived(&engine) == waits.len() + blocked
        });
        let_it_tick(&proxy);
        assert_eq!(proxy.plane.statistics()["workers"][0]["restarts"], 0, "when its connections are lost");
        assert_eq!(proxy.client().ask(&["GET", "key"]), value("key"));
    }
}

/// Who has no connection of its own waits in the proxy.
#[test]
fn a_wait_in_the_proxy_may_be_as_long_as_it_can_be_written() {
    let waits = waits();
    let engine = stalling();
    let spec = Spec::shard(&[&engine], Some(0)).limits(json!({"dedicated": 1}));
    let proxy = Proxy::start(&spec.timeouts(json!({"reply": 31_536_000.0, "park": 31_536_000.0})));
    let mut clients: Vec<_> = waits.iter().map(|_| proxy.client()).collect();
    for (client, words) in clients.iter_mut().zip(&waits) {
        client.send(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let blocked = || proxy.plane.clients().iter().filter(|client| client.is_blocked).count();
    until("all wait", || blocked() == waits.len());
    let_it_tick(&proxy);
    let first = engine.seen().into_iter().find(|request| is_wait(request)).unwrap();
    let at = waits.iter().position(|words| *words == first).unwrap();
    clients.remove(at);
    until("the next one has its turn", || arrived(&engine) == 2);
    let_it_tick(&proxy);
    assert_eq!(blocked(), waits.len() - 1);
    assert_eq!(proxy.plane.statistics()["workers"][0]["restarts"], 0);
}

#[test]
fn a_cluster_whose_times_no_clock_can_hold_is_refused() {
    let engine = Engine::plain();
    for seconds in [-1.0, 1e12, 1e19, 1e300] {
        for name in ["connect", "reply", "idle", "park"] {
            assert!(is_refused(&Spec::shard(&[&engine], Some(0)).timeouts(json!({name: seconds}))), "{name} {seconds}");
        }
        assert!(is_refused(&Spec { max_staleness: seconds, ..Spec::shard(&[&engine], Some(0)) }), "{seconds}");
    }
    assert!(!is_refused(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"reply": 0, "park": 31_622_400}))), "a year");
}

fn is_refused(spec: &Spec) -> bool {
    shardproxy_dataplane::Cluster::parse(spec.json("test", 1).as_bytes()).is_err()
}

/// A year is long for a clock that wraps after an hour.
#[test]
fn what_may_be_parked_for_long_is() {
    let engine = Engine::plain();
    // microseconds modulo 2^32: 0.032 s
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], None).timeouts(json!({"park": 4295, "reply": 4295})));
    let mut client = proxy.client();
    client.send(&["SET", "key", "1"]);
    until("it waits", || proxy.pending() == 1);
    let_it_tick(&proxy);
    assert_eq!(proxy.pending(), 1, "it was given up at once");
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(client.reply(), "+OK");
}

/// Engines' cursors have no room for a shard's number when they are as large as they can be.
#[test]
fn a_cursor_that_is_too_large_is_not_taken_for_another() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "EXEC" => Act::say("*1\r\n*2\r\n$20\r\n18446744073709551615\r\n*0\r\n"),
        "SCAN" => Act::say("+QUEUED\r\n"),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SCAN", "0"], &["EXEC"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+QUEUED"]);
    let reply = client.reply();
    let cursor: u128 = reply.lines().nth(3).and_then(|cursor| cursor.parse().ok()).unwrap();
    assert_eq!(cursor >> 8, u128::from(u64::MAX), "{reply}");
}

#[test]
fn a_pause_may_be_as_long_as_it_can_be_written() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    for seconds in [9_223_372_036_854_775.0, 1e300, f64::INFINITY] {
        proxy.plane.pause("test", seconds, true, Vec::new());
        client.send(&["SET", "key", "1"]);
        let_it_tick(&proxy);
        assert!(engine.seen().is_empty(), "{seconds}");
        proxy.plane.pause("test", 0.0, true, Vec::new());
        assert_eq!(client.reply(), "+OK");
        assert_eq!(proxy.client().ask(&["GET", "key"]), value("key"));
        engine.forget();
    }
}
