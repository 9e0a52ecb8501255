//! Keys with caching rules: what is handed over, and what goes with a request wherever it goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, Value};
use shardproxy_dataplane::hash::{slot, tag_of_slot};
use shardproxy_dataplane::Event;

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

fn rules() -> Value {
    let rule = |pattern: &str, loads: bool, writes: bool| json!({"match": pattern, "loads": loads, "writes": writes, "checks": false});
    json!({"rules": [rule("row:*", true, false), rule("both:*", true, true)]})
}

fn ruled(spec: Spec<'_>) -> Spec<'_> {
    Spec { caching: rules(), ..spec }
}

fn lease(key: &str) -> String {
    let tag = String::from_utf8(tag_of_slot(slot(key.as_bytes())).to_vec()).unwrap();
    format!("shardproxy:lease:{{{tag}}}:{key}")
}

/// Nothing is there.
fn empty() -> Engine {
    Engine::scripted(|_, request| match request[0].as_str() {
        "GET" => Act::say("$-1\r\n"),
        _ => Act::Serve,
    })
}

#[test]
fn a_lease_goes_just_before_the_write_on_its_connection() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    let lease = lease("row:1");
    client.send_all(&[&["SET", "x", "1"], &["SET", "row:1", "1"], &["GET", "row:1"], &["APPEND", "row:1", "2"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    assert_eq!([client.reply(), client.reply()], [value("row:1"), "+OK".into()]);
    let cancel = &["DEL", &lease][..];
    let sent =
        [&["SET", "x", "1"][..], cancel, &["SET", "row:1", "1"], &["GET", "row:1"], cancel, &["APPEND", "row:1", "2"]];
    assert_eq!(engine.seen(), sent);
    assert_eq!(engine.connections().len(), 1);
    assert_eq!(proxy.statistic("/caching/row:*/cancelled"), 2);
}

#[test]
fn a_transaction_has_its_leases_deleted_before_it() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "EXEC" => Act::say("*3\r\n+OK\r\n*2\r\n$1\r\n5\r\n*0\r\n:1\r\n"),
        "SET" | "SCAN" | "APPEND" => Act::say("+QUEUED\r\n"),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    let queued: [&[&str]; 5] =
        [&["MULTI"], &["SET", "row:{a}1", "1"], &["SCAN", "0"], &["APPEND", "row:{a}2", "1"], &["EXEC"]];
    client.send_all(&queued);
    let replies: Vec<String> = (0..5).map(|_| client.reply()).collect();
    // its cursors are the proxy's
    assert_eq!(replies, ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "*3\r\n+OK\r\n*2\r\n$4\r\n1280\r\n*0\r\n:1"]);
    let (one, other) = (lease("row:{a}1"), lease("row:{a}2"));
    let mut sent = vec![vec!["DEL", &one, &other]];
    sent.extend(queued.iter().map(|words| words.to_vec()));
    assert_eq!(engine.seen(), sent);
    assert_eq!(client.ask(&["ECHO", "x"]), value("x"));
}

#[test]
fn what_waits_for_a_primary_takes_its_leases_along() {
    let engines = [Engine::plain(), empty()];
    let mut proxy = Proxy::start(&ruled(Spec::shard(&[&engines[0], &engines[1]], None)));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "row:1", "1"], &["DEL", "row:2", "row:{2}"], &["GET", "row:3"]]);
    until("all wait", || proxy.pending() == 3);
    proxy.apply(&ruled(Spec::shard(&[&engines[0], &engines[1]], Some(1))));
    assert_eq!([client.reply(), client.reply()], ["+OK", ":2"]);
    let asked = proxy.offload();
    assert_eq!((asked.rule, asked.arguments), (Some(0), vec![b"GET".to_vec(), b"row:3".to_vec()]));
    proxy.plane.answer(asked.token, b"+three\r\n".to_vec());
    assert_eq!(client.reply(), "+three");
    let (one, two, other) = (lease("row:1"), lease("row:2"), lease("row:{2}"));
    let sent: [&[&str]; 5] = [
        &["DEL", &one],
        &["SET", "row:1", "1"],
        &["DEL", &two, &other],
        &["DEL", "row:2", "row:{2}"],
        &["GET", "row:3"],
    ];
    assert_eq!(engines[1].seen(), sent);
}

#[test]
fn what_a_primary_refuses_takes_its_leases_to_the_next() {
    let is_refusing = Arc::new(AtomicBool::new(true));
    let refuses = is_refusing.clone();
    let old = Engine::scripted(move |_, request| match request[0].as_str() {
        "DEL" | "SET" if refuses.load(SeqCst) => Act::say("-READONLY You can't write against a read only replica.\r\n"),
        _ => Act::Serve,
    });
    let new = Engine::plain();
    let mut proxy = Proxy::start(&ruled(Spec::shard(&[&old, &new], Some(0))));
    let mut client = proxy.client();
    client.send(&["SET", "row:1", "1"]);
    until("it is refused", || old.asked("SET") > 0);
    proxy.apply(&ruled(Spec::shard(&[&old, &new], Some(1))));
    assert_eq!(client.reply(), "+OK");
    assert_eq!(new.seen(), [vec!["DEL".to_owned(), lease("row:1")], ["SET", "row:1", "1"].map(str::to_owned).to_vec()]);
    is_refusing.store(false, SeqCst);
}

#[test]
fn leases_follow_their_keys_to_another_node_of_a_cluster() {
    let is_of_b = |request: &[String]| request.iter().any(|word| word.contains("{b}") || *word == lease("row:{b}"));
    for (how, is_ask) in [("MOVED", false), ("ASK", true)] {
        let new = Engine::scripted(|_, request| match request[0].as_str() {
            "EXEC" => Act::say("*1\r\n+OK\r\n"),
            _ => Act::Serve,
        });
        let elsewhere = format!("-{how} 3300 {}\r\n", new.address);
        let aborted = format!("-EXECABORT Transaction discarded because of: {}", &elsewhere[1..]);
        let old = Engine::scripted(move |_, request| match request[0].as_str() {
            "EXEC" => Act::say(&aborted),
            _ if is_of_b(request) => Act::say(&elsewhere),
            _ => Act::Serve,
        });
        let spec = Spec { clustered: true, ..Spec::shard(&[], None) };
        let proxy = Proxy::start(&ruled(Spec { shards: vec![(vec![&old], Some(0)), (vec![&new], Some(0))], ..spec }));
        let mut client = proxy.client();
        assert_eq!(client.ask(&["SET", "row:{b}", "1"]), "+OK", "{how}");
        let lease = lease("row:{b}");
        let plain: [&[&str]; 2] = [&["DEL", &lease], &["SET", "row:{b}", "1"]];
        let asking: [&[&str]; 4] = [&["ASKING"], plain[0], &["ASKING"], plain[1]];
        assert_eq!(new.seen(), if is_ask { asking.to_vec() } else { plain.to_vec() }, "{how}");
        new.forget();
        client.send_all(&[&["MULTI"], &["SET", "row:{b}", "1"], &["EXEC"], &["ECHO", "end"]]);
        assert_eq!([client.reply(), client.reply()], ["+OK", "+QUEUED"]);
        assert_eq!([client.reply(), client.reply()], ["*1\r\n+OK".to_owned(), value("end")], "{how}");
        let seen = new.seen();
        let multi: [&[&str]; 4] = [plain[0], &["MULTI"], plain[1], &["EXEC"]];
        let asking: [&[&str]; 6] = [&["ASKING"], multi[0], &["ASKING"], multi[1], multi[2], multi[3]];
        assert_eq!(seen, if is_ask { asking.to_vec() } else { multi.to_vec() }, "{how}");
    }
}

#[test]
fn a_script_that_is_lacking_is_loaded_whatever_goes_before_it() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "EVALSHA" => Act::say("-NOSCRIPT No matching script. Please use EVAL.\r\n"),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    let digest = "0123456789012345678901234567890123456789";
    client.send(&["EVALSHA", digest, "1", "row:1", "x"]);
    let asked = proxy.offload();
    let words: Vec<Vec<u8>> = ["EVALSHA", digest, "1", "row:1", "x"].map(|word| word.as_bytes().to_vec()).to_vec();
    assert_eq!((asked.arguments, asked.rule), (words, None));
    proxy.plane.answer(asked.token, b":1\r\n".to_vec());
    assert_eq!(client.reply(), ":1");
}

#[test]
fn a_large_value_is_written_whole_behind_its_leases_deletion() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    let large = "x".repeat(1 << 20);
    client.send_all(&[&["SET", "row:1", &large], &["GET", "row:1"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("row:1")]);
    let seen = engine.seen();
    assert_eq!(seen[0], ["DEL".to_owned(), lease("row:1")]);
    assert_eq!(seen[1][2].len(), large.len());
}

#[test]
fn of_many_large_values_one_that_is_missing_is_seen() {
    let large = "x".repeat(300_000);
    let said = format!("*3\r\n${0}\r\n{1}\r\n${0}\r\n{1}\r\n$-1\r\n", large.len(), large);
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "MGET" => Act::say(&said),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    client.send(&["MGET", "a", "b", "row:1"]);
    let asked = proxy.offload();
    assert_eq!(asked.rule, Some(0));
    proxy.plane.answer(asked.token, b"*3\r\n:1\r\n:2\r\n:3\r\n".to_vec());
    assert_eq!(client.reply(), "*3\r\n:1\r\n:2\r\n:3");
}

#[test]
fn what_is_lost_on_the_way_is_read_again_and_then_loaded() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "GET" if counted.fetch_add(1, SeqCst) == 0 => Act::cut(""),
        "GET" => Act::say("$-1\r\n"),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    client.send(&["GET", "row:1"]);
    let asked = proxy.offload();
    assert_eq!(count.load(SeqCst), 2);
    proxy.plane.pass_on(asked.token, None);
    assert_eq!(client.reply(), "$-1");
    assert_eq!(count.load(SeqCst), 3);
    assert!(proxy.plane.take().iter().all(|event| !matches!(event, Event::Offloaded(_))), "not once more");
}

#[test]
fn a_rules_write_waits_for_a_hold_and_a_hold_for_it() {
    let engine = Engine::plain();
    let spec = || ruled(Spec::shard(&[&engine], Some(0)));
    let held = || Spec { hold: json!({"slots": [[0, 16383]], "only_writes": true}), ..spec() };
    let mut proxy = Proxy::start(&spec());
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(&["SET", "both:1", "1"]);
    let asked = proxy.offload();
    proxy.apply(&held());
    assert!(!proxy.plane.settle("test", Duration::from_millis(50)), "it may still write");
    other.send(&["SET", "both:2", "1"]);
    until("it is held", || proxy.statistic("/held") > 0);
    assert!(proxy.plane.take().is_empty());
    proxy.plane.pass_on(asked.token, None);
    assert_eq!(client.reply(), "+OK");
    assert!(proxy.plane.settle("test", Duration::from_secs(30)));
    proxy.apply(&spec());
    let asked = proxy.offload();
    assert_eq!(asked.arguments[1], b"both:2");
    proxy.plane.answer(asked.token, b"+done\r\n".to_vec());
    assert_eq!(other.reply(), "+done");
}

#[test]
fn of_a_client_that_is_closed_the_control_plane_keeps_nothing() {
    let engine = empty();
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    client.send_all(&[&["GET", "row:1"], &["GET", "row:2"], &["SET", "both:1", "x"]]);
    let mut tokens: Vec<u64> = (0..3).map(|_| 0).collect();
    let mut found = Vec::new();
    until("all are handed over", || {
        found.extend(proxy.plane.take().into_iter().filter_map(|event| match event {
            Event::Offloaded(offload) => Some(offload.token),
            _ => None,
        }));
        found.len() == 3
    });
    tokens.copy_from_slice(&found);
    let id = proxy.plane.clients()[0].id;
    assert_eq!(proxy.plane.kill(vec![id]), 1);
    let mut gone = Vec::new();
    until("all are abandoned", || {
        gone.extend(proxy.plane.take().into_iter().filter_map(|event| match event {
            Event::Abandoned(token) => Some(token),
            _ => None,
        }));
        gone.len() == 3
    });
    tokens.sort_unstable();
    gone.sort_unstable();
    assert_eq!(gone, tokens);
}

#[test]
fn a_reply_in_pieces_ends_before_what_was_loaded_behind_it() {
    let gate = Gate::closed();
    let opens = gate.clone();
    let large = "x".repeat(200_000);
    let said = format!("${}\r\n{}\r\n", large.len(), large);
    let engine = Engine::scripted(move |_, request| match request[1..].first().map(String::as_str) {
        Some("large") => {
            let (begin, rest) = said.split_at(100_000);
            Act::All(vec![Act::say(begin), Act::Hold(opens.clone(), Box::new(Act::say(rest)))])
        }
        Some("row:1") => Act::say("$-1\r\n"),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&ruled(Spec::shard(&[&engine], Some(0))));
    let mut client = proxy.client();
    client.send_all(&[&["GET", "row:1"], &["GET", "large"], &["GET", "end"]]);
    let asked = proxy.offload();
    proxy.plane.answer(asked.token, b"+one\r\n".to_vec());
    gate.open();
    assert_eq!(client.reply(), "+one");
    assert_eq!([client.reply(), client.reply()], [value(&large), value("end")]);
}
