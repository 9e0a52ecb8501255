//! Every buffer is bounded: reading stops first (`held` as well), then requests are refused, then the greediest client goes.

use std::time::Duration;

use serde_json::json;

use crate::client::{request, value};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

fn gated() -> (std::sync::Arc<Gate>, Engine) {
    let gate = Gate::closed();
    let held = gate.clone();
    (gate, Engine::scripted(move |_, _| Act::Serve.behind(&held)))
}

#[test]
fn a_client_with_too_much_under_way_is_not_read() {
    let (gate, engine) = gated();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(json!({"in_flight": 4})));
    let mut client = proxy.client();
    let keys: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let bytes: Vec<u8> = keys.iter().flat_map(|key| request(&["GET", key])).collect();
    client.send_bytes(&bytes);
    until("as many as may are under way", || proxy.pending() == 4);
    assert_eq!(proxy.client().ask(&["PING"]), "+PONG");
    assert_eq!(proxy.pending(), 4);
    gate.open();
    for key in &keys {
        assert_eq!(client.reply(), value(key));
    }
}

#[test]
fn who_does_not_read_is_cut_off_at_its_limit() {
    let large = "x".repeat(100_000);
    let engine = Engine::scripted(move |_, request| match request[1].as_str() {
        "large" => Act::Say(bulk(&large)),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(json!({"client_output": 400_000})));
    let (mut slow, mut other) = (proxy.client(), proxy.client());
    slow.send_bytes(&request(&["GET", "large"]).repeat(400)); // all are under way before the first reply is in
    until("it is cut off", || proxy.statistic("/closed/output_limit") == 1);
    assert_eq!(other.ask(&["GET", "key"]), value("key"));
    until("its buffers are free", || proxy.plane.statistics()["buffers"].as_u64() < Some(2_000_000));
}

#[test]
fn one_client_too_many_is_told_so() {
    let engine = Engine::plain();
    let proxy = Proxy::with(2, 0, &Spec::shard(&[&engine], Some(0)).limits(json!({"clients": 3})));
    for _ in 0..5 {
        let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
        assert!(clients.iter_mut().all(|client| client.ask(&["PING"]) == "+PONG"));
        assert_eq!(proxy.client().reply(), "-ERR max number of clients reached");
        drop(clients);
        until("they are gone", || proxy.statistic("/clients") == 0);
    }
    assert_eq!(proxy.statistic("/refused/limit"), 5);
}

#[test]
fn the_cap_of_all_buffers_costs_the_greediest_client_only() {
    let engine = Engine::plain();
    let proxy = Proxy::with(1, 4 << 20, &Spec::shard(&[&engine], Some(0)));
    let (mut greedy, mut modest, mut other) = (proxy.client(), proxy.client(), proxy.client());
    assert_eq!(modest.ask(&["SET", "key", "1"]), "+OK");
    let begun = [b"*2\r\n$4\r\nECHO\r\n$700000\r\n", &*vec![b'x'; 600_000]].concat();
    other.send_bytes(&begun);
    until("it is read", || proxy.plane.clients().iter().any(|client| client.input == begun.len()));
    greedy.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000000\r\n");
    let chunk = vec![b'x'; 1 << 16];
    // its socket fills when it is not read any more: then the rest cannot be sent
    let writer = std::thread::spawn(move || (0..1500).all(|_| greedy.try_send(&chunk)));
    until("the greedy one is closed", || proxy.statistic("/closed/buffers") == 1);
    assert!(!writer.join().unwrap(), "it could go on");
    assert_eq!(modest.ask(&["PING"]), "+PONG");
    until("memory is free again", || modest.ask(&["SET", "key", "2"]) == "+OK");
    other.send_bytes(&[&*vec![b'x'; 100_000], b"\r\n"].concat());
    assert_eq!(other.reply(), format!("${}\r\n{}", 700_000, "x".repeat(700_000)), "what is being freed is enough");
    assert_eq!(proxy.statistic("/closed/buffers"), 1);
}

#[test]
fn who_asked_not_to_be_evicted_is_closed_when_there_is_nobody_else() {
    let engine = Engine::plain();
    let proxy = Proxy::with(1, 8 << 20, &Spec::shard(&[&engine], Some(0)));
    let (mut kept, mut other) = (proxy.client(), proxy.client());
    assert_eq!(kept.ask(&["CLIENT", "NO-EVICT", "ON"]), "+OK");
    let begin = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000000\r\n";
    for (client, bytes) in [(&mut other, 1 << 20), (&mut kept, 2 << 20)] {
        client.send_bytes(begin);
        client.send_bytes(&vec![b'x'; bytes]);
        until("it is read", || proxy.plane.clients().iter().any(|client| client.input >= bytes));
    }
    // the heavier one goes on until memory is used up
    let chunk = vec![b'x'; 1 << 16];
    let writer = std::thread::spawn(move || (0..1500).all(|_| kept.try_send(&chunk)));
    until("the other one is closed for that, and then it, too", || proxy.statistic("/closed/buffers") == 2);
    assert_eq!(other.reply(), "<end>");
    assert!(!writer.join().unwrap(), "it could go on");
}

/// Parts of a reply are joined when they are whole: until then a connection gathers them.
#[test]
fn the_cap_of_all_buffers_holds_for_what_is_gathered() {
    let values = format!("*21\r\n{}", bulk_of(1 << 20).repeat(20)).into_bytes(); // one is missing
    let script = move |_, request: &[String]| if request[0] == "MGET" { Act::Say(values.clone()) } else { Act::Serve };
    let engines = [Engine::scripted(script.clone()), Engine::scripted(script)];
    let proxy = Proxy::with(1, 4 << 20, &Spec::shards(&engines).timeouts(json!({"reply": 0})));
    let mut client = proxy.client();
    let keys: Vec<String> = (0..40).map(|key| format!("{{{}}}{key}", ["foo", "bar"][key % 2])).collect();
    let words: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
    assert_eq!(client.ask(&words), "<end>");
    until("it is closed for that", || proxy.statistic("/closed/buffers") == 1);
    until("memory is free again", || proxy.plane.statistics()["buffers"].as_u64() < Some(1 << 20));
}

fn bulk_of(length: usize) -> String {
    format!("${length}\r\n{}\r\n", "x".repeat(length))
}

#[test]
fn a_request_larger_than_the_limit_ends_its_client() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(json!({"request": 1000})));
    let mut client = proxy.client();
    client.send_all(&[&["GET", "key"], &["SET", "key", &"x".repeat(2000)]]);
    assert_eq!(client.reply(), value("key"));
    let error = client.reply();
    assert!(error.starts_with("-ERR Protocol error"), "{error}");
    assert_eq!(client.reply(), "<end>");
    assert_eq!(engine.seen().len(), 1);
}

#[test]
fn what_a_deep_pipeline_took_is_counted_and_given_back() {
    let (gate, engine) = gated();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_bytes(&request(&["GET", "key"]).repeat(1000));
    let held = || proxy.plane.clients()[0].held;
    until("all are under way", || proxy.pending() == 1000);
    assert!(held() >= 8000, "{}", held());
    gate.open();
    (0..1000).for_each(|_| assert_eq!(client.reply(), value("key")));
    until("the idle client holds little", || held() <= 1024);
}

/// As many clients do: all requests first, then all replies. What is owed is nearly all that may be.
#[test]
fn a_pipeline_may_be_written_before_its_replies_are_read() {
    let large = "x".repeat(10_000);
    let engine = Engine::forgetful(move |_, _| Act::Say(bulk(&large)));
    let limits = json!({"client_output": 64 << 20, "in_flight": 8});
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(limits));
    let mut client = proxy.client();
    let key = "k".repeat(8000);
    let requests: Vec<u8> = (0..6000).flat_map(|_| request(&["GET", &key])).collect();
    client.give_up_writing_after(Duration::from_secs(10));
    client.send_bytes(&requests);
    for _ in 0..6000 {
        assert_eq!(client.reply().len(), "$10000\r\n".len() + 10_000);
    }
}

/// Back-pressure remains: who reads slowly is not asked for more than it may be owed, and loses nothing.
#[test]
fn who_may_be_owed_little_is_not_read_meanwhile() {
    let large = "x".repeat(100_000);
    let engine = Engine::scripted(move |_, _| Act::Say(bulk(&large)));
    let limits = json!({"client_output": 4 << 20, "in_flight": 8});
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(limits));
    let mut client = proxy.client();
    client.send_bytes(&request(&["GET", "key"]).repeat(300));
    until("some replies wait", || proxy.plane.statistics()["buffers"].as_u64() > Some(1_000_000));
    assert!(engine.seen().len() < 250, "{} were asked for", engine.seen().len());
    for _ in 0..300 {
        assert_eq!(client.reply().len(), "$100000\r\n".len() + 100_000);
    }
}

/// Its replies so far tell how large those are that it asks for: no more are than it may be owed.
#[test]
fn who_reads_slowly_is_asked_for_no_more_than_it_may_be_owed() {
    let large = "x".repeat(100_000);
    let engine = Engine::forgetful(move |_, _| Act::Say(bulk(&large)));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(json!({"client_output": 4 << 20})));
    let mut client = proxy.client();
    let get = request(&["GET", "key"]);
    let replies = |client: &mut crate::client::Client, count| {
        (0..count).for_each(|_| assert_eq!(client.reply().len(), "$100000\r\n".len() + 100_000));
    };
    client.send_bytes(&get);
    replies(&mut client, 1);
    client.send_bytes(&get.repeat(400));
    until("it is not read", || proxy.plane.clients()[0].pending == 0 && proxy.plane.clients()[0].output > 1 << 20);
    replies(&mut client, 400);
}

#[test]
fn who_listens_or_reads_slowly_is_not_idle() {
    let large = "x".repeat(48 << 20);
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "GET" => Act::Say(bulk(&large)),
        _ => Act::Say(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".to_vec()),
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"idle": 2})));
    let (mut listener, mut slow, mut idle) = (proxy.client(), proxy.client(), proxy.client());
    assert!(listener.ask(&["SUBSCRIBE", "news"]).contains("subscribe"));
    slow.send(&["GET", "large"]);
    assert_eq!(idle.ask(&["PING"]), "+PONG");
    let mut read_some = || {
        slow.take(1 << 16);
        std::thread::sleep(Duration::from_millis(5));
    };
    until("the idle one is closed", || {
        read_some();
        proxy.statistic("/closed/idle") > 0
    });
    (0..450).for_each(|_| read_some()); // all together longer than the limit
    assert_eq!(idle.reply(), "<end>");
    assert_eq!(listener.ask(&["PING"]).lines().next(), Some("*2"));
    assert_eq!(proxy.statistic("/closed/idle"), 1);
}

/// Of all shards and workers together, however many lots there are.
#[test]
fn all_that_waits_for_shards_is_bounded_together() {
    let engines = [Engine::plain(), Engine::plain()];
    let unknown = |engine| (vec![engine], None);
    let timeouts = json!({"park": 60, "reply": 60});
    let spec =
        || Spec { shards: engines.iter().map(unknown).collect(), ..Spec::shard(&[], None) }.timeouts(timeouts.clone());
    let mut proxy = Proxy::with(2, 0, &spec());
    let (mut first, mut second) = (proxy.client(), proxy.client());
    let large = "x".repeat(33 << 20);
    first.send(&["SET", "bar", &large]);
    second.send(&["SET", "foo", &large]);
    until("both wait", || proxy.pending() == 2);
    let mut others = ["foo", "bar"].map(|key| {
        let mut other = proxy.client();
        other.send(&["GET", key]);
        (other, key)
    });
    until("both are held", || proxy.statistic("/held") == 2);
    assert_eq!(proxy.pending(), 2);
    proxy.apply(&Spec::shards(&engines).timeouts(timeouts.clone()));
    assert_eq!([first.reply(), second.reply()], ["+OK", "+OK"]);
    for (other, key) in &mut others {
        assert_eq!(other.reply(), value(key));
    }
    proxy.apply(&spec());
    first.send(&["GET", "bar"]);
    until("it waits: there is room again", || proxy.pending() == 1);
}

/// What is held is under way to a node that does not answer: no client is to blame.
#[test]
fn while_memory_is_used_up_nothing_is_taken_that_needs_some() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::forgetful(move |_, request| match request[0].as_str() {
        "SET" => Act::Serve.behind(&held),
        _ => Act::Serve,
    });
    let spec = Spec::shard(&[&engine], Some(0)).timeouts(json!({"reply": 60}));
    let proxy = Proxy::with(1, 2 << 20, &spec);
    let [mut holder, mut asker, mut subscriber, mut queueing] = [(); 4].map(|()| proxy.client());
    assert!(subscriber.ask(&["SUBSCRIBE", "news"]).ends_with(":1"));
    assert_eq!([queueing.ask(&["MULTI"]), queueing.ask(&["GET", "key"])], ["+OK", "+QUEUED"]);
    holder.send_bytes(&request(&["SET", "key", &"x".repeat(16 << 10)]).repeat(160));
    let full = "-ERR the proxy is out of buffer memory (limits.buffers), command not executed";
    until("memory is used up", || asker.ask(&["CLIENT", "SETNAME", "me"]) == full);
    let refused: [&[&str]; 12] = [
        &["SET", "key", "1"],
        &["MGET", "a", "b"],
        &["MULTI"],
        &["WATCH", "key"],
        &["BLPOP", "list", "0"],
        &["PUBLISH", "news", "x"],
        &["SUBSCRIBE", "news"],
        &["PSUBSCRIBE", "n*"],
        &["SSUBSCRIBE", "news"],
        &["CLIENT", "SETNAME", "me"],
        &["NOSUCH", "command"],
        &["DBSIZE"],
    ];
    for words in refused {
        assert_eq!(asker.ask(words), full, "{words:?}");
    }
    assert_eq!(queueing.ask(&["EXEC"]), full);
    assert!(subscriber.ask(&["UNSUBSCRIBE"]).ends_with(":0"), "who gives something up may");
    assert_eq!([asker.ask(&["PING"]), asker.ask(&["RESET"])], ["+PONG", "+RESET"]);
    let events = proxy.plane.take();
    assert!(events.is_empty(), "nothing was handed over: {events:?}");
    gate.open();
    until("memory is free", || asker.ask(&["GET", "key"]) == value("key"));
    assert_eq!(proxy.statistic("/closed/buffers"), 0);
}

/// Pools are of a node and a worker; what they may open is of the process.
#[test]
fn all_pools_together_open_no_more_than_there_are_descriptors_for() {
    let engines = [Engine::plain(), Engine::plain()];
    let proxy = Proxy::start(&Spec::shards(&engines));
    proxy.plane.limit(0, 1);
    let (mut first, mut second, mut third) = (proxy.client(), proxy.client(), proxy.client());
    first.send(&["BLPOP", "bar", "0"]); // of the first shard
    engines[0].wait_for(&["BLPOP", "bar", "0"]);
    second.send(&["BLPOP", "foo", "0"]); // of the second
    third.send(&["WATCH", "foo"]);
    until("both wait", || proxy.plane.clients().iter().filter(|client| client.is_blocked).count() == 3);
    assert!(engines[1].seen().is_empty());
    assert_eq!(proxy.plane.statistics()["dedicated"], 1);
    proxy.plane.limit(0, 3);
    engines[1].wait_for(&["BLPOP", "foo", "0"]);
    assert_eq!(third.reply(), "+OK");
    assert_eq!(proxy.plane.statistics()["dedicated"], 3);
    drop((first, second, third));
    until("all is given back", || proxy.plane.statistics()["dedicated"] == 0);
}

/// A connection that nobody uses is kept for the next one of its pool, but not from those of others.
#[test]
fn a_pools_spare_connection_makes_room_for_another_pools() {
    let engines = [Engine::plain(), Engine::plain()];
    let proxy = Proxy::start(&Spec::shards(&engines));
    proxy.plane.limit(0, 1);
    let (mut first, mut second) = (proxy.client(), proxy.client());
    assert_eq!([first.ask(&["WATCH", "bar"]), first.ask(&["UNWATCH"])], ["+OK", "+OK"]);
    assert_eq!(second.ask(&["WATCH", "foo"]), "+OK");
    assert_eq!(proxy.plane.statistics()["dedicated"], 1);
}

/// Every worker sees that all of them together hold too much; the one that holds most of it gives.
#[test]
fn the_cap_costs_nobody_on_another_worker() {
    let engine = Engine::forgetful(|_, _| Act::Serve);
    let proxy = Proxy::with(2, 8 << 20, &Spec::shard(&[&engine], Some(0)));
    let mut modest = proxy.client();
    assert_eq!(modest.ask(&["CLIENT", "SETNAME", &"x".repeat(1 << 20)]), "+OK");
    let mut greedy = proxy.client(); // clients are dealt in turn
    greedy.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000000\r\n");
    let chunk = vec![b'x'; 1 << 16];
    let writer = std::thread::spawn(move || (0..1500).all(|_| greedy.try_send(&chunk)));
    until("the greedy one is closed", || proxy.statistic("/closed/buffers") >= 1);
    assert!(!writer.join().unwrap(), "it could go on");
    assert_eq!(modest.ask(&["PING"]), "+PONG");
    assert_eq!(proxy.statistic("/closed/buffers"), 1);
}
