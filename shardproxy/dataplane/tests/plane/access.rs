//! Who a client is, and what it may: in Redis' words, and checked before anything is queued or sent.

use serde_json::json;
use shardproxy_dataplane::{Access, AccessEvent, Event};

use crate::client::{request, value, Client};
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, user, Proxy, Spec};

const NOAUTH: &str = "-NOAUTH Authentication required.";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";
const NO_KEY: &str = "-NOPERM this user has no permissions to access one of the keys used as arguments";
const NO_CHANNEL: &str = "-NOPERM this user has no permissions to access one of the channels used as arguments";

fn no_command(name: &str) -> String {
    format!("-NOPERM this user has no permissions to run the '{name}' command")
}

const USERS: [(&str, &str); 3] = [
    ("default", "on >secret ~* &* +@all"),
    ("app", "on >word ~app:* %R~shared:* &app:* resetchannels &app:* +@all -flushall -exists"),
    ("gone", "off >word ~* &* +@all"),
];

fn as_app(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    assert_eq!(client.ask(&["AUTH", "app", "word"]), "+OK");
    client
}

/// What was told of accesses by now, once so many were.
fn told(proxy: &Proxy, count: usize) -> Vec<AccessEvent> {
    let mut found = Vec::new();
    until("accesses are told", || {
        found.extend(proxy.plane.take().into_iter().filter_map(|event| match event {
            Event::Access(event) => Some(*event),
            _ => None,
        }));
        found.len() >= count
    });
    found
}

#[test]
fn who_has_not_said_who_it_is_may_only_say_so() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&USERS));
    let mut client = proxy.client();
    for words in [&["GET", "key"][..], &["PING"], &["MULTI"], &["CLIENT", "ID"], &["SUBSCRIBE", "a"], &["DBSIZE"]] {
        assert_eq!(client.ask(words), NOAUTH, "{words:?}");
    }
    assert_eq!(client.ask(&["GET"]), "-ERR wrong number of arguments for 'get' command");
    assert!(client.ask(&["NOSUCH", "a"]).starts_with("-ERR unknown command 'NOSUCH'"));
    assert!(client.ask(&["HELLO", "3"]).starts_with("-NOAUTH HELLO must be called with the client already"));
    assert_eq!(client.ask(&["HELLO", "4", "AUTH", "default", "secret"]), "-NOPROTO unsupported protocol version");
    assert_eq!(client.ask(&["HELLO", "3", "NONE"]), "-ERR Syntax error in HELLO option 'NONE'");
    for words in [&["AUTH", "wrong"][..], &["AUTH", "gone", "word"], &["AUTH", "nobody", "word"], &["AUTH", "", ""]] {
        assert_eq!(client.ask(words), WRONGPASS);
    }
    assert_eq!(client.ask(&["HELLO", "3", "AUTH", "app", "secret"]), WRONGPASS);
    assert_eq!(client.ask(&["AUTH", "a", "b", "c"]), "-ERR syntax error");
    assert_eq!(client.ask(&["GET", "key"]), NOAUTH, "nothing of that has let it in");
    assert_eq!(client.ask(&["AUTH", "secret"]), "+OK");
    assert_eq!(client.ask(&["GET", "key"]), value("key"));
    assert_eq!(client.ask(&["RESET"]), "+RESET");
    assert_eq!(client.ask(&["GET", "key"]), NOAUTH);
    assert!(client.ask(&["HELLO", "3", "AUTH", "app", "word", "SETNAME", "me"]).starts_with("%7\r\n"));
    assert_eq!(client.ask(&["CLIENT", "GETNAME"]), value("me"));
    assert_eq!(client.ask(&["ACL", "WHOAMI"]), value("app"));
    assert_eq!(proxy.plane.clients()[0].user, "app");
    assert_eq!(engine.seen(), [["GET", "key"]]);
}

#[test]
fn who_needs_no_password_is_default_and_everybody_else_is_nobody() {
    let engine = Engine::plain();
    for spec in [
        Spec::shard(&[&engine], Some(0)),
        Spec::shard(&[&engine], Some(0)).users(&[("default", "on nopass ~* &* +@all")]),
    ] {
        let proxy = Proxy::start(&spec);
        let mut client = proxy.client();
        let unasked = "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
        assert_eq!(client.ask(&["AUTH", "any"]), unasked);
        assert_eq!(client.ask(&["AUTH", "default", "any"]), "+OK");
        assert_eq!(client.ask(&["AUTH", "other", "any"]), WRONGPASS);
        assert_eq!(client.ask(&["GET", "key"]), value("key"), "it stays who it was");
        assert_eq!(client.ask(&["ACL", "WHOAMI"]), value("default"));
    }
}

#[test]
fn a_user_may_what_its_rules_say() {
    let engines = [Engine::plain(), Engine::plain()];
    let proxy = Proxy::start(&Spec::shards(&engines).users(&USERS));
    let mut client = as_app(&proxy);
    for (words, expected) in [
        (&["SET", "app:1", "x"][..], "+OK".to_owned()),
        (&["GET", "app:1"], value("app:1")),
        (&["GET", "shared:1"], value("shared:1")),
        (&["SET", "shared:1", "x"], NO_KEY.into()),
        (&["GET", "other"], NO_KEY.into()),
        (&["MGET", "app:1", "other"], NO_KEY.into()),
        (&["DEL", "app:1", "app:2", "other"], NO_KEY.into()),
        (&["EVAL", "return 1", "1", "other"], NO_KEY.into()),
        (&["BLPOP", "other", "0"], NO_KEY.into()),
        (&["WATCH", "other"], NO_KEY.into()),
        (
            &["SORT", "app:{1}", "BY", "app:{1}:*"],
            "-ERR BY option of SORT denied due to insufficient ACL permissions.".into(),
        ),
        (&["FLUSHALL"], no_command("flushall")),
        (&["EXISTS", "app:1"], no_command("exists")),
        (&["PUBLISH", "other", "x"], NO_CHANNEL.into()),
        (&["SUBSCRIBE", "app:1", "other"], NO_CHANNEL.into()),
        (&["PSUBSCRIBE", "app:1*"], NO_CHANNEL.into()),
        (&["ACL", "WHOAMI"], value("app")),
    ] {
        assert_eq!(client.ask(words), expected, "{words:?}");
    }
    let seen: Vec<Vec<String>> = engines.iter().flat_map(Engine::seen).collect();
    assert!(seen.iter().flatten().all(|word| !word.contains("other")), "{seen:?}");
    assert!(client.ask(&["PSUBSCRIBE", "app:*"]).starts_with("*3"));
    let mut newer = Proxy::start(&Spec { version: "7.2.4", ..Spec::shards(&engines).users(&USERS) });
    let mut client = as_app(&newer);
    let replies = [&["FLUSHALL"][..], &["GET", "other"], &["PUBLISH", "other", "x"]].map(|words| client.ask(words));
    assert_eq!(
        replies,
        [
            "-NOPERM User app has no permissions to run the 'flushall' command",
            "-NOPERM No permissions to access a key",
            "-NOPERM No permissions to access a channel"
        ]
    );
    newer.apply(&Spec::shards(&engines));
}

#[test]
fn what_is_refused_is_told_with_its_object() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&USERS));
    let mut client = proxy.client();
    let long = "o".repeat(1000);
    let requests: [&[&str]; 9] = [
        &["GET", "key"],
        &["AUTH", "wrong"],
        &["AUTH", "gone", "word"],
        &["AUTH", "app", "word"],
        &["FLUSHALL"],
        &["MULTI"],
        &["GET", &long],
        &["PUBLISH", "other", "x"],
        &["DISCARD"],
    ];
    client.send_all(&requests);
    for _ in 0..requests.len() {
        drop(client.reply());
    }
    let events = told(&proxy, 7);
    let shown: Vec<_> = events
        .iter()
        .map(|event| (event.kind, &*event.user, &*event.why, &event.object[..], event.is_in_multi))
        .collect();
    let denied = |why: &'static str, object: &'static str, is_in_multi| {
        (Access::Denied, "app", why, object.as_bytes(), is_in_multi)
    };
    assert_eq!(shown[0], (Access::Denied, "", "auth", &b"get"[..], false));
    assert_eq!(shown[1], (Access::LoginRefused, "default", "password", &b"AUTH"[..], false));
    assert_eq!(shown[2], (Access::LoginRefused, "gone", "disabled", &b"AUTH"[..], false));
    assert_eq!(shown[3], (Access::Login, "app", "", &b""[..], false));
    assert_eq!(shown[4], denied("command", "flushall", false));
    assert_eq!(shown[5], (Access::Denied, "app", "key", &long.as_bytes()[..256], true));
    assert_eq!(shown[6], denied("channel", "other", true));
    assert_eq!((&*events[0].cluster, events[0].endpoint), ("test", "configuration"));
    assert!(events.iter().all(|event| !format!("{event:?}").contains("wrong")));
    assert!(events[0].address.starts_with("127.0.0.1:"));
    for _ in 0..1000 {
        client.send(&["FLUSHALL"]);
    }
    (0..1000).for_each(|_| drop(client.reply()));
    until("the others are counted", || proxy.plane.statistics()["access_untold"].as_u64() > Some(0));
    let counted = || {
        let accesses = proxy.plane.statistics()["accesses"].clone();
        let commands = accesses.as_array().unwrap().iter().find(|of| of[2] == "command").cloned();
        commands.and_then(|of| of[3].as_u64())
    };
    until("each is counted", || counted() == Some(1001));
}

#[test]
fn before_it_says_who_it_is_a_client_may_not_say_much() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&USERS));
    for (bytes, expected) in [
        (&b"*11\r\n"[..], "-ERR Protocol error: unauthenticated multibulk length"),
        (b"*2\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length"),
    ] {
        let mut client = proxy.client();
        client.send_bytes(bytes);
        assert_eq!([client.reply(), client.reply()], [expected, "<end>"]);
    }
    let mut client = proxy.client();
    let long = "x".repeat(16384);
    assert_eq!(client.ask(&["AUTH", "app", &long]), WRONGPASS);
    let twelve = ["MGET", "app:1", "app:2", "3", "4", "5", "6", "7", "8", "9", "10", "11"];
    let both = [request(&["AUTH", "secret"]), request(&twelve)].concat();
    client.send_bytes(&both);
    assert_eq!(client.reply(), "+OK");
    let reply = client.reply();
    assert!(reply.starts_with("*11\r\n"), "{reply}: what comes behind AUTH is taken as its user's");
    client.send_bytes(&[request(&["RESET"]), request(&twelve)].concat());
    assert_eq!([client.reply(), client.reply()], ["+RESET", "-ERR Protocol error: unauthenticated multibulk length"]);
}

#[test]
fn a_refused_command_breaks_its_transaction() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&USERS));
    let mut client = as_app(&proxy);
    let requests: [&[&str]; 4] = [&["MULTI"], &["SET", "other", "1"], &["SET", "app:1", "1"], &["EXEC"]];
    client.send_all(&requests);
    let replies = requests.map(|_| client.reply());
    assert_eq!(replies, ["+OK", NO_KEY, "+QUEUED", "-EXECABORT Transaction discarded because of previous errors."]);
    assert!(engine.seen().is_empty());
    let mut proxy =
        Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&[("default", "on nopass ~* &* +@all -exec")]));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "a", "1"], &["EXEC"], &["GET", "a"]]);
    assert_eq!([client.reply(), client.reply()], ["+OK", "+QUEUED"]);
    assert_eq!(client.reply(), format!("-EXECABORT Transaction discarded because of: {}", &no_command("exec")[1..]));
    assert_eq!(client.reply(), value("a"));
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
}

#[test]
fn a_transaction_is_judged_again_when_rights_have_changed() {
    let engine = Engine::pinged(|_, _| Act::Serve);
    let spec = |rules| Spec::shard(&[&engine], Some(0)).users(&[("default", rules)]);
    let mut proxy = Proxy::start(&spec("on nopass ~* &* +@all"));
    let mut client = proxy.client();
    client.send_all(&[&["MULTI"], &["SET", "app:1", "1"], &["GET", "other"], &["INCR", "app:2"], &["CLIENT", "ID"]]);
    (0..5).for_each(|_| drop(client.reply()));
    proxy.apply(&spec("on nopass ~app:* &* +@all -incr"));
    let why = |reason: &str| {
        format!(
            "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: {reason}"
        )
    };
    let reply = client.ask(&["EXEC"]);
    let lines: Vec<&str> = reply.split("\r\n").collect();
    assert_eq!(lines[..2], ["*4", "+OK"]);
    assert_eq!(lines[2], why("no permission to touch the specified keys"));
    assert_eq!(lines[3], why("no permission to execute the command or subcommand"));
    assert!(lines[4].starts_with(':'));
    assert_eq!(engine.count(&["SET", "app:1", "1"]), 1);
    assert_eq!(engine.count(&["GET", "other"]) + engine.count(&["INCR", "app:2"]), 0);
    client.send_all(&[&["MULTI"], &["SET", "app:1", "2"], &["EXEC"]]);
    assert_eq!([client.reply(), client.reply(), client.reply()], ["+OK", "+QUEUED", "*1\r\n+OK"]);
}

#[test]
fn who_logs_in_within_a_transaction_is_the_other_user_behind_it() {
    let engine = Engine::pinged(|_, _| Act::Serve);
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&USERS));
    let mut client = proxy.client();
    assert_eq!(client.ask(&["AUTH", "secret"]), "+OK");
    client.send_all(&[&["MULTI"], &["GET", "other"], &["AUTH", "app", "bad"], &["AUTH", "app", "word"]]);
    client.send_all(&[&["GET", "other"], &["ACL", "WHOAMI"], &["EXEC"], &["GET", "other"]]);
    assert_eq!(client.reply(), "+OK");
    (0..5).for_each(|_| assert_eq!(client.reply(), "+QUEUED"));
    let reply = client.reply();
    assert!(
        reply.starts_with(&format!("*5\r\n{}\r\n{WRONGPASS}\r\n+OK\r\n-NOPERM ACLs rules changed", value("other"))),
        "{reply}"
    );
    assert!(reply.ends_with(&value("app")), "{reply}");
    assert_eq!(client.reply(), NO_KEY);
}

#[test]
fn what_clients_may_changes_with_the_users() {
    let engine = Engine::plain();
    let spec = |users: &[(&str, &str)]| Spec::shard(&[&engine], Some(0)).users(users);
    let all = "on >word ~* &* +@all";
    let mut proxy = Proxy::start(&spec(&[("default", "on nopass ~* &* +@all"), ("a", all), ("b", all), ("c", all)]));
    let mut anybody = proxy.client();
    let mut named: Vec<Client> = ["a", "b", "c"]
        .map(|name| {
            let mut client = proxy.client();
            assert_eq!(client.ask(&["AUTH", name, "word"]), "+OK");
            client
        })
        .into();
    assert_eq!(anybody.ask(&["GET", "key"]), value("key"));
    proxy.plane.take();
    proxy.apply(&spec(&[
        ("default", "on nopass ~* &* +@all -get"),
        ("a", "on >other ~a* &* +@all"),
        ("b", "off >word ~* &* +@all"),
    ]));
    assert_eq!(anybody.ask(&["GET", "key"]), no_command("get"));
    assert_eq!([named[0].ask(&["GET", "key"]), named[0].ask(&["GET", "a"])], [NO_KEY.to_owned(), value("a")]);
    assert_eq!([named[1].reply(), named[2].reply()], ["<end>", "<end>"], "disabled, and gone");
    let closed: Vec<String> =
        told(&proxy, 2).into_iter().filter(|e| e.kind == Access::RulesChanged).map(|e| e.user).collect();
    assert_eq!(closed, ["b", "c"]);
    assert_eq!(proxy.statistic("/closed/rules_changed"), 2);
    proxy.apply(&spec(&[("default", "on >secret ~* &* +@all"), ("a", "on >other ~a* &* +@all")]));
    assert_eq!(anybody.reply(), "<end>", "who has not said who it is has to, by now");
    let mut late = proxy.client();
    assert_eq!(late.ask(&["GET", "key"]), NOAUTH);
    proxy.apply(&spec(&[("default", "on nopass ~* &* +@all"), ("a", "on >other ~a* &* +@all")]));
    assert_eq!(late.ask(&["GET", "key"]), value("key"), "and has not to, any more");
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(named[0].reply(), "<end>", "there are no users any more");
    assert_eq!(late.ask(&["GET", "key"]), value("key"));
}

#[test]
fn who_subscribes_to_what_it_may_not_hear_any_more_is_closed() {
    let engine = Engine::plain();
    let spec = |rules| Spec::shard(&[&engine], Some(0)).users(&[("default", rules)]);
    let mut proxy = Proxy::start(&spec("on nopass ~* resetchannels &a* &b* +@all"));
    let hearing = |words: &[&str]| {
        let mut client = proxy.client();
        assert!(client.ask(words).starts_with("*3"));
        client
    };
    let mut clients = [
        hearing(&["SUBSCRIBE", "a1"]),
        hearing(&["SUBSCRIBE", "b1"]),
        hearing(&["PSUBSCRIBE", "b*"]),
        hearing(&["SSUBSCRIBE", "b2"]),
    ];
    proxy.apply(&spec("on nopass ~* resetchannels &a* +@all"));
    clients[1..].iter_mut().for_each(|client| assert_eq!(client.reply(), "<end>"));
    assert!(clients[0].ask(&["SUBSCRIBE", "a2"]).starts_with("*3"));
    assert_eq!(clients[0].ask(&["SUBSCRIBE", "b1"]), NO_CHANNEL);
}

#[test]
fn one_bad_rule_and_nothing_changes() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&USERS));
    let bad = Spec::shard(&[&engine], Some(0)).users(&[("default", "on nopass ~* ~app:*")]).json("test", 9);
    let cluster = shardproxy_dataplane::Cluster::parse(bad.as_bytes()).unwrap();
    let error = format!("{:?}", proxy.plane.apply(cluster).unwrap_err());
    assert!(error.contains("default") && error.contains("Invalid"), "{error}");
    assert_eq!(proxy.client().ask(&["GET", "key"]), NOAUTH);
}

/// A user that the control plane vouches for.
fn verified(session: f64) -> serde_json::Value {
    let mut found = user("iam", "on verified ~* &* +@all");
    found["session"] = json!(session);
    json!({"users": [user("default", "off ~* &* +@all"), found]})
}

#[test]
fn the_control_plane_vouches_for_users_that_are_verified() {
    let engine = Engine::plain();
    let spec = |session| Spec { access: verified(session), ..Spec::shard(&[&engine], Some(0)) };
    let proxy = Proxy::start(&spec(0.0));
    let mut client = proxy.client();
    client.send_all(&[&["AUTH", "iam", "token"], &["GET", "key"]]);
    let offload = proxy.offload();
    assert_eq!(offload.arguments, [&b"AUTH"[..], b"iam", b"token"]);
    proxy.plane.answer(offload.token, format!("{WRONGPASS}\r\n").into_bytes());
    assert_eq!([client.reply(), client.reply()], [WRONGPASS, NOAUTH]);
    client.send_all(&[
        &["HELLO", "3", "SETNAME", "me", "AUTH", "iam", "token"],
        &["GET", "key"],
        &["CLIENT", "GETNAME"],
    ]);
    let offload = proxy.offload();
    assert_eq!(offload.arguments, [&b"AUTH"[..], b"iam", b"token"]);
    proxy.plane.answer(offload.token, b"+OK\r\n".to_vec());
    assert!(client.reply().starts_with("%7\r\n"));
    assert_eq!([client.reply(), client.reply()], [value("key"), value("me")]);
    let kinds: Vec<(Access, String)> = told(&proxy, 1).into_iter().map(|event| (event.kind, event.user)).collect();
    assert_eq!(kinds, [(Access::Login, "iam".to_owned())]);
    client.send_all(&[&["MULTI"], &["AUTH", "iam", "token"], &["EXEC"]]);
    assert_eq!(client.reply(), "+OK");
    assert_eq!(client.reply(), "-ERR AUTH of a user that is verified elsewhere is not possible inside MULTI");
    assert!(client.reply().starts_with("-EXECABORT"));
    assert_eq!(client.ask(&["AUTH", "default", "word"]), WRONGPASS);
}

#[test]
fn a_session_ends_unless_it_is_prolonged() {
    let gate = Gate::closed();
    let held = gate.clone();
    let engine = Engine::scripted(move |_, request| match request[0].as_str() {
        "GETSET" => Act::Serve.behind(&held),
        _ => Act::Serve,
    });
    let proxy = Proxy::start(&Spec { access: verified(1.5), ..Spec::shard(&[&engine], Some(0)) });
    let log_in = |client: &mut Client| {
        client.send(&["AUTH", "iam", "token"]);
        proxy.plane.answer(proxy.offload().token, b"+OK\r\n".to_vec());
        assert_eq!(client.reply(), "+OK");
    };
    let mut clients = [proxy.client(), proxy.client(), proxy.client(), proxy.client()];
    clients.iter_mut().for_each(log_in);
    let [idle, waiting, busy, prolonged] = &mut clients;
    waiting.send(&["BLPOP", "list", "0"]);
    busy.send(&["GETSET", "key", "1"]);
    let over = "-ERR the session of this user is over: connect and authenticate again";
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(400)); // half as long again as a session lasts
        log_in(prolonged);
    }
    assert_eq!([idle.reply(), idle.reply()], [over, "<end>"]);
    assert_eq!(waiting.reply(), "<end>", "there is no saying anything before BLPOP's reply");
    gate.open();
    assert_eq!(busy.reply(), "+OK");
    assert_eq!([busy.reply(), busy.reply()], [over, "<end>"], "what it was owed comes first");
    assert_eq!(prolonged.ask(&["GET", "key"]), value("key"));
    until("they are closed", || proxy.statistic("/closed/session_over") == 3);
}

#[test]
fn who_monitors_hears_no_secret() {
    let engine = Engine::plain();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).users(&USERS));
    let (mut monitor, mut client) = (as_app(&proxy), proxy.client());
    assert_eq!(monitor.ask(&["MONITOR"]), "+OK");
    client.send_all(&[&["AUTH", "app", "word"], &["HELLO", "2", "AUTH", "default", "secret"], &["GET", "key"]]);
    (0..3).for_each(|_| drop(client.reply()));
    let heard: Vec<String> = (0..3).map(|_| monitor.reply()).collect();
    assert!(heard[0].ends_with(r#""AUTH" "(redacted)" "(redacted)""#), "{heard:?}");
    assert!(heard[1].ends_with(r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)""#), "{heard:?}");
    assert!(heard[2].ends_with(r#""GET" "key""#), "{heard:?}");
}

/// Whoever is learned about a moment later is judged by what was learned.
#[test]
fn a_learned_command_is_judged_by_its_rules() {
    let engine = Engine::plain();
    let proxy = Proxy::start(
        &Spec::shard(&[&engine], Some(0))
            .users(&[("default", "on nopass ~* &* +@all -newget"), ("app", "on >word ~app:* +newget")]),
    );
    let (mut client, mut app) = (proxy.client(), proxy.client());
    assert_eq!(app.ask(&["AUTH", "app", "word"]), "+OK");
    client.send(&["NEWGET", "key"]);
    let token = proxy.offload().token;
    proxy.plane.learn(&crate::offloads::table_with("newget", &json!({}))).unwrap();
    proxy.plane.retry(token);
    assert_eq!(client.reply(), no_command("newget"));
    assert_eq!([app.ask(&["NEWGET", "app:1"]), app.ask(&["NEWGET", "b"])], ["+OK", NO_KEY]);
    assert_eq!(app.ask(&["GET", "app:1"]), no_command("get"));
}
