//! Durable writes: acknowledged when so many replicas have them, and told apart when they have not.

use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::client::value;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

fn durable(engine: &Engine) -> Proxy {
    Proxy::start(&Spec { wait: 1, ..Spec::shard(&[engine], Some(0)) })
}

fn waiting(act: fn() -> Act) -> Engine {
    Engine::scripted(move |_, request| if request[0] == "WAIT" { act() } else { Act::Serve })
}

#[test]
fn one_wait_covers_the_writes_of_a_batch() {
    let engine = waiting(|| Act::say(":1\r\n"));
    let proxy = durable(&engine);
    let mut client = proxy.client();
    client.send_all(&[&["SET", "a", "1"], &["GET", "a"], &["SET", "b", "1"], &["GET", "b"]]);
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK".to_owned(), value("a"), "+OK".to_owned(), value("b")]);
    assert_eq!(engine.seen().iter().filter(|request| request[0] == "WAIT").count(), 1);
    assert_eq!(client.ask(&["GET", "a"]), value("a"));
    assert_eq!(engine.seen().iter().filter(|request| request[0] == "WAIT").count(), 1, "reads wait for nobody");
}

#[test]
fn a_write_too_few_replicas_have_is_in_doubt() {
    let errors: [fn() -> Act; 3] = [
        || Act::say(":0\r\n"),
        || Act::say("-ERR WAIT cannot be used with replica instances.\r\n"),
        || Act::say("-LOADING Redis is loading the dataset in memory\r\n"),
    ];
    for act in errors {
        let engine = waiting(act);
        let proxy = durable(&engine);
        let mut client = proxy.client();
        client.send_all(&[&["SET", "a", "1"], &["PING"]]);
        assert_eq!(client.reply(), "-ERR INDOUBT written on primary, acknowledged by 0 of 1 replicas");
        assert_eq!(client.reply(), "+PONG");
        assert_eq!(engine.count(&["SET", "a", "1"]), 1);
    }
}

#[test]
fn a_write_whose_wait_is_lost_is_in_doubt() {
    let engine = waiting(|| Act::cut(""));
    let proxy = durable(&engine);
    let mut client = proxy.client();
    client.send_all(&[&["SET", "a", "1"], &["GET", "a"]]);
    let doubt = client.reply();
    assert!(doubt.starts_with("-ERR INDOUBT"), "{doubt}");
    assert_eq!(client.reply(), value("a"));
    assert_eq!(engine.count(&["SET", "a", "1"]), 1);
}

#[test]
fn what_changes_no_data_waits_for_no_replica() {
    let engine = waiting(|| Act::say(":1\r\n"));
    let proxy = durable(&engine);
    let mut client = proxy.client();
    let waits = || engine.seen().iter().filter(|request| request[0] == "WAIT").count();
    let reads: [&[&str]; 5] = [
        &["PUBLISH", "news", "1"],
        &["EVAL_RO", "return 1", "1", "key"],
        &["WATCH", "key"],
        &["UNWATCH"],
        &["MGET", "key"],
    ];
    for words in reads {
        assert!(!client.ask(words).starts_with('-'), "{words:?}");
        assert_eq!(waits(), 0, "{words:?}");
    }
    let writes: [&[&str]; 3] = [&["EVAL", "return 1", "1", "key"], &["DEL", "key"], &["SETRANGE", "key", "0", "x"]];
    for (number, words) in writes.iter().enumerate() {
        assert!(!client.ask(words).starts_with('-'), "{words:?}");
        assert_eq!(waits(), number + 1, "{words:?}");
    }
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
    assert_eq!(waits(), 4);
}

const VOTER: &str = "127.0.0.1:9001";
const STRANGER: &str = "127.0.0.1:9002";

/// Where the primary is, and who is attached: address and what it has confirmed.
#[derive(Clone)]
struct Attached(i64, Vec<(&'static str, i64)>);

impl Attached {
    fn role(&self) -> Act {
        let replicas = self.1.iter().flat_map(|(address, offset)| {
            let (host, port) = address.rsplit_once(':').unwrap();
            [b"*3\r\n".to_vec(), bulk(host), bulk(port), bulk(&offset.to_string())].concat()
        });
        let head = format!("*3\r\n$6\r\nmaster\r\n:{}\r\n*{}\r\n", self.0, self.1.len()).into_bytes();
        Act::Say([head, replicas.collect()].concat())
    }

    /// As WAIT counts: up to the last write, whoever it is.
    fn count(&self) -> usize {
        self.1.iter().filter(|(_, offset)| *offset >= self.0).count()
    }
}

/// A primary at offset 100 with these attached. At every WAIT the next of `later` takes their place, if there is one.
fn primary(now: &[(&'static str, i64)], later: &[&[(&'static str, i64)]]) -> Engine {
    let later: Vec<_> = later.iter().rev().map(|attached| attached.to_vec()).collect();
    let state = Mutex::new((Attached(100, now.to_vec()), later));
    Engine::scripted(move |_, request| {
        let (attached, later) = &mut *state.lock().unwrap();
        match request[0].as_str() {
            "ROLE" => attached.role(),
            "WAIT" => {
                if let Some(next) = later.pop() {
                    attached.1 = next;
                }
                Act::say(&format!(":{}\r\n", attached.count()))
            }
            _ => Act::Serve,
        }
    })
}

fn voted(engine: &Engine, wait: u32) -> Spec<'_> {
    Spec { wait, voters: Some(vec![VOTER, "127.0.0.1:9003"]), ..Spec::shard(&[engine], Some(0)) }
}

fn waits(engine: &Engine) -> Vec<String> {
    engine.seen().into_iter().filter(|request| request[0] == "WAIT").map(|request| request[1].clone()).collect()
}

#[test]
fn a_voter_that_has_confirmed_all_of_it_releases_a_write() {
    let engine = primary(&[(VOTER, 100)], &[]);
    let proxy = Proxy::start(&voted(&engine, 1));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "a", "1"], &["GET", "a"], &["SET", "b", "1"]]);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK".to_owned(), value("a"), "+OK".to_owned()]);
    let seen = engine.seen();
    assert_eq!(seen[3..], [&["ROLE"][..], &["WAIT", "1", "1000"], &["ROLE"]], "one question for the batch");
}

const BOTH: Attachments = &[(STRANGER, 100), (VOTER, 100)];
type Attachments = &'static [(&'static str, i64)];
/// Who is attached, and who is at each WAIT; how many must have the write; its reply, and what each WAIT asks for.
type Case = (&'static str, Attachments, &'static [Attachments], u32, String, &'static [&'static str]);

#[test]
fn nobody_else_ever_vouches() {
    let doubt = |votes: u32, wanted: u32| {
        format!("-ERR INDOUBT written on primary, acknowledged by {votes} of {wanted} replicas")
    };
    let cases: [Case; 9] = [
        ("a stranger alone", &[(STRANGER, 100)], &[], 1, doubt(0, 1), &["1", "2"]),
        (
            "a stranger first, then the voter",
            &[(STRANGER, 100)],
            &[&[(STRANGER, 100)], BOTH],
            1,
            "+OK".into(),
            &["1", "2"],
        ),
        ("both at once", BOTH, &[], 1, "+OK".into(), &["1"]),
        ("a voter that is behind", &[(VOTER, 99)], &[], 1, doubt(0, 1), &["1"]),
        ("a voter that is behind, and a stranger", &[(VOTER, 99), (STRANGER, 100)], &[], 1, doubt(0, 1), &["1", "2"]),
        ("too few voters", BOTH, &[], 2, doubt(1, 2), &["2", "3"]),
        ("a voter listed twice", &[(VOTER, 100), (VOTER, 100)], &[], 2, doubt(1, 2), &["2", "3"]),
        (
            "another stranger comes",
            &[(STRANGER, 100)],
            &[&[(STRANGER, 100)], &[(STRANGER, 100), ("h:1", 100)]],
            1,
            doubt(0, 1),
            &["1", "2", "3"],
        ),
        ("a voter that is away for a moment", BOTH, &[&[(STRANGER, 100)], BOTH, &[]], 1, "+OK".into(), &["1", "2"]),
    ];
    for (what, now, later, wait, expected, asked) in cases {
        let engine = primary(now, later);
        let proxy = Proxy::start(&voted(&engine, wait));
        let mut client = proxy.client();
        assert_eq!(client.ask(&["SET", "key", "1"]), expected, "{what}");
        assert_eq!(waits(&engine), asked, "{what}");
        assert_eq!(engine.count(&["SET", "key", "1"]), 1);
        assert_eq!(client.ask(&["GET", "key"]), value("key"), "{what}");
    }
}

#[test]
fn a_primary_that_does_not_list_its_replicas_leaves_a_write_in_doubt() {
    for reply in ["-NOPERM no\r\n", "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:100\r\n"] {
        let engine = Engine::scripted(move |_, request| match request[0].as_str() {
            "ROLE" => Act::say(reply),
            "WAIT" => Act::say(":1\r\n"),
            _ => Act::Serve,
        });
        let proxy = Proxy::start(&voted(&engine, 1));
        let reply = proxy.client().ask(&["SET", "key", "1"]);
        assert_eq!(reply, "-ERR INDOUBT written on primary, acknowledged by 0 of 1 replicas");
        assert_eq!(waits(&engine), ["1"], "there is no hope");
    }
}

/// An engine that answers writes, and WAIT, when their gates open.
fn gated(attached: &[(&'static str, i64)]) -> (Engine, Arc<Gate>, Arc<Gate>) {
    let (writes, waits) = (Gate::closed(), Gate::closed());
    let (held, held_waits) = (writes.clone(), waits.clone());
    let attached = Attached(100, attached.to_vec());
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "SET" => Act::Serve.behind(&held),
        "WAIT" => Act::say(&format!(":{}\r\n", attached.count())).behind(&held_waits),
        "ROLE" => attached.role(),
        _ => Act::Serve,
    });
    (engine, writes, waits)
}

#[test]
fn what_is_under_way_is_acknowledged_on_the_terms_of_now() {
    const ONE: &[(&str, i64)] = &[(STRANGER, 100)];
    let doubt = "-ERR INDOUBT written on primary, acknowledged by 0 of 1 replicas";
    let of_two = "-ERR INDOUBT written on primary, acknowledged by 1 of 2 replicas";
    // replicas that must have it before and after, whether only voters count then, and the reply
    let cases: [(u32, u32, bool, &str); 6] = [
        (0, 1, false, "+OK"),
        (0, 1, true, doubt),
        (1, 1, true, doubt),
        (1, 2, false, of_two),
        (1, 0, false, "+OK"),
        (2, 1, false, "+OK"),
    ];
    for (before, after, votes, expected) in cases {
        let (engine, writes, waits) = gated(ONE);
        let spec = |wait| Spec { wait, ..Spec::shard(&[&engine], Some(0)) };
        let mut proxy = Proxy::start(&spec(before));
        let mut client = proxy.client();
        client.send(&["SET", "key", "1"]);
        engine.wait_for(&["SET", "key", "1"]);
        proxy.apply(&Spec { voters: votes.then(|| vec![VOTER]), ..spec(after) });
        writes.open();
        if after > 0 {
            until("replicas are asked", || engine.seen().iter().any(|request| request[0] == "WAIT"));
            assert_eq!(proxy.pending(), 1);
        }
        waits.open();
        assert_eq!(client.reply(), expected, "{before} {after} {votes}");
        assert_eq!(client.ask(&["GET", "key"]), value("key"));
    }
}

#[test]
fn a_batch_behind_another_is_judged_with_it() {
    let (engine, writes, waits) = gated(&[(VOTER, 100)]);
    let proxy = Proxy::start(&voted(&engine, 1));
    let (mut client, mut late) = (proxy.client(), proxy.client());
    client.send(&["SET", "a", "1"]);
    engine.wait_for(&["SET", "a", "1"]);
    late.send_all(&[&["SET", "b", "1"], &["GET", "b"]]);
    until("both are under way", || proxy.pending() == 3);
    writes.open();
    waits.open();
    assert_eq!([client.reply(), late.reply(), late.reply()], ["+OK".to_owned(), "+OK".to_owned(), value("b")]);
    assert_eq!(engine.seen().iter().filter(|request| request[0] == "WAIT").count(), 2);
}

#[test]
fn a_write_of_a_leased_connection_needs_votes_too() {
    let engine = primary(&[(STRANGER, 100)], &[]);
    let proxy = Proxy::start(&voted(&engine, 1).limits(json!({"dedicated": 1})));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["WATCH", "key"]), "+OK");
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+QUEUED"]);
    assert_eq!(client.reply(), "-ERR INDOUBT written on primary, acknowledged by 0 of 1 replicas");
    assert_eq!(client.ask(&["WATCH", "key"]), "+OK", "the connection is given back");
}

const SEALED: &str = "*2\r\n:1\r\n:0\r\n";
const PASSED: &str = "*2\r\n:1\r\n:1\r\n";
const UNSEALED: &str =
    "-ERR INDOUBT written, but slots of the shard may have moved: the proxy is out of touch with its store";

fn with_seal(engine: &Engine, wait: u32) -> Spec<'_> {
    Spec { wait, more: json!({"seal": ["5ea1", "next"]}), ..Spec::shard(&[engine], Some(0)) }
}

fn sealed(says: &'static str) -> Engine {
    Engine::scripted(move |_, request| match request[0].as_str() {
        "SCRIPT" => Act::say(says),
        "WAIT" => Act::say(":1\r\n"),
        _ => Act::Serve,
    })
}

#[test]
fn who_is_out_of_touch_asks_whether_slots_have_left() {
    for wait in [0, 1] {
        for (says, is_good) in [
            (SEALED, true),
            (PASSED, false),
            ("*2\r\n:0\r\n:0\r\n", false),
            ("*2\r\n:0\r\n:1\r\n", false),
            ("-LOADING Redis is loading the dataset in memory\r\n", false),
            ("-NOPERM User x has no permissions to run the 'script|exists' command\r\n", true),
            ("-ERR unknown command 'SCRIPT', with args beginning with: 'EXISTS'\r\n", true),
        ] {
            let engine = sealed(says);
            let proxy = Proxy::start(&with_seal(&engine, wait));
            let mut client = proxy.client();
            let expected = if is_good { "+OK" } else { UNSEALED };
            client.send_all(&[&["SET", "a", "1"], &["GET", "a"], &["SET", "b", "1"]]);
            let replies: Vec<String> = (0..3).map(|_| client.reply()).collect();
            assert_eq!(replies, [expected.to_owned(), value("a"), expected.to_owned()], "{says}");
            let asked = engine.count(&["SCRIPT", "EXISTS", "5ea1", "next"]);
            assert!((1..=2).contains(&asked), "{asked}: one question a batch, and a busy machine makes two of them");
            client.ask(&["GET", "a"]);
            assert_eq!(engine.count(&["SCRIPT", "EXISTS", "5ea1", "next"]), asked, "reads ask nothing");
            client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
            let last = (0..3).map(|_| client.reply()).last().unwrap();
            assert_eq!(last, if is_good { "*1\r\n+OK" } else { UNSEALED });
            assert_eq!(engine.asked("WAIT"), (asked + 1) * wait as usize);
        }
    }
}

#[test]
fn what_is_under_way_when_touch_is_lost_is_asked_for_too() {
    for (says, is_good) in [(SEALED, true), (PASSED, false)] {
        let gate = Gate::closed();
        let passed = gate.clone();
        let engine = Engine::scripted(move |_, request| match request[0].as_str() {
            "SET" => Act::Serve.behind(&passed),
            "SCRIPT" => Act::say(says),
            _ => Act::Serve,
        });
        let mut proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let mut client = proxy.client();
        client.send(&["SET", "a", "1"]);
        engine.wait_for(&["SET", "a", "1"]);
        proxy.apply(&with_seal(&engine, 0));
        gate.open();
        assert_eq!(client.reply(), if is_good { "+OK" } else { UNSEALED });
        proxy.apply(&Spec::shard(&[&engine], Some(0)));
        let asked = engine.asked("SCRIPT");
        assert_eq!(client.ask(&["GET", "a"]), value("a"));
        assert_eq!((engine.asked("SCRIPT"), asked), (1, 1), "in touch again it asks nothing");
    }
}

#[test]
fn a_write_whose_seal_is_not_told_of_is_in_doubt() {
    let engine = Engine::scripted(|_, request| if request[0] == "SCRIPT" { Act::cut("") } else { Act::Serve });
    let proxy = Proxy::start(&with_seal(&engine, 0));
    let doubt = proxy.client().ask(&["SET", "a", "1"]);
    assert!(doubt.starts_with("-ERR INDOUBT written, and the connection lost"), "{doubt}");
    assert_eq!(engine.count(&["SET", "a", "1"]), 1);
}
