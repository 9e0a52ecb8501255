//! What is asked of many clients: a turn of their worker does some of it, and what is asked of one costs that one. Steps
//! are counted, not time.

use crate::client::Client;
use crate::engine::Engine;
use crate::proxy::{until, Proxy, Spec};

const MANY: usize = 600;
/// What all such questions may take in one turn, messages and the last step of each, in steps of about a microsecond.
const STEPS_OF_A_TURN: u64 = 2100;

struct Crowd {
    proxy: Proxy,
    clients: Vec<Client>,
    _engine: Engine,
}

fn crowd() -> Crowd {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let clients: Vec<Client> = (0..MANY).map(|_| proxy.client()).collect();
    until("all are there", || proxy.plane.clients().len() == MANY);
    Crowd { proxy, clients, _engine: engine }
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
