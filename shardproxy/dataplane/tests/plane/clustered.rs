//! Engines in cluster mode: they refuse what is another's, say whose it is, and no client hears of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::value;
use crate::engine::{message, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// The slot of `b`, which the first of two shards has; `bar` is in 5061.
const SLOT: usize = 3300;

fn clustered<'a>(shards: &[&[&'a Engine]]) -> Spec<'a> {
    let shards = shards.iter().map(|nodes| (nodes.to_vec(), Some(0))).collect();
    Spec { shards, clustered: true, ..Spec::shard(&[], None) }
}

/// What the second shard has begins there, so that all else is the first's.
fn from_slot<'a>(first: usize, shards: &[&[&'a Engine]]) -> Spec<'a> {
    Spec { firsts: vec![0, first], ..clustered(shards) }
}

fn is_of_b(request: &[String]) -> bool {
    request.iter().skip(1).any(|word| word == "b" || word.starts_with("{b}"))
}

/// An engine that says this of all that concerns `b`.
fn saying(text: String) -> Engine {
    Engine::scripted(move |_, request| if is_of_b(request) { Act::say(&text) } else { Act::Serve })
}

fn moved(to: &Engine) -> String {
    format!("-MOVED {SLOT} {}\r\n", to.address)
}

fn asking(to: &Engine) -> String {
    format!("-ASK {SLOT} {}\r\n", to.address)
}

#[test]
fn who_is_named_is_asked_and_the_control_plane_told() {
    let new = Engine::plain();
    let old = saying(moved(&new));
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "b", "1"], &["GET", "b"], &["SET", "bar", "1"], &["GET", "b"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("b")]);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("b")]);
    assert_eq!(new.seen(), [&["SET", "b", "1"][..], &["GET", "b"], &["GET", "b"]]);
    let told = proxy.losses();
    assert!(told.iter().all(|lost| lost.kind == shardproxy_dataplane::Loss::Moved && lost.address == new.address));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_key_that_has_left_is_asked_for_once_where_it_is() {
    let new = Engine::plain();
    let old = saying(asking(&new));
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    for _ in 0..2 {
        assert_eq!(client.ask(&["SET", "b", "1"]), "+OK");
    }
    let once = [&["ASKING"][..], &["SET", "b", "1"]];
    assert_eq!(new.seen(), [once, once].concat());
    assert_eq!(old.asked("SET"), 2, "the slot is still its");
    assert!(proxy.losses().is_empty(), "it is no news");
}

#[test]
fn who_names_nobody_but_a_port_means_its_own_host() {
    let new = Engine::plain();
    let port = new.address.rsplit_once(':').unwrap().1;
    let old = saying(format!("-MOVED {SLOT} :{port}\r\n"));
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    assert_eq!(proxy.client().ask(&["GET", "b"]), value("b"));
}

#[test]
fn a_slot_that_nobody_has_waits_alone() {
    let other = Engine::plain();
    let is_settled = Arc::new(AtomicBool::new(false));
    let (knows, names) = (is_settled.clone(), moved(&other));
    let old = Engine::scripted(
        move |_, request| {
            if is_of_b(request) && !knows.load(SeqCst) {
                Act::say(&names)
            } else {
                Act::Serve
            }
        },
    );
    let names = moved(&old);
    let knows = is_settled.clone();
    let new = Engine::scripted(
        move |_, request| {
            if is_of_b(request) && !knows.load(SeqCst) {
                Act::say(&names)
            } else {
                Act::Serve
            }
        },
    );
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    // the node that is named is in no topology
    let mut client = proxy.client();
    client.send_all(&[&["SET", "b", "1"], &["SET", "b", "2"]]);
    until("it waits", || proxy.statistic("/parked") == 2);
    assert_eq!(proxy.client().ask(&["SET", "bar", "1"]), "+OK", "its shard does not");
    is_settled.store(true, SeqCst);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    let last: Vec<Vec<String>> = old.seen().into_iter().filter(|request| is_of_b(request)).collect();
    assert_eq!(last[last.len() - 2..], [["SET", "b", "1"], ["SET", "b", "2"]], "in their order");
}

#[test]
fn what_waits_for_a_slot_waits_no_longer_than_what_is_parked() {
    let stranger = Engine::plain();
    let old = saying(moved(&stranger));
    let other = saying(moved(&old));
    let far = saying(moved(&other));
    for engines in [[&old, &other], [&far, &other]] {
        let spec = clustered(&[&[engines[0]], &[engines[1]]]).timeouts(json!({"park": 0.3}));
        let proxy = Proxy::start(&spec);
        let reply = proxy.client().ask(&["SET", "b", "1"]);
        assert!(reply.starts_with("-TRYAGAIN shard 0"), "{reply}");
    }
    assert!(stranger.seen().is_empty());
}

#[test]
fn the_next_epoch_brings_the_node_that_was_named() {
    let (new, other) = (Engine::plain(), Engine::plain());
    let old = saying(moved(&new));
    let mut proxy = Proxy::start(&clustered(&[&[&old], &[&other]]));
    let mut client = proxy.client();
    client.send_all(&[&["RPUSH", "b", "1"], &["RPUSH", "b", "2"]]);
    until("it waits", || proxy.statistic("/parked") == 2);
    proxy.apply(&clustered(&[&[&new], &[&other]]));
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    assert_eq!(new.seen(), [["RPUSH", "b", "1"], ["RPUSH", "b", "2"]]);
}

#[test]
fn keys_of_a_slot_at_two_nodes_are_asked_for_again() {
    let is_split = Arc::new(AtomicBool::new(true));
    let knows = is_split.clone();
    let old = Engine::scripted(move |_, request| {
        if request.len() > 3 && is_of_b(request) && knows.load(SeqCst) {
            Act::say("-TRYAGAIN Multiple keys request during rehashing of slot\r\n")
        } else {
            Act::Serve
        }
    });
    let new = Engine::plain();
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send(&["DEL", "{b}1", "{b}2", "{b}3"]);
    until("it waits", || proxy.statistic("/parked") == 1);
    client.send(&["SET", "b", "1"]);
    assert_eq!(proxy.client().ask(&["SET", "bar", "1"]), "+OK", "another slot does not");
    is_split.store(false, SeqCst);
    assert_eq!([client.reply(), client.reply()], [":3", "+OK"]);
}

#[test]
fn several_slots_are_several_requests_though_one_node_has_them() {
    let engines = [Engine::plain(), Engine::plain()];
    let proxy = Proxy::start(&clustered(&[&[&engines[0]], &[&engines[1]]]));
    let mut client = proxy.client();
    let reply = client.ask(&["MGET", "b", "bar", "{b}2", "key"]);
    assert_eq!(reply, format!("*4\r\n{}\r\n{}\r\n{}\r\n{}", value("b"), value("bar"), value("{b}2"), value("key")));
    assert_eq!(engines[0].seen(), [&["MGET", "b", "{b}2"][..], &["MGET", "bar"]]);
    assert_eq!(engines[1].seen(), [["MGET", "key"]]);
    assert_eq!(client.ask(&["MSET", "b", "1", "bar", "2"]), "+OK");
    assert_eq!(client.ask(&["DEL", "{b}1", "{b}2"]), ":2", "one slot is one request");
    assert_eq!(engines[0].seen()[2..], [&["MSET", "b", "1"][..], &["MSET", "bar", "2"], &["DEL", "{b}1", "{b}2"]]);
    let crosses = "-CROSSSLOT Keys in request don't hash to the same slot";
    assert_eq!(client.ask(&["SINTER", "b", "bar"]), crosses);
    assert_eq!(client.ask(&["MULTI"]), "+OK");
    assert_eq!(client.ask(&["SET", "b", "1"]), "+QUEUED");
    assert_eq!(client.ask(&["SET", "bar", "1"]), crosses);
    assert!(client.ask(&["EXEC"]).starts_with("-EXECABORT"));
}

#[test]
fn one_shard_in_cluster_mode_is_a_cluster_all_the_same() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&clustered(&[&[&engine]]));
    let mut client = proxy.client();
    assert!(client.ask(&["SINTER", "b", "bar"]).starts_with("-CROSSSLOT"));
    assert_eq!(client.ask(&["SELECT", "1"]), "-ERR SELECT is not allowed in cluster mode");
    assert_eq!(client.ask(&["MGET", "b", "bar"]), format!("*2\r\n{}\r\n{}", value("b"), value("bar")));
    assert_eq!(engine.seen(), [["MGET", "b"], ["MGET", "bar"]]);
}

/// An engine that aborts transactions because it does not have `b`.
fn aborting(text: String) -> Engine {
    Engine::scripted(move |_, request| match request[0].as_str() {
        "MULTI" => Act::say("+OK\r\n"),
        "EXEC" => Act::say("-EXECABORT Transaction discarded because of previous errors.\r\n"),
        _ => Act::say(&text),
    })
}

#[test]
fn a_transaction_goes_as_a_whole_to_who_has_its_slot() {
    for is_ask in [false, true] {
        let new = Engine::plain();
        let old = aborting(if is_ask { asking(&new) } else { moved(&new) });
        let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
        let mut client = proxy.client();
        let requests: [&[&str]; 4] = [&["MULTI"], &["SET", "b", "1"], &["GET", "b"], &["EXEC"]];
        client.send_all(&requests);
        assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "+QUEUED"]);
        assert_eq!(client.reply(), format!("*2\r\n+OK\r\n{}", value("b")));
        let asked: &[&[&str]] = if is_ask { &[&["ASKING"]] } else { &[] };
        assert_eq!(new.seen(), [asked, &requests].concat());
    }
    let new = Engine::plain();
    let names = moved(&new);
    let old = Engine::scripted(move |_, request| match request[0].as_str() {
        "EXEC" => Act::say(&names), // the slot left while it was queued
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "b", "1"], &["EXEC"]]);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
}

#[test]
fn what_is_watched_is_watched_where_it_is() {
    let new = Engine::plain();
    let old = saying(moved(&new));
    let mut proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send(&["WATCH", "b"]);
    until("the control plane is told", || !proxy.losses().is_empty());
    proxy.apply(&from_slot(SLOT, &[&[&old], &[&new]]));
    assert_eq!(client.reply(), "+OK");
    client.send_all(&[&["MULTI"], &["SET", "b", "1"], &["EXEC"]]);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
}

#[test]
fn what_was_watched_and_has_left_may_have_changed() {
    let new = Engine::plain();
    let names = moved(&new);
    let old = Engine::scripted(move |_, request| match request[0].as_str() {
        "EXEC" => Act::say(&names),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["WATCH", "b"]), "+OK");
    client.send_all(&[&["MULTI"], &["SET", "b", "1"], &["EXEC"]]);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*-1"]);
    assert!(new.seen().is_empty());
}

#[test]
fn replicas_are_told_that_they_are_read_from() {
    let (primary, replica) = (Engine::plain(), Engine::plain());
    let proxy = Proxy::start(&Spec { reads: "replica", ..clustered(&[&[&primary, &replica]]) });
    let mut client = proxy.client();
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    assert_eq!(replica.seen(), [&["READONLY"][..], &["GET", "key"]]);
    assert_eq!(primary.seen(), [["SET", "key", "1"]]);
}

#[test]
fn who_sends_on_is_not_overtaken_when_the_slot_has_another_owner() {
    let (gate, new) = (Gate::closed(), Engine::plain());
    let (names, held) = (moved(&new), gate.clone());
    let old = Engine::scripted(move |_, request| match request[0].as_str() {
        "RPUSH" => Act::say(&names).behind(&held),
        _ => Act::Serve,
    });
    let mut proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send(&["RPUSH", "b", "1"]);
    old.wait_for(&["RPUSH", "b", "1"]);
    proxy.apply(&from_slot(SLOT, &[&[&old], &[&new]]));
    client.send(&["RPUSH", "b", "2"]);
    assert_eq!(proxy.client().ask(&["RPUSH", "b", "x"]), "+OK", "who waits for nothing passes");
    gate.open();
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    assert_eq!(new.seen(), [["RPUSH", "b", "x"], ["RPUSH", "b", "1"], ["RPUSH", "b", "2"]]);
}

#[test]
fn a_primary_that_is_replaced_in_peace_sends_on_what_it_held_up() {
    let (gate, new) = (Gate::closed(), Engine::plain());
    let (names, held) = (moved(&new), gate.clone());
    let old = Engine::scripted(move |_, _| Act::say(&names).behind(&held));
    let mut proxy = Proxy::start(&clustered(&[&[&old, &new]]));
    let mut client = proxy.client();
    client.send_all(&[&["RPUSH", "b", "1"], &["GET", "b"]]);
    old.wait_for(&["RPUSH", "b", "1"]);
    proxy.apply(&clustered(&[&[&new, &old]]));
    client.send(&["RPUSH", "b", "2"]);
    gate.open();
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK".to_owned(), value("b"), "+OK".to_owned()]);
    let rest: Vec<Vec<String>> = new.seen().into_iter().filter(|request| request[0] != "READONLY").collect();
    assert_eq!(rest, [&["RPUSH", "b", "1"][..], &["GET", "b"], &["RPUSH", "b", "2"]]);
}

#[test]
fn a_primary_that_is_replaced_acknowledges_nothing() {
    let (gate, new) = (Gate::closed(), Engine::plain());
    let held = gate.clone();
    let old = Engine::scripted(move |_, _| Act::Serve.behind(&held));
    let mut proxy = Proxy::start(&clustered(&[&[&old, &new]]));
    let mut client = proxy.client();
    client.send_all(&[&["RPUSH", "b", "1"], &["GET", "b"]]);
    old.wait_for(&["RPUSH", "b", "1"]);
    proxy.apply(&clustered(&[&[&new, &old]]));
    gate.open();
    assert!(client.reply().starts_with("-ERR INDOUBT"));
    assert_eq!(client.reply(), value("b"));
    assert_eq!(new.seen(), [["GET", "b"]]);
    // and one that says nothing does not for ever
    let frozen = Engine::scripted(|_, _| Act::say(""));
    let mut proxy = Proxy::start(&clustered(&[&[&frozen, &new]]));
    let mut client = proxy.client();
    client.send(&["RPUSH", "b", "1"]);
    frozen.wait_for(&["RPUSH", "b", "1"]);
    proxy.apply(&clustered(&[&[&new, &frozen]]));
    assert!(client.reply().starts_with("-ERR INDOUBT"));
}

#[test]
fn a_script_may_say_moved_of_what_it_has_done() {
    let new = Engine::plain();
    let text = format!("-MOVED 7 {}\r\n", new.address);
    let old = saying(text.clone());
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    assert_eq!(proxy.client().ask(&["EVAL", "return 1", "1", "b"]), text.trim_end(), "of another slot than its keys'");
    assert!(new.seen().is_empty());
}

/// The connection on which an engine was subscribed to something.
fn ear(engine: &Engine, word: &str) -> usize {
    let mut ear = None;
    until("it is subscribed to", || {
        let hears = |request: &Vec<String>| request[0] == word;
        ear = engine.connections().iter().position(|seen| seen.requests.iter().any(hears));
        ear.is_some()
    });
    ear.unwrap()
}

#[test]
fn a_message_that_all_engines_tell_is_heard_once() {
    let engines = [Engine::plain(), Engine::plain()];
    let proxy = Proxy::start(&clustered(&[&[&engines[0]], &[&engines[1]]]));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(&["SUBSCRIBE", "news"]);
    assert!(client.reply().contains("subscribe"));
    other.send(&["PSUBSCRIBE", "*"]);
    assert!(other.reply().contains("psubscribe"));
    assert_eq!(engines[1].asked("subscribe"), 0);
    let pattern =
        |channel: &str| format!("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n${}\r\n{channel}\r\n$2\r\nhi\r\n", channel.len());
    engines[0].tell(ear(&engines[0], "subscribe"), &message("news", "hi"));
    for engine in &engines {
        engine.tell(ear(engine, "psubscribe"), pattern("news").as_bytes());
    }
    engines[1].tell(ear(&engines[1], "psubscribe"), pattern("__keyspace@0__:key").as_bytes());
    assert!(client.reply().contains("news"));
    let told = [other.reply(), other.reply()].concat(); // in either order: two engines told
    assert_eq!(told.matches("news").count(), 1);
    assert!(told.contains("__keyspace@0__:key"), "what concerns its keys only one engine tells");
}

#[test]
fn messages_are_published_on_one_shard_whatever_slots_it_has() {
    let engines = [Engine::plain(), Engine::plain()];
    let spec = Spec { pubsub: "spread", ..clustered(&[&[&engines[0]], &[&engines[1]]]) };
    let proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    for channel in ["news", "sport", "b", "key"] {
        assert_eq!(client.ask(&["PUBLISH", channel, "hi"]), "+OK");
    }
    assert_eq!((engines[0].asked("PUBLISH"), engines[1].asked("PUBLISH")), (4, 0));
}

#[test]
fn a_shard_channel_is_heard_where_its_slot_is() {
    let new = Engine::plain();
    let old = saying(moved(&new));
    let mut proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send(&["SSUBSCRIBE", "b"]);
    until("the control plane is told", || !proxy.losses().is_empty());
    proxy.apply(&from_slot(SLOT, &[&[&old], &[&new]]));
    assert!(client.reply().contains("ssubscribe"));
    let text = "*3\r\n$12\r\nsunsubscribe\r\n$1\r\nb\r\n:0\r\n";
    new.tell(ear(&new, "ssubscribe"), text.as_bytes());
    until("it is asked again", || new.asked("ssubscribe") == 2);
    assert_eq!(client.ask(&["PING"]), "*2\r\n$4\r\npong\r\n$0", "its client hears nothing of that");
}

const SPLIT: &str = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";

/// What each of these is answered the first time it comes; all else is served.
fn once(answers: Vec<(&'static [&'static str], Act)>) -> Engine {
    let answers = Mutex::new(answers);
    Engine::scripted(move |_, request| {
        let mut answers = answers.lock().unwrap();
        let place = answers.iter().position(|(words, _)| request == *words);
        place.map_or(Act::Serve, |place| answers.swap_remove(place).1)
    })
}

#[test]
fn nobody_joins_what_waits_for_a_slot_past_what_is_under_way() {
    let gate = Gate::closed();
    let [first, second, third]: [&'static [&'static str]; 3] =
        [&["RPUSH", "b", "1"], &["RPUSH", "b", "2"], &["RPUSH", "b", "3"]];
    let engine = once(vec![(first, Act::say(SPLIT)), (second, Act::say(SPLIT).behind(&gate))]);
    let proxy = Proxy::start(&clustered(&[&[&engine]]));
    let mut client = proxy.client();
    client.send_all(&[first, second]);
    until("the first waits for its slot", || proxy.statistic("/parked") == 1);
    client.send(third);
    for _ in 0..3 {
        assert_eq!(proxy.client().ask(&["PING"]), "+PONG"); // the third has been read by then
    }
    gate.open();
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+OK", "+OK"]);
    let seen = engine.seen();
    let last = |words: &[&str]| seen.iter().rposition(|request| *request == words);
    assert!(last(first) < last(second) && last(second) < last(third), "{seen:?}");
}

#[test]
fn what_is_sent_on_does_not_pass_what_waits_for_its_shard() {
    let new = Engine::plain();
    let [first, second]: [&'static [&'static str]; 2] = [&["RPUSH", "b", "1"], &["RPUSH", "b", "2"]];
    let names = moved(&new);
    let was_loading = AtomicBool::new(false);
    let old = Engine::scripted(move |_, request| {
        if request == first && !was_loading.swap(true, SeqCst) {
            Act::say("-LOADING Redis is loading the dataset in memory\r\n")
        } else {
            Act::say(&names)
        }
    });
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send_all(&[first, second]);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    assert_eq!(new.seen(), [first, second]);
}

/// Each of so many slots is asked for anew ten times a second, and nobody else hears of it.
#[test]
fn many_slots_that_wait_hold_nobody_up() {
    const MANY: usize = 1500;
    let (gate, asked) = (Gate::closed(), AtomicUsize::new(0));
    let held = gate.clone();
    let engine = Engine::scripted(move |_, _| {
        let is_again = asked.fetch_add(1, SeqCst) >= MANY;
        if is_again {
            Act::Serve.behind(&held)
        } else {
            Act::say(SPLIT)
        }
    });
    let well = Engine::plain();
    let proxy = Proxy::start(&clustered(&[&[&engine], &[&well]]));
    let mut client = proxy.client();
    let is_there = |key: &String| proxy.plane.slot_of("test", key.as_bytes()).is_some_and(|slot| slot < 8192);
    for key in (0..).map(|number| format!("k{number}")).filter(is_there).take(MANY) {
        client.send(&["DEL", &key]);
    }
    until("they are asked for anew", || engine.asked("DEL") > MANY);
    let mut other = proxy.client();
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(other.ask(&["SET", "key", "1"]), "+OK");
        thread::sleep(Duration::from_millis(20)); // some ticks are to come
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    gate.open();
}

/// What was not sent to it yet goes to its successor, at once.
#[test]
fn a_primary_that_was_replaced_is_sent_nothing_more() {
    let (gate, new) = (Gate::closed(), Engine::plain());
    let old = Engine::reluctant(1024, &gate);
    let mut proxy = Proxy::start(&clustered(&[&[&old, &new]]));
    let mut client = proxy.client();
    let large = "x".repeat(32 << 20);
    client.send_all(&[&["RPUSH", "b", "1"], &["RPUSH", "b", &large]]);
    assert_eq!(client.reply(), "+OK");
    client.send(&["RPUSH", "b", "3"]);
    until("it is read", || proxy.pending() == 2);
    proxy.apply(&clustered(&[&[&new, &old]]));
    gate.open();
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    assert_eq!(new.asked("RPUSH"), 2);
    assert!(!old.seen().iter().any(|request| request[2] == "3"), "it is not the primary any more");
}

/// Whether it changed data before it said so, nobody knows: it runs at one more node, and not again.
#[test]
fn a_script_that_says_moved_is_believed_once() {
    let script: &[&str] = &["EVAL", "return redis.error_reply('MOVED ...')", "1", "b"];
    let doubt = "-ERR INDOUBT shard ";
    let far = Engine::plain();
    let new = saying(moved(&far));
    let old = saying(moved(&new));
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new], &[&far]]));
    let reply = proxy.client().ask(script);
    assert!(reply.starts_with(doubt), "{reply}");
    assert_eq!([old.count(script), new.count(script), far.count(script)], [1, 1, 0]);
    let address = free_address();
    let own = Engine::scripted_at(&address, {
        let text = format!("-MOVED {SLOT} {address}\r\n");
        move |_, request| if is_of_b(request) { Act::say(&text) } else { Act::Serve }
    });
    let proxy = Proxy::start(&clustered(&[&[&own]]).timeouts(json!({"park": 1})));
    let reply = proxy.client().ask(script);
    assert!(reply.starts_with(doubt), "{reply}");
    assert_eq!(own.count(script), 1, "it names itself");
}

/// The address of an engine that has gone.
fn free_address() -> String {
    let engine = Engine::plain();
    engine.kill();
    engine.address.clone()
}

#[test]
fn a_script_whose_keys_are_at_two_nodes_waits_for_its_slot() {
    let script: &'static [&'static str] = &["EVAL", "return 1", "2", "b", "{b}2"];
    let engine = once(vec![(script, Act::say(SPLIT))]);
    let proxy = Proxy::start(&clustered(&[&[&engine]]));
    assert_eq!(proxy.client().ask(script), "+OK");
    assert_eq!(engine.count(script), 2);
}

#[test]
fn who_cannot_watch_yet_keeps_its_connection() {
    let new = Engine::plain();
    let old = saying(moved(&new));
    let mut proxy = Proxy::start(&clustered(&[&[&old], &[&new]]));
    let mut client = proxy.client();
    client.send(&["WATCH", "b"]);
    until("it is tried again and again", || old.asked("WATCH") > 4);
    assert_eq!(old.connections().len(), 1);
    proxy.apply(&from_slot(SLOT, &[&[&old], &[&new]]));
    assert_eq!(client.reply(), "+OK");
}

/// What one slot's requests may not add to the queue of a node, those that another node sends there may not either.
#[test]
fn who_is_named_takes_no_more_than_others_send_it() {
    let gate = Gate::closed();
    let held = gate.clone();
    let new = Engine::scripted(move |_, _| Act::Serve.behind(&held));
    let old = saying(moved(&new));
    let proxy = Proxy::start(&clustered(&[&[&old], &[&new]]).limits(json!({"shard_queue": 1024})));
    let mut filling = proxy.client();
    filling.send_all(&[["SET", "key", "1"].as_slice(); 100]);
    until("its queue is full", || proxy.statistic("/held") == 1);
    let mut client = proxy.client();
    client.send(&["SET", "b", "1"]);
    until("it waits for its slot", || proxy.statistic("/parked") == 1);
    gate.open();
    assert_eq!(client.reply(), "+OK");
    assert!((0..100).all(|_| filling.reply() == "+OK"));
}
