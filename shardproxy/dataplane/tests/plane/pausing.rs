//! CLIENT PAUSE: what it holds, and what it lets pass.

use crate::client::value;
use crate::engine::Engine;
use crate::proxy::{until, Proxy, Spec};

const ONLY_READS: &str = "#!lua flags=no-writes\nreturn 1";
const WRITES: &str = "#!lua\nreturn 1";
/// Of `ONLY_READS` and of `return 1`.
const READS_DIGEST: &str = "77f21361171213377cb083e2ffc2ae24ffdff8fb";
const PLAIN_DIGEST: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

fn pause(proxy: &Proxy, only_writes: bool) {
    let functions = [("reads", true), ("writes", false)].map(|(name, says)| (name.as_bytes().to_vec(), says));
    proxy.plane.pause("test", 60.0, only_writes, functions.to_vec());
}

fn go_on(proxy: &Proxy) {
    proxy.plane.pause("test", 0.0, false, Vec::new());
}

fn blocked(proxy: &Proxy) -> u64 {
    proxy.statistic("/blocked")
}

/// Commands that were answered.
fn answered(proxy: &Proxy) -> u64 {
    let statistics = proxy.plane.statistics();
    let commands = statistics["clusters"]["test"]["commands"].as_object().unwrap();
    commands.values().map(|counts| counts["ok"].as_u64().unwrap() + counts["error"].as_u64().unwrap()).sum()
}

/// Whether the last of these passes while this much is held; those before it do.
fn passes(proxy: &Proxy, only_writes: bool, requests: &[&[&str]]) -> bool {
    let mut client = proxy.client();
    let (last, before) = requests.split_last().unwrap();
    for words in before {
        client.ask(words);
    }
    let before = answered(proxy);
    pause(proxy, only_writes);
    client.send(last);
    until("it passes or is held", || blocked(proxy) == 1 || answered(proxy) > before);
    let is_held = blocked(proxy) == 1;
    assert_eq!(proxy.plane.clients()[0].is_blocked, is_held);
    go_on(proxy);
    client.reply();
    assert_eq!(blocked(proxy), 0);
    drop(client);
    until("it is gone", || proxy.plane.clients().is_empty());
    !is_held
}

#[test]
fn a_pause_of_writes_holds_what_may_write_and_nothing_else() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(&["EVAL", ONLY_READS, "0"]), "+OK", "it is known by its digest from now on");
    assert_eq!(proxy.client().ask(&["EVAL", "return 1", "0"]), "+OK");
    let nobody = "0".repeat(40);
    let cases: &[(bool, &[&str])] = &[
        (true, &["GET", "k"]),
        (false, &["SET", "k", "v"]),
        (false, &["PUBLISH", "c", "m"]),
        (false, &["SPUBLISH", "c", "m"]),
        (false, &["PFCOUNT", "k"]),
        (true, &["SORT_RO", "k"]),
        (false, &["SORT", "k"]),
        (true, &["EVAL", ONLY_READS, "0"]),
        (false, &["EVAL", WRITES, "0"]),
        (false, &["EVAL", "return 1", "0"]),
        (true, &["EVAL_RO", "return 1", "0"]),
        (false, &["EVAL_RO", WRITES, "0"]),
        (true, &["EVALSHA", READS_DIGEST, "0"]),
        (true, &["EVALSHA", &READS_DIGEST.to_uppercase(), "0"]),
        (false, &["EVALSHA", PLAIN_DIGEST, "0"]),
        (true, &["EVALSHA_RO", PLAIN_DIGEST, "0"]),
        (false, &["EVALSHA", &nobody, "0"]),
        (true, &["FCALL", "reads", "0"]),
        (false, &["FCALL", "writes", "0"]),
        (false, &["FCALL", "nobody", "0"]),
        (true, &["FCALL_RO", "nobody", "0"]),
        (false, &["FCALL_RO", "writes", "0"]),
        (true, &["XGROUP", "NOPE"]),
        (true, &["SET", "k"]),
        (true, &["EXEC"]),
        (true, &["SELECT", "0"]),
        (true, &["SUBSCRIBE"]),
    ];
    for (expected, words) in cases {
        assert_eq!(passes(&proxy, true, &[words]), *expected, "{words:?}");
    }
    for (_, words) in cases.iter().filter(|(_, words)| words.len() > 1 && !["XGROUP", "SET"].contains(&words[0])) {
        assert!(!passes(&proxy, false, &[words]), "{words:?}");
    }
}

#[test]
fn a_pause_of_writes_holds_a_transaction_that_may_write() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let cases: &[(bool, &[&[&str]])] = &[
        (true, &[&["MULTI"], &["GET", "k"], &["EXEC"]]),
        (true, &[&["MULTI"], &["EVAL", ONLY_READS, "0"], &["FCALL", "reads", "0"], &["EXEC"]]),
        (false, &[&["MULTI"], &["GET", "k"], &["SET", "k", "v"], &["EXEC"]]),
        (false, &[&["MULTI"], &["EVAL", "return 1", "0"], &["EXEC"]]),
        (false, &[&["MULTI"], &["FCALL", "writes", "0"], &["EXEC"]]),
        (false, &[&["MULTI"], &["SET", "k", "v"]]),
        (true, &[&["MULTI"], &["SET", "k", "v"], &["DISCARD"]]),
    ];
    for (expected, requests) in cases {
        assert_eq!(passes(&proxy, true, requests), *expected, "{requests:?}");
    }
}

#[test]
fn who_goes_while_it_is_held_asked_for_nothing() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    pause(&proxy, false);
    let mut client = proxy.client();
    client.send(&["SET", "k", "v"]);
    until("it is held", || blocked(&proxy) == 1);
    drop(client);
    until("it is gone", || proxy.plane.clients().is_empty());
    assert_eq!(blocked(&proxy), 0);
    go_on(&proxy);
    assert_eq!(proxy.client().ask(&["GET", "k"]), value("k"));
    assert_eq!(engine.count(&["SET", "k", "v"]), 0);
}

#[test]
fn who_monitors_is_not_held() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["MONITOR"]), "+OK");
    pause(&proxy, false);
    assert_eq!(client.ask(&["PING"]), "+PONG");
}
