//! Durable writes: acknowledged when so many replicas have them, and told apart when they have not.

use crate::client::value;
use crate::engine::{Act, Engine};
use crate::proxy::{Proxy, Spec};

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
