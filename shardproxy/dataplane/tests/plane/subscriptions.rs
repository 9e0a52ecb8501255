//! Subscriptions live on the primaries of the present epoch, and nowhere else.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::json;

use crate::client::{request, value, Client};
use crate::engine::{bulk, subscribed, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

fn message(payload: &str) -> String {
    let words = ["message", "news", payload].map(bulk).concat();
    format!("*3\r\n{}", String::from_utf8(words).unwrap()).trim_end().to_owned()
}

fn subscriber(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(&["SUBSCRIBE", "news"]);
    assert_eq!(client.reply(), confirmed("news"));
    client
}

fn is_forgotten(engine: &Engine) -> bool {
    let subscribes = |request: &Vec<String>| request[0] == "subscribe";
    engine.connections().iter().filter(|seen| seen.requests.iter().any(subscribes)).all(|seen| seen.is_closed)
}

/// Confirms what is subscribed to; topics whose name begins with "no" it refuses.
fn publisher() -> Engine {
    Engine::scripted(|_, request| match request[0].as_str() {
        "subscribe" if request[1].starts_with("no") => Act::say("-NOPERM no access to that channel\r\n"),
        _ => Act::Serve,
    })
}

fn confirmed(topic: &str) -> String {
    String::from_utf8(subscribed(topic)).unwrap().trim_end().to_owned()
}

/// An engine that never confirms a subscription.
fn unheard() -> Engine {
    Engine::scripted(|_, request| match request[0].as_str() {
        "subscribe" => Act::Say(Vec::new()),
        _ => Act::Serve,
    })
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
fn who_waits_for_a_subscription_on_a_shard_that_loses_its_primary_is_confirmed() {
    let (up, silent) = (Engine::plain(), unheard());
    let spec = |primary| {
        let shards = vec![(vec![&up], Some(0)), (vec![&silent], primary)];
        Spec { shards, ..Spec::shard(&[], None) }.timeouts(json!({"park": 0.3}))
    };
    let mut proxy = Proxy::start(&spec(Some(0)));
    let mut client = proxy.client();
    client.send(&["SUBSCRIBE", "news"]);
    silent.wait_for(&["subscribe", "news"]);
    proxy.apply(&spec(None));
    assert_eq!(client.reply(), confirmed("news"));
}

#[test]
fn a_subscription_waits_for_the_first_primary_as_what_is_published_does() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], None));
    let mut client = proxy.client();
    client.send(&["SUBSCRIBE", "news"]);
    until("it waits", || proxy.pending() == 1);
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(client.reply(), confirmed("news"));
    assert_eq!(engine.count(&["subscribe", "news"]), 1);
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

#[test]
fn a_shard_that_hangs_holds_no_subscriber_up_and_is_subscribed_when_it_is_back() {
    let gate = Gate::closed();
    let held = gate.clone();
    let hung = Engine::pinged(move |_, _| Act::Serve.behind(&held));
    let up = Engine::plain();
    let timeouts = json!({"connect": 0.2, "reply": 0.2});
    let spec = Spec { shards: vec![(vec![&up], Some(0)), (vec![&hung], Some(0))], timeouts, ..Spec::shard(&[], None) };
    let proxy = Proxy::start(&spec);
    let mut client = subscriber(&proxy); // although one shard does not answer
    let mut second = subscriber(&proxy);
    up.publish("news", "heard");
    assert_eq!([client.reply(), second.reply()], [message("heard"), message("heard")]);
    gate.open();
    hung.wait_for(&["subscribe", "news"]);
    hung.publish("news", "heard, too");
    assert_eq!(client.reply(), message("heard, too"));
}

#[test]
fn a_subscribed_shard_that_hangs_is_lost_and_the_gap_counted() {
    let pings = AtomicUsize::new(0);
    let engine = Engine::pinged(move |number, request| {
        // the first connection answers its greeting, and what its SUBSCRIBE brings
        let is_silent = number == 0 && request[0] == "PING" && pings.fetch_add(1, SeqCst) > 1;
        if is_silent {
            Act::Say(Vec::new())
        } else {
            Act::Serve
        }
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"connect": 0.2, "reply": 0.2})));
    let mut client = subscriber(&proxy);
    until("it is subscribed anew", || engine.count(&["subscribe", "news"]) == 2);
    assert_eq!(proxy.statistic("/subscription_gaps"), 1);
    engine.publish("news", "once");
    assert_eq!(client.reply(), message("once"));
}

#[test]
fn client_reply_silences_no_confirmation() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(&["CLIENT", "REPLY", "SKIP"]);
    client.send(&["SUBSCRIBE", "news"]);
    assert_eq!(client.reply(), confirmed("news"));
    client.send(&["UNSUBSCRIBE"]);
    assert!(client.reply().ends_with(":0"));
    client.send_all(&[&["CLIENT", "REPLY", "OFF"], &["PING"], &["SUBSCRIBE", "news"]]);
    assert!(client.reply().ends_with(":1"));
    engine.publish("news", "heard");
    assert_eq!(client.reply(), message("heard"));
}

#[test]
fn a_subscriber_is_told_which_subcommand_it_may_not_call() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = subscriber(&proxy);
    for (words, name) in [(&["CLIENT", "ID"][..], "client|id"), (&["GET", "k"], "get"), (&["MULTI"], "multi")] {
        let text = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
        assert_eq!(client.ask(words), format!("-ERR Can't execute '{name}': {text}"));
    }
    assert!(client.ask(&["CLIENT", "NOPE"]).starts_with("-ERR unknown subcommand 'NOPE'"));
}

#[test]
fn a_subscribing_connection_stays_with_its_node_when_nodes_are_numbered_anew() {
    let (first, joining, second) = (publisher(), publisher(), publisher());
    let mut spec = Spec::shard(&[], None);
    spec.shards = vec![(vec![&first], Some(0)), (vec![&second], Some(0))];
    let mut proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SUBSCRIBE", "news"]), confirmed("news"));
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
    assert_eq!(heard.ask(&["SUBSCRIBE", "news"]), confirmed("news"));
    for _ in 0..3 {
        assert_eq!(refused.ask(&["SUBSCRIBE", "other", "no"]), "-NOPERM no access to that channel");
    }
    assert_eq!(refused.ask(&["GET", "key"]), value("key"), "it is no subscriber");
    assert_eq!(refused.ask(&["SUBSCRIBE", "other"]), confirmed("other"));
    let carrying = |engine: &Engine| {
        engine.connections().iter().filter(|c| c.requests.iter().any(|r| r[0] == "subscribe")).count()
    };
    assert_eq!(engines.each_ref().map(carrying), [1, 1], "the connections stay");
    assert_eq!(proxy.statistic("/subscription_gaps"), 0);
}

/// A shard channel is heard where its slot is: 5715 of sport is the first's of two shards, the second's of three.
#[test]
fn a_shard_channel_follows_its_slot() {
    let engines = [publisher(), publisher(), publisher()];
    let mut proxy = Proxy::start(&Spec::shards(&engines[..2]));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    assert!(client.ask(&["SSUBSCRIBE", "sport"]).ends_with(":1"));
    assert!(other.ask(&["SUBSCRIBE", "news"]).ends_with(":1")); // all connections are up
    assert_eq!([engines[0].count(&["ssubscribe", "sport"]), engines[1].count(&["ssubscribe", "sport"])], [1, 0]);
    proxy.apply(&Spec::shards(&engines));
    engines[1].wait_for(&["ssubscribe", "sport"]);
    assert!(other.ask(&["SSUBSCRIBE", "sport"]).ends_with(":1"), "it is live there");
}

/// Whatever a channel is called: so whoever publishes on several is heard in that order. Shard channels have their slots.
#[test]
fn messages_are_published_on_one_shard_unless_they_are_spread() {
    let engines = [publisher(), publisher(), publisher()];
    let mut spec = Spec::shards(&engines);
    let proxy = Proxy::start(&spec);
    let channels: Vec<String> = (0..30).map(|number| format!("c:{number}")).collect();
    let publish = |proxy: &Proxy, word: &str| {
        let requests: Vec<u8> = channels.iter().flat_map(|channel| request(&[word, channel, "x"])).collect();
        let mut client = proxy.client();
        client.send_bytes(&requests);
        for _ in &channels {
            assert_eq!(client.reply(), "+OK");
        }
        let asked = [0, 1, 2].map(|shard: usize| engines[shard].asked(word));
        engines.iter().for_each(Engine::forget);
        asked
    };
    assert_eq!(publish(&proxy, "PUBLISH"), [30, 0, 0]);
    assert!(publish(&proxy, "SPUBLISH").iter().all(|&asked| asked > 3));
    spec.pubsub = "spread";
    assert!(publish(&Proxy::start(&spec), "PUBLISH").iter().all(|&asked| asked > 3));
}

/// Scripts and transactions publish elsewhere: each message is heard once, on whichever shard.
#[test]
fn a_channel_is_heard_on_every_shard() {
    let engines = [publisher(), publisher(), publisher()];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let mut client = subscriber(&proxy);
    for engine in &engines {
        engine.publish("news", &engine.address);
        assert_eq!(client.reply(), message(&engine.address));
    }
    assert_eq!(client.ask(&["PING"]), "*2\r\n$4\r\npong\r\n$0"); // and nothing came twice
}

/// While its home has no primary a message waits for the next one, as a write does.
#[test]
fn what_is_published_waits_for_the_home_shard() {
    let (old, new, other) = (publisher(), publisher(), publisher());
    let spec =
        |primary| Spec { shards: vec![(vec![&old, &new], primary), (vec![&other], Some(0))], ..Spec::shard(&[], None) };
    let mut proxy = Proxy::start(&spec(Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["PUBLISH", "news", "1"]), "+OK");
    proxy.apply(&spec(None));
    client.send_all(&[&["PUBLISH", "news", "2"], &["PUBLISH", "other", "3"]]);
    until("both wait", || proxy.pending() == 2);
    proxy.apply(&spec(Some(1)));
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
    let published = |engine: &Engine| -> Vec<String> {
        engine.seen().into_iter().filter(|words| words[0] == "PUBLISH").map(|words| words[2].clone()).collect()
    };
    assert_eq!(
        (published(&old), published(&new), published(&other)),
        (vec!["1".into()], vec!["2".into(), "3".into()], vec![])
    );
}

/// It moves when its shard goes: all others are subscribed to already, and nobody is told anything.
#[test]
fn channels_get_another_home_without_a_gap() {
    let engines = [publisher(), publisher(), publisher()];
    let mut proxy = Proxy::start(&Spec::shards(&engines));
    let (mut client, mut other) = (subscriber(&proxy), proxy.client());
    assert_eq!(other.ask(&["PUBLISH", "news", "1"]), "+OK");
    proxy.apply(&Spec::shards(&engines[1..]));
    assert_eq!(other.ask(&["PUBLISH", "news", "2"]), "+OK");
    let published = |engine: &Engine| engine.asked("PUBLISH");
    assert_eq!(engines.each_ref().map(published), [1, 1, 0]);
    engines[1].publish("news", "heard");
    assert_eq!(client.reply(), message("heard"));
    let carrying = |engine: &Engine| {
        engine.connections().iter().filter(|c| c.requests.iter().any(|r| r[0] == "subscribe")).count()
    };
    assert_eq!(engines.each_ref().map(carrying), [1, 1, 1], "the connections stay");
}

/// An engine may hear of a message before it hears that a worker's last client has left, or after.
#[test]
fn who_has_left_is_counted_by_nobody() {
    for delivered in [0, 1] {
        let engine = Engine::scripted(move |_, request| match request[0].as_str() {
            "PUBLISH" => Act::say(&format!(":{delivered}\r\n")),
            _ => Act::Serve,
        });
        let proxy = Proxy::with(2, 0, &Spec::shard(&[&engine], Some(0)));
        let (mut listener, mut publisher) = (proxy.client(), proxy.client()); // each on a worker of its own
        assert_eq!(listener.ask(&["SUBSCRIBE", "news"]), confirmed("news"));
        assert_eq!(publisher.ask(&["PUBLISH", "news", "x"]), format!(":{delivered}"));
        assert!(listener.ask(&["UNSUBSCRIBE", "news"]).ends_with(":0"));
        assert_eq!(publisher.ask(&["PUBLISH", "news", "x"]), ":0");
        assert_eq!(listener.ask(&["SUBSCRIBE", "news"]), confirmed("news"));
        drop(listener);
        until("it is gone", || proxy.statistic("/clients") == 1);
        assert_eq!(publisher.ask(&["PUBLISH", "news", "x"]), ":0");
        until("it is forgotten: whoever hears that is a stranger", || {
            publisher.ask(&["PUBLISH", "news", "x"]) == format!(":{delivered}")
        });
    }
}
