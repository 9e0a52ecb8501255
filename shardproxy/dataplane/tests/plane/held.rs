//! A full queue holds those who would join it: they are not read until there is room, keep their order, and lose nothing.

use serde_json::json;

use crate::client::{request, value, Client};
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// Keys of the first and of the second of two shards.
const FIRST: &str = "bar";
const SECOND: &str = "foo";

/// One that answers nothing before its gate opens.
fn gated() -> (std::sync::Arc<Gate>, Engine) {
    let gate = Gate::closed();
    let held = gate.clone();
    (gate, Engine::scripted(move |_, _| Act::Serve.behind(&held)))
}

fn narrow() -> serde_json::Value {
    json!({"shard_queue": 1000})
}

fn large() -> String {
    "x".repeat(1000)
}

/// The queue of the shard with the key is full from now on.
fn fill(proxy: &Proxy, engine: &Engine, key: &str) -> Client {
    let mut client = proxy.client();
    client.send(&["SET", key, &large()]);
    engine.wait_for(&["SET", key, &large()]);
    client
}

fn is_held(proxy: &Proxy, count: u64) {
    until("they are held", || proxy.statistic("/held") == count);
}

#[test]
fn a_pipeline_waits_for_room_and_keeps_its_order() {
    let (gate, engine) = gated();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(narrow()));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "a", &large()], &["SET", "b", "1"], &["PING"], &["GET", "b"]]);
    is_held(&proxy, 1);
    assert_eq!(proxy.pending(), 1);
    gate.open();
    assert_eq!([client.reply(), client.reply(), client.reply(), client.reply()], ["+OK", "+OK", "+PONG", &value("b")]);
    let requests: Vec<u8> =
        (0..200).flat_map(|number: usize| request(&["SET", &number.to_string(), &large()])).collect();
    client.send_bytes(&requests);
    (0..200).for_each(|_| assert_eq!(client.reply(), "+OK"));
    let keys: Vec<String> = engine.seen().into_iter().skip(3).map(|request| request[1].clone()).collect();
    assert_eq!(keys, (0..200).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(proxy.statistic("/tryagain"), 0);
}

#[test]
fn who_is_held_for_one_shard_hears_the_other_and_holds_nobody_up() {
    let (gate, full) = gated();
    let engines = [full, Engine::plain()];
    let proxy = Proxy::start(&Spec::shards(&engines).limits(narrow()));
    let _filler = fill(&proxy, &engines[0], FIRST);
    let (mut held, mut other) = (proxy.client(), proxy.client());
    held.send_all(&[&["GET", SECOND], &["GET", FIRST], &["GET", SECOND]]);
    assert_eq!(held.reply(), value(SECOND));
    is_held(&proxy, 1);
    assert_eq!(other.ask(&["GET", SECOND]), value(SECOND));
    gate.open();
    assert_eq!([held.reply(), held.reply()], [value(FIRST), value(SECOND)]);
}

/// Nothing of a command over several shards is sent before all of them have room.
#[test]
fn a_command_over_several_shards_waits_whole() {
    let (gate, full) = gated();
    let engines = [full, Engine::plain()];
    let proxy = Proxy::start(&Spec::shards(&engines).limits(narrow()));
    let _filler = fill(&proxy, &engines[0], FIRST);
    let mut client = proxy.client();
    client.send(&["MSET", SECOND, "1", FIRST, "2"]);
    is_held(&proxy, 1);
    assert_eq!(engines[1].asked("MSET"), 0);
    gate.open();
    assert_eq!(client.reply(), "+OK");
    assert_eq!([engines[0].asked("MSET"), engines[1].asked("MSET")], [1, 1]);
}

#[test]
fn a_transaction_waits_whole() {
    let (gate, engine) = gated();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(narrow()));
    let _filler = fill(&proxy, &engine, "a");
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "b", "1"], &["GET", "b"], &["EXEC"], &["PING"]]);
    is_held(&proxy, 1);
    gate.open();
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "+QUEUED"]);
    assert_eq!([client.reply(), client.reply()], ["*2\r\n+OK\r\n$1\r\nb", "+PONG"]);
    assert_eq!((engine.asked("MULTI"), engine.asked("EXEC")), (1, 1));
}

/// However much one client sends, those who came meanwhile have their turn before the rest of it.
#[test]
fn who_comes_first_is_served_first() {
    let (gate, engine) = gated();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(narrow()));
    let mut greedy = fill(&proxy, &engine, "a");
    let many: Vec<u8> = (0..500).flat_map(|_| request(&["SET", "greedy", &large()])).collect();
    greedy.send_bytes(&many);
    is_held(&proxy, 1);
    let mut others: Vec<Client> = (0..5)
        .map(|number: u64| {
            let mut other = proxy.client();
            other.send(&["SET", &number.to_string(), &large()]);
            is_held(&proxy, 2 + number);
            other
        })
        .collect();
    gate.open();
    for other in &mut others {
        assert_eq!(other.reply(), "+OK");
    }
    (0..501).for_each(|_| assert_eq!(greedy.reply(), "+OK"));
    let keys: Vec<String> = engine.seen().into_iter().skip(1).map(|request| request[1].clone()).collect();
    let places: Vec<usize> =
        (0..5).map(|number: usize| keys.iter().position(|key| *key == number.to_string()).unwrap()).collect();
    assert!(places.is_sorted() && places[4] < 20, "{places:?} of {}", keys.len());
}

/// Who hangs up is served as if it had not; of who breaks off nothing is left at once.
#[test]
fn who_goes_while_it_is_held_leaves_nothing() {
    let (gate, engine) = gated();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).limits(narrow()));
    let _filler = fill(&proxy, &engine, "a");
    let (mut leaving, mut broken) = (proxy.client(), proxy.client());
    leaving.send(&["SET", "left", "1"]);
    broken.send(&["SET", "broken", "1"]);
    is_held(&proxy, 2);
    broken.reset();
    until("it is gone", || proxy.statistic("/clients") == 2);
    leaving.finish();
    gate.open();
    assert_eq!([leaving.reply(), leaving.reply()], ["+OK", "<end>"]);
    assert_eq!([engine.count(&["SET", "left", "1"]), engine.count(&["SET", "broken", "1"])], [1, 0]);
}

#[test]
fn what_finds_its_connection_gone_goes_to_the_next_primary() {
    let (_gate, old) = gated();
    let new = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)).limits(narrow()));
    let _filler = fill(&proxy, &old, "a");
    let mut client = proxy.client();
    client.send(&["SET", "b", "1"]);
    is_held(&proxy, 1);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)).limits(narrow()));
    assert_eq!(client.reply(), "+OK");
    assert_eq!(new.count(&["SET", "b", "1"]), 1);
}

#[test]
fn a_full_parking_lot_holds_until_there_is_a_primary() {
    let engine = Engine::plain();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], None).limits(narrow()));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "a", &large()], &["SET", "b", "1"]]);
    is_held(&proxy, 1);
    assert_eq!(proxy.pending(), 1);
    proxy.apply(&Spec::shard(&[&engine], Some(0)).limits(narrow()));
    assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
}

/// Nobody is held for longer than what is parked waits.
#[test]
fn who_is_held_in_vain_is_told() {
    let engine = Engine::plain();
    let spec = Spec::shard(&[&engine], None).limits(narrow()).timeouts(json!({"park": 0.3}));
    let proxy = Proxy::start(&spec);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send_all(&[&["SET", "a", &large()], &["SET", "b", "1"], &["PING"]]);
    }
    for client in &mut clients {
        for _ in 0..2 {
            let refused = client.reply();
            assert!(refused.starts_with("-TRYAGAIN shard 0 "), "{refused}");
        }
        assert_eq!(client.reply(), "+PONG");
    }
    assert!(engine.seen().is_empty());
}
