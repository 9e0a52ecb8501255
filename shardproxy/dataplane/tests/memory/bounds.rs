//! With a cap: whatever clients do, no more than the cap and a quarter of it is held; who asks for little is served
//! again when they are gone.

use shardproxy_dataplane::Event;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::client::{request, Client};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::meter::{alone, Meter};
use crate::proxy::{until, Proxy, Spec};
use crate::{memcached, MIB};

const CAP: usize = 64 * MIB;
const MOST: usize = CAP + CAP / 4 + 8 * MIB;

fn proxy(engine: &Engine) -> Proxy {
    Proxy::with(1, CAP, &Spec::shard(&[engine], Some(0)))
}

/// So many clients say this at once, each in the given order, and read nothing; all are gone afterwards.
fn all_say(proxy: &Proxy, count: usize, requests: &[Vec<u8>]) {
    let requests: Arc<[Vec<u8>]> = requests.into();
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..count)
        .map(|_| {
            let (mut client, requests, done) = (Client::connect_narrow(&proxy.address), requests.clone(), done.clone());
            client.give_up_writing_after(Duration::from_secs(2));
            thread::spawn(move || {
                let _is_open = requests.iter().all(|request| client.try_send(request)); // it may be closed meanwhile
                done.fetch_add(1, Relaxed);
                client
            })
        })
        .collect();
    until("all is said, or refused", || done.load(Relaxed) == count);
    drop(writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>());
}

/// They are held to the cap; and all is well when they have gone.
fn are_bounded(proxy: &Proxy, count: usize, requests: &[Vec<u8>]) {
    are_bounded_behind(&Gate::closed(), proxy, count, requests);
}

/// The same, though an engine answers nothing before the gate opens.
fn are_bounded_behind(gate: &Gate, proxy: &Proxy, count: usize, requests: &[Vec<u8>]) {
    let meter = Meter::of(proxy);
    all_say(proxy, count, requests);
    meter.has_peaked_below(MOST);
    gate.open();
    until("they are gone", || {
        for event in proxy.plane.take() {
            if let Event::Offloaded(offload) = event {
                proxy.plane.answer(offload.token, b"+OK\r\n".to_vec());
            }
        }
        proxy.plane.clients().is_empty()
    });
    let is_served = || proxy.client().ask(&["SET", "key", "value"]) == "+OK";
    until("there is room", is_served);
    meter.is_given_back();
}

#[test]
fn what_clients_call_themselves_is_bounded() {
    let _alone = alone();
    let engine = Engine::forgetful(|_, _| Act::Serve);
    are_bounded(&proxy(&engine), 40, &[request(&["CLIENT", "SETNAME", &"x".repeat(5 * MIB)])]);
}

#[test]
fn subscriptions_are_bounded() {
    let _alone = alone();
    let engine = Engine::forgetful(|_, _| Act::Serve);
    let subscriptions: Vec<Vec<u8>> = (0..40)
        .map(|round| {
            let names: Vec<String> = (0..4000).map(|number| format!("news:{round}:{number:01000}")).collect();
            request(&std::iter::once("SUBSCRIBE").chain(names.iter().map(String::as_str)).collect::<Vec<_>>())
        })
        .collect();
    are_bounded(&proxy(&engine), 2, &subscriptions);
}

#[test]
fn transactions_are_bounded() {
    let _alone = alone();
    let engine = Engine::forgetful(|_, _| Act::Serve);
    let mut requests = vec![request(&["MULTI"])];
    requests.extend(vec![request(&["SET", "key", &"x".repeat(MIB)]); 8]);
    requests.push(request(&["EXEC"]));
    are_bounded(&proxy(&engine), 40, &requests);
}

#[test]
fn who_blocks_or_watches_is_bounded() {
    let _alone = alone();
    let large = "x".repeat(5 * MIB);
    for words in [&["BLPOP", &large, "0"][..], &["WATCH", &large]] {
        let engine = Engine::forgetful(|_, request| match request[0].as_str() {
            "WATCH" => Act::Say(Vec::new()),
            _ => Act::Serve,
        });
        are_bounded(&proxy(&engine), 40, &[request(words)]);
    }
}

#[test]
fn what_the_control_plane_is_to_answer_is_bounded() {
    let _alone = alone();
    let engine = Engine::forgetful(|_, _| Act::Serve);
    are_bounded(&proxy(&engine), 40, &[request(&["NOSUCH", &"x".repeat(4 * MIB)])]);
}

#[test]
fn what_is_published_is_bounded() {
    let _alone = alone();
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::forgetful(move |_, request| match request[0].as_str() {
        "PUBLISH" => Act::say(":0\r\n").behind(&held),
        _ => Act::Serve,
    });
    are_bounded_behind(&gate, &proxy(&engine), 40, &[request(&["PUBLISH", "news", &"x".repeat(5 * MIB)])]);
}

#[test]
fn what_subscribers_do_not_read_is_bounded() {
    let _alone = alone();
    let engine = Engine::plain();
    let proxy = proxy(&engine);
    let message = [b"*3\r\n".to_vec(), bulk("message"), bulk("news"), bulk(&"x".repeat(4 * MIB))].concat();
    let meter = Meter::of(&proxy);
    let mut listeners: Vec<Client> = (0..40).map(|_| Client::connect_narrow(&proxy.address)).collect();
    for listener in &mut listeners {
        assert!(listener.ask(&["SUBSCRIBE", "news"]).ends_with(":1"));
    }
    (0..40).for_each(|_| engine.say_to_subscribers(&message)); // as long as they take it
    until("they are cut off", || proxy.statistic("/closed/buffers") == 40);
    meter.has_peaked_below(MOST);
    until("there is room", || proxy.client().ask(&["SET", "key", "value"]) == "+OK");
    drop(listeners);
    meter.is_given_back();
}

#[test]
fn replies_nobody_reads_are_bounded() {
    let _alone = alone();
    let value = bulk(&"x".repeat(MIB));
    let engine = Engine::forgetful(move |_, request| match request[0].as_str() {
        "GET" => Act::Say(value.clone()),
        _ => Act::Serve,
    });
    are_bounded(&proxy(&engine), 40, &[request(&["GET", "key"]).repeat(20)]);
}

#[test]
fn what_memcached_nodes_say_is_bounded() {
    let _alone = alone();
    let open = Gate::closed();
    open.open();
    let value = [b"VALUE key 0 4000000\r\n".to_vec(), vec![b'x'; 4_000_000], b"\r\nEND\r\n".to_vec()].concat();
    let answer = move |_: &str| value.clone();
    let silent = |_: &str| Vec::new();
    let proxy = memcached::proxy(CAP, &[memcached::node(&open, answer), memcached::node(&open, silent)], 2.0);
    let keys = (0..64).map(|number| format!("key{number}")).collect::<Vec<_>>().join(" ");
    let meter = Meter::of(&proxy);
    all_say(&proxy, 40, &[format!("get {keys}\r\n").into_bytes()]);
    meter.has_peaked_below(MOST);
    until("they are gone", || proxy.plane.clients().is_empty());
    meter.is_given_back();
}

/// A little of everything, all at once, and then nothing: as at first.
#[test]
fn nothing_is_left_of_hostile_clients() {
    let _alone = alone();
    let engines = [(); 2].map(|()| Engine::forgetful(|_, _| Act::Serve));
    let proxy = Proxy::with(1, CAP, &Spec::shards(&engines));
    let large = "x".repeat(2 * MIB);
    let many: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let words = |first| std::iter::once(first).chain(many.iter().map(String::as_str)).collect::<Vec<_>>();
    let requests: Vec<Vec<u8>> = [
        request(&["CLIENT", "SETNAME", &large]),
        request(&["GET", "key"]).repeat(10_000),
        request(&words("MGET")),
        request(&words("DEL")),
        request(&["MULTI"]),
        request(&["SET", "key", &large]),
        request(&["EXEC"]),
        request(&words("SUBSCRIBE")),
        request(&words("UNSUBSCRIBE")),
        request(&words("PSUBSCRIBE")),
        request(&["RESET"]),
        request(&["NOSUCH", &large]),
    ]
    .into();
    let half = b"*2\r\n$3\r\nGET\r\n$9000000\r\nhalf of it".to_vec();
    let meter = Meter::of(&proxy);
    for round in [requests.clone(), vec![half], requests] {
        all_say(&proxy, 20, &round);
        meter.has_peaked_below(MOST);
    }
    until("they are gone", || {
        for event in proxy.plane.take() {
            if let Event::Offloaded(offload) = event {
                proxy.plane.answer(offload.token, b"+OK\r\n".to_vec());
            }
        }
        proxy.plane.clients().is_empty()
    });
    meter.is_given_back();
}
