//! A hold by slots: what it holds waits before it is taken, and goes to whoever has its slot when the hold ends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{json, Value};

use crate::client::{request, value, Client};
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// Of two shards the second begins there. `b` is in slot 3300, `bar` in 5061, `hello` in 866, `foo` in 12182.
const BEFORE: usize = 8192;
/// `bar` has moved, `b` has not.
const AFTER: usize = 4000;
const FOREVER: Duration = Duration::from_secs(20);
const AT_ONCE: Duration = Duration::from_millis(50);

fn two(engines: &[Engine; 2], second: usize) -> Spec<'_> {
    Spec { firsts: vec![0, second], ..Spec::shards(engines) }
}

/// The slots that are about to move wait, or what writes to them.
fn holding(engines: &[Engine; 2], only_writes: bool) -> Spec<'_> {
    Spec { hold: hold(AFTER, BEFORE - 1, only_writes), ..two(engines, BEFORE) }
}

fn hold(first: usize, last: usize, only_writes: bool) -> Value {
    json!({"slots": [[first, last]], "only_writes": only_writes})
}

fn plain() -> [Engine; 2] {
    [Engine::plain(), Engine::plain()]
}

/// How many requests were held by now.
fn held(proxy: &Proxy) -> u64 {
    proxy.statistic("/held")
}

fn wait_held(proxy: &Proxy, count: u64) {
    until("it is held", || held(proxy) == count);
}

/// A client whose request is held.
fn waiting(proxy: &Proxy, requests: &[&[&str]]) -> Client {
    let before = held(proxy);
    let mut client = proxy.client();
    client.send_all(requests);
    wait_held(proxy, before + 1);
    client
}

/// An engine whose replies to these requests wait for the gate.
fn behind(gate: &Arc<Gate>, words: &'static [&'static str]) -> Engine {
    let gate = gate.clone();
    Engine::scripted(move |_, request| if request == words { Act::Serve.behind(&gate) } else { Act::Serve })
}

#[test]
fn what_is_held_goes_to_the_next_owner_in_its_order() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut usual = proxy.client();
    assert_eq!(usual.ask(&["SET", "bar", "0"]), "+OK");
    proxy.apply(&holding(&engines, false));
    let mut client = waiting(&proxy, &[&["SET", "b", "1"], &["SET", "bar", "1"], &["GET", "b"], &["GET", "bar"]]);
    assert_eq!(client.reply(), "+OK", "what came before leaves");
    assert_eq!(usual.ask(&["SET", "b", "2"]), "+OK", "other slots go on");
    assert!(proxy.plane.settle("test", FOREVER));
    assert_eq!([engines[0].asked("GET"), engines[1].asked("SET")], [0, 0]);
    proxy.apply(&two(&engines, AFTER));
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK".to_owned(), value("b"), value("bar")]);
    assert_eq!(engines[1].seen(), [&["SET", "bar", "1"][..], &["GET", "bar"]]);
    assert_eq!(engines[0].count(&["SET", "bar", "1"]), 0);
}

#[test]
fn a_hold_that_is_given_up_lets_all_go_on_where_it_was() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, false));
    let mut clients: Vec<Client> = (0..3).map(|_| waiting(&proxy, &[&["SET", "bar", "1"], &["GET", "bar"]])).collect();
    let mut third = proxy.client();
    third.ask(&["HELLO", "3"]);
    third.send(&["GET", "bar"]);
    wait_held(&proxy, 4);
    proxy.apply(&holding(&engines, false)); // they wait on
    proxy.apply(&two(&engines, BEFORE));
    for client in &mut clients {
        assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("bar")]);
    }
    assert_eq!((third.reply(), held(&proxy)), (value("bar"), 4));
    assert_eq!((engines[0].asked("GET"), engines[1].asked("GET")), (4, 0));
}

#[test]
fn reads_go_on_while_only_writes_are_held() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, true));
    let mut reader = proxy.client();
    assert_eq!(reader.ask(&["GET", "bar"]), value("bar"));
    let mut writer = waiting(&proxy, &[&["GET", "bar"], &["SET", "bar", "1"], &["GET", "bar"]]);
    assert_eq!(writer.reply(), value("bar"));
    for (number, request) in [
        &["INCR", "bar"][..],
        &["EVAL", "return 1", "0"],
        &["EVAL", "return 1", "1", "bar"],
        &["MSET", "b", "1", "bar", "1"],
        &["BLPOP", "bar", "1"],
        &["PUBLISH", "bar", "1"],
        &["SPUBLISH", "bar", "1"],
    ]
    .iter()
    .enumerate()
    {
        proxy.client().send(request);
        wait_held(&proxy, number as u64 + 2);
    }
    for passes in
        [&["MGET", "b", "bar"][..], &["EVAL_RO", "return 1", "1", "bar"], &["SET", "b", "1"], &["WATCH", "bar"]]
    {
        proxy.client().ask(passes);
    }
    assert_eq!((held(&proxy), engines[0].asked("SET")), (8, 1));
    proxy.apply(&two(&engines, BEFORE));
    assert_eq!([writer.reply(), writer.reply()], ["+OK".to_owned(), value("bar")]);
}

#[test]
fn it_is_settled_when_all_that_came_before_is_answered() {
    for (words, expected) in [
        (&["GET", "bar"][..], false),
        (&["SET", "bar", "1"], false),
        (&["SET", "b", "1"], true),
        (&["MGET", "bar", "b"], false),
        (&["MGET", "b", "hello"], false), // of several slots: nobody knows of which
        (&["MGET", "b", "{b}c"], true),
        (&["EVAL", "return 1", "0"], false),
        (&["EVAL", "return 1", "1", "b"], true),
        (&["SET", "foo", "1"], true),
    ] {
        let gate = Gate::closed();
        let passed = gate.clone();
        let engine = || {
            let gate = passed.clone();
            Engine::scripted(move |_, request| match request[0].as_str() {
                "GET" | "SET" | "MGET" | "EVAL" => Act::Serve.behind(&gate),
                _ => Act::Serve,
            })
        };
        let engines = [engine(), engine()];
        let mut proxy = Proxy::start(&two(&engines, BEFORE));
        let mut client = proxy.client();
        client.send(words);
        until("it is under way", || engines.iter().any(|engine| engine.asked(words[0]) > 0));
        assert!(proxy.plane.settle("test", AT_ONCE), "nothing is held yet");
        proxy.apply(&holding(&engines, false));
        assert_eq!(proxy.plane.settle("test", AT_ONCE), expected, "{words:?}");
        gate.open();
        client.reply();
        assert!(proxy.plane.settle("test", FOREVER), "{words:?}");
    }
}

#[test]
fn reads_under_way_do_not_keep_writes_from_settling() {
    let gate = Gate::closed();
    let engines = [behind(&gate, &["GET", "bar"]), Engine::plain()];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    client.send(&["GET", "bar"]);
    engines[0].wait_for(&["GET", "bar"]);
    proxy.apply(&holding(&engines, true));
    assert!(proxy.plane.settle("test", FOREVER));
    gate.open();
    assert_eq!(client.reply(), value("bar"));
}

#[test]
fn who_asks_whether_it_is_settled_hears_when_it_is() {
    let gate = Gate::closed();
    let engines = [behind(&gate, &["SET", "bar", "1"]), Engine::plain()];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    client.send(&["SET", "bar", "1"]);
    engines[0].wait_for(&["SET", "bar", "1"]);
    proxy.apply(&holding(&engines, false));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| proxy.plane.settle("test", FOREVER));
        assert!(!proxy.plane.settle("test", AT_ONCE));
        gate.open();
        assert!(asked.join().unwrap());
    });
    assert_eq!(client.reply(), "+OK");
}

#[test]
fn what_has_keys_on_both_sides_waits_whole() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, false));
    let mut client =
        waiting(&proxy, &[&["MSET", "b", "1", "bar", "2", "foo", "3"], &["MGET", "bar", "b", "foo", "hello"]]);
    assert!(engines.iter().all(|engine| engine.asked("MSET") == 0), "no half of it leaves");
    assert_eq!(proxy.client().ask(&["MGET", "b", "hello"]), format!("*2\r\n{}\r\n{}", value("b"), value("hello")));
    assert_eq!(engines[0].count(&["MGET", "b"]), 1, "what goes on is told apart by slots");
    assert!(proxy.plane.settle("test", FOREVER));
    proxy.apply(&two(&engines, AFTER));
    assert_eq!(client.reply(), "+OK");
    let values = ["bar", "b", "foo", "hello"].map(value).join("\r\n");
    assert_eq!(client.reply(), format!("*4\r\n{values}"));
    assert_eq!(engines[0].count(&["MSET", "b", "1"]), 1);
    assert_eq!(engines[1].count(&["MSET", "bar", "2", "foo", "3"]), 1);
    assert_eq!(engines[0].count(&["MGET", "b", "hello"]), 1);
}

#[test]
fn what_names_no_keys_may_have_any() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, false));
    let mut client = waiting(&proxy, &[&["EVAL", "return 1", "0"]]);
    let mut other = waiting(&proxy, &[&["EVAL_RO", "return 1", "0"]]);
    assert_eq!(engines[0].asked("EVAL"), 0);
    proxy.apply(&two(&engines, AFTER));
    assert_eq!([client.reply(), other.reply()], ["+OK", "+OK"]);
}

#[test]
fn a_transaction_waits_before_it_is_executed() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    assert_eq!([client.ask(&["MULTI"]), client.ask(&["SET", "bar", "1"])], ["+OK", "+QUEUED"]);
    proxy.apply(&holding(&engines, false));
    client.send(&["EXEC"]);
    wait_held(&proxy, 1);
    proxy.apply(&two(&engines, AFTER));
    assert_eq!(client.reply(), "*1\r\n+OK");
    assert_eq!((engines[0].asked("EXEC"), engines[1].asked("EXEC")), (0, 1));
}

#[test]
fn what_was_watched_counts_as_changed_where_it_has_moved() {
    for moves in [true, false] {
        let engines = plain();
        let mut proxy = Proxy::start(&two(&engines, BEFORE));
        let (mut client, mut late, mut stays) = (proxy.client(), proxy.client(), proxy.client());
        assert_eq!(client.ask(&["WATCH", "bar"]), "+OK");
        assert_eq!([late.ask(&["WATCH", "bar"]), stays.ask(&["WATCH", "b"])], ["+OK", "+OK"]);
        for watching in [&mut client, &mut stays] {
            assert_eq!(watching.ask(&["MULTI"]), "+OK");
        }
        assert_eq!([client.ask(&["SET", "bar", "1"]), stays.ask(&["SET", "b", "1"])], ["+QUEUED", "+QUEUED"]);
        proxy.apply(&holding(&engines, false));
        client.send(&["EXEC"]);
        wait_held(&proxy, 1);
        assert!(proxy.plane.settle("test", FOREVER));
        proxy.apply(&two(&engines, if moves { AFTER } else { BEFORE }));
        let expected = if moves { "*-1" } else { "*1\r\n+OK" };
        assert_eq!(client.reply(), expected);
        assert_eq!(stays.ask(&["EXEC"]), "*1\r\n+OK");
        assert_eq!(late.ask(&["WATCH", "{bar}"]), "+OK");
        assert_eq!([late.ask(&["MULTI"]), late.ask(&["GET", "bar"])], ["+OK", "+QUEUED"]);
        assert_eq!(late.ask(&["EXEC"]), if moves { "*-1".to_owned() } else { format!("*1\r\n{}", value("bar")) });
        assert_eq!(client.ask(&["GET", "bar"]), value("bar"));
    }
}

#[test]
fn a_watch_waits_and_finds_who_has_its_slot_next() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, false));
    let mut client = waiting(&proxy, &[&["WATCH", "bar"], &["MULTI"], &["SET", "bar", "1"], &["EXEC"]]);
    proxy.apply(&two(&engines, AFTER));
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+OK", "+QUEUED"]);
    assert_eq!(client.reply(), "*1\r\n+OK");
    assert_eq!((engines[0].asked("WATCH"), engines[1].asked("WATCH")), (0, 1));
}

/// An engine with one client that waits, until it is unblocked.
fn blocking() -> Engine {
    let gate = Gate::closed();
    let freed = gate.clone();
    Engine::scripted(move |_, request| match (request[0].as_str(), request.get(1).map(String::as_str)) {
        ("BLPOP", Some("bar")) => Act::say("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n").behind(&gate),
        ("CLIENT", Some("UNBLOCK")) => {
            freed.open();
            Act::say(":1\r\n")
        }
        _ => Act::Serve,
    })
}

fn wait_at(engine: &Engine) {
    until("it waits there", || engine.asked("BLPOP") > 0);
}

#[test]
fn who_waits_at_an_engine_waits_on_at_the_next_owner() {
    let served = Engine::scripted(|_, request| match request[0].as_str() {
        "BLPOP" => Act::say("*2\r\n$3\r\nbar\r\n$1\r\nx\r\n"),
        _ => Act::Serve,
    });
    let engines = [blocking(), served];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    client.send(&["BLPOP", "bar", "30"]);
    wait_at(&engines[0]);
    proxy.apply(&holding(&engines, false));
    assert!(proxy.plane.settle("test", FOREVER), "it is called back");
    wait_held(&proxy, 1);
    proxy.apply(&two(&engines, AFTER));
    assert_eq!(client.reply(), "*2\r\n$3\r\nbar\r\n$1\r\nx");
    let asked = engines[1].seen().into_iter().find(|request| request[0] == "BLPOP").unwrap();
    let left: f64 = asked[2].parse().unwrap();
    assert!(left > 20.0 && left < 30.0, "{left}");
}

/// An engine that has greeted nobody yet who is to wait there, but for the gate.
fn taciturn(gate: &Arc<Gate>) -> Engine {
    let gate = gate.clone();
    Engine::scripted(move |_, request| match (request[0].as_str(), request.get(1).map(String::as_str)) {
        ("CLIENT", Some("ID")) => Act::say(":7\r\n").behind(&gate),
        _ => Act::Serve,
    })
}

/// Whoever has no greeting yet waits for it.
fn patient(spec: Spec) -> Spec {
    spec.timeouts(json!({"connect": 60}))
}

/// A client whose wait has not left for that engine.
fn about_to_wait(proxy: &Proxy, engine: &Engine) -> Client {
    let mut client = proxy.client();
    client.send(&["BLPOP", "bar", "30"]);
    engine.wait_for(&["CLIENT", "ID"]);
    client
}

#[test]
fn who_is_to_wait_at_an_engine_waits_at_the_next_owner() {
    let gate = Gate::closed();
    let served = Engine::scripted(|_, request| match request[0].as_str() {
        "BLPOP" => Act::say("*2\r\n$3\r\nbar\r\n$1\r\nx\r\n"),
        _ => Act::Serve,
    });
    let engines = [taciturn(&gate), served];
    let mut proxy = Proxy::start(&patient(two(&engines, BEFORE)));
    let mut client = about_to_wait(&proxy, &engines[0]);
    proxy.apply(&patient(two(&engines, AFTER)));
    assert_eq!(client.reply(), "*2\r\n$3\r\nbar\r\n$1\r\nx");
    gate.open();
    assert_eq!(engines[0].asked("BLPOP"), 0, "it might have had something left");
}

#[test]
fn who_is_to_wait_at_an_engine_is_held() {
    let gate = Gate::closed();
    let engines = [taciturn(&gate), Engine::plain()];
    let mut proxy = Proxy::start(&patient(two(&engines, BEFORE)));
    let _client = about_to_wait(&proxy, &engines[0]);
    proxy.apply(&patient(holding(&engines, false)));
    assert!(proxy.plane.settle("test", FOREVER), "it is called back");
    wait_held(&proxy, 1);
    gate.open();
    assert_eq!(engines[0].asked("BLPOP"), 0);
}

#[test]
fn who_is_to_wait_at_an_engine_is_unblocked() {
    let gate = Gate::closed();
    let engines = [taciturn(&gate), Engine::plain()];
    let proxy = Proxy::start(&patient(two(&engines, BEFORE)));
    for (with_error, reply) in [(false, "*-1"), (true, "-UNBLOCKED client unblocked via CLIENT UNBLOCK")] {
        let mut client = about_to_wait(&proxy, &engines[0]);
        assert!(proxy.plane.unblock(proxy.plane.clients()[0].id, with_error));
        assert_eq!(client.reply(), reply);
        drop(client);
        until("it is gone", || proxy.plane.clients().is_empty());
        engines[0].forget();
    }
    gate.open();
}

#[test]
fn a_wait_that_is_held_ends_with_its_own_time_or_when_it_is_unblocked() {
    let engines = [blocking(), Engine::plain()];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    client.send(&["BLPOP", "bar", "0.7"]);
    wait_at(&engines[0]);
    proxy.apply(&holding(&engines, false));
    wait_held(&proxy, 1);
    assert_eq!(client.reply(), "*-1");
    drop(proxy);
    let engines = [blocking(), Engine::plain()];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    client.send(&["BLPOP", "bar", "30"]);
    wait_at(&engines[0]);
    proxy.apply(&holding(&engines, false));
    wait_held(&proxy, 1);
    let id = proxy.plane.clients()[0].id;
    assert!(proxy.plane.unblock(id, true));
    assert_eq!(client.reply(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
}

#[test]
fn who_waits_in_vain_is_told_that_nothing_was_executed() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, false).timeouts(json!({"park": 0.3})));
    let mut client = waiting(&proxy, &[&["SET", "bar", "1"], &["GET", "b"]]);
    let text = "-TRYAGAIN shard 0 cannot take the command: it is held while data is moved or copied (timeouts.park); command not executed";
    assert_eq!([client.reply(), client.reply()], [text.to_owned(), value("b")]);
    assert_eq!(engines[0].asked("SET"), 0);
}

#[test]
fn who_comes_late_waits_no_longer_than_who_was_there() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let spec = || holding(&engines, false).timeouts(json!({"park": 2}));
    proxy.apply(&spec());
    let text = "-TRYAGAIN shard 0 cannot take the command: it is held while data is moved or copied (timeouts.park); command not executed";
    let began = std::time::Instant::now();
    let mut first = waiting(&proxy, &[&["SET", "bar", "1"], &["SET", "bar", "2"], &["SET", "bar", "3"]]);
    assert_eq!([first.reply(), first.reply(), first.reply()], [text; 3], "each of them would wait as long again");
    proxy.apply(&spec()); // another epoch of the same hold
    assert_eq!(proxy.client().ask(&["SET", "bar", "4"]), text);
    assert!(began.elapsed() < std::time::Duration::from_secs(7), "{:?}", began.elapsed());
    proxy.apply(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, false));
    let mut later = waiting(&proxy, &[&["GET", "bar"]]);
    proxy.apply(&two(&engines, BEFORE)); // another hold begins anew
    assert_eq!(later.reply(), value("bar"));
}

#[test]
fn who_goes_while_it_is_held_asked_for_nothing() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    proxy.apply(&holding(&engines, false));
    drop(waiting(&proxy, &[&["SET", "bar", "1"]]));
    let stays = waiting(&proxy, &[&["SET", "bar", "2"]]);
    stays.reset();
    until("they are gone", || proxy.plane.clients().is_empty());
    proxy.apply(&two(&engines, AFTER));
    assert_eq!(proxy.client().ask(&["GET", "bar"]), value("bar"));
    assert!(
        engines.iter().all(|engine| engine.asked("SET") <= 1),
        "what was whole may be served, what was broken off not"
    );
}

#[test]
fn what_concerns_all_shards_waits_and_is_waited_for() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut early = proxy.client();
    early.send(&["FLUSHALL"]);
    let token = proxy.offload().token;
    proxy.apply(&holding(&engines, true));
    assert!(!proxy.plane.settle("test", AT_ONCE));
    let mut client = waiting(&proxy, &[&["FLUSHALL"]]);
    let mut reader = proxy.client();
    reader.send(&["DBSIZE"]);
    let size = proxy.offload();
    assert_eq!(size.arguments, [b"DBSIZE".to_vec()], "what only reads goes on");
    proxy.plane.answer(token, b"+OK\r\n".to_vec());
    assert_eq!(early.reply(), "+OK");
    assert!(proxy.plane.settle("test", FOREVER));
    proxy.apply(&two(&engines, AFTER));
    let late = proxy.offload();
    assert_eq!(late.arguments, [b"FLUSHALL".to_vec()]);
    proxy.plane.answer(late.token, b"+OK\r\n".to_vec());
    assert_eq!(client.reply(), "+OK");
}

#[test]
fn what_was_not_sent_goes_to_who_has_its_slot_now() {
    let engines = plain();
    let timeouts = json!({"park": 20});
    let mut proxy = Proxy::start(&two(&engines, BEFORE).timeouts(timeouts.clone()));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "bar", "0"]), "+OK");
    engines[0].kill();
    until("the loss is noticed", || proxy.statistic(&format!("/nodes/{}/lost", engines[0].address)) == 1);
    client.send_all(&[&["SET", "bar", "1"], &["GET", "bar"], &["SET", "b", "1"]]);
    let mut several = proxy.client();
    several.send(&["MGET", "b", "bar"]);
    until("all wait", || proxy.pending() == 4);
    let mut after = two(&engines, AFTER).timeouts(timeouts);
    proxy.apply(&after);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("bar")]);
    assert_eq!(engines[1].seen(), [&["SET", "bar", "1"][..], &["GET", "bar"]]);
    let text = "-TRYAGAIN shard 0 cannot take the command: slots have moved to another shard; command not executed";
    assert_eq!(several.reply(), text, "nobody has all of it");
    let next = Engine::plain();
    after.shards[0].0 = vec![&next];
    proxy.apply(&after);
    assert_eq!(client.reply(), "+OK", "what stays waits for its shard");
    assert_eq!(next.count(&["SET", "b", "1"]), 1);
}

#[test]
fn what_is_parked_goes_to_who_has_its_slot_now() {
    let engines = plain();
    let mut spec = two(&engines, BEFORE);
    spec.shards[0].1 = None;
    let mut proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    client.send_all(&[&["SET", "bar", "1"], &["GET", "bar"], &["SET", "b", "1"]]);
    until("all wait", || proxy.pending() == 3);
    let mut after = two(&engines, AFTER);
    after.shards[0].1 = None;
    proxy.apply(&after);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("bar")]);
    proxy.apply(&two(&engines, AFTER));
    assert_eq!(client.reply(), "+OK");
    assert_eq!((engines[0].seen().len(), engines[1].seen().len()), (1, 2));
}

/// Nobody waited for what was under way: it may be where the slot is no more.
#[test]
fn a_write_that_the_last_owner_still_executes_is_in_doubt() {
    let gate = Gate::closed();
    let engines = [behind(&gate, &["SET", "bar", "1"]), Engine::plain()];
    let timeouts = json!({"reply": 60}); // nothing else ends it
    let mut proxy = Proxy::start(&two(&engines, BEFORE).timeouts(timeouts.clone()));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "bar", "1"], &["GET", "bar"]]);
    engines[0].wait_for(&["SET", "bar", "1"]);
    proxy.apply(&two(&engines, AFTER).timeouts(timeouts));
    assert!(client.reply().starts_with("-ERR INDOUBT shard 0"));
    assert_eq!(client.reply(), value("bar"));
    assert_eq!(engines[1].count(&["GET", "bar"]), 1);
    gate.open();
}

#[test]
fn a_client_is_not_served_by_the_next_owner_before_the_last_has_answered_it() {
    let gate = Gate::closed();
    let engines = [behind(&gate, &["GET", "bar"]), Engine::plain()];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(&["GET", "bar"]);
    engines[0].wait_for(&["GET", "bar"]);
    proxy.apply(&two(&engines, AFTER));
    client.send_all(&[&["SET", "bar", "2"], &["MGET", "bar", "b"]]);
    assert_eq!(other.ask(&["SET", "bar", "3"]), "+OK", "others have nothing under way");
    assert_eq!(engines[1].count(&["SET", "bar", "2"]), 0);
    gate.open();
    assert_eq!([client.reply(), client.reply()], [value("bar"), "+OK".to_owned()]);
    assert_eq!(client.reply(), format!("*2\r\n{}\r\n{}", value("bar"), value("b")));
}

#[test]
fn a_read_that_is_asked_again_is_asked_who_has_its_slot_now() {
    let gate = Gate::closed();
    let engines = [behind(&gate, &["GET", "bar"]), Engine::plain()];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    client.send(&["GET", "bar"]);
    engines[0].wait_for(&["GET", "bar"]);
    proxy.apply(&two(&engines, AFTER));
    engines[0].cut();
    assert_eq!(client.reply(), value("bar"));
    assert_eq!((engines[0].count(&["GET", "bar"]), engines[1].count(&["GET", "bar"])), (1, 1));
    gate.open();
}

#[test]
fn a_shard_without_slots_is_there_and_gets_some() {
    let engines = plain();
    let none = Spec { firsts: vec![0, 16384], ..Spec::shards(&engines) };
    let mut proxy = Proxy::start(&none);
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "foo", "1"]), "+OK");
    assert_eq!(client.ask(&["MGET", "foo", "bar"]), format!("*2\r\n{}\r\n{}", value("foo"), value("bar")));
    proxy.apply(&Spec { hold: hold(0, 16383, false), ..none });
    let mut held = waiting(&proxy, &[&["MGET", "foo", "bar"]]);
    assert!(proxy.plane.settle("test", FOREVER));
    proxy.apply(&Spec { firsts: vec![0, 8192], ..Spec::shards(&engines) });
    assert_eq!(held.reply(), format!("*2\r\n{}\r\n{}", value("foo"), value("bar")));
    assert_eq!(engines[1].seen(), [["MGET", "foo"]]);
}

#[test]
fn every_worker_is_waited_for() {
    let gate = Gate::closed();
    let engines = [behind(&gate, &["SET", "bar", "1"]), Engine::plain()];
    let mut proxy = Proxy::with(3, 0, &two(&engines, BEFORE));
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(&["SET", "bar", "1"]);
    }
    until("all have left", || proxy.pending() == 6);
    proxy.apply(&holding(&engines, false));
    for client in &mut clients {
        client.send(&["GET", "bar"]);
    }
    assert!(!proxy.plane.settle("test", AT_ONCE));
    gate.open();
    assert!(proxy.plane.settle("test", FOREVER));
    wait_held(&proxy, 6);
    proxy.apply(&two(&engines, AFTER));
    for client in &mut clients {
        assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("bar")]);
    }
    assert_eq!((engines[0].asked("GET"), engines[1].asked("GET")), (0, 6));
}

fn mixed(engines: &[Engine; 2], second: usize) -> Spec<'_> {
    Spec { more: json!({"mixed": true}), ..two(engines, second) }
}

fn pushed(words: &[&str]) -> Vec<u8> {
    request(words) // in RESP2 they look alike
}

/// Have an engine say this on each connection that asked for such a subscription.
fn publish(engine: &Engine, subscribe: &str, words: &[&str]) {
    for (number, seen) in engine.connections().iter().enumerate() {
        if seen.requests.iter().any(|request| request[0] == subscribe) {
            engine.tell(number, &pushed(words));
        }
    }
}

fn shown(words: &[&str]) -> String {
    String::from_utf8(pushed(words)).unwrap().trim_end().to_owned()
}

#[test]
fn a_shard_channel_is_heard_at_its_next_owner_before_it_is_that() {
    let engines = plain();
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SSUBSCRIBE", "bar"]), "*3\r\n$10\r\nssubscribe\r\n$3\r\nbar\r\n:1");
    assert_eq!(engines[1].asked("ssubscribe"), 0);
    proxy.apply(&mixed(&engines, BEFORE));
    engines[1].wait_for(&["ssubscribe", "bar"]);
    let mut late = proxy.client();
    assert_eq!(late.ask(&["SSUBSCRIBE", "{bar}2"]), "*3\r\n$10\r\nssubscribe\r\n$6\r\n{bar}2\r\n:1");
    engines[1].wait_for(&["ssubscribe", "{bar}2"]);
    publish(&engines[0], "ssubscribe", &["smessage", "bar", "1"]);
    assert_eq!(client.reply(), shown(&["smessage", "bar", "1"]));
    proxy.apply(&mixed(&engines, AFTER));
    publish(&engines[1], "ssubscribe", &["smessage", "bar", "2"]);
    assert_eq!(client.reply(), shown(&["smessage", "bar", "2"]));
    proxy.apply(&two(&engines, AFTER));
    engines[0].wait_for(&["sunsubscribe", "bar"]);
    assert_eq!(engines[1].asked("sunsubscribe"), 0);
    publish(&engines[1], "ssubscribe", &["smessage", "bar", "3"]);
    assert_eq!(client.reply(), shown(&["smessage", "bar", "3"]));
}

#[test]
fn of_keys_only_their_owner_is_heard_while_others_have_copies() {
    let engines = plain();
    let proxy = Proxy::start(&mixed(&engines, AFTER));
    let mut client = proxy.client();
    client.send(&["SUBSCRIBE", "__keyevent@0__:del", "__keyspace@0__:bar", "news"]);
    (0..3).for_each(|_| drop(client.reply()));
    client.send(&["PSUBSCRIBE", "__key*__:*"]);
    client.reply();
    let events: [&[&str]; 3] = [
        &["message", "__keyevent@0__:del", "bar"],
        &["message", "__keyspace@0__:bar", "del"],
        &["pmessage", "__key*__:*", "__keyspace@0__:bar", "del"],
    ];
    for event in events {
        let kind = if event[0] == "pmessage" { "psubscribe" } else { "subscribe" };
        publish(&engines[0], kind, event); // it has a copy that is no more
        publish(&engines[0], "subscribe", &["message", "news", "from the first"]);
        assert_eq!(client.reply(), shown(&["message", "news", "from the first"]));
        publish(&engines[1], kind, event);
        assert_eq!(client.reply(), shown(event));
    }
}

#[test]
fn what_is_told_late_of_copies_is_not_heard() {
    let gates = [Gate::closed(), Gate::closed()];
    let pongs: Arc<Mutex<Vec<Arc<Gate>>>> = Arc::default();
    let held = pongs.clone();
    let late = Engine::pinged(move |_, request| {
        let gate = (request[0] == "PING").then(|| held.lock().unwrap().pop()).flatten();
        gate.map_or(Act::Serve, |gate| Act::Serve.behind(&gate))
    });
    let engines = [late, Engine::plain()];
    let mut proxy = Proxy::start(&mixed(&engines, AFTER));
    let mut client = proxy.client();
    client.send(&["SUBSCRIBE", "__keyevent@0__:del", "news"]);
    (0..2).for_each(|_| drop(client.reply()));
    let event = ["message", "__keyevent@0__:del", "bar"];
    let mut tell = || {
        publish(&engines[0], "subscribe", &event);
        publish(&engines[0], "subscribe", &["message", "news", "behind"]);
        let heard = client.reply();
        let is_heard = heard == shown(&event);
        let last = if is_heard { client.reply() } else { heard };
        assert_eq!(last, shown(&["message", "news", "behind"]));
        is_heard
    };
    let asked = engines[0].asked("PING");
    pongs.lock().unwrap().extend(gates.iter().rev().cloned());
    let mut another = proxy.client();
    another.send(&["SUBSCRIBE", "another"]);
    let is_pinged = |count| until("it is pinged", || engines[0].asked("PING") == asked + count);
    is_pinged(1);
    proxy.apply(&two(&engines, AFTER));
    assert!(!tell(), "the answer that is under way comes before what is");
    gates[0].open();
    is_pinged(2);
    assert!(!tell());
    gates[1].open();
    until("nothing is under way any more", tell); // who has no copies is not asked whose its keys are
}

#[test]
fn which_keys_are_in_some_slots() {
    let engines = plain();
    let proxy = Proxy::start(&two(&engines, BEFORE));
    let keys = ["bar", "b", "foo", "{bar}x"].map(|key| key.as_bytes().to_vec());
    let found = proxy.plane.are_in("test", &[(3300, 3300), (5061, 6000)], &keys);
    assert_eq!(found, Some(vec![true, true, false, true]));
    assert_eq!(proxy.plane.are_in("another", &[], &keys), None);
}

#[test]
fn who_waits_for_a_key_that_stays_is_left_in_peace() {
    let gate = Gate::closed();
    let element = gate.clone();
    let first = Engine::scripted(move |_, request| match request[0].as_str() {
        "BLPOP" => Act::say("*2\r\n$1\r\nb\r\n$1\r\nx\r\n").behind(&element),
        _ => Act::Serve,
    });
    let engines = [first, Engine::plain()];
    let mut proxy = Proxy::start(&two(&engines, BEFORE));
    let mut client = proxy.client();
    client.send(&["BLPOP", "b", "30"]);
    wait_at(&engines[0]);
    proxy.apply(&holding(&engines, false));
    assert!(proxy.plane.settle("test", FOREVER), "it is of another slot");
    proxy.apply(&two(&engines, AFTER));
    gate.open();
    assert_eq!(client.reply(), "*2\r\n$1\r\nb\r\n$1\r\nx");
    assert!(engines[0].seen().iter().all(|request| request.get(1).is_none_or(|word| word != "UNBLOCK")));
}
