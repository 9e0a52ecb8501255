//! A new epoch in the middle of everything: no acknowledgement of an older one, nothing sent twice, nothing lost.

use serde_json::json;

use crate::client::{request, value};
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// Holds every reply until the gate opens.
fn frozen(gate: &std::sync::Arc<Gate>) -> Engine {
    let gate = gate.clone();
    Engine::scripted(move |_, _| Act::Serve.behind(&gate))
}

#[test]
fn what_waits_for_a_primary_reaches_the_next_one_in_order() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], None));
    let mut client = proxy.client();
    let requests: [&[&str]; 4] = [&["SET", "a", "1"], &["GET", "a"], &["MGET", "a", "b"], &["SET", "a", "2"]];
    client.send_all(&requests);
    until("all of it waits", || proxy.pending() == 4);
    assert!(old.seen().is_empty() && new.seen().is_empty());
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!(client.reply(), "+OK");
    assert_eq!(client.reply(), value("a"));
    assert_eq!(client.reply(), format!("*2\r\n{}\r\n{}", value("a"), value("b")));
    assert_eq!(client.reply(), "+OK");
    assert_eq!(new.seen(), requests);
    assert!(old.seen().is_empty());
}

#[test]
fn what_waits_too_long_was_not_executed() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], None).timeouts(json!({"park": 0.2})));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), "-TRYAGAIN shard 0 failing over, command not executed");
    assert_eq!(client.ask(&["GET", "key"]), "-TRYAGAIN shard 0 failing over, command not executed");
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
    assert_eq!(engine.seen(), [["SET", "key", "2"]]);
}

#[test]
fn a_shard_is_called_by_its_label() {
    let gate = Gate::closed();
    let (old, new) = (frozen(&gate), Engine::plain());
    let named =
        |primary| Spec { label: Some("eu-1"), ..Spec::shard(&[&old, &new], primary) }.timeouts(json!({"park": 0.2}));
    let mut proxy = Proxy::start(&named(Some(0)));
    let mut client = proxy.client();
    client.send(&["SET", "key", "1"]);
    old.wait_for(&["SET", "key", "1"]);
    proxy.apply(&named(None));
    let doubt = client.reply();
    assert!(doubt.starts_with("-ERR INDOUBT shard eu-1 primary lost"), "{doubt}");
    let gone = "-TRYAGAIN shard eu-1 failing over, command not executed";
    for words in [&["SET", "key", "2"][..], &["WATCH", "key"], &["BLPOP", "list", "0"]] {
        assert_eq!(client.ask(words), gone);
    }
    new.kill();
    proxy.apply(&named(Some(1)));
    let refused = client.ask(&["SET", "key", "3"]);
    assert!(
        refused.starts_with(&format!("-TRYAGAIN shard eu-1 ({}) cannot take the command", new.address)),
        "{refused}"
    );
    assert_eq!((proxy.statistic("/indoubt"), proxy.statistic("/tryagain")), (1, 4));
    gate.open();
}

#[test]
fn what_is_parked_is_counted() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], None));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    until("both are counted", || proxy.statistic("/parked") == 2);
    assert_eq!(
        proxy.statistic("/parked_bytes"),
        [&["SET", "key", "1"][..], &["GET", "key"]].map(request).concat().len() as u64
    );
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
    until("nothing is", || proxy.statistic("/parked") + proxy.statistic("/parked_bytes") == 0);
    engine.kill();
    until("the loss is noticed", || proxy.statistic(&format!("/nodes/{}/lost", engine.address)) == 1);
    other.send(&["SET", "key", "2"]);
    until("what waits for a lost primary is too", || proxy.statistic("/parked") == 1);
}

#[test]
fn a_deposed_primary_acknowledges_nothing() {
    let gate = Gate::closed();
    let (old, new) = (frozen(&gate), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"], &["SET", "key", "2"]]);
    old.wait_for(&["SET", "key", "1"]);
    proxy.apply(&Spec::shard(&[&old, &new], None));
    let doubt = client.reply();
    let expected = "-ERR INDOUBT shard 0 primary lost, command may have been executed: the primary is being replaced";
    assert_eq!(doubt, expected);
    client.send(&["SET", "key", "3"]);
    gate.open(); // it wakes, and acknowledges what it was sent
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!(client.reply(), value("key"));
    assert!(client.reply().starts_with("-ERR INDOUBT"));
    assert_eq!(client.reply(), "+OK");
    assert_eq!(new.seen(), [&["GET", "key"][..], &["SET", "key", "3"]]);
}

#[test]
fn reads_that_wait_for_a_replica_that_leaves_go_to_the_primary() {
    let primary = Engine::plain();
    let silent = Engine::scripted(|_, _| Act::say(""));
    let mut spec = Spec::shard(&[&silent, &primary], Some(1));
    spec.reads = "replica";
    let mut proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    assert!(client.ask(&["HELLO", "3"]).starts_with('%'));
    client.send(&["GET", "key"]);
    silent.wait_for(&["HELLO", "3"]); // and answers it not
    proxy.apply(&Spec { reads: "replica", ..Spec::shard(&[&primary], Some(0)) });
    assert_eq!(client.reply(), value("key"));
}

#[test]
fn connections_to_a_primary_that_stays_stay() {
    let (primary, replica) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&primary], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    proxy.apply(&Spec::shard(&[&replica, &primary], Some(1)));
    assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
    assert_eq!((primary.connections().len(), replica.connections().len()), (1, 0));
}

#[test]
fn a_watching_client_learns_that_its_primary_was_deposed() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    for (words, expected) in [(&["WATCH", "key"][..], "+OK"), (&["MULTI"], "+OK"), (&["SET", "key", "1"], "+QUEUED")] {
        assert_eq!(client.ask(words), expected);
    }
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!(client.ask(&["EXEC"]), "*-1");
    assert_eq!(old.count(&["EXEC"]) + new.count(&["EXEC"]), 0);
    assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
    assert_eq!(new.count(&["SET", "key", "2"]), 1);
}

#[test]
fn an_epoch_that_keeps_the_primary_ends_no_watch() {
    let (primary, replica) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&primary], Some(0)));
    let (mut client, mut blocked) = (proxy.client(), proxy.client());
    assert_eq!(client.ask(&["WATCH", "key"]), "+OK");
    blocked.send(&["BLPOP", "list", "0"]);
    primary.wait_for(&["BLPOP", "list", "0"]);
    proxy.apply(&Spec::shard(&[&replica, &primary], Some(1)));
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"], &["GET", "key"]]);
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "+QUEUED", "*1\r\n+OK", &value("key")]);
    let watching = primary.connections().into_iter().find(|seen| seen.requests.contains(&vec!["EXEC".to_owned()]));
    assert!(watching.is_some_and(|seen| seen.requests.iter().any(|request| request[0] == "WATCH")));
    drop(blocked);
    until("the blocked one is forgotten", || {
        let forgotten = |seen: &crate::engine::Seen| seen.is_closed || seen.requests.iter().all(|r| r[0] != "BLPOP");
        primary.connections().iter().all(forgotten)
    });
}

#[test]
fn a_blocked_client_waits_for_no_deposed_primary() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    client.send(&["BLPOP", "list", "0"]);
    old.wait_for(&["BLPOP", "list", "0"]);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    let reply = client.reply();
    assert!(reply.starts_with("-ERR INDOUBT shard 0"), "{reply}");
    until("its connection is closed", || old.connections().iter().all(|seen| seen.is_closed));
}

#[test]
fn a_killed_primary_costs_no_error_but_for_what_was_in_flight() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "0"]), "+OK");
    old.kill();
    until("the loss is noticed", || proxy.statistic(&format!("/nodes/{}/lost", old.address)) == 1);
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    until("both wait", || proxy.pending() == 2);
    proxy.apply(&Spec::shard(&[&old, &new], None));
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
    assert_eq!(new.seen(), [&["SET", "key", "1"][..], &["GET", "key"]]);
}

#[test]
fn an_older_epoch_is_refused() {
    use shardproxy_dataplane::{ApplyError, Cluster};
    let plane = shardproxy_dataplane::Plane::start(1, include_bytes!("../../../commands/table.json"), 0).unwrap();
    let epoch = |epoch: u64| {
        let spec = json!({"name": "c", "engine": "redis", "epoch": epoch, "shards": [{"primary": null, "nodes": []}]});
        plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap())
    };
    assert!(epoch(5).is_ok() && epoch(5).is_ok());
    assert!(matches!(epoch(4), Err(ApplyError::Invalid(_))));
}
