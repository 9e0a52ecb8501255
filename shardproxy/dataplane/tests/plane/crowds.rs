//! What is asked of many clients: a turn of their worker does some of it, and what is asked of one costs that one. Steps
//! are counted, not time.

use shardproxy_dataplane::Cluster;

use crate::client::Client;
use crate::engine::Engine;
use crate::proxy::{until, Proxy, Spec};

const MANY: usize = 600;
/// What all such questions may take in one turn, messages and the last step of each, in steps of about a microsecond.
const STEPS_OF_A_TURN: u64 = 2100;

struct Crowd {
    proxy: Proxy,
    clients: Vec<Client>,
    engine: Engine,
}

fn crowd() -> Crowd {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let clients: Vec<Client> = (0..MANY).map(|_| proxy.client()).collect();
    until("all are there", || proxy.plane.clients().len() == MANY);
    Crowd { proxy, clients, engine }
}

/// The most steps in one turn, of the turns that are over.
fn longest(proxy: &Proxy) -> u64 {
    proxy.plane.find_clients(Vec::new());
    proxy.of_worker("longest")
}

/// How many steps it takes.
fn steps(proxy: &Proxy, work: impl FnOnce()) -> u64 {
    let before = proxy.of_worker("steps");
    work();
    proxy.of_worker("steps") - before
}

#[test]
fn one_client_is_described_whatever_the_others() {
    let crowd = crowd();
    let all = crowd.proxy.plane.clients();
    let (one, other) = (all[MANY / 2].id, all[MANY - 1].id);
    let took = steps(&crowd.proxy, || {
        let found = crowd.proxy.plane.find_clients(vec![other, one, other, u64::MAX]);
        assert_eq!(found.iter().map(|client| client.id).collect::<Vec<_>>(), [one, other]);
    });
    assert!((1..50).contains(&took), "{took} steps");
}

#[test]
fn a_list_of_many_takes_several_turns() {
    let crowd = crowd();
    let took = steps(&crowd.proxy, || assert_eq!(crowd.proxy.plane.clients().len(), MANY));
    assert!(took > MANY as u64, "{took} steps");
    let longest = longest(&crowd.proxy);
    assert!(longest < STEPS_OF_A_TURN, "{longest} steps in one turn, of {took}");
}

#[test]
fn killing_many_takes_several_turns_and_each_goes_once() {
    let mut crowd = crowd();
    let mut ids: Vec<u64> = crowd.proxy.plane.clients().iter().map(|client| client.id).collect();
    let last = ids.pop().unwrap();
    ids.extend_from_within(..);
    let took = steps(&crowd.proxy, || assert_eq!(crowd.proxy.plane.kill(ids), MANY - 1));
    assert!(took > MANY as u64, "{took} steps");
    let longest = longest(&crowd.proxy);
    assert!(longest < STEPS_OF_A_TURN, "{longest} steps in one turn, of {took}");
    assert_eq!(crowd.clients[0].reply(), "<end>");
    assert_eq!(crowd.clients[MANY - 1].ask(&["PING"]), "+PONG");
    assert_eq!(crowd.proxy.plane.clients()[0].id, last);
    assert_eq!(crowd.proxy.statistic("/closed/killed"), MANY as u64 - 1);
}

#[test]
fn one_is_unblocked_whatever_the_others() {
    let mut crowd = crowd();
    crowd.clients[MANY - 1].send(&["BLPOP", "list", "0"]);
    let mut waiting = None;
    until("it waits", || {
        waiting = crowd.proxy.plane.clients().iter().find(|client| client.is_blocked).map(|client| client.id);
        waiting.is_some()
    });
    let took = steps(&crowd.proxy, || {
        crowd.proxy.plane.unblock(waiting.unwrap(), false);
    });
    assert!((1..50).contains(&took), "{took} steps");
}

#[test]
fn who_must_not_be_there_any_more_goes_in_several_turns() {
    let mut crowd = crowd();
    let users = Spec::shard(&[&crowd.engine], Some(0)).users(&[("default", "on >secret ~* &* +@all")]);
    let took = steps(&crowd.proxy, || {
        let spec = users.json("test", 7);
        crowd.proxy.plane.apply(Cluster::parse(spec.as_bytes()).unwrap()).unwrap();
        until("all are gone", || crowd.proxy.plane.clients().is_empty());
    });
    assert!(took > 10 * MANY as u64, "{took} steps");
    let longest = longest(&crowd.proxy);
    assert!(longest < STEPS_OF_A_TURN, "{longest} steps in one turn, of {took}");
    assert_eq!(crowd.clients[MANY - 1].reply(), "<end>");
}

#[test]
fn what_somebody_subscribes_to_is_looked_at_in_several_turns() {
    const TOPICS: usize = 6000;
    let engine = Engine::plain();
    let spec = |rules| Spec::shard(&[&engine], Some(0)).users(&[("default", rules)]);
    let mut proxy = Proxy::start(&spec("on nopass ~* &* +@all"));
    let (mut most, mut all) = (proxy.client(), proxy.client());
    let names: Vec<String> = (0..TOPICS).map(|number| format!("a{number}")).collect();
    for (client, last) in [(&mut most, "a"), (&mut all, "b")] {
        let words = std::iter::once("SUBSCRIBE").chain(names.iter().map(String::as_str)).chain([last]);
        client.send(&words.collect::<Vec<_>>());
        (0..=TOPICS).for_each(|_| drop(client.reply()));
    }
    let turns = |proxy: &Proxy| proxy.plane.statistics()["workers"][0]["turns"].as_u64().unwrap();
    let before = (turns(&proxy), proxy.of_worker("steps"));
    proxy.apply(&spec("on nopass ~* resetchannels &a* +@all"));
    assert_eq!(all.reply(), "<end>");
    until("each was looked at", || proxy.of_worker("steps") - before.1 > 2 * TOPICS as u64);
    assert!(turns(&proxy) - before.0 > 6);
    assert!(most.ask(&["UNSUBSCRIBE", "a1"]).starts_with("*3"));
}
