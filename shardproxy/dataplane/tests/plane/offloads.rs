//! Commands the control plane answers: a barrier for their client, for nobody else.

use serde_json::{json, Value};
use shardproxy_dataplane::Event;

use crate::client::value;
use crate::engine::Engine;
use crate::proxy::{Proxy, Spec, TABLE};

/// The table with one more command, which is as GET but for these values.
pub fn table_with(name: &str, values: &Value) -> Vec<u8> {
    let mut table: Value = serde_json::from_slice(TABLE).unwrap();
    let commands = table["commands"].as_array_mut().unwrap();
    let mut command = commands.iter().find(|command| command["name"] == "get").unwrap().clone();
    command["name"] = json!(name);
    for (key, value) in values.as_object().unwrap() {
        command[key] = value.clone();
    }
    commands.push(command);
    table.to_string().into_bytes()
}

fn token(proxy: &Proxy) -> u64 {
    proxy.offload().token
}

#[test]
fn an_answer_comes_in_its_turn() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send_all(&[&["GET", "a"], &["DBSIZE"], &["GET", "b"]]);
    assert_eq!(client.reply(), value("a"));
    let token = token(&proxy);
    assert_eq!(other.ask(&["GET", "c"]), value("c"));
    assert_eq!(engine.count(&["GET", "b"]), 0, "it waits for the answer before it");
    proxy.plane.answer(token, b":7\r\n".to_vec());
    assert_eq!([client.reply(), client.reply()], [":7".to_owned(), value("b")]);
    proxy.plane.answer(token, b":8\r\n".to_vec()); // nobody waits for it any more
    assert_eq!(client.ask(&["PING"]), "+PONG");
}

#[test]
fn a_learned_command_is_routed_even_if_it_is_held_first() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "NEWGET" => crate::engine::Act::say("+new\r\n"),
        _ => crate::engine::Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["NEWGET", "key"], &["GET", "key"]]);
    let token = token(&proxy);
    proxy.plane.pause("test", 0.3, false, Vec::new());
    proxy.plane.learn(&table_with("newget", &json!({}))).unwrap();
    proxy.plane.retry(token);
    assert_eq!([client.reply(), client.reply()], ["+new".to_owned(), value("key")]);
}

#[test]
fn a_learned_command_without_keys_runs_while_there_is_one_shard() {
    let engines = [Engine::plain(), Engine::plain()];
    let mut proxy = Proxy::start(&Spec::shards(&engines[..1]));
    let keyless = json!({"keys": "none", "first": 0, "last": 0, "step": 0, "route": "only", "note": "it names no key"});
    proxy.plane.learn(&table_with("everything", &keyless)).unwrap();
    let mut client = proxy.client();
    let refused = "-ERR EVERYTHING is refused by this proxy: it names no key";
    assert_eq!(client.ask(&["EVERYTHING", "x"]), "+OK");
    assert_eq!([client.ask(&["MULTI"]), client.ask(&["EVERYTHING", "x"])], ["+OK", "+QUEUED"]);
    assert_eq!(client.ask(&["DISCARD"]), "+OK");
    proxy.apply(&Spec::shards(&engines));
    assert_eq!(client.ask(&["EVERYTHING", "x"]), refused);
    assert_eq!([client.ask(&["MULTI"]), client.ask(&["EVERYTHING", "x"])], ["+OK", refused]);
    assert_eq!(client.ask(&["DISCARD"]), "+OK");
    proxy.apply(&Spec::shards(&engines[1..]));
    assert_eq!(client.ask(&["EVERYTHING", "x"]), "+OK");
    assert_eq!(engines[0].count(&["EVERYTHING", "x"]) + engines[1].count(&["EVERYTHING", "x"]), 2);
}

#[test]
fn an_unknown_command_stays_unknown() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["NOSUCH", "key"], &["GET", "key"]]);
    proxy.plane.retry(token(&proxy));
    let error = client.reply();
    assert!(error.starts_with("-ERR unknown command 'NOSUCH'"), "{error}");
    assert_eq!(client.reply(), value("key"));
    assert!(engine.count(&["NOSUCH", "key"]) == 0);
}

#[test]
fn a_client_that_leaves_while_it_waits_is_reported() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(&["WAIT", "1", "0"]);
    let waiting = token(&proxy);
    drop(client);
    let events = proxy.events();
    assert!(matches!(events[..], [Event::Abandoned(token)] if token == waiting), "{events:?}");
}

#[test]
fn a_client_that_has_said_all_it_wants_to_say_gets_its_answer() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(&["DBSIZE"]);
    let token = token(&proxy);
    client.finish();
    assert_eq!(proxy.client().ask(&["PING"]), "+PONG");
    proxy.plane.answer(token, b":7\r\n".to_vec());
    assert_eq!(client.reply(), ":7");
    assert!(proxy.plane.take().is_empty());
}

#[test]
fn a_command_is_learned_inside_a_transaction_too() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["NEWGET", "key"], &["GET", "key"], &["EXEC"]]);
    let found = token(&proxy);
    proxy.plane.learn(&table_with("newget", &json!({}))).unwrap();
    proxy.plane.retry(found);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "+QUEUED"]);
    assert_eq!(client.reply(), format!("*2\r\n+OK\r\n{}", value("key")));
    assert_eq!(engine.count(&["NEWGET", "key"]), 1);
}

#[test]
fn a_command_nobody_knows_breaks_its_transaction() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    for answer in [None, Some(b"-ERR the engines cannot be asked\r\n".to_vec())] {
        let mut client = proxy.client();
        client.send_all(&[&["MULTI"], &["NOSUCH", "key"], &["GET", "key"], &["EXEC"]]);
        let token = token(&proxy);
        match answer {
            None => proxy.plane.retry(token),
            Some(text) => proxy.plane.answer(token, text),
        }
        assert_eq!(client.reply(), "+OK");
        assert!(client.reply().starts_with("-ERR "));
        assert_eq!(client.reply(), "+QUEUED");
        assert_eq!(client.reply(), "-EXECABORT Transaction discarded because of previous errors.");
    }
    assert!(engine.seen().is_empty());
}
