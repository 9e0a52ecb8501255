//! Connections that break: reads are asked again once, writes never, and no reply is taken for another's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::value;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const IN_DOUBT: &str = "-ERR INDOUBT shard 0 primary lost, command may have been executed";

/// An engine that treats its first connections so, and is well after that.
fn ill(connections: usize, act: impl Fn() -> Act + Send + Sync + 'static) -> Engine {
    Engine::scripted(move |number, _| if number < connections { act() } else { Act::Serve })
}

#[test]
fn a_read_is_asked_again_once() {
    for reply in ["", "$3\r\nke", "?nonsense\r\n", "$99999999999999999999\r\n", "*2\r\n+a\r\n"] {
        let engine = ill(1, move || Act::cut(reply));
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let mut client = proxy.client();
        assert_eq!(client.ask(&["GET", "key"]), value("key"), "after {reply:?}");
        assert_eq!(engine.count(&["GET", "key"]), 2);
        assert_eq!(client.ask(&["GET", "other"]), value("other"));
    }
    let engine = ill(2, || Act::cut(""));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let reply = proxy.client().ask(&["GET", "key"]);
    assert!(reply.starts_with("-ERR shard 0 lost twice while reading"), "{reply}");
    assert_eq!(engine.count(&["GET", "key"]), 2);
}

/// The tick would open the connection too, after up to 100 ms.
#[test]
fn a_lost_connection_is_opened_again_as_soon_as_it_may_be() {
    let count = AtomicUsize::new(0);
    let engine = Engine::scripted(move |_, _| match count.fetch_add(1, SeqCst) % 2 {
        0 => Act::cut(""),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    let fastest = (0..8).map(|_| {
        let start = Instant::now();
        assert_eq!(client.ask(&["GET", "key"]), value("key"));
        start.elapsed()
    });
    assert!(fastest.skip(1).min() < Some(Duration::from_millis(50)));
}

#[test]
fn a_write_is_in_doubt_and_never_sent_again() {
    for reply in ["", "+O", "?nonsense\r\n"] {
        let engine = ill(1, move || Act::cut(reply));
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let mut client = proxy.client();
        let doubt = client.ask(&["SET", "key", "1"]);
        assert!(doubt.starts_with(IN_DOUBT), "{doubt}");
        assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
        assert_eq!(engine.count(&["SET", "key", "1"]), 1);
    }
}

/// A small request, then one larger than a socket takes: the engine reads the small one only, and goes.
#[test]
fn what_was_not_sent_whole_was_not_executed() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = ill(1, move || Act::cut("").behind(&held));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    let large = "x".repeat(16 << 20);
    client.send_all(&[&["SET", "small", "1"], &["SET", "large", &large]]);
    engine.wait_for(&["SET", "small", "1"]);
    until("some of the large one is sent", || {
        proxy.statistic(&format!("/nodes/{}/bytes_out", engine.address)) > 100_000
    });
    gate.open();
    let (small, large_reply) = (client.reply(), client.reply());
    assert!(small.starts_with(IN_DOUBT), "{small}");
    assert_eq!(large_reply, "+OK", "sent in part: it cannot have been executed, and may be sent again");
    assert_eq!((engine.count(&["SET", "small", "1"]), engine.count(&["SET", "large", &large])), (1, 1));
}

#[test]
fn a_streamed_reply_that_breaks_off_ends_its_client_alone() {
    let engine = Engine::scripted(|_, request| match request[1].as_str() {
        "large" => Act::Cut(bulk(&"x".repeat(500_000))[..400_000].to_vec()),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut unlucky, mut other) = (proxy.client(), proxy.client());
    unlucky.send_all(&[&["GET", "large"], &["GET", "never"]]);
    assert_eq!(unlucky.reply(), "<end>");
    assert_eq!(other.ask(&["GET", "key"]), value("key"));
    assert_eq!(proxy.statistic("/closed/reply_cut"), 1);
}

/// The connections that blocked and watching clients lease.
#[test]
fn a_streamed_reply_to_a_leased_connection_that_breaks_off_ends_its_client() {
    let reply = bulk(&"x".repeat(500_000))[..400_000].to_vec();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "BLPOP" | "EXEC" => Act::Cut(reply.clone()),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut blocked, mut watching) = (proxy.client(), proxy.client());
    blocked.send_all(&[&["BLPOP", "list", "0"], &["GET", "never"]]);
    assert_eq!(blocked.reply(), "<end>");
    watching.send_all(&[&["WATCH", "key"], &["MULTI"], &["GET", "key"], &["EXEC"], &["GET", "never"]]);
    let replies: Vec<String> = (0..4).map(|_| watching.reply()).collect();
    assert_eq!(replies, ["+OK", "+OK", "+QUEUED", "<end>"]);
    assert_eq!(proxy.statistic("/closed/reply_cut"), 2);
    assert_eq!(engine.count(&["GET", "never"]), 0);
}

/// An engine at its maxclients says so to nobody in particular and closes.
#[test]
fn a_reply_nobody_asked_for_answers_nobody() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    for round in 0..20 {
        engine.turn_away_next(b"-ERR max number of clients reached\r\n");
        engine.cut();
        let key = round.to_string();
        client.send_all(&[&["GET", &key], &["GET", "second"]]);
        let replies = [client.reply(), client.reply()];
        // the first may have been on its way already when the engine refused
        assert!(replies[0] == value(&key) || replies[0].starts_with("-ERR"), "{replies:?}");
        assert!(replies[1] == value("second") || replies[1].starts_with("-ERR shard 0 lost twice"), "{replies:?}");
    }
    assert_eq!(proxy.plane.statistics()["workers"][0]["restarts"], 0);
}

#[test]
fn a_node_that_does_not_answer_is_given_up_in_time() {
    let engine = ill(1, || Act::Say(Vec::new()));
    let timeouts = json!({"reply": 0.3});
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(timeouts));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    let doubt = client.reply();
    assert!(doubt.starts_with(IN_DOUBT) && doubt.ends_with("no reply for 0.3 s (timeouts.reply)"), "{doubt}");
    assert_eq!(client.reply(), value("key"));
    assert_eq!(engine.count(&["SET", "key", "1"]), 1);
}

/// What waits at the engine may wait; what should be answered at once may not, though it has the connection for itself.
#[test]
fn a_watching_client_is_told_in_time_that_its_node_does_not_answer() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "EXEC" => Act::say(""),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"reply": 0.3})));
    let (mut blocked, mut watching) = (proxy.client(), proxy.client());
    blocked.send(&["BLPOP", "list", "0"]);
    engine.wait_for(&["BLPOP", "list", "0"]);
    watching.send_all(&[&["WATCH", "key"], &["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
    assert_eq!([watching.reply(), watching.reply(), watching.reply()], ["+OK", "+OK", "+QUEUED"]);
    let doubt = watching.reply();
    assert!(doubt.starts_with(IN_DOUBT) && doubt.ends_with("no reply for 0.3 s (timeouts.reply)"), "{doubt}");
    assert!(proxy.plane.clients().iter().any(|client| client.is_blocked), "the other waits on");
}

#[test]
fn a_part_of_a_split_read_is_asked_again() {
    let engines = [Engine::plain(), ill(1, || Act::cut("*1\r\n$3"))];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let reply = proxy.client().ask(&["MGET", "foo", "bar"]);
    assert_eq!(reply, format!("*2\r\n{}\r\n{}", value("foo"), value("bar")));
}

#[test]
fn a_split_write_of_which_a_part_is_lost_is_in_doubt_once() {
    let engines = [Engine::plain(), ill(1, || Act::cut(""))];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let mut client = proxy.client();
    client.send_all(&[&["MSET", "foo", "1", "bar", "2"], &["PING"]]);
    let doubt = client.reply();
    assert!(doubt.starts_with("-ERR INDOUBT shard 1 primary lost"), "{doubt}");
    assert_eq!(client.reply(), "+PONG");
    assert_eq!(engines[1].count(&["MSET", "foo", "1"]), 1);
}

/// Engines that close now and then, before and after they answer: each request gets its own one reply, an acknowledged
/// write was seen, and no write was seen twice.
#[test]
fn under_constant_losses_nothing_is_shifted_repeated_or_forgotten() {
    let engines = [0, 1].map(|shard| {
        let count = AtomicUsize::new(shard * 5);
        Engine::scripted(move |_, request| match count.fetch_add(1, SeqCst) % 23 {
            7 => Act::cut(""),
            15 if request[0] == "GET" => Act::Cut(bulk(&request[1])[..3].to_vec()),
            19 if request[0] == "GET" => Act::Cut(bulk(&request[1])),
            21 if request[0] == "SET" => Act::cut("+OK\r\n"),
            _ => Act::Serve,
        })
    });
    let proxy = Proxy::with(2, 0, &Spec::shards(&engines));
    let acknowledged: Vec<Vec<String>> = std::thread::scope(|scope| {
        let run = |number: usize| {
            let mut client = proxy.client();
            move || {
                let mut acknowledged = Vec::new();
                for round in 0..12 {
                    let keys: Vec<String> = (0..10).map(|n| format!("{number}:{round}:{n}")).collect();
                    let pairs = keys.iter().flat_map(|key| [vec!["SET", key.as_str(), "1"], vec!["GET", key.as_str()]]);
                    let requests: Vec<Vec<&str>> = pairs.collect();
                    client.send_all(&requests.iter().map(Vec::as_slice).collect::<Vec<_>>());
                    for key in &keys {
                        let (set, get) = (client.reply(), client.reply());
                        assert!(set == "+OK" || set.starts_with("-ERR INDOUBT"), "{set}");
                        assert!(get == value(key) || get.starts_with("-ERR shard"), "{key}: {get}");
                        if set == "+OK" {
                            acknowledged.push(key.clone());
                        }
                    }
                }
                acknowledged
            }
        };
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(run(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut writes: HashMap<String, usize> = HashMap::new();
    for request in engines.iter().flat_map(Engine::seen).filter(|request| request[0] == "SET") {
        *writes.entry(request[1].clone()).or_default() += 1;
    }
    assert_eq!(writes.values().max(), Some(&1), "a write was sent twice");
    assert!(acknowledged.iter().flatten().all(|key| writes.contains_key(key)), "acknowledged, and never sent");
}

/// Names of one node are still being looked up when connections to another take the places of those that asked.
#[test]
fn a_late_address_leads_nobody_to_another_shards_node() {
    let mut engines = [Engine::plain(), Engine::plain()];
    for engine in &mut engines {
        engine.address = engine.address.replace("127.0.0.1", "localhost");
    }
    let proxy = Proxy::start(&Spec::shards(&engines));
    for round in 1..=8 {
        let mut gone: Vec<_> = (0..100).map(|_| proxy.client()).collect();
        for client in &mut gone {
            client.send(&["BLPOP", "bar", "0"]); // of shard 0
        }
        drop(gone);
        let mut clients: Vec<_> = (0..30).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send(&["BLPOP", "foo", "0"]); // of shard 1
        }
        let arrived = || -> usize { engines.iter().map(|engine| engine.count(&["BLPOP", "foo", "0"])).sum() };
        until("all of them wait", || arrived() == round * 30);
        drop(clients);
    }
    assert_eq!(engines[0].count(&["BLPOP", "foo", "0"]), 0);
}

/// A name may lead to addresses where nobody listens: the next try takes the next one.
#[test]
fn a_node_is_reached_by_whichever_address_its_name_has() {
    let mut engine = Engine::plain();
    engine.address = engine.address.replace("127.0.0.1", "localhost");
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK");
    engine.cut();
    assert_eq!(proxy.client().ask(&["GET", "key"]), value("key"));
}
