//! Users of a memcached cluster: who they are, and that what one may not leaves the next request in its place.

use serde_json::{json, Value};
use shardproxy_dataplane::{Access, Cluster, Event};

use crate::cache::{pool, Cache, Rest};
use crate::client::Client;
use crate::proxy::{user, Proxy};

const DENIED: &str = "CLIENT_ERROR this user has no permissions to run this command";
const NO_KEY: &str = "CLIENT_ERROR this user has no permissions to access one of the keys";

fn with_users(node: &Cache, epoch: u64, rules: &str) -> Value {
    let users =
        json!({"users": [user("me", rules), user("gone", "off >word ~* +@all"), user("iam", "on verified ~* +@all")]});
    let mut spec = pool(&[node]);
    spec["access"] = users;
    spec["epoch"] = json!(epoch);
    spec["limits"] = json!({"request": 10_000});
    spec
}

fn log_in(client: &mut Client, text: &str) -> String {
    client.send_bytes(format!("set any 0 0 {}\r\n{text}\r\n", text.len()).as_bytes());
    client.line()
}

fn lines<const N: usize>(client: &mut Client, bytes: &str) -> [String; N] {
    client.send_bytes(bytes.as_bytes());
    [(); N].map(|()| client.line())
}

#[test]
fn who_is_no_user_gets_nothing() {
    let node = Cache::start(1000, Rest::Swallowed);
    let proxy = Proxy::serving(1, &with_users(&node, 1, "on >secret ~* +@all"));
    let mut client = proxy.client();
    assert_eq!(lines(&mut client, "get a\r\n"), ["CLIENT_ERROR unauthenticated"]);
    for text in ["me wrong", "ME secret", "gone word", "nobody x", "iam token", "me secre"] {
        assert_eq!(log_in(&mut client, text), "CLIENT_ERROR authentication failure", "{text}");
    }
    assert_eq!(log_in(&mut client, "me secret"), "STORED");
    assert_eq!(lines(&mut client, "get a\r\nset a 0 0 1\r\nx\r\n"), ["VALUE a 0 1", "a", "END", "STORED"]);
    let events = proxy.plane.take();
    let kinds: Vec<(Access, &str, &str)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Access(event) => Some((event.kind, &*event.user, &*event.why)),
            _ => None,
        })
        .collect();
    assert_eq!(kinds[0], (Access::LoginRefused, "me", "password"));
    assert_eq!(
        kinds[2..5],
        [
            (Access::LoginRefused, "gone", "disabled"),
            (Access::LoginRefused, "nobody", "unknown"),
            (Access::LoginRefused, "iam", "verifier"),
        ]
    );
    assert_eq!(kinds[6..], [(Access::Login, "me", "")]);
}

#[test]
fn what_a_user_may_not_is_refused_whole() {
    let node = Cache::start(1000, Rest::Swallowed);
    let proxy = Proxy::serving(1, &with_users(&node, 1, "on >secret ~app:* %R~shared:* +@read +set +del"));
    let mut client = proxy.client();
    assert_eq!(log_in(&mut client, "me secret"), "STORED");
    assert_eq!(
        lines(&mut client, "set app:1 0 0 5\r\nget x\r\nget shared:1\r\n"),
        ["STORED", "VALUE shared:1 0 8", "shared:1", "END"]
    );
    for (request, expected) in [
        ("set shared:1 0 0 5\r\nget x\r\n", NO_KEY),
        ("set other 0 0 5\r\nget x\r\n", NO_KEY),
        ("add app:1 0 0 5\r\nget x\r\n", DENIED),
        ("append app:1 0 0 5\r\nget x\r\n", DENIED),
        ("ms app:1 5 MA\r\nget x\r\n", DENIED),
        ("ms other 5\r\nget x\r\n", NO_KEY),
        ("ms b3RoZXI= 5 b\r\nget x\r\n", NO_KEY),
        ("set other 0 0 20000\r\n", NO_KEY), // more than the proxy takes: and nothing is taken away for it
        ("get app:1 other\r\n", NO_KEY),
        ("delete other\r\n", NO_KEY),
        ("md other q\r\n", NO_KEY),
        ("gat 5 app:1\r\n", DENIED),
        ("mg app:1 v T30\r\n", DENIED),
        ("touch app:1 5\r\n", DENIED),
        ("incr app:1 5\r\n", DENIED),
        ("flush_all\r\n", DENIED),
        ("stats\r\n", DENIED),
        ("verbosity 1\r\n", DENIED),
    ] {
        let rest = if request.contains("20000") { "x".repeat(20002) } else { String::new() };
        let after = lines(&mut client, &format!("{request}{rest}version\r\n"));
        assert_eq!(after, [expected, "VERSION 1.5.22"], "{request}");
    }
    for quiet in ["set other 0 0 5 noreply\r\nget x\r\n", "delete other noreply\r\n", "flush_all noreply\r\n"] {
        assert_eq!(lines(&mut client, &format!("{quiet}version\r\n")), ["VERSION 1.5.22"], "{quiet}");
    }
    assert_eq!(lines(&mut client, "mn\r\nmg YXBwOjI= v b\r\n"), ["MN", "ERROR"]);
    assert_eq!(node.lines(), ["set app:1 0 0 5", "get shared:1", "mg YXBwOjI= v b"], "no node has seen the others");
    assert_eq!(proxy.plane.statistics()["accesses"].as_array().unwrap().len(), 3);
    // logins, commands, keys
}

#[test]
fn what_a_user_may_changes_while_it_is_there() {
    let node = Cache::start(1000, Rest::Swallowed);
    let proxy = Proxy::serving(1, &with_users(&node, 1, "on >secret ~* +@all"));
    let apply = |epoch, rules| {
        let spec = with_users(&node, epoch, rules).to_string();
        proxy.plane.apply(Cluster::parse(spec.as_bytes()).unwrap()).unwrap();
        proxy.plane.clients(); // every worker has heard
    };
    let mut client = proxy.client();
    assert_eq!(log_in(&mut client, "me secret"), "STORED");
    apply(2, "on >other ~* +@read");
    assert_eq!(lines(&mut client, "set a 0 0 1\r\nx\r\nget a\r\n"), [DENIED, "VALUE a 0 1", "a", "END"]);
    apply(3, "off >other ~* +@read");
    assert_eq!(client.line(), "<end>");
}
