//! MULTI, EXEC and WATCH: contiguous on the shared connection, and never half a lie.

use std::time::{Duration, Instant};

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{Proxy, Spec};

#[test]
fn a_transaction_is_contiguous_among_others_traffic() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    std::thread::scope(|scope| {
        for number in 0..4 {
            let mut client = proxy.client();
            scope.spawn(move || {
                let (key, step) = (format!("{{t}}{number}"), number.to_string());
                for _ in 0..40 {
                    client.send_all(&[&["MULTI"], &["SET", &key, &step], &["GET", &key], &["EXEC"], &["GET", "other"]]);
                    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "+QUEUED"]);
                    assert_eq!(client.reply(), format!("*2\r\n+OK\r\n{}", value(&key)));
                    assert_eq!(client.reply(), value("other"));
                }
            });
        }
        for _ in 0..2 {
            let mut client = proxy.client();
            scope.spawn(move || (0..200).for_each(|_| assert_eq!(client.ask(&["SET", "x", "1"]), "+OK")));
        }
    });
    let mut transactions = 0;
    for seen in engine.connections() {
        for (place, _) in seen.requests.iter().enumerate().filter(|(_, request)| request[0] == "MULTI") {
            let [set, get, exec] = &seen.requests[place + 1..place + 4] else {
                panic!("a transaction without its end")
            };
            assert_eq!((set[0].as_str(), get[0].as_str(), exec[0].as_str()), ("SET", "GET", "EXEC"));
            assert_eq!(set[1], get[1], "two transactions are mixed");
            transactions += 1;
        }
    }
    assert_eq!(transactions, 160);
}

#[test]
fn a_lost_watch_makes_exec_answer_null() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "GET" => Act::cut(""), // the watching connection ends with it
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["WATCH", "key"]), "+OK");
    engine.cut();
    assert_eq!(client.ask(&["MULTI"]), "+OK");
    assert_eq!(client.ask(&["SET", "key", "1"]), "+QUEUED");
    crate::proxy::until("the loss is noticed", || proxy.plane.clients().iter().all(|client| !client.is_watching));
    assert_eq!(client.ask(&["EXEC"]), "*-1");
    assert_eq!(engine.count(&["EXEC"]), 0);
    assert_eq!(client.ask(&["SET", "key", "2"]), "+OK");
}

#[test]
fn an_exec_that_was_sent_and_lost_is_in_doubt() {
    let engine = Engine::scripted(|number, request| match (number, request[0].as_str()) {
        (0, "EXEC") => Act::cut(""),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"], &["GET", "key"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+QUEUED"]);
    let doubt = client.reply();
    assert!(doubt.starts_with("-ERR INDOUBT shard 0"), "{doubt}");
    assert_eq!(client.reply(), value("key"));
    assert_eq!(engine.count(&["EXEC"]), 1);
}

#[test]
fn a_transaction_refused_from_within_is_tried_again_whole() {
    let engine = Engine::scripted(|_, _| Act::Serve);
    let old = Engine::scripted(|_, request| match request[0].as_str() {
        "MULTI" => Act::say("+OK\r\n"),
        "EXEC" => Act::say("-EXECABORT Transaction discarded because of previous errors.\r\n"),
        _ => Act::say("-READONLY You can't write against a read only replica.\r\n"),
    });
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["SET", "key", "2"], &["EXEC"]]);
    old.wait_for(&["EXEC"]);
    proxy.apply(&Spec::shard(&[&old, &engine], Some(1)));
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "+QUEUED", "+QUEUED", "*2\r\n+OK\r\n+OK"]);
    assert_eq!(engine.seen(), [&["MULTI"][..], &["SET", "key", "1"], &["SET", "key", "2"], &["EXEC"]]);
}

#[test]
fn the_replies_of_a_transaction_leave_in_one_write() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    let mut whole = 0;
    for _ in 0..30 {
        client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
        let (mut arrived, mut writes) = (client.arrived(), 1);
        while !arrived.ends_with("*1\r\n+OK\r\n") {
            arrived += &client.arrived();
            writes += 1;
        }
        whole += usize::from(writes == 1);
    }
    assert!(whole >= 25, "{whole} of 30"); // the tick may come between
}

/// The tick would bring it too, after up to 100 ms.
#[test]
fn the_reply_of_exec_waits_for_none_behind_it() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engines = [Engine::plain(), Engine::scripted(move |_, _| Act::Serve.behind(&held))];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let fastest = (0..8).map(|_| {
        let mut client = proxy.client();
        let start = Instant::now();
        client.send_all(&[&["MULTI"], &["SET", "bar", "1"], &["EXEC"], &["GET", "foo"]]);
        assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
        start.elapsed()
    });
    assert!(fastest.min() < Some(Duration::from_millis(40)));
    gate.open();
}

/// As at an engine, EXEC runs in the database and answers in the version chosen last; nobody else gets that connection.
#[test]
fn a_watching_client_may_change_its_database_and_version() {
    for (change, said) in [(&["SELECT", "1"], "+OK"), (&["HELLO", "3"], "%7")] {
        let engine = Engine::plain();
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let mut client = proxy.client();
        assert_eq!(client.ask(&["WATCH", "key"]), "+OK");
        assert!(client.ask(change).starts_with(said));
        client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
        assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
        let seen = engine.connections().remove(0).requests;
        let expected = [&["CLIENT", "ID"][..], &["WATCH", "key"], change, &["MULTI"], &["SET", "key", "1"], &["EXEC"]];
        assert_eq!(seen, expected);
        let mut other = proxy.client();
        other.send_all(&[change, &["WATCH", "key"]]);
        assert!(other.reply().starts_with(said) && other.reply() == "+OK");
        assert_eq!(engine.connections().len(), 2);
    }
}

/// The engine answers what it has read while the rest of the transaction is not sent yet.
#[test]
fn a_transaction_larger_than_a_socket_takes_is_one_transaction() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let large = "x".repeat(100_000);
    assert_eq!(client.ask(&["MULTI"]), "+OK");
    for _ in 0..200 {
        assert_eq!(client.ask(&["SET", "key", &large]), "+QUEUED");
    }
    assert_eq!(client.ask(&["EXEC"]), format!("*200{}", "\r\n+OK".repeat(200)));
    assert_eq!(other.ask(&["SET", "other", "1"]), "+OK");
    assert_eq!((engine.count(&["EXEC"]), engine.connections().len()), (1, 1));
}

/// An engine answers all it was sent before it looks whether the client is still there.
#[test]
fn a_watching_client_may_end_its_input_early() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["WATCH", "key"], &["GET", "key"], &["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
    client.finish();
    let replies: Vec<String> = (0..6).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", &value("key"), "+OK", "+QUEUED", "*1\r\n+OK", "<end>"]);
}

#[test]
fn a_watch_that_failed_binds_no_slot() {
    let engines = [Engine::plain(), Engine::plain()];
    let mut spec = Spec::shards(&engines);
    spec.shards[0].1 = None;
    let proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    let refused = client.ask(&["WATCH", "bar"]); // on shard 0, which has no primary
    assert!(refused.starts_with("-TRYAGAIN"), "{refused}");
    client.send_all(&[&["MULTI"], &["SET", "foo", "1"], &["EXEC"]]);
    let replies: Vec<String> = (0..3).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "+QUEUED", "*1\r\n+OK"]);
}
