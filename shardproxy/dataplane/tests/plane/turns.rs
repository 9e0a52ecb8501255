//! What one turn of a worker does for one connection is bounded.

use crate::engine::{bulk, Act, Engine};
use crate::proxy::{Proxy, Spec};

/// What is read of a node in one turn at most: eight times the worker's buffer.
const READ: u64 = 8 * 128 * 1024;

/// However much lies there, and however often it was said that more does.
#[test]
fn one_turn_reads_so_much_of_a_node_and_no_more() {
    const LARGE: usize = 192 << 20;
    let large = bulk(&"x".repeat(LARGE));
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "GET" => Act::Say(large.clone()),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SET", "key", "1"]), "+OK");
    let turns = || proxy.plane.statistics()["workers"][0]["turns"].as_u64().unwrap();
    let before = turns();
    client.send(&["GET", "large"]);
    client.take(LARGE + bulk("").len());
    let took = turns() - before;
    assert!(took >= LARGE as u64 / READ, "{LARGE} bytes in {took} turns");
}
