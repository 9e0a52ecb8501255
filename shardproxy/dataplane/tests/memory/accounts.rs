//! Without a cap: what is held is known, and given back.

use shardproxy_dataplane::Event;
use std::sync::Arc;

use crate::client::{request, Client};
use crate::engine::{bulk, Act, Engine, Gate};
use crate::meter::{alone, Meter};
use crate::proxy::{until, Proxy, Spec};
use crate::{memcached, MIB};

/// Executes what `name` says when the gate opens, all else at once.
fn holding(name: &'static str, gate: &Arc<Gate>) -> Engine {
    let gate = gate.clone();
    Engine::forgetful(move |_, request| if request[0] == name { Act::Serve.behind(&gate) } else { Act::Serve })
}

fn proxy(engine: &Engine) -> Proxy {
    Proxy::start(&Spec::shard(&[engine], Some(0)))
}

fn clients(proxy: &Proxy, count: usize) -> Vec<Client> {
    (0..count).map(|_| proxy.client()).collect()
}

#[test]
fn a_message_to_many_who_do_not_read_is_held_once() {
    let _alone = alone();
    let engine = Engine::plain();
    let proxy = proxy(&engine);
    let message = [b"*3\r\n".to_vec(), bulk("message"), bulk("news"), bulk(&"x".repeat(4 * MIB))].concat();
    let meter = Meter::of(&proxy);
    let mut listeners: Vec<Client> = (0..100).map(|_| Client::connect_narrow(&proxy.address)).collect();
    for listener in &mut listeners {
        assert!(listener.ask(&["SUBSCRIBE", "news"]).ends_with(":1"));
    }
    engine.say_to_subscribers(&message);
    until("all are to hear it", || proxy.statistic("/deliveries") == 100);
    meter.is_accounted(4 * MIB);
    meter.has_peaked_below(16 * MIB);
    for listener in &mut listeners {
        listener.take(message.len());
        assert_eq!(listener.ask(&["PING"]), "*2\r\n$4\r\npong\r\n$0", "nothing else came");
    }
    drop(listeners);
    meter.is_given_back();
}

#[test]
fn what_clients_call_themselves_is_accounted() {
    let _alone = alone();
    let engine = Engine::plain();
    let proxy = proxy(&engine);
    let requests = [&["CLIENT", "SETNAME"][..], &["CLIENT", "SETINFO", "LIB-NAME"], &["CLIENT", "SETINFO", "LIB-VER"]];
    let large = "x".repeat(5 * MIB);
    for words in requests {
        let request = request(&[words, &[&large]].concat());
        let meter = Meter::of(&proxy);
        let mut named = clients(&proxy, 10);
        for client in &mut named {
            client.send_bytes(&request);
            assert_eq!(client.reply(), "+OK");
        }
        meter.is_accounted(50 * MIB);
        drop(named);
        meter.is_given_back();
    }
}

#[test]
fn subscriptions_are_accounted() {
    let _alone = alone();
    let engine = Engine::forgetful(|_, _| Act::Serve);
    let proxy = proxy(&engine);
    let names: Vec<String> = (0..200_000).map(|number| format!("{{news}}:{number:014}")).collect();
    for word in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"] {
        let at_once = |names: &[String]| {
            request(&std::iter::once(word).chain(names.iter().map(String::as_str)).collect::<Vec<_>>())
        };
        let requests: Vec<Vec<u8>> = names.chunks(10_000).map(at_once).collect();
        let meter = Meter::of(&proxy);
        let mut client = proxy.client();
        for request in requests {
            client.send_bytes(&request);
            (0..10_000).for_each(|_| assert!(client.reply().starts_with("*3\r\n")));
        }
        meter.is_accounted(200_000 * 20);
        drop(client);
        meter.is_given_back();
    }
}

#[test]
fn the_keys_of_a_large_command_are_forgotten_with_it() {
    let _alone = alone();
    let engines = [(); 2].map(|()| Engine::forgetful(|_, _| Act::Serve));
    let proxy = Proxy::start(&Spec::shards(&engines));
    let keys: Vec<String> = (0..500_000).map(|number| number.to_string()).collect();
    let words: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
    let request = request(&words);
    let meter = Meter::of(&proxy);
    let mut client = proxy.client();
    client.send_bytes(&request);
    assert!(client.reply().starts_with("*500000\r\n"));
    meter.is_given_back(); // although the client stays
}

#[test]
fn the_parts_of_a_reply_are_accounted_until_it_is_whole() {
    let _alone = alone();
    let gate = Gate::closed();
    let large = bulk(&"x".repeat(9 * MIB));
    let first = Engine::forgetful(move |_, _| Act::Say([b"*1\r\n".to_vec(), large.clone()].concat()));
    let second = holding("MGET", &gate);
    let engines = [first, second];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let meter = Meter::of(&proxy);
    let mut waiting = clients(&proxy, 4);
    for client in &mut waiting {
        client.send(&["MGET", "bar", "foo"]); // of the first shard, and of the second
    }
    meter.is_accounted(36 * MIB);
    gate.open();
    for client in &mut waiting {
        assert!(client.reply().starts_with("*2\r\n$9437184\r\n"));
    }
    drop(waiting);
    meter.is_given_back();
}

#[test]
fn a_transaction_is_accounted() {
    let _alone = alone();
    let gate = Gate::closed();
    let engine = holding("EXEC", &gate);
    let proxy = proxy(&engine);
    let set = request(&["SET", "key", &"x".repeat(2 * MIB)]);
    let meter = Meter::of(&proxy);
    let mut clients = clients(&proxy, 4);
    for client in &mut clients {
        assert_eq!(client.ask(&["MULTI"]), "+OK");
        for _ in 0..4 {
            client.send_bytes(&set);
            assert_eq!(client.reply(), "+QUEUED");
        }
    }
    meter.is_accounted(32 * MIB);
    for client in &mut clients {
        client.send(&["EXEC"]);
    }
    until("all wait", || proxy.pending() == 4);
    meter.is_accounted(32 * MIB);
    gate.open();
    for client in &mut clients {
        assert!(client.reply().starts_with("*4\r\n+OK"));
    }
    drop(clients);
    meter.is_given_back();
}

#[test]
fn who_blocks_or_watches_is_accounted() {
    let _alone = alone();
    let large = "x".repeat(4 * MIB);
    for words in [&["BLPOP", &large, "0"][..], &["WATCH", &large]] {
        let gate = Gate::closed();
        let engine = holding("WATCH", &gate);
        // one has a connection, the others wait for it
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(serde_json::json!({"dedicated": 1})));
        let request = request(words);
        let meter = Meter::of(&proxy);
        let mut blocked = clients(&proxy, 8);
        for client in &mut blocked {
            client.send_bytes(&request);
        }
        meter.is_accounted(8 * 4 * MIB);
        drop(blocked);
        gate.open();
        meter.is_given_back();
    }
}

#[test]
fn what_the_control_plane_is_to_answer_is_accounted() {
    let _alone = alone();
    let engine = Engine::plain();
    let proxy = proxy(&engine);
    let large = "x".repeat(8 * MIB);
    for words in [&["NOSUCH", &large][..], &["SCRIPT", "LOAD", &large]] {
        let request = request(words);
        let meter = Meter::of(&proxy);
        let mut asking = clients(&proxy, 4);
        for client in &mut asking {
            client.send_bytes(&request);
        }
        meter.is_accounted(4 * 8 * MIB);
        drop(asking);
        answer_all(&proxy);
        meter.is_given_back();
    }
}

/// Answer what the control plane is to answer, until nobody asks.
fn answer_all(proxy: &Proxy) {
    until("the clients are gone", || {
        for event in proxy.plane.take() {
            if let Event::Offloaded(offload) = event {
                proxy.plane.answer(offload.token, b"+OK\r\n".to_vec());
            }
        }
        proxy.plane.clients().is_empty()
    });
}

#[test]
fn what_memcached_nodes_say_is_accounted_until_all_have() {
    let _alone = alone();
    let requests = [format!("get{}\r\n", " key".repeat(400)), "stats\r\n".to_owned()];
    for request in requests {
        let gate = Gate::closed();
        let open = Gate::closed();
        open.open();
        let value = [b"VALUE key 0 9000000\r\n".to_vec(), vec![b'x'; 9_000_000], b"\r\nEND\r\n".to_vec()].concat();
        let lines = (0..100_000).map(|number| format!("STAT name:{number:08} {number:08}\r\n"));
        let statistics = lines.collect::<Vec<_>>().concat();
        let answer = move |line: &str| match line {
            "stats" => [statistics.as_bytes(), b"END\r\n"].concat(),
            _ => value.clone(),
        };
        let nodes = [memcached::node(&open, answer.clone()), memcached::node(&gate, answer)];
        let proxy = memcached::proxy(0, &nodes, 20.0);
        let keys = (0..64).map(|number| format!("key{number}")).collect::<Vec<_>>().join(" ");
        let request = if request.starts_with("get") { format!("get {keys}\r\n") } else { request };
        let meter = Meter::of(&proxy);
        let mut asking = clients(&proxy, 4);
        for client in &mut asking {
            client.send_bytes(request.as_bytes());
        }
        meter.is_accounted(if request.starts_with("get") { 36_000_000 } else { 4 * 3_000_000 });
        drop(asking);
        gate.open();
        meter.is_given_back();
    }
}
