//! What an engine says beside its replies in RESP3, attributes and pushes: nobody asked for it, and nobody gets it.

use crate::client::{value, Client};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

fn attribute(length: usize) -> Vec<u8> {
    [b"|1\r\n+about\r\n".to_vec(), bulk(&"x".repeat(length))].concat()
}

fn push(length: usize) -> Vec<u8> {
    [b">2\r\n".to_vec(), bulk("message"), bulk(&"x".repeat(length))].concat()
}

fn resp3(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(&["HELLO", "3"]);
    assert!(client.reply().starts_with('%'));
    client
}

#[test]
fn what_stands_beside_a_reply_is_passed_over() {
    for aside in [attribute, push] {
        for (length, breaks) in [(3, vec![0, 5, 9]), (100_000, vec![7, 70_000, 99_000]), (400_000, vec![1, 300_000])] {
            for at in breaks {
                let engine = Engine::scripted(move |_, request| match request[0].as_str() {
                    "GET" => Act::Split([aside(length), bulk(&request[1])].concat(), at),
                    "INCR" => Act::Split([aside(length), b"-ERR no\r\n".to_vec()].concat(), at),
                    "EXEC" => Act::Split([aside(length), b"*1\r\n+OK\r\n".to_vec()].concat(), at),
                    _ => Act::Serve,
                });
                let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
                let (mut client, mut other) = (resp3(&proxy), resp3(&proxy));
                client.send_all(&[&["GET", "a"], &["INCR", "b"], &["GET", "c"]]);
                other.send_all(&[&["SET", "d", "1"], &["GET", "e"], &["MULTI"], &["SET", "f", "1"], &["EXEC"]]);
                let replies = [client.reply(), client.reply(), client.reply()];
                assert_eq!(replies, [value("a"), "-ERR no".into(), value("c")], "{length} broken at {at}");
                let replies: Vec<String> = (0..5).map(|_| other.reply()).collect();
                assert_eq!(replies, ["+OK".to_owned(), value("e"), "+OK".into(), "+QUEUED".into(), "*1\r\n+OK".into()]);
                assert_eq!(proxy.statistic("/commands/incr/error"), 1, "an error behind it is one");
            }
        }
    }
}

#[test]
fn what_stands_beside_the_parts_of_a_reply_is_in_no_part() {
    for aside in [attribute, push] {
        let engines = [3, 200_000].map(|length| {
            Engine::scripted(move |_, request| match request[0].as_str() {
                "MGET" => Act::Split([aside(length), b"*1\r\n".to_vec(), bulk(&request[1])].concat(), 100_000),
                _ => Act::Serve,
            })
        });
        let proxy = Proxy::start(&Spec::shards(&engines));
        let reply = resp3(&proxy).ask(&["MGET", "foo", "bar"]);
        assert_eq!(reply, format!("*2\r\n{}\r\n{}", value("foo"), value("bar")));
    }
}

/// While nobody asks for anything, too.
#[test]
fn a_push_to_nobody_is_passed_over() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "SET" => Act::Split([b"+OK\r\n".to_vec(), push(200_000)].concat(), 100_000),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = resp3(&proxy);
    for _ in 0..3 {
        assert_eq!(client.ask(&["SET", "a", "1"]), "+OK");
        assert_eq!(client.ask(&["GET", "b"]), value("b"));
    }
    assert_eq!(engine.connections().len(), 1);
}

#[test]
fn what_stands_beside_a_reply_is_not_kept() {
    const HUGE: usize = 64 << 20;
    for aside in [attribute, push] {
        let gate = Gate::closed();
        let held = gate.clone();
        let engine = Engine::scripted(move |_, request| match request[0].as_str() {
            "GET" => {
                let said = aside(HUGE);
                let (most, rest) = said.split_at(HUGE - 100);
                let rest = Act::Say([rest.to_vec(), bulk(&request[1])].concat());
                Act::All(vec![Act::Say(most.to_vec()), rest.behind(&held)])
            }
            _ => Act::Serve,
        });
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let (mut client, mut other) = (resp3(&proxy), resp3(&proxy));
        client.send(&["GET", "a"]);
        engine.wait_for(&["GET", "a"]);
        other.send(&["GET", "b"]);
        let heard = format!("/nodes/{}/bytes_in", engine.address);
        until("most of it was heard", || proxy.statistic(&heard) >= HUGE as u64 - 100);
        let held = || proxy.plane.statistics()["buffers"].as_u64().unwrap();
        until("no more than a little of it is held", || held() < 1 << 20);
        gate.open();
        assert_eq!(client.reply(), value("a"));
        assert_eq!(other.reply(), value("b"));
    }
}
