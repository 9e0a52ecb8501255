//! Large values are held once, whoever is slow to take them.

use std::thread;

use crate::engine::{bulk, Act, Engine, Gate};
use crate::meter::{alone, Meter};
use crate::proxy::{until, Proxy, Spec};
use crate::MIB;

const LARGE: usize = 48 * MIB;
/// What may be held of a large value: itself, and as much as its buffer grows by at once, or a turn reads.
const MOST: usize = LARGE + LARGE / 16;

#[test]
fn a_large_request_is_held_once() {
    let _alone = alone();
    let gate = Gate::closed();
    let engine = Engine::reluctant(MIB, &gate);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let meter = Meter::of(&proxy);
    let mut client = proxy.client();
    let writer = thread::spawn(move || {
        client.send(&["SET", "key", &"x".repeat(LARGE)]);
        client
    });
    until("it is under way", || proxy.pending() == 1);
    meter.is_accounted(LARGE);
    gate.open();
    let mut client = writer.join().unwrap();
    assert_eq!(client.reply(), "+OK");
    meter.has_peaked_below(MOST);
    meter.is_given_back();
}

#[test]
fn a_large_reply_is_held_once() {
    let _alone = alone();
    let reply = bulk(&"x".repeat(LARGE));
    let engine = Engine::scripted(move |_, _| Act::Say(reply.clone()));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let meter = Meter::of(&proxy);
    let mut client = proxy.client();
    client.send(&["GET", "key"]);
    until("all of it has come", || proxy.statistic(&format!("/nodes/{}/requests", engine.address)) == 1);
    meter.is_accounted(LARGE / 2); // sockets hold some
    assert_eq!(client.reply().len(), "$50331648\r\n".len() + LARGE);
    meter.has_peaked_below(MOST);
    meter.is_given_back();
}
