//! Clients that track keys, and a node that tells of changes when it likes.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

use crate::client::Client;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const ALL: &str = ">2\r\n$10\r\ninvalidate\r\n_";
const ALL_TOLD: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// A node; the number of the connection on which it tells of all changes is kept, and reads wait for the gate.
fn engine(gate: &Arc<Gate>) -> (Engine, Arc<AtomicUsize>) {
    let (feed, held) = (Arc::new(AtomicUsize::new(0)), gate.clone());
    let known = feed.clone();
    let engine = Engine::tracking(move |number, words| match words[0].as_str() {
        "CLIENT" if words.last().is_some_and(|word| word == "BCAST") => {
            known.store(number, SeqCst);
            Act::say("+OK\r\n")
        }
        "GET" if words[1] != "now" => Act::say("$3\r\nold\r\n").behind(&held),
        "GET" => Act::say("$3\r\nnow\r\n"),
        "GETRANGE" => Act::Say(bulk("mine")),
        _ => Act::say("+OK\r\n"),
    });
    (engine, feed)
}

fn tracker(proxy: &Proxy, options: &[&str]) -> Client {
    let mut client = proxy.client();
    assert!(client.ask(&["HELLO", "3"]).starts_with('%'));
    let words: Vec<&str> = ["CLIENT", "TRACKING", "ON"].iter().chain(options).copied().collect();
    assert_eq!(client.ask(&words), "+OK");
    client
}

fn changed(keys: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = keys.iter().flat_map(|key| bulk(key)).collect();
    [format!(">2\r\n$10\r\ninvalidate\r\n*{}\r\n", keys.len()).into_bytes(), names].concat()
}

fn push(keys: &[&str]) -> String {
    String::from_utf8(changed(keys)).unwrap().trim_end().to_owned()
}

/// What comes up to this reply, and the next one behind it.
fn until_behind(client: &mut Client, reply: &str) -> String {
    while client.reply() != reply {}
    client.reply()
}

#[test]
fn what_overtakes_a_reply_is_told_behind_it() {
    for options in [&[][..], &["BCAST"]] {
        let gate = Gate::closed();
        let (engine, feed) = engine(&gate);
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let (mut client, mut other) = (tracker(&proxy, options), tracker(&proxy, &["BCAST"]));
        client.send(&["GET", "k"]);
        engine.wait_for(&["GET", "k"]);
        engine.tell(feed.load(SeqCst), &changed(&["k"]));
        assert_eq!(other.reply(), push(&["k"]), "it has nothing under way");
        gate.open();
        assert_eq!(until_behind(&mut client, "$3\r\nold"), push(&["k"]), "{options:?}");
    }
}

#[test]
fn a_reply_that_is_long_in_coming_holds_nothing_up() {
    let gate = Gate::closed();
    let (engine, feed) = engine(&gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = tracker(&proxy, &[]);
    assert_eq!(client.ask(&["GET", "now"]), "$3\r\nnow");
    client.send(&["GET", "k"]);
    engine.wait_for(&["GET", "k"]);
    engine.tell(feed.load(SeqCst), &changed(&["now", "unknown"]));
    assert_eq!(client.reply(), push(&["now"]), "while the other is awaited");
    gate.open();
    assert_eq!(until_behind(&mut client, "$3\r\nold"), push(&["now"]), "and it might have been of that");
}

#[test]
fn what_is_told_of_none_is_old_with_its_reply() {
    let gate = Gate::closed();
    gate.open();
    let (engine, feed) = engine(&gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = tracker(&proxy, &[]);
    assert_eq!(client.ask(&["GET", "k"]), "$3\r\nold");
    let before = feed.swap(usize::MAX, SeqCst);
    engine.tell(before, b"-nonsense\r\n"); // the proxy closes that connection, and opens another
    assert_eq!(client.reply(), ALL);
    until("it is heard again", || feed.load(SeqCst) != usize::MAX);
    client.send(&["GET", "now"]);
    let mut told = vec![client.reply()];
    while !told.contains(&"$3\r\nnow".to_owned()) {
        told.push(client.reply());
    }
    while client.ask(&["GET", "now"]) != "$3\r\nnow" {}
    engine.tell(feed.load(SeqCst), ALL_TOLD);
    while client.reply() != ALL {}
}

#[test]
fn who_wants_no_loop_is_told_when_somebody_else_was_faster() {
    let gate = Gate::closed();
    gate.open();
    let (engine, feed) = engine(&gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = tracker(&proxy, &["BCAST", "NOLOOP"]);
    assert_eq!(client.ask(&["SET", "a", "mine"]), "+OK");
    assert_eq!(client.ask(&["SET", "b", "other"]), "+OK");
    engine.tell(feed.load(SeqCst), &changed(&["a", "c"]));
    assert_eq!(client.reply(), push(&["c"]), "of its own it is not told");
    engine.tell(feed.load(SeqCst), &changed(&["b"]));
    assert_eq!(client.reply(), push(&["b"]), "the node says it holds something else");
    assert_eq!(client.ask(&["APPEND", "a", "mine"]), "+OK");
    engine.tell(feed.load(SeqCst), &changed(&["a"]));
    assert_eq!(client.reply(), push(&["a"]), "it has written it otherwise since");
}
