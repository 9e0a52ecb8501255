//! Scripts by their digests: loaded where they are missing, and never out of their client's order.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::Arc;

use crate::client::{value, Client};
use crate::engine::{Act, Engine};
use crate::proxy::{until, Proxy, Spec};

const BODY: &str = "return redis.call('INCR', KEYS[1])";
const DIGEST: &str = "a9b8c7d6e5f4a3b2c1d0a9b8c7d6e5f4a3b2c1d0";
const LOAD: &[&str] = &["SCRIPT", "LOAD", BODY];
const CALL: &[&str] = &["EVALSHA", DIGEST, "1", "k"];
const NOSCRIPT: &str = "-NOSCRIPT No matching script.";

fn take(proxy: &Proxy) -> u64 {
    proxy.offload().token
}

/// A client that has loaded the script.
fn loaded(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(LOAD);
    proxy.plane.answer(take(proxy), format!("$40\r\n{DIGEST}\r\n").into_bytes());
    assert_eq!(client.reply(), value(DIGEST));
    client
}

#[test]
fn a_script_leaves_before_it_is_called_on_a_connection_that_may_lack_it() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = loaded(&proxy);
    for _ in 0..2 {
        client.send_all(&[CALL, &["GET", "k"], CALL]);
        assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK".to_owned(), value("k"), "+OK".to_owned()]);
    }
    let once: [&[&str]; 7] = [LOAD, CALL, &["GET", "k"], CALL, CALL, &["GET", "k"], CALL];
    assert_eq!(engine.seen(), once);
    engine.cut();
    client.send_all(&[&["MULTI"], CALL, &["EXEC"]]);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
    assert_eq!(engine.connections()[1].requests, [LOAD, &["MULTI"], CALL, &["EXEC"]]);
}

#[test]
fn a_script_that_was_run_is_known_by_its_digest_on_every_shard() {
    let engines = [Engine::plain(), Engine::plain()];
    let proxy = Proxy::with(2, 0, &Spec::shards(&engines));
    let digest = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send_all(&[&["MULTI"], &["EVAL", "return 1", "1", "foo"], &["EXEC"]]); // on the second shard
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
    assert_eq!(other.ask(&["EVALSHA", digest, "1", "bar"]), "+OK");
    let load: &[&str] = &["SCRIPT", "LOAD", "return 1"];
    assert_eq!(engines[0].seen(), [load, &["EVALSHA", digest, "1", "bar"]]);
    assert_eq!(proxy.plane.script("test", digest.as_bytes()).as_deref(), Some(&b"return 1"[..]));
    client.send(&["SCRIPT", "FLUSH"]);
    proxy.plane.answer(take(&proxy), b"+OK\r\n".to_vec());
    assert_eq!(client.reply(), "+OK");
    assert_eq!(proxy.plane.script("test", digest.as_bytes()), None);
    assert_eq!(client.ask(&["EVAL", "return 1", "1", "foo"]), "+OK");
    assert!(proxy.plane.script("test", digest.as_bytes()).is_some(), "known again");
}

#[test]
fn a_script_that_waited_for_a_primary_is_loaded_there() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], None));
    let mut client = loaded(&proxy);
    client.send_all(&[CALL, &["GET", "k"]]);
    until("both wait", || proxy.pending() == 2);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("k")]);
    assert_eq!(new.seen(), [LOAD, CALL, &["GET", "k"]]);
}

/// An engine that had its scripts flushed behind the proxy's back, until one is loaded again.
fn flushed() -> (Engine, Arc<AtomicBool>) {
    let has_script = Arc::new(AtomicBool::new(true));
    let known = has_script.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "SCRIPT" => {
            known.store(true, SeqCst);
            Act::Serve
        }
        "EVALSHA" if !known.load(SeqCst) => Act::say(&format!("{NOSCRIPT}\r\n")),
        _ => Act::Serve,
    });
    (engine, has_script)
}

#[test]
fn what_was_executed_is_not_overtaken_by_a_script_that_was_flushed() {
    let (engine, has_script) = flushed();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = loaded(&proxy);
    assert_eq!(client.ask(CALL), "+OK");
    has_script.store(false, SeqCst);
    client.send_all(&[CALL, &["SET", "k", "2"]]);
    assert_eq!([client.reply(), client.reply()], [NOSCRIPT, "+OK"]);
    assert_eq!(client.ask(CALL), "+OK"); // the next call brings the script
    assert!(proxy.plane.take().is_empty());
}

#[test]
fn a_script_that_was_flushed_is_healed_before_the_client_goes_on() {
    let (engine, has_script) = flushed();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = loaded(&proxy);
    assert_eq!(client.ask(CALL), "+OK");
    has_script.store(false, SeqCst);
    client.send(CALL);
    let token = take(&proxy);
    client.send(&["SET", "k", "2"]);
    proxy.plane.clients(); // the worker has read it
    assert_eq!(engine.count(&["SET", "k", "2"]), 0);
    proxy.plane.answer(token, b":7\r\n".to_vec());
    assert_eq!([client.reply(), client.reply()], [":7", "+OK"]);
}
