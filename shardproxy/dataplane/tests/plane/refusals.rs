//! Errors that say "not executed": the request waits, and is tried again there or on the next primary.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::value;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
const NOREPLICAS: &str = "-NOREPLICAS Not enough good replicas to write.\r\n";
const MISCONF: &str = "-MISCONF Errors writing to the AOF file: No space left on device\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";

/// Says `reply` so many times, then serves.
fn refusing(times: usize, reply: &'static str) -> Engine {
    let count = AtomicUsize::new(0);
    Engine::scripted(move |_, _| if count.fetch_add(1, SeqCst) < times { Act::say(reply) } else { Act::Serve })
}

#[test]
fn client_no_touch_is_what_the_engines_version_has() {
    let engine = Engine::plain();
    for (version, on, off) in [
        ("7.0.15", "-ERR unknown subcommand 'No-Touch'. Try CLIENT HELP.", "-ERR unknown subcommand 'No-Touch'. Try CLIENT HELP."),
        (
            "7.2.0",
            "-ERR CLIENT NO-TOUCH is refused by this proxy: connections to nodes are shared, so a node cannot tell whose reads \
             are to leave no trace",
            "+OK",
        ),
        ("10.0", "-ERR CLIENT NO-TOUCH is refused", "+OK"),
    ] {
        let mut spec: serde_json::Value =
            serde_json::from_str(&Spec::shard(&[&engine], Some(0)).json("test", 1)).unwrap();
        spec["version"] = version.into();
        let proxy = Proxy::serving(1, &spec);
        let mut client = proxy.client();
        assert!(client.ask(&["CLIENT", "No-Touch", "on"]).starts_with(on));
        assert_eq!(client.ask(&["CLIENT", "No-Touch", "OFF"]), off);
        assert!(client.ask(&["CLIENT", "No-Touch", "x"]).starts_with("-ERR "));
    }
}

#[test]
fn a_refused_request_waits_and_is_tried_again() {
    let replica = Engine::plain();
    for refusal in [READONLY, LOADING, "-MASTERDOWN Link\r\n", "-CLUSTERDOWN x\r\n", "-TRYAGAIN x\r\n"] {
        let engine = refusing(2, refusal);
        let proxy = Proxy::start(&Spec::shard(&[&engine, &replica], Some(0)));
        assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK", "{refusal}");
        assert_eq!(engine.count(&["SET", "key", "1"]), 3);
    }
}

/// No failover is due that would cure it: one engine says so at once, and so do we.
#[test]
fn what_no_failover_cures_is_told_at_once() {
    let (spare, replaceable) = (Engine::plain(), json!({"replaceable": true}));
    for (refusal, nodes, more, waits) in [
        (NOREPLICAS, 2, json!({}), false),
        (NOREPLICAS, 2, replaceable.clone(), false),
        (MISCONF, 2, json!({}), false),
        (MISCONF, 2, replaceable, true),
        (MISCONF, 1, json!({}), false),
        (READONLY, 1, json!({}), false),
        (READONLY, 2, json!({}), true),
        ("-BUSY Redis is busy running a script.\r\n", 2, json!({}), false),
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", 2, json!({}), false),
    ] {
        let engine = refusing(2, refusal);
        let spec = Spec { more, ..Spec::shard(&[&engine, &spare][..nodes], Some(0)) };
        let proxy = Proxy::start(&spec);
        let told = if waits { "+OK" } else { refusal.trim_end() };
        assert_eq!(proxy.client().ask(&["SET", "key", "1"]), told);
        assert_eq!(engine.count(&["SET", "key", "1"]), if waits { 3 } else { 1 }, "{refusal}");
    }
}

/// A blocking command, a script and a transaction likewise.
#[test]
fn nobody_waits_for_a_failover_that_is_not_due() {
    let pop: &[&str] = &["BLPOP", "key", "0"];
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "MULTI" => Act::say("+OK\r\n"),
        "EXEC" => Act::say("-EXECABORT Transaction discarded because of previous errors.\r\n"),
        "CLIENT" => Act::say(":1\r\n"),
        _ => Act::say(MISCONF),
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    assert_eq!(client.ask(pop), MISCONF.trim_end());
    let script: &[&str] = &["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "key"];
    assert_eq!(client.ask(script), MISCONF.trim_end());
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
    let replies = [client.reply(), client.reply(), client.reply()];
    let because = format!("-EXECABORT Transaction discarded because of: {}", MISCONF[1..].trim_end());
    assert_eq!(replies, ["+OK", "+QUEUED", &because]);
    assert_eq!(engine.count(pop), 1);
}

/// The replicas of a new primary are on their way to it.
#[test]
fn too_few_replicas_are_waited_for_after_a_failover() {
    let (old, new) = (Engine::plain(), refusing(2, NOREPLICAS));
    let timeouts = json!({"park": 30, "reply": 30});
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)).timeouts(timeouts.clone()));
    proxy.apply(&Spec::shard(&[&old, &new], None).timeouts(timeouts.clone()));
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)).timeouts(timeouts));
    assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK");
    assert_eq!(new.count(&["SET", "key", "1"]), 3);
}

/// The control plane finds out that nobody takes over while requests wait for it.
#[test]
fn who_waits_is_told_as_soon_as_no_failover_is_due() {
    let (engine, replica) = (refusing(usize::MAX, MISCONF), Engine::plain());
    let spec = |is_replaceable: bool| {
        let more = json!({"replaceable": is_replaceable});
        Spec { more, ..Spec::shard(&[&engine, &replica], Some(0)) }.timeouts(json!({"park": 3600}))
    };
    let mut proxy = Proxy::start(&spec(true));
    let mut client = proxy.client();
    client.send(&["SET", "key", "1"]);
    until("it was asked twice", || engine.count(&["SET", "key", "1"]) > 1);
    proxy.apply(&spec(false));
    assert_eq!(client.reply(), MISCONF.trim_end());
}

#[test]
fn refused_writes_reach_the_next_primary_in_their_order() {
    let (old, new) = (refusing(usize::MAX, READONLY), Engine::plain());
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    let values: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let requests: Vec<Vec<&str>> = values.iter().map(|value| vec!["SET", "key", value.as_str()]).collect();
    client.send_all(&requests.iter().map(Vec::as_slice).collect::<Vec<_>>());
    old.wait_for(&["SET", "key", "19"]);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    for _ in &values {
        assert_eq!(client.reply(), "+OK");
    }
    assert_eq!(new.seen(), requests);
}

#[test]
fn a_read_does_not_overtake_its_clients_refused_write() {
    let engine = refusing(1, LOADING);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK".to_owned(), value("key")]);
    let seen = engine.seen();
    let place = |words: &[&str]| seen.iter().rposition(|request| request == words);
    assert!(place(&["SET", "key", "1"]) < place(&["GET", "key"]), "{seen:?}");
}

/// The engine refuses a client's write and takes the next one, as when it has loaded its data between the two.
#[test]
fn a_refused_write_is_not_executed_after_a_later_one_of_its_client() {
    for is_held in [false, true] {
        let (gate, count) = (Gate::closed(), AtomicUsize::new(0));
        let held = gate.clone();
        let engine = Engine::scripted(move |_, request| match request[2].as_str() {
            "1" if count.fetch_add(1, SeqCst) == 0 => Act::say(LOADING),
            "2" => Act::Serve.behind(&held),
            _ => Act::Serve,
        });
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let (mut client, mut other) = (proxy.client(), proxy.client());
        client.send_all(&[&["SET", "key", "1"], &["SET", "key", "2"], &["SET", "key", "3"]]);
        engine.wait_for(&["SET", "key", "2"]);
        if is_held {
            thread::sleep(Duration::from_millis(300)); // longer than a refused request waits
        }
        gate.open();
        let refused = client.reply();
        assert_eq!(refused, "-TRYAGAIN shard 0 refused the command and took a later one, command not executed");
        assert_eq!([client.reply(), client.reply()], ["+OK", "+OK"]);
        assert_eq!(engine.count(&["SET", "key", "1"]), 1);
        assert_eq!(other.ask(&["SET", "key", "4"]), "+OK");
    }
}

/// What was refused just before the connection broke has not been forgotten.
#[test]
fn a_refusal_outlives_its_connection() {
    for end in ["", "?nonsense\r\n"] {
        let engine = Engine::scripted(move |number, _| match number {
            0 => Act::Cut([LOADING, end].concat().into_bytes()),
            _ => Act::Serve,
        });
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        assert_eq!(proxy.client().ask(&["SET", "key", "1"]), "+OK", "then {end:?}");
        assert_eq!(engine.count(&["SET", "key", "1"]), 2);
    }
}

/// The reason is the engine's, in its words: nothing fails over.
#[test]
fn who_waited_too_long_is_told_why() {
    let replica = Engine::plain();
    for refusal in [READONLY, LOADING] {
        let engine = refusing(usize::MAX, refusal);
        let proxy = Proxy::start(&Spec::shard(&[&engine, &replica], Some(0)).timeouts(json!({"park": 0.3})));
        let mut client = proxy.client();
        client.send_all(&[&["SET", "key", "1"], &["PING"]]);
        assert_eq!(client.reply(), refusal.trim_end());
        assert_eq!(client.reply(), "+PONG");
    }
}

#[test]
fn a_transaction_that_waited_too_long_is_told_why() {
    let replica = Engine::plain();
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "MULTI" => Act::say("+OK\r\n"),
        "EXEC" => Act::say("-EXECABORT Transaction discarded because of previous errors.\r\n"),
        _ => Act::say(READONLY),
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine, &replica], Some(0)).timeouts(json!({"park": 0.3})));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EXEC"]]);
    let replies = [client.reply(), client.reply(), client.reply()];
    let because = format!("-EXECABORT Transaction discarded because of: {}", READONLY[1..].trim_end());
    assert_eq!(replies, ["+OK", "+QUEUED", &because]);
    assert!(engine.count(&["EXEC"]) > 1, "it was tried again");
}

/// A read waits behind its client's write; the engine would not have refused it.
#[test]
fn a_read_that_waited_behind_a_refused_write_is_told_so() {
    let replica = Engine::plain();
    let engine = Engine::scripted(|_, request| if request[0] == "GET" { Act::Serve } else { Act::say(READONLY) });
    let proxy = Proxy::start(&Spec::shard(&[&engine, &replica], Some(0)).timeouts(json!({"park": 0.3})));
    let mut client = proxy.client();
    client.send_all(&[&["SET", "key", "1"], &["GET", "key"]]);
    assert_eq!(client.reply(), READONLY.trim_end());
    let read = client.reply();
    let waited = "-TRYAGAIN shard 0 cannot take the command: it waited behind a write that was refused: READONLY ";
    assert!(read == value("key") || read.starts_with(waited), "{read}");
}

/// Why a shard has no primary is told where that is no failover; and nobody waits for one that nobody serves.
#[test]
fn a_shard_without_a_primary_says_why() {
    let engine = Engine::plain();
    let spec = |more| Spec { more, ..Spec::shard(&[&engine], None) }.timeouts(json!({"park": 0.3}));
    let mut proxy = Proxy::start(&spec(json!({"why_not": "nobody has its data"})));
    let told = "-TRYAGAIN shard 0 cannot take the command: nobody has its data; command not executed";
    assert_eq!(proxy.client().ask(&["SET", "key", "1"]), told);
    let timeouts = json!({"park": 3600});
    let mut waiting = proxy.client();
    proxy.apply(&spec(json!({})).timeouts(timeouts.clone()));
    waiting.send_all(&[&["SET", "key", "1"], &["PING"]]);
    until("it waits", || proxy.pending() == 2);
    let refused = json!({"why_not": "its node is of a Redis Cluster", "refused": true});
    proxy.apply(&spec(refused).timeouts(timeouts));
    let told = "-ERR shard 0 is not served: its node is of a Redis Cluster";
    assert_eq!(waiting.reply(), told);
    let mut client = proxy.client();
    let requests: [&[&str]; 7] = [
        &["GET", "key"],
        &["MGET", "a", "b"],
        &["BLPOP", "key", "0"],
        &["WATCH", "key"],
        &["SUBSCRIBE", "news"],
        &["PSUBSCRIBE", "*"],
        &["PUBLISH", "news", "x"],
    ];
    for request in requests {
        assert_eq!(client.ask(request), told, "{request:?}");
    }
    assert_eq!(engine.seen(), Vec::<Vec<String>>::new());
}

#[test]
fn a_shard_that_is_only_read_refuses_writes_unsent() {
    let engine = Engine::plain();
    let spec = |more| Spec { more, ..Spec::shard(&[&engine], Some(0)) };
    let mut proxy = Proxy::start(&spec(json!({"read_only": "the store is out of reach"})));
    let told = "-TRYAGAIN shard 0 cannot take the command: the store is out of reach; command not executed";
    let mut client = proxy.client();
    let writes: [&[&str]; 5] = [
        &["SET", "key", "1"],
        &["MSET", "a", "1", "b", "2"],
        &["BLPOP", "key", "0"],
        &["EVAL", "x", "0"],
        &["DEL", "key"],
    ];
    for request in writes {
        assert_eq!(client.ask(request), told, "{request:?}");
    }
    let is_seen = |name: &str| engine.seen().iter().any(|request| request[0] == name);
    assert!(!["SET", "MSET", "BLPOP", "EVAL", "DEL"].into_iter().any(is_seen));
    client.ask(&["GET", "key"]);
    assert!(is_seen("GET"));
    proxy.apply(&spec(json!({})));
    client.ask(&["SET", "key", "1"]);
    assert!(is_seen("SET"));
}

/// Whatever a client did before: its read found the way to the primary, it watches, it waited for the primary.
#[test]
fn a_shard_that_is_only_read_takes_no_write_by_any_way() {
    let engine = Engine::plain();
    let spec = |more| Spec { more, ..Spec::shard(&[&engine], Some(0)) };
    let only_read = json!({"read_only": "the store is out of reach"});
    let told = "-TRYAGAIN shard 0 cannot take the command: the store is out of reach; command not executed";
    let mut proxy = Proxy::start(&spec(json!({})));
    let (mut client, mut watching) = (proxy.client(), proxy.client());
    assert_eq!(watching.ask(&["WATCH", "key"]), "+OK");
    watching.send_all(&[&["MULTI"], &["SET", "key", "1"]]);
    assert_eq!([watching.reply(), watching.reply()], ["+OK", "+QUEUED"]);
    proxy.apply(&spec(only_read.clone()));
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    assert_eq!(client.ask(&["SET", "key", "1"]), told, "behind a read");
    assert_eq!(watching.ask(&["EXEC"]), told, "on a connection of its own");
    let xread: &[&str] = &["XREAD", "BLOCK", "0", "STREAMS", "s", "0"];
    client.send(xread);
    engine.wait_for(xread); // it only reads
    let without = Spec { more: json!({}), ..Spec::shard(&[&engine], None) };
    proxy.apply(&without);
    let mut parked = proxy.client();
    parked.send_all(&[&["GET", "key"], &["SET", "key", "1"], &["GET", "key"]]);
    until("they wait", || proxy.statistic("/parked") == 3);
    proxy.apply(&spec(only_read));
    assert_eq!([parked.reply(), parked.reply(), parked.reply()], [value("key"), told.into(), value("key")]);
    assert_eq!(engine.asked("SET"), 0, "{:?}", engine.seen());
}

#[test]
fn a_wait_for_a_key_takes_nothing_of_a_shard_that_is_only_read() {
    let engine = Engine::tracking(|_, _| Act::Serve);
    let spec = Spec { more: json!({"read_only": "no store"}), ..Spec::shard(&[&engine], Some(0)) };
    let proxy = Proxy::start(&spec);
    let mut client = proxy.client();
    client.ask(&["GET", "key"]);
    let told = client.ask(&["BLPOP", "key", "0"]);
    assert!(told.starts_with("-TRYAGAIN shard 0 cannot take the command: no store"), "{told}");
    assert!(!engine.seen().iter().any(|request| request[0] == "LPOP" || request[0] == "BLPOP"));
}

#[test]
fn a_node_of_a_redis_cluster_gets_nothing() {
    let info = "# Server\r\nredis_mode:cluster\r\nrun_id:one\r\nrole:master\r\n";
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "INFO" => Act::Say(bulk(info)),
        _ => Act::Serve,
    });
    let spec = Spec { run_id: Some("one"), ..Spec::shard(&[&engine], Some(0)) }.timeouts(json!({"park": 0.3}));
    let proxy = Proxy::start(&spec);
    let refused = proxy.client().ask(&["SET", "key", "1"]);
    assert!(refused.contains("the node runs in cluster mode (cluster-enabled yes)"), "{refused}");
    assert!(engine.seen().iter().all(|request| request[0] == "INFO"));
}

/// Nobody sees a transaction's commands refused but EXEC.
#[test]
fn exec_tells_why_a_command_was_not_queued() {
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    for (multi, exec, told) in [
        ("+OK\r\n", aborted, format!("-EXECABORT Transaction discarded because of: {oom}")),
        (
            "-NOPERM no MULTI\r\n",
            "-ERR EXEC without MULTI\r\n",
            "-ERR INDOUBT commands were executed one by one, as the node refused MULTI: NOPERM no MULTI".into(),
        ),
        (
            "+OK\r\n",
            "-EXECABORT Transaction discarded because of: BUSY x\r\n",
            "-EXECABORT Transaction discarded because of: BUSY x".into(),
        ),
    ] {
        let engine = Engine::scripted(move |_, request| match request[0].as_str() {
            "MULTI" => Act::say(multi),
            "EXEC" => Act::say(exec),
            "SET" => Act::say("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
            _ => Act::Serve,
        });
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        let mut client = proxy.client();
        client.send_all(&[&["MULTI"], &["SET", "a", "1"], &["LPUSH", "a", "2"], &["EXEC"], &["GET", "a"]]);
        let replies: Vec<String> = (0..5).map(|_| client.reply()).collect();
        assert_eq!(replies, ["+OK", "+QUEUED", "+QUEUED", &told, &value("a")]);
    }
}

/// The engine closes the connection over a longer argument, and others share it.
#[test]
fn an_argument_longer_than_the_nodes_take_gets_no_further() {
    let engine = Engine::narrow(1 << 20, "-ERR Protocol error: invalid bulk length\r\n");
    let more = json!({"max_bulk": 1 << 20, "max_query": 4 << 20});
    let proxy = Proxy::start(&Spec { more, ..Spec::shard(&[&engine], Some(0)) });
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let most = "x".repeat(1 << 20);
    assert_eq!(client.ask(&["SET", "key", &most]), "+OK");
    client.send_bytes(format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${}\r\n", (1 << 20) + 1).as_bytes());
    let told = "-ERR Protocol error: invalid bulk length: the nodes take 1048576 bytes (proto-max-bulk-len, client-query-buffer-limit)";
    assert_eq!([client.reply(), client.reply()], [told, "<end>"]);
    assert_eq!(other.ask(&["GET", "key"]), value("key"));
    let mut queue = proxy.client();
    let mut replies = vec![queue.ask(&["MULTI"])];
    replies.extend((0..5).map(|_| queue.ask(&["SET", "key", &most])));
    let too_much = "-ERR the transaction is larger than the nodes take (client-query-buffer-limit), command not queued";
    assert_eq!(replies, ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", too_much, too_much]);
    assert_eq!(queue.ask(&["EXEC"]), "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(engine.connections().len(), 2, "one of them for large values");
}

/// One shard is full: the other has the keys it was given.
#[test]
fn a_write_over_shards_that_one_refuses_is_in_doubt() {
    let full = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let well = Engine::scripted(|_, request| match request[0].as_str() {
        "EXISTS" | "TOUCH" | "UNLINK" => Act::say(":1\r\n"),
        _ => Act::Serve,
    });
    let engines = [well, Engine::scripted(move |_, _| Act::say(full))];
    let proxy = Proxy::start(&Spec::shards(&engines));
    let mut client = proxy.client();
    let doubt = format!("-ERR INDOUBT executed by 1 of 2 shards: {}", full[1..].trim_end());
    for words in [&["MSET", "foo", "1", "bar", "2"][..], &["DEL", "foo", "bar"], &["UNLINK", "bar", "foo"]] {
        assert_eq!(client.ask(words), doubt, "{words:?}");
    }
    for words in
        [&["EXISTS", "foo", "bar"][..], &["MGET", "foo", "bar"], &["TOUCH", "foo", "bar"], &["MSET", "foo", "1"]]
    {
        assert_eq!(client.ask(words), full.trim_end(), "nothing was executed: {words:?}");
    }
}

#[test]
fn an_ordinary_error_is_the_clients_own() {
    let engine = Engine::scripted(|_, _| Act::say("-WRONGTYPE no\r\n"));
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(proxy.client().ask(&["GET", "key"]), "-WRONGTYPE no");
    assert_eq!(engine.seen().len(), 1);
}

/// A script may have changed data before it said this: `-TRYAGAIN` and the like in words that are not the engine's.
#[test]
fn a_script_that_fails_in_an_engines_words_runs_once() {
    let script: &[&str] = &["EVAL", "redis.call('INCR', KEYS[1]); return redis.error_reply('...')", "1", "key"];
    for word in ["READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "TRYAGAIN"] {
        let reply = format!("-{word} of its own");
        let engine = Engine::scripted(move |_, _| Act::say(&format!("-{word} of its own\r\n")));
        let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
        assert_eq!(proxy.client().ask(script), reply);
        assert_eq!(engine.count(script), 1);
    }
}

#[test]
fn a_script_whose_first_write_the_engine_refused_runs_again() {
    let script: &[&str] = &["EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "key"];
    let engine =
        refusing(2, "-READONLY You can't write against a read only replica. script: db8d8f63, on @user_script:1.\r\n");
    let replica = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine, &replica], Some(0)));
    assert_eq!(proxy.client().ask(script), "+OK");
    assert_eq!(engine.count(script), 3);
}

/// The transaction was executed, whatever one of its commands says.
#[test]
fn a_transaction_with_a_refusal_among_its_replies_runs_once() {
    let engine = Engine::scripted(|_, request| match request[0].as_str() {
        "EXEC" => Act::say("*2\r\n+OK\r\n-NOREPLICAS Not enough good replicas to write.\r\n"),
        "MULTI" => Act::say("+OK\r\n"),
        _ => Act::say("+QUEUED\r\n"),
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "key", "1"], &["EVAL", "return 1", "1", "key"], &["EXEC"]]);
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert!(replies[3].contains("NOREPLICAS"), "{replies:?}");
    assert_eq!(engine.count(&["EXEC"]), 1);
}
