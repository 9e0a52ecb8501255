//! Subscriptions live on the primaries of the present epoch, and nowhere else.

use crate::client::Client;
use crate::engine::{bulk, subscribed, Engine};
use crate::proxy::{until, Proxy, Spec};

fn message(payload: &str) -> String {
    let words = ["message", "news", payload].map(bulk).concat();
    format!("*3\r\n{}", String::from_utf8(words).unwrap()).trim_end().to_owned()
}

fn subscriber(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(&["SUBSCRIBE", "news"]);
    assert_eq!(client.reply(), String::from_utf8(subscribed("news")).unwrap().trim_end());
    client
}

fn is_forgotten(engine: &Engine) -> bool {
    let subscribes = |request: &Vec<String>| request[0] == "subscribe";
    engine.connections().iter().filter(|seen| seen.requests.iter().any(subscribes)).all(|seen| seen.is_closed)
}

#[test]
fn a_new_primary_is_subscribed_and_the_old_one_forgotten() {
    let (old, new) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = subscriber(&proxy);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    until("the old primary is left", || is_forgotten(&old));
    new.wait_for(&["subscribe", "news"]);
    old.publish("news", "from the old one");
    new.publish("news", "once");
    assert_eq!(client.reply(), message("once"));
    assert_eq!(client.ask(&["PING"]), "*2\r\n$4\r\npong\r\n$0"); // and nothing came twice
    assert_eq!(proxy.statistic("/subscription_gaps"), 1);
}

#[test]
fn a_subscription_stays_with_its_node_when_nodes_are_numbered_anew() {
    let (primary, other) = (Engine::plain(), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&primary], Some(0)));
    let mut client = subscriber(&proxy);
    proxy.apply(&Spec::shard(&[&other, &primary], Some(1)));
    primary.cut();
    until("it is subscribed anew", || primary.count(&["subscribe", "news"]) == 2);
    assert!(other.seen().is_empty());
    primary.publish("news", "once");
    assert_eq!(client.reply(), message("once"));
}

#[test]
fn who_waits_for_a_subscription_on_a_shard_that_loses_its_primary_is_confirmed() {
    let (up, silent) = (Engine::plain(), Engine::scripted(|_, _| crate::engine::Act::Say(Vec::new())));
    let spec =
        |primary| Spec { shards: vec![(vec![&up], Some(0)), (vec![&silent], primary)], ..Spec::shard(&[], None) };
    let mut proxy = Proxy::start(&spec(Some(0)));
    let mut client = proxy.client();
    client.send(&["SUBSCRIBE", "news"]);
    silent.wait_for(&["subscribe", "news"]);
    proxy.apply(&spec(None));
    assert_eq!(client.reply(), String::from_utf8(subscribed("news")).unwrap().trim_end());
}

#[test]
fn a_cluster_that_is_removed_leaves_no_connection_and_no_buffer() {
    let (up, parked) = (Engine::plain(), Engine::plain());
    let spec = Spec { shards: vec![(vec![&up], Some(0)), (vec![&parked], None)], ..Spec::shard(&[], None) };
    let proxy = Proxy::start(&spec);
    let (_subscriber, mut waiting) = (subscriber(&proxy), proxy.client());
    let value = "x".repeat(100_000);
    let requests: Vec<Vec<&str>> = (0..20).map(|_| vec!["SET", "foo", &value]).collect(); // slot 12182
    let requests: Vec<&[&str]> = requests.iter().map(Vec::as_slice).collect();
    waiting.send_all(&requests);
    let held = || proxy.plane.statistics()["buffers"].as_u64().unwrap_or(0);
    until("all of it waits", || proxy.pending() == 20 && held() > 2_000_000);
    proxy.plane.remove("test");
    until("the subscription is gone", || is_forgotten(&up));
    assert_eq!(waiting.reply(), "<end>");
    until("no buffer is held", || held() < 1_000_000);
}
