//! A primary is a process, not an address: whoever else answers there gets nothing.

use serde_json::json;
use shardproxy_dataplane::Loss;

use crate::client::value;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const OURS: &str = "aaaa";
const OTHER: &str = "bbbb";

fn info(request: &[String], run_id: &str, role: &str) -> Act {
    match request.get(1).map(String::as_str) {
        Some("server") => Act::Say(bulk(&format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run_id}\r\n"))),
        _ => Act::Say(bulk(&format!("# Replication\r\nrole:{role}\r\nconnected_slaves:0\r\n"))),
    }
}

fn script(run_id: &'static str, role: &'static str) -> impl Fn(usize, &[String]) -> Act + Send + Sync + 'static {
    move |_, request| if request[0] == "INFO" { info(request, run_id, role) } else { Act::Serve }
}

fn primary(run_id: &'static str) -> Engine {
    Engine::scripted(script(run_id, "master"))
}

/// One whose answers to INFO are errors.
fn refusing(text: &'static str) -> Engine {
    Engine::scripted(move |_, request| if request[0] == "INFO" { Act::say(text) } else { Act::Serve })
}

fn named<'a>(nodes: &[&'a Engine], primary: Option<usize>, run_id: &'a str) -> Spec<'a> {
    Spec { run_id: Some(run_id), ..Spec::shard(nodes, primary) }
}

fn strangers(proxy: &Proxy, engine: &Engine) -> u64 {
    proxy.statistic(&format!("/nodes/{}/strangers", engine.address))
}

/// What the engine was sent but questions.
fn executed(engine: &Engine) -> Vec<Vec<String>> {
    let own = ["INFO", "HELLO", "SELECT", "CLIENT"];
    engine.seen().into_iter().filter(|request| !own.contains(&request[0].as_str())).collect()
}

#[test]
fn the_question_is_one_round_trip_before_the_first_request() {
    let engine = primary(OURS);
    let proxy = Proxy::start(&named(&[&engine], Some(0), OURS));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
    assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
    let seen = engine.seen();
    assert_eq!(seen[..2], [["INFO", "server"], ["INFO", "replication"]]);
    assert_eq!(seen.len(), 5, "asked once: {seen:?}");
    assert_eq!(engine.connections().len(), 1);
}

#[test]
fn a_stranger_gets_nothing_until_it_is_named() {
    for role in ["master", "slave"] {
        let engine = Engine::scripted(script(OTHER, role));
        let mut proxy = Proxy::start(&named(&[&engine], Some(0), OURS));
        let mut client = proxy.client();
        client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
        until("it was asked twice", || strangers(&proxy, &engine) > 1);
        assert!(executed(&engine).is_empty());
        let losses = proxy.losses();
        assert!(losses.iter().all(|lost| lost.kind == Loss::Stranger), "{losses:?}");
        assert_eq!((&*losses[0].cluster, &*losses[0].address), ("test", &*engine.address));
        let why = format!("another process answers: its run_id is {OTHER}, not {OURS}");
        assert_eq!(losses[0].why, why);
        proxy.apply(&named(&[&engine], Some(0), OTHER));
        if role == "slave" {
            until("it is seen to be a replica", || {
                proxy.losses().iter().any(|lost| lost.why == "the node is a replica")
            });
            assert!(executed(&engine).is_empty());
            continue;
        }
        assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
        assert_eq!(executed(&engine), [&["SET", "key", "1"][..], &["GET", "key"]]);
    }
}

#[test]
fn what_waits_for_a_stranger_goes_to_the_next_primary() {
    let (engine, next) = (primary(OTHER), primary(OURS));
    let mut proxy = Proxy::start(&named(&[&engine, &next], Some(0), OURS));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    until("it was asked", || strangers(&proxy, &engine) > 0);
    proxy.apply(&named(&[&engine, &next], None, OURS));
    proxy.apply(&named(&[&engine, &next], Some(1), OURS));
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
    assert!(executed(&engine).is_empty());
    assert_eq!(executed(&next), [&["SET", "key", "1"][..], &["GET", "key"]]);
}

#[test]
fn who_waits_too_long_for_a_stranger_was_not_executed() {
    let engine = primary(OTHER);
    let mut proxy = Proxy::start(&named(&[&engine], Some(0), OURS).timeouts(json!({"park": 0.3})));
    let mut client = proxy.client();
    for words in [&["SET", "key", "1"][..], &["GET", "key"], &["BLPOP", "list", "0"]] {
        let reply = client.ask(words);
        assert!(reply.starts_with("-TRYAGAIN shard 0"), "{reply}");
    }
    assert!(executed(&engine).is_empty());
    proxy.apply(&named(&[&engine], Some(0), OTHER).timeouts(json!({"park": 0.3})));
    assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
}

#[test]
fn a_primary_that_is_back_as_another_process_acknowledges_nothing() {
    let engine = primary(OURS);
    let address = engine.address.clone();
    let mut proxy = Proxy::start(&named(&[&engine], Some(0), OURS));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    engine.kill();
    let back = Engine::scripted_at(&address, script(OTHER, "master"));
    client.send_all(&[&["SET", "key", "2"], &["GET", "key"], &["SET", "key", "3"]]);
    until("it was asked", || strangers(&proxy, &back) > 0);
    assert!(executed(&back).is_empty());
    proxy.apply(&named(&[&back], Some(0), OTHER));
    let replies: Vec<String> = (0..3).map(|_| client.reply()).collect();
    // what the old one may have read was in doubt, if it was sent before its end was noticed
    assert!(replies[0] == "+OK" || replies[0].starts_with("-ERR INDOUBT"), "{replies:?}");
    assert_eq!(replies[1..], [value("key"), replies[2].clone()]);
}

#[test]
fn what_was_not_sent_when_another_process_is_named_goes_to_that_one() {
    let gate = Gate::closed();
    let engine = {
        let gate = gate.clone();
        Engine::scripted(move |connection, request| match (connection, request[0].as_str()) {
            (0, "INFO") if request[1] == "replication" => info(request, OURS, "master").behind(&gate),
            (0, "INFO") => info(request, OURS, "master"),
            (_, "INFO") => info(request, OTHER, "master"),
            _ => Act::Serve,
        })
    };
    let mut proxy = Proxy::start(&named(&[&engine], Some(0), OURS));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    until("it has said who it is, and not what", || engine.seen().len() == 2);
    proxy.plane.clients(); // the worker has read that
    proxy.apply(&named(&[&engine], Some(0), OTHER));
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
    assert_eq!(executed(&engine), [&["SET", "key", "1"][..], &["GET", "key"]]);
    gate.open();
}

#[test]
fn every_kind_of_connection_asks() {
    let engine = primary(OTHER);
    let mut proxy = Proxy::start(&named(&[&engine], Some(0), OURS));
    let requests: [&[&[&str]]; 5] = [
        &[&["HELLO", "3"], &["SET", "key", "1"]],
        &[&["SELECT", "1"], &["SET", "key", "1"]],
        &[&["WATCH", "key"]],
        &[&["BLPOP", "list", "0"]],
        &[&["MULTI"], &["SET", "key", "1"], &["EXEC"]],
    ];
    let mut clients: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(number, requests)| {
            let mut client = proxy.client();
            client.send_all(requests);
            until("it is asked", || strangers(&proxy, &engine) > number as u64);
            client
        })
        .collect();
    assert!(executed(&engine).is_empty(), "{:?}", executed(&engine));
    proxy.apply(&named(&[&engine], Some(0), OTHER));
    for name in ["SET", "BLPOP", "EXEC"] {
        until(name, || executed(&engine).iter().any(|request| request[0] == name));
    }
    let refused = clients[2].reply();
    assert!(refused.starts_with("-TRYAGAIN shard 0"), "{refused}");
    assert!(executed(&engine).iter().all(|request| request[0] != "WATCH"));
    assert_eq!(clients[2].ask(&["WATCH", "key"]), "+OK");
}

#[test]
fn who_cannot_tell_is_a_stranger_and_who_loads_is_not() {
    for (text, kind, why) in [
        ("-NOPERM this user has no permissions\r\n", Loss::Stranger, "must be allowed INFO"),
        ("-NOAUTH Authentication required.\r\n", Loss::Stranger, "must be allowed INFO"),
        ("-LOADING Redis is loading the dataset in memory\r\n", Loss::Lost, "does not say who it is yet"),
    ] {
        let engine = refusing(text);
        let proxy = Proxy::start(&named(&[&engine], Some(0), OURS));
        let mut client = proxy.client();
        client.send(&["SET", "key", "1"]);
        let mut losses = Vec::new();
        until("it is told", || {
            losses.extend(proxy.losses());
            !losses.is_empty()
        });
        assert_eq!(losses[0].kind, kind);
        assert!(losses[0].why.contains(why), "{}", losses[0].why);
        assert!(executed(&engine).is_empty());
    }
}

#[test]
fn whom_nobody_named_is_not_asked() {
    let engine = primary(OTHER);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK");
    assert_eq!(engine.seen(), [["SET", "key", "1"]]);
}

#[test]
fn a_connection_opened_before_its_node_was_named_asks_when_it_owes_nothing() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "INFO" => info(request, OURS, "master"),
        "GETSET" => Act::Serve.behind(&held),
        _ => Act::Serve,
    });
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut late) = (proxy.client(), proxy.client());
    client.send(&["GETSET", "key", "1"]);
    engine.wait_for(&["GETSET", "key", "1"]);
    proxy.apply(&named(&[&engine], Some(0), OURS));
    late.send(&["SET", "key", "2"]);
    until("it waits", || proxy.pending() == 2);
    gate.open();
    assert_eq!([client.reply(), late.reply()], ["+OK", "+OK"]); // and nothing is in doubt
    let seen = engine.seen();
    assert_eq!(seen[1..], [&["INFO", "server"][..], &["INFO", "replication"], &["SET", "key", "2"]]);
    assert_eq!(engine.connections().len(), 1);
}

#[test]
fn a_stranger_reached_before_the_primary_was_named_gets_no_more() {
    let engine = primary(OTHER);
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut watcher) = (proxy.client(), proxy.client());
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    assert_eq!(watcher.ask(&["WATCH", "key"]), "+OK");
    proxy.apply(&named(&[&engine], Some(0), OURS));
    client.send(&["SET", "key", "2"]);
    until("the watcher's connection was closed", || engine.connections()[1].is_closed);
    watcher.send_all(&[&["MULTI"], &["SET", "key", "3"], &["EXEC"]]);
    assert_eq!([watcher.reply(), watcher.reply()], ["+OK", "+QUEUED"]);
    assert_eq!(watcher.reply(), "*-1", "what it watched is forgotten");
    until("both connections were closed", || strangers(&proxy, &engine) > 1);
    assert_eq!(executed(&engine).len(), 2);
}

#[test]
fn an_identity_that_changes_fences_its_connections() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "INFO" => info(request, OURS, "master"),
        "GETSET" => Act::Serve.behind(&held),
        _ => Act::Serve,
    });
    let mut proxy = Proxy::start(&named(&[&engine], Some(0), OURS).limits(json!({"dedicated": 1})));
    let (mut client, mut watcher) = (proxy.client(), proxy.client());
    assert_eq!(watcher.ask(&["WATCH", "key"]), "+OK");
    client.send(&["GETSET", "key", "1"]);
    engine.wait_for(&["GETSET", "key", "1"]);
    proxy.apply(&named(&[&engine], Some(0), OTHER).limits(json!({"dedicated": 1})));
    let doubt = client.reply();
    assert!(doubt.starts_with("-ERR INDOUBT shard 0 primary lost"), "{doubt}");
    gate.open();
    until("its connections are closed", || engine.connections().iter().take(2).all(|seen| seen.is_closed));
    proxy.apply(&named(&[&engine], Some(0), OURS).limits(json!({"dedicated": 1})));
    watcher.send_all(&[&["MULTI"], &["SET", "key", "2"], &["EXEC"]]);
    assert_eq!([watcher.reply(), watcher.reply(), watcher.reply()], ["+OK", "+QUEUED", "*-1"]);
    assert_eq!(watcher.ask(&["WATCH", "key"]), "+OK", "the pool has room again");
    assert_eq!(client.ask(&["SET", "key", "3"]), "+OK");
}

#[test]
fn a_replica_that_is_promoted_says_who_it_is_before_it_is_written_to() {
    let (old, new) = (primary(OURS), primary(OTHER));
    let reads = |primary, run_id| Spec { reads: "replica", ..named(&[&old, &new], primary, run_id) };
    let mut proxy = Proxy::start(&reads(Some(0), OURS));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    assert_eq!(new.seen(), [["GET", "key"]], "a replica is not asked");
    proxy.apply(&reads(None, OURS));
    client.send(&["SET", "key", "1"]);
    proxy.apply(&reads(Some(1), OTHER));
    assert_eq!(client.reply(), "+OK");
    let seen = new.seen();
    assert_eq!(seen[1..], [&["INFO", "server"][..], &["INFO", "replication"], &["SET", "key", "1"]]);
}

#[test]
fn the_same_epoch_with_the_same_identity_changes_nothing() {
    let engine = primary(OURS);
    let mut proxy = Proxy::start(&named(&[&engine], Some(0), OURS));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    proxy.apply(&named(&[&engine], Some(0), OURS).limits(json!({"clients": 7})));
    assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
    assert_eq!(engine.connections().len(), 1);
    assert_eq!(engine.seen().len(), 4, "asked once");
}
