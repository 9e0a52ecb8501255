//! Read your writes: a key is read from its primary for a while after it was written, however late that was.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::{request, value};
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{Proxy, Spec};

/// Longer than a write that was routed is looked out for: what may park and reply may take, and how old replicas may be.
const LONG: Duration = Duration::from_millis(1500);

fn replicated<'a>(primary: &'a Engine, replica: &'a Engine) -> Proxy {
    let spec = Spec { reads: "replica", ..Spec::shard(&[primary, replica], Some(0)) };
    Proxy::start(&spec.timeouts(json!({"park": 0.1, "reply": 0.1})))
}

fn reads_of(engine: &Engine, key: &str) -> usize {
    engine.count(&["GET", key])
}

#[test]
fn what_a_blocked_client_wrote_late_is_read_from_the_primary() {
    let gate = Gate::closed();
    let held = gate.clone();
    let primary = Engine::scripted(move |_, request| match request[0].as_str() {
        "BLMOVE" => Act::say("$1\r\nx\r\n").behind(&held),
        _ => Act::Serve,
    });
    let replica = Engine::plain();
    let proxy = replicated(&primary, &replica);
    let (mut blocked, mut other) = (proxy.client(), proxy.client());
    blocked.send(&["BLMOVE", "{k}from", "{k}to", "LEFT", "RIGHT", "0"]);
    primary.wait_for(&["BLMOVE", "{k}from", "{k}to", "LEFT", "RIGHT", "0"]);
    thread::sleep(LONG);
    gate.open();
    assert_eq!(blocked.reply(), value("x"));
    for key in ["{k}from", "{k}to"] {
        assert_eq!(other.ask(&["GET", key]), value(key));
        assert_eq!((reads_of(&primary, key), reads_of(&replica, key)), (1, 0), "{key}");
    }
    other.ask(&["GET", "{k}unrelated"]);
    assert_eq!(reads_of(&replica, "{k}unrelated"), 1);
}

#[test]
fn what_a_transaction_wrote_long_after_it_was_queued_is_read_from_the_primary() {
    let (primary, replica) = (Engine::plain(), Engine::plain());
    let proxy = replicated(&primary, &replica);
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["MSET", "{k}a", "1", "{k}b", "2"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+QUEUED"]);
    thread::sleep(LONG);
    assert_eq!(client.ask(&["EXEC"]), "*1\r\n+OK");
    for key in ["{k}a", "{k}b"] {
        assert_eq!(client.ask(&["GET", key]), value(key));
        assert_eq!((reads_of(&primary, key), reads_of(&replica, key)), (1, 0), "{key}");
    }
}

#[test]
fn after_flushall_every_key_is_read_from_the_primary() {
    let (primary, replica) = (Engine::plain(), Engine::plain());
    let proxy = replicated(&primary, &replica);
    let mut client = proxy.client();
    client.ask(&["GET", "key"]);
    assert_eq!((reads_of(&primary, "key"), reads_of(&replica, "key")), (0, 1));
    client.send(&["FLUSHALL"]);
    proxy.plane.answer(proxy.offload().token, b"+OK\r\n".to_vec());
    assert_eq!(client.reply(), "+OK");
    client.ask(&["GET", "key"]);
    assert_eq!((reads_of(&primary, "key"), reads_of(&replica, "key")), (1, 1));
}

/// What was never written is read from replicas, however much else is written meanwhile; what leaves them is counted.
#[test]
fn many_writes_make_other_keys_no_writes() {
    const WRITES: usize = 50_000;
    const READS: usize = 1000;
    let (primary, replica) = (Engine::plain(), Engine::plain());
    let spec = Spec { reads: "replica", max_staleness: 60.0, ..Spec::shard(&[&primary, &replica], Some(0)) };
    let proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    for batch in 0..WRITES / 1000 {
        let keys = (0..1000).map(|n| format!("written:{batch}:{n}"));
        client.send_bytes(&keys.flat_map(|key| request(&["SET", &key, "x"])).collect::<Vec<u8>>());
        (0..1000).for_each(|_| assert_eq!(client.reply(), "+OK"));
    }
    let reads: Vec<u8> = (0..READS).flat_map(|n| request(&["GET", &format!("other:{n}")])).collect();
    client.send_bytes(&reads);
    (0..READS).for_each(|n| assert_eq!(client.reply(), value(&format!("other:{n}"))));
    let spread = replica.seen().iter().filter(|request| request[0] == "GET").count();
    assert!(spread > READS * 3 / 4, "{spread} of {READS} were read from the replica");
    assert_eq!(proxy.statistic("/fresh_reads"), (READS - spread) as u64);
    for batch in [0, WRITES / 2000, WRITES / 1000 - 1] {
        let key = format!("written:{batch}:7");
        assert_eq!(client.ask(&["GET", &key]), value(&key));
        assert_eq!((reads_of(&primary, &key), reads_of(&replica, &key)), (1, 0), "{key}");
    }
}
