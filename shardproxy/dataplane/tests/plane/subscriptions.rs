//! Subscriptions: one connection per shard carries them all, to whichever node is that shard's primary.

use crate::client::value;
use crate::engine::{bulk, Act, Engine};
use crate::proxy::{until, Proxy, Spec};

/// Confirms what is subscribed to; topics whose name begins with "no" it refuses.
fn publisher() -> Engine {
    Engine::scripted(|_, request| match request[0].as_str() {
        "subscribe" if request[1].starts_with("no") => Act::say("-NOPERM no access to that channel\r\n"),
        "subscribe" | "unsubscribe" => Act::Say(confirmation(&request[0], &request[1])),
        _ => Act::Serve,
    })
}

fn confirmation(word: &str, topic: &str) -> Vec<u8> {
    [b"*3\r\n".to_vec(), bulk(word), bulk(topic), b":1\r\n".to_vec()].concat()
}

fn subscribed(topic: &str) -> String {
    String::from_utf8(confirmation("subscribe", topic)).unwrap().trim_end().to_owned()
}

#[test]
fn a_subscribing_connection_stays_with_its_node_when_nodes_are_numbered_anew() {
    let (first, joining, second) = (publisher(), publisher(), publisher());
    let mut spec = Spec::shard(&[], None);
    spec.shards = vec![(vec![&first], Some(0)), (vec![&second], Some(0))];
    let mut proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SUBSCRIBE", "news"]), subscribed("news"));
    spec.shards = vec![(vec![&first, &joining], Some(0)), (vec![&second], Some(0))];
    proxy.apply(&spec);
    let asked = |engine: &Engine| engine.count(&["subscribe", "news"]);
    second.cut();
    until("it subscribes again", || asked(&second) + asked(&joining) == 2);
    assert_eq!((asked(&first), asked(&joining), asked(&second)), (1, 0, 2));
}

#[test]
fn a_topic_that_is_refused_concerns_nobody_but_who_asked_for_it() {
    let engines = [publisher(), publisher()];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let (mut heard, mut refused) = (proxy.client(), proxy.client());
    assert_eq!(heard.ask(&["SUBSCRIBE", "news"]), subscribed("news"));
    for _ in 0..3 {
        assert_eq!(refused.ask(&["SUBSCRIBE", "other", "no"]), "-NOPERM no access to that channel");
    }
    assert_eq!(refused.ask(&["GET", "key"]), value("key"), "it is no subscriber");
    assert_eq!(refused.ask(&["SUBSCRIBE", "other"]), subscribed("other"));
    let carrying = |engine: &Engine| engine.connections().iter().filter(|c| c.requests[0][0] == "subscribe").count();
    assert_eq!(engines.each_ref().map(carrying), [1, 1], "the connections stay");
    assert_eq!(proxy.statistic("/subscription_gaps"), 0);
}
