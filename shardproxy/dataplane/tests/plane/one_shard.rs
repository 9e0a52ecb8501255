//! A cluster of one shard is one engine; when it gets more shards, nothing of that is left half done.

use serde_json::{json, Value};

use crate::client::value;
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const NO_DATABASE: &str =
    "-ERR DB index is out of range: this cluster has no such database, command not executed (SELECT 0)";
const ABORTED: &str =
    "-EXECABORT Transaction discarded because of: the cluster has several shards now, and it needs one";
const CROSSSLOT: &str = "-CROSSSLOT Keys in request don't hash to the same slot";

#[test]
fn a_transaction_that_selects_leads_the_shared_connection_back() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    assert_eq!(other.ask(&["GET", "warm"]), value("warm"));
    engine.forget();
    client.send_all(&[&["MULTI"], &["SELECT", "3"], &["SET", "a", "1"], &["EXEC"], &["SET", "b", "1"]]);
    let replies: Vec<String> = (0..5).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "+QUEUED", "+QUEUED", "*2\r\n+OK\r\n+OK", "+OK"]);
    assert_eq!(other.ask(&["GET", "k"]), value("k"));
    let within = [&["MULTI"][..], &["SELECT", "3"], &["SET", "a", "1"], &["SELECT", "0"], &["EXEC"], &["GET", "k"]];
    let connections = engine.connections();
    assert_eq!(connections[0].requests, within);
    assert_eq!(
        connections[1].requests,
        [&["SELECT", "3"][..], &["SET", "b", "1"]],
        "its next one goes where it is now"
    );
}

#[test]
fn a_transaction_that_selects_is_sent_again_with_its_way_back() {
    let new = Engine::plain();
    let old = Engine::scripted(|_, request| match request[0].as_str() {
        "MULTI" => Act::say("+OK\r\n"),
        "EXEC" => Act::say("-EXECABORT Transaction discarded because of previous errors.\r\n"),
        _ => Act::say("-READONLY You can't write against a read only replica.\r\n"),
    });
    let mut proxy = Proxy::start(&Spec::shard(&[&old, &new], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SELECT", "3"], &["SET", "a", "1"], &["EXEC"]]);
    old.wait_for(&["EXEC"]);
    proxy.apply(&Spec::shard(&[&old, &new], Some(1)));
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "+QUEUED", "+QUEUED", "*2\r\n+OK\r\n+OK"]);
    assert_eq!(new.seen(), [&["MULTI"][..], &["SELECT", "3"], &["SET", "a", "1"], &["SELECT", "0"], &["EXEC"]]);
}

#[test]
fn a_lost_transaction_chooses_no_database() {
    let engine = Engine::scripted(|number, request| match (number, request[0].as_str()) {
        (0, "EXEC") => Act::cut(""),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SELECT", "3"], &["SET", "a", "1"], &["EXEC"], &["GET", "b"]]);
    (0..3).for_each(|_| assert!(client.reply().starts_with('+')));
    assert!(client.reply().starts_with("-ERR INDOUBT shard 0"));
    assert_eq!(client.reply(), value("b"));
    assert_eq!(engine.connections()[1].requests, [["GET", "b"]]);
}

#[test]
fn the_connection_s_own_commands_are_done_when_exec_is_answered() {
    let engine = Engine::pinged(|_, _| Act::Serve);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    let set = &["CLIENT", "SETNAME", "x"][..];
    client.send_all(&[&["MULTI"], set, &["DISCARD"], &["CLIENT", "GETNAME"]]);
    let replies: Vec<String> = (0..4).map(|_| client.reply()).collect();
    assert_eq!(replies, ["+OK", "+QUEUED", "+OK", "$-1"]);
    client.send_all(&[&["MULTI"], set, &["GET", "a"], &["CLIENT", "GETNAME"], &["EXEC"], &["CLIENT", "GETNAME"]]);
    (0..4).for_each(|_| assert!(client.reply().starts_with('+')));
    assert_eq!(client.reply(), "*3\r\n+OK\r\n$1\r\na\r\n$1\r\nx");
    assert_eq!(client.reply(), "$1\r\nx");
    assert_eq!(engine.seen(), [&["MULTI"][..], &["PING"], &["GET", "a"], &["PING"], &["EXEC"]]);
}

#[test]
fn several_shards_take_nothing_up_that_only_one_can_do() {
    let engines = [Engine::plain(), Engine::plain()];
    let one = || Spec::shard(&[&engines[0]], Some(0));
    let mut proxy = Proxy::start(&one());
    let (mut crossing, mut watching, mut whole) = (proxy.client(), proxy.client(), proxy.client());
    let (mut elsewhere, mut parked, mut single) = (proxy.client(), proxy.client(), proxy.client());
    for words in [&["MULTI"][..], &["SET", "a", "1"], &["SET", "b", "1"]] {
        assert!(crossing.ask(words).starts_with('+'));
    }
    for words in [&["WATCH", "a", "b"][..], &["MULTI"], &["SET", "a", "1"]] {
        assert!(watching.ask(words).starts_with('+'));
    }
    for words in [&["MULTI"][..], &["FLUSHALL"]] {
        assert!(whole.ask(words).starts_with('+'));
    }
    for words in [&["MULTI"][..], &["SET", "a", "1"]] {
        assert!(single.ask(words).starts_with('+'));
    }
    assert_eq!(elsewhere.ask(&["SELECT", "3"]), "+OK");
    assert_eq!(parked.ask(&["SELECT", "3"]), "+OK");
    proxy.apply(&Spec::shard(&[&engines[0]], None));
    parked.send(&["SET", "a", "parked"]);
    until("it waits", || proxy.pending() == 1);
    let before = engines[0].asked("SET");
    proxy.apply(&Spec::shards(&engines));
    assert_eq!(parked.reply(), NO_DATABASE);
    for client in [&mut crossing, &mut watching, &mut whole] {
        assert_eq!(client.ask(&["EXEC"]), ABORTED);
        assert_eq!(client.ask(&["GET", "a"]), value("a"));
    }
    for words in [&["SET", "a", "1"][..], &["MGET", "a", "b"], &["BLPOP", "a", "1"], &["WATCH", "a"], &["DBSIZE"]] {
        assert_eq!(elsewhere.ask(words), NO_DATABASE, "{words:?}");
    }
    for words in [&["MULTI"][..], &["GET", "a"]] {
        assert!(elsewhere.ask(words).starts_with('+'));
    }
    assert_eq!(elsewhere.ask(&["EXEC"]), NO_DATABASE);
    assert_eq!(elsewhere.ask(&["SELECT", "0"]), "+OK");
    assert_eq!(elsewhere.ask(&["GET", "a"]), value("a"));
    assert_eq!(engines[0].asked("SET"), before);
    assert_eq!(single.ask(&["EXEC"]), "*1\r\n+OK");
    assert_eq!(single.ask(&["RENAME", "a", "b"]), CROSSSLOT);
    proxy.apply(&one());
    assert_eq!(single.ask(&["RENAME", "a", "b"]), "+OK");
}

#[test]
fn who_is_to_wait_for_keys_of_several_shards_is_told() {
    let gate = Gate::closed();
    let held = gate.clone();
    let taciturn =
        Engine::scripted(move |_, request| match (request[0].as_str(), request.get(1).map(String::as_str)) {
            ("CLIENT", Some("ID")) => Act::say(":7\r\n").behind(&held),
            _ => Act::Serve,
        });
    let patience = json!({"connect": 60});
    let engines = [taciturn, Engine::plain()];
    let mut proxy = Proxy::start(&Spec::shard(&[&engines[0]], Some(0)).timeouts(patience.clone()));
    let mut client = proxy.client();
    client.send(&["BLPOP", "a", "b", "0"]);
    engines[0].wait_for(&["CLIENT", "ID"]);
    proxy.apply(&Spec::shards(&engines).timeouts(patience));
    assert_eq!(client.reply(), CROSSSLOT);
    gate.open();
    assert_eq!(engines[0].asked("BLPOP"), 0);
}

/// One shard whose config says more about it.
fn serving(engine: &Engine, more: &Value) -> Proxy {
    let mut cluster: Value = serde_json::from_str(&Spec::shard(&[engine], Some(0)).json("test", 1)).unwrap();
    cluster.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Proxy::serving(1, &cluster)
}

#[test]
fn a_strict_shard_refuses_what_several_would() {
    let engine = Engine::plain();
    let proxy = serving(&engine, &json!({"strict": true}));
    let mut client = proxy.client();
    for words in
        [&["RENAME", "a", "b"][..], &["SUNIONSTORE", "a", "b", "c"], &["BLPOP", "a", "b", "1"], &["WATCH", "a", "b"]]
    {
        assert_eq!(client.ask(words), CROSSSLOT, "{words:?}");
    }
    assert_eq!(client.ask(&["SELECT", "1"]), "-ERR SELECT is not allowed in cluster mode");
    assert_eq!(client.ask(&["SWAPDB", "0", "1"]), "-ERR SWAPDB is not allowed in cluster mode");
    assert!(client.ask(&["SORT", "a", "BY", "w_*"]).starts_with("-ERR BY option of SORT"));
    assert_eq!(client.ask(&["SELECT", "0"]), "+OK");
    assert_eq!(client.ask(&["MGET", "a", "b"]), "*2\r\n$1\r\na\r\n$1\r\nb");
    assert_eq!(engine.seen(), [["MGET", "a", "b"]]);
    assert!(client.ask(&["HELLO", "3"]).contains("mode\r\n$7\r\ncluster"));
    assert_eq!(proxy.plane.statistics()["clusters"]["test"]["relaxed"], json!({}));
}

#[test]
fn clients_select_as_many_databases_as_the_config_says() {
    let engine = Engine::plain();
    let proxy = serving(&engine, &json!({"databases": 4}));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["SELECT", "4"]), "-ERR DB index is out of range");
    assert_eq!(client.ask(&["SELECT", "3"]), "+OK");
    assert_eq!(client.ask(&["MOVE", "k", "4"]), "+OK", "the engine refuses it");
    assert_eq!(client.ask(&["COPY", "a", "b", "DB", "15"]), "+OK");
    assert_eq!(client.ask(&["SWAPDB", "4", "2"]), "+OK");
    let seen = [&["SELECT", "3"][..], &["MOVE", "k", "-1"], &["COPY", "a", "b", "DB", "-1"], &["SWAPDB", "-1", "2"]];
    assert_eq!(engine.seen(), seen);
    assert!(client.ask(&["HELLO", "3"]).contains("mode\r\n$10\r\nstandalone"));
}

#[test]
fn what_databases_the_engine_lacks_is_learned() {
    let engine = Engine::scripted(|_, request| match (request[0].as_str(), request.get(1).map(String::as_str)) {
        ("SELECT", Some("7" | "9")) => Act::say("-ERR DB index is out of range\r\n"),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    for (database, words) in [("9", &["BLPOP", "list", "0"][..]), ("7", &["SET", "a", "1"]), ("7", &["GET", "a"])] {
        let is_known = client.ask(&["SELECT", database]) != "+OK";
        assert_eq!(is_known, words[0] == "GET");
        assert_eq!(client.ask(words), NO_DATABASE, "{words:?}");
    }
    assert_eq!(client.ask(&["SELECT", "9"]), "-ERR DB index is out of range");
    assert_eq!(client.ask(&["SELECT", "6"]), "+OK");
    assert_eq!(client.ask(&["GET", "a"]), value("a"));
    assert!(proxy.losses().is_empty(), "the node is well");
}

#[test]
fn what_several_shards_would_refuse_is_counted_with_an_example() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    for words in [
        &["RENAME", "user:17:name", "user:18:name"][..],
        &["RENAME", "a", "b"],
        &["RENAME", "{t}a", "{t}b"],
        &["MGET", "a", "b", "c"],
        &["EVAL", "return 1", "2", "{q}:1", "other"],
        &["SORT", "list", "BY", "w_*"],
        &["SELECT", "5"],
        &["SELECT", "0"],
        &["MULTI"],
        &["SET", "a", "1"],
        &["SET", "b:1", "1"],
        &["RENAME", "c", "d"],
        &["FLUSHALL"],
        &["EXEC"],
        &["WATCH", "a"],
        &["WATCH", "b"],
        &["UNWATCH"],
    ] {
        client.ask(words);
    }
    let expected = json!({
        "rename": {"count": 2, "example": "RENAME user:#:name user:#:name"},
        "eval": {"count": 1, "example": "EVAL {q}:# other"},
        "sort": {"count": 1, "example": "SORT list"},
        "select": {"count": 1, "example": "SELECT"},
        "multi": {"count": 1, "example": "MULTI ... SET b:#"},
        "watch": {"count": 1, "example": "WATCH b"},
    });
    assert_eq!(proxy.plane.statistics()["clusters"]["test"]["relaxed"], expected);
}
