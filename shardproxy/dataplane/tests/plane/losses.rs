//! Connections that break: reads are asked again once, writes never, and no reply is taken for another's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{request, value};
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

/// More than sockets hold, so that some of it was not sent when the connection broke.
#[test]
fn what_was_not_sent_goes_behind_what_the_engine_refused_before_it_was_lost() {
    let (first, rest) = (Gate::closed(), Gate::closed());
    let gates = (first.clone(), rest.clone());
    let engine = Engine::scripted(move |connection, request| match (connection, &*request[0], request.get(2)) {
        (0, "SET", Some(number)) if number == "0" => {
            Act::say("-LOADING Redis is loading the dataset in memory\r\n").behind(&gates.0)
        }
        (0, ..) => Act::Serve.behind(&gates.1),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    let padding = "x".repeat(100_000);
    for number in 0..100 {
        client.send(&["SET", "key", &format!("{number}{}", if number == 0 { "" } else { &padding })]);
    }
    until("all of it is under way", || proxy.pending() == 100);
    first.open();
    until("the refused one waits", || proxy.statistic("/parked") == 1);
    engine.cut();
    let replies: Vec<String> = (0..100).map(|_| client.reply()).collect();
    assert_eq!([&*replies[0], &*replies[99]], ["+OK", "+OK"]);
    assert!(replies.iter().any(|reply| reply.starts_with(IN_DOUBT)));
    let number = |request: &Vec<String>| request[2].trim_end_matches('x').parse::<usize>().unwrap();
    let sets = engine.connections().swap_remove(1).requests.into_iter().filter(|request| request[0] == "SET");
    let written: Vec<usize> = sets.map(|request| number(&request)).collect();
    assert!(written.is_sorted(), "{written:?}");
    rest.open();
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
    let counted = "-ERR INDOUBT executed by 1 of 2 shards, perhaps by 1 more: shard 1 primary lost";
    assert!(doubt.starts_with(counted), "{doubt}");
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

/// As an engine that takes no request so large: it reads some of it and closes, every time, with or without a word.
#[test]
fn a_request_that_breaks_connections_holds_nobody_else_up() {
    let large = "x".repeat(16 << 20);
    for (farewell, answer) in
        [("", "-TRYAGAIN shard 0"), ("-ERR Protocol error: invalid bulk length\r\n", "-ERR Protocol")]
    {
        let engine = Engine::narrow(1 << 20, farewell);
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let (mut greedy, mut gone, mut modest) = (proxy.client(), proxy.client(), proxy.client());
        assert_eq!(modest.ask(&["GET", "key"]), value("key"));
        gone.send(&["SET", "gone", &large]);
        drop(gone);
        greedy.send_all(&[&["SET", "large", &large], &["PING"]]);
        let reply = greedy.reply();
        assert!(reply.starts_with(answer), "{reply}");
        assert!(reply.ends_with("command not executed") || !farewell.is_empty(), "{reply}");
        assert_eq!(greedy.reply(), "+PONG");
        let read = modest.ask(&["GET", "key"]);
        assert!(read == value("key") || read.starts_with("-ERR shard 0 lost twice"), "{read}");
        until("the shard is well", || modest.ask(&["SET", "key", "1"]) == "+OK");
        assert!(engine.connections().len() <= 6, "it was sent {} times", engine.connections().len());
        assert!(!engine.seen().iter().any(|request| request.get(1).is_some_and(|key| key == "large" || key == "gone")));
    }
}

#[test]
fn a_frozen_node_answers_nobody_for_no_longer_than_parking_and_its_reply_may_take() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "GET" => Act::Serve,
        _ => Act::Freeze,
    });
    let timeouts = json!({"reply": 2.0, "park": 0.5, "connect": 0.3});
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(timeouts));
    let (mut first, mut large) = (proxy.client(), proxy.client());
    let bytes = request(&["SET", "large", &"x".repeat(16 << 20)]);
    let (most, last) = bytes.split_at(bytes.len() - 1);
    large.send_bytes(most);
    let began = Instant::now();
    first.send(&["SET", "first", "1"]);
    engine.wait_for(&["SET", "first", "1"]);
    large.send_bytes(last);
    until("some of the large one is sent", || {
        proxy.statistic(&format!("/nodes/{}/bytes_out", engine.address)) > 100_000
    });
    large.send(&["SET", "small", "1"]);
    assert!(first.reply().starts_with(IN_DOUBT));
    for _ in 0..2 {
        let reply = large.reply();
        assert!(reply.starts_with("-TRYAGAIN shard 0") && reply.ends_with("command not executed"), "{reply}");
    }
    assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
    assert_eq!(engine.seen().iter().filter(|request| request[0] == "SET").count(), 1);
}

/// It takes the request piece by piece, the whole of it in longer than a reply may take.
#[test]
fn a_slow_node_that_takes_a_large_request_is_not_overdue() {
    let engine = Engine::slow(1 << 20, Duration::from_millis(60));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"reply": 2})));
    let large = "x".repeat(64 << 20); // much more than lies in sockets
    assert_eq!(proxy.client().ask(&["SET", "large", &large]), "+OK");
    assert_eq!(engine.connections().len(), 1);
}

#[test]
fn a_split_write_of_which_one_part_waits_in_vain_is_in_doubt() {
    let engines = [Engine::plain(), Engine::plain()];
    let proxy = Proxy::start(&Spec { timeouts: json!({"park": 0.3}), ..Spec::shards(&engines) });
    engines[1].kill();
    let mut client = proxy.client();
    let doubt = client.ask(&["MSET", "foo", "1", "bar", "2"]);
    assert!(doubt.starts_with("-ERR INDOUBT executed by 1 of 2 shards: TRYAGAIN shard 1"), "{doubt}");
    let read = client.ask(&["MGET", "foo", "bar"]);
    assert!(read.starts_with("-TRYAGAIN shard 1") && read.ends_with("command not executed"), "{read}");
}

/// Nobody wanted the shard for longer than it is tried for; meanwhile its node came back.
#[test]
fn the_first_request_after_an_outage_finds_the_node_that_is_back() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"park": 0.3})));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    engine.kill();
    let refused = client.ask(&["SET", "key", "2"]);
    assert!(refused.starts_with("-TRYAGAIN shard 0"), "{refused}");
    let failures = || proxy.statistic(&format!("/nodes/{}/connect_failures", engine.address));
    let mut before = 0;
    while std::mem::replace(&mut before, failures()) != failures() {
        std::thread::sleep(Duration::from_millis(1800)); // longer than any back-off: then it is tried no more
    }
    let back = Engine::at(&engine.address);
    assert_eq!(client.ask(&["SET", "key", "3"]), "+OK");
    assert_eq!(back.count(&["SET", "key", "3"]), 1);
}
