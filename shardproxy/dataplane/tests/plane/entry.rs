//! Who may connect: security groups at accept and at a reload, and what balancers say of their clients.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use shardproxy_dataplane::{AccessEvent, Cluster, Event, Plane};

use crate::client::{request, value, Client};
use crate::engine::Engine;
use crate::proxy::{until, TABLE};

/// A cluster of one engine, whose endpoints and rules the test says.
struct Site {
    plane: Plane,
    engine: Engine,
    epoch: u64,
    /// Where its endpoints are bound, in their order.
    at: Vec<String>,
}

fn endpoint(kind: &str) -> Value {
    json!({"kind": kind, "addresses": ["127.0.0.1:0"]})
}

/// One that balancers at these addresses speak to.
fn balanced(from: &[&str]) -> Value {
    json!({"kind": "primary", "addresses": ["127.0.0.1:0"], "proxy_protocol": from})
}

fn rule(from: &[&str]) -> Value {
    json!({"from": from})
}

impl Site {
    fn serving(endpoints: &Value, inbound: &Value) -> Self {
        let plane = Plane::start(2, TABLE, 0).unwrap();
        let mut site = Self { plane, engine: Engine::plain(), epoch: 0, at: Vec::new() };
        site.apply(endpoints, inbound);
        site
    }

    fn apply(&mut self, endpoints: &Value, inbound: &Value) {
        self.epoch += 1;
        let spec = json!({
            "name": "test", "engine": "redis", "epoch": self.epoch, "endpoints": endpoints, "inbound": inbound,
            "shards": [{"slots": [[0, 16383]], "primary": 0, "nodes": [{"address": self.engine.address}]}],
            "limits": {"clients": 1000},
        });
        let bound = self.plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
        self.at = bound.into_iter().map(|(_, bound)| bound).collect();
    }

    fn client(&self, from: &str) -> Client {
        Client::connect_from(from, &self.at[0])
    }

    fn refused(&self, why: &str) -> u64 {
        self.count(&format!("/refused/{why}"))
    }

    fn count(&self, path: &str) -> u64 {
        self.plane.statistics()["clusters"]["test"].pointer(path).and_then(Value::as_u64).unwrap()
    }

    fn told(&self) -> Vec<AccessEvent> {
        let access = |event| if let Event::Access(told) = event { Some(*told) } else { None };
        self.plane.take().into_iter().filter_map(access).collect()
    }

    fn addresses(&self) -> Vec<String> {
        self.plane.clients().into_iter().map(|client| client.address).collect()
    }
}

/// Why, and of what address.
fn shown(event: &AccessEvent) -> (&str, &str, &str) {
    (event.kind.name(), &event.why, event.address.rsplit_once(':').map_or("", |(host, _)| host))
}

const PONG: &str = "+PONG";
const END: &str = "<end>";

#[test]
fn who_is_not_admitted_is_closed_without_a_word() {
    let rules = json!([rule(&["127.0.0.1", "127.0.0.4/30"]), {"from": ["127.0.0.2"], "endpoints": ["reader"]}]);
    let site = Site::serving(&json!([endpoint("primary"), endpoint("reader")]), &rules);
    for (from, expected) in [
        ("127.0.0.1", [PONG, PONG]),
        ("127.0.0.2", [END, PONG]),
        ("127.0.0.3", [END, END]),
        ("127.0.0.7", [PONG, PONG]),
        ("127.0.0.8", [END, END]),
    ] {
        for (at, expected) in site.at.iter().zip(expected) {
            let mut client = Client::connect_from(from, at);
            client.try_send(&request(&["PING"]));
            assert_eq!(client.reply(), expected, "from {from}");
        }
    }
    assert_eq!((site.refused("security_group"), site.refused("no_balancer")), (5, 0));
    assert_eq!(site.count("/accepted"), 5, "those refused were no clients");
    let told = site.told();
    let expected = ("connection_refused", "security_group", "127.0.0.2");
    assert_eq!((told.len(), shown(&told[0])), (5, expected));
    assert_eq!((&*told[0].cluster, told[0].endpoint, told[0].client_id), ("test", "primary", 0));
    assert_eq!(told[4].endpoint, "reader");
}

#[test]
fn a_flood_is_counted_and_a_few_of_it_are_told() {
    let site = Site::serving(&json!([endpoint("primary")]), &json!([]));
    for _ in 0..200 {
        assert_eq!(site.client("127.0.0.1").reply(), END);
    }
    let told = site.told().len();
    assert!((5..100).contains(&told), "{told}");
    assert_eq!(site.refused("security_group"), 200);
}

#[test]
fn rules_that_change_hold_for_those_who_are_there() {
    let endpoints = json!([endpoint("primary"), endpoint("reader")]);
    let mut site = Site::serving(&endpoints, &Value::Null);
    let mut all = [site.client("127.0.0.1"), site.client("127.0.0.2"), Client::connect_from("127.0.0.3", &site.at[1])];
    assert!(all.iter_mut().all(|client| client.ask(&["PING"]) == PONG));
    site.apply(&endpoints, &json!([rule(&["127.0.0.1"]), {"from": ["127.0.0.2/31"], "endpoints": ["reader"]}]));
    assert_eq!(all[1].reply(), END);
    assert_eq!((all[0].ask(&["PING"]), all[2].ask(&["PING"])), (PONG.into(), PONG.into()));
    assert_eq!(site.count("/closed/security_group"), 1);
    let told = site.told();
    assert_eq!(told.iter().map(shown).collect::<Vec<_>>(), [("rules_changed", "security_group", "127.0.0.2")]);
    assert_eq!((&*told[0].cluster, told[0].endpoint), ("test", "primary"));
    assert!(told[0].client_id > 0);
    assert_eq!(site.client("127.0.0.2").reply(), END, "nor may it come back");
    site.apply(&endpoints, &Value::Null);
    assert_eq!(site.client("127.0.0.2").ask(&["PING"]), PONG);
}

#[test]
fn many_clients_go_some_in_each_turn() {
    let endpoints = json!([endpoint("primary")]);
    let mut site = Site::serving(&endpoints, &json!([rule(&["127.0.0.0/8"])]));
    let mut gone: Vec<Client> = (0..400).map(|_| site.client("127.0.0.2")).collect();
    let mut stays = site.client("127.0.0.1");
    assert_eq!(stays.ask(&["PING"]), PONG);
    until("all are there", || site.count("/clients") == 401);
    site.apply(&endpoints, &json!([rule(&["127.0.0.1"])]));
    assert_eq!(stays.ask(&["PING"]), PONG);
    assert!(gone.iter_mut().all(|client| client.reply() == END));
    until("they are gone", || site.count("/clients") == 1);
    assert_eq!(site.count("/closed/security_group"), 400);
    let longest = |worker: &Value| worker["longest"].as_u64().unwrap();
    let longest = site.plane.statistics()["workers"].as_array().unwrap().iter().map(longest).max().unwrap();
    assert!(longest < 2500, "{longest} steps in one turn");
}

#[test]
fn ipv6_is_judged_too() {
    let endpoints = json!([{"kind": "primary", "addresses": ["[::1]:0"]}]);
    let mut site = Site::serving(&endpoints, &json!([rule(&["::1"])]));
    let mut client = Client::connect(&site.at[0]);
    assert_eq!(client.ask(&["PING"]), PONG);
    site.apply(&endpoints, &json!([rule(&["0.0.0.0/0", "fd00::/8"])]));
    assert_eq!(client.reply(), END);
    assert_eq!(Client::connect(&site.at[0]).reply(), END);
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
}

/// From 192.0.2.7:50000.
fn v2_client(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&[192, 0, 2, 7, 10, 0, 0, 1, 0xc3, 0x50, 0x18, 0xeb][..], tlvs].concat())
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 50000 6379\r\n";

/// Wait until what was sent before has been looked at, and before it can be mixed with what comes next.
fn taken(site: &Site) {
    site.plane.clients();
}

#[test]
fn a_header_says_where_the_client_is_however_it_arrives() {
    let site = Site::serving(&json!([balanced(&["127.0.0.1"])]), &json!([rule(&["192.0.2.0/24", "2001:db8::/32"])]));
    let v6 = b"PROXY TCP6 2001:db8::1 ::1 5 6\r\n".to_vec();
    let cases = [
        (V1.to_vec(), "192.0.2.7:50000"),
        (v6, "[2001:db8::1]:5"),
        (v2_client(b""), "192.0.2.7:50000"),
        (v2_client(&[7; 4000]), "192.0.2.7:50000"),
        (v2(0x20, 0, b""), "127.0.0.1"), // the balancer for itself, which no rule admits
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ];
    for (header, expected) in cases {
        let whole = [&header[..], &request(&["SET", "key", "1"]), &request(&["GET", "key"])].concat();
        let cuts = (1..header.len().min(60)).chain([header.len(), header.len() + 3, whole.len()]);
        for cut in cuts {
            let mut client = site.client("127.0.0.1");
            client.send_bytes(&whole[..cut]);
            taken(&site);
            client.try_send(&whole[cut..]);
            assert_eq!((client.reply(), client.reply()), ("+OK".into(), value("key")), "{}", header.escape_ascii());
            let address = site.addresses().pop().unwrap();
            assert!(address.starts_with(expected), "{address}");
        }
    }
    assert_eq!(site.told(), []);
    assert_eq!(site.count("/protocol_errors"), 0);
}

#[test]
fn one_byte_after_the_other_is_enough() {
    let site = Site::serving(&json!([balanced(&["127.0.0.1"])]), &Value::Null);
    for header in [V1.to_vec(), v2_client(b"tlv")] {
        let mut client = site.client("127.0.0.1");
        for byte in [&header[..], b"PING\r\n"].concat() {
            client.send_bytes(&[byte]);
            taken(&site);
        }
        assert_eq!(client.reply(), PONG);
    }
}

#[test]
fn only_balancers_connect_to_their_endpoint_and_only_they_speak_for_others() {
    let endpoints = json!([balanced(&["127.0.0.2"]), {"kind": "reader", "addresses": ["127.0.0.1:0"]}]);
    let site = Site::serving(&endpoints, &Value::Null);
    let mut other = site.client("127.0.0.1");
    other.try_send(&[V1, &request(&["PING"])].concat());
    assert_eq!(other.reply(), END);
    assert_eq!(site.refused("no_balancer"), 1);
    assert_eq!(site.told().iter().map(shown).collect::<Vec<_>>(), [("connection_refused", "no_balancer", "127.0.0.1")]);
    let mut claims = Client::connect_from("127.0.0.2", &site.at[1]);
    claims.send_bytes(V1);
    let is_command = |event: &Event| matches!(event, Event::Offloaded(command) if command.arguments[0] == b"PROXY");
    until("it is taken for a command", || site.plane.take().iter().any(is_command));
    assert!(site.addresses()[0].starts_with("127.0.0.2:"));
}

#[test]
fn rules_are_about_the_client_behind_the_balancer() {
    let site = Site::serving(&json!([balanced(&["127.0.0.1"])]), &json!([rule(&["127.0.0.0/8", "192.0.2.8"])]));
    for header in [V1.to_vec(), v2_client(b"")] {
        let mut client = site.client("127.0.0.1");
        client.send_bytes(&[&header[..], &request(&["SET", "key", "1"])].concat());
        assert_eq!(client.reply(), END);
    }
    assert_eq!((site.refused("security_group"), site.count("/closed/security_group")), (2, 2));
    let told = site.told();
    assert_eq!(shown(&told[0]), ("connection_refused", "security_group", "192.0.2.7"));
    assert!(told[0].client_id > 0);
    assert_eq!(site.engine.asked("SET"), 0);
}

#[test]
fn what_is_no_header_is_closed_without_a_word() {
    let site = Site::serving(&json!([balanced(&["127.0.0.1"])]), &Value::Null);
    let bodies: [(&[u8], &str); 4] = [
        (b"*1\r\n$4\r\nPING\r\n", "no PROXY protocol header"),
        (b"PROXY TCP4 1 2 3 4\r\n", "not a line of version 1"),
        (&[b'P'; 1], "a header that ends early"),
        (&V1[..30], "a header that ends early"),
    ];
    for (bytes, why) in bodies {
        let mut client = site.client("127.0.0.1");
        client.send_bytes(bytes);
        client.finish();
        assert_eq!(client.reply(), END);
        until("it is told", || {
            let told = site.told();
            assert!(told.iter().all(|event| shown(event) == ("header_refused", why, "127.0.0.1")), "{told:?}");
            !told.is_empty()
        });
    }
    assert_eq!((site.refused("proxy_header"), site.count("/closed/proxy_header")), (4, 4));
    drop(site.client("127.0.0.1"));
    until("a balancer that looks in is gone", || site.count("/closed/client") == 1);
    assert_eq!((site.told(), site.refused("proxy_header"), site.count("/clients")), (vec![], 4, 0));
}

#[test]
fn who_says_nothing_in_time_is_closed_and_counts_as_a_client_until_then() {
    let site = Site::serving(&json!([balanced(&["127.0.0.1"])]), &Value::Null);
    let (mut silent, mut slow) = (site.client("127.0.0.1"), site.client("127.0.0.1"));
    slow.send_bytes(&V1[..10]);
    until("they are clients", || site.count("/clients") == 2);
    let start = Instant::now();
    assert_eq!((silent.reply(), slow.reply()), (END.into(), END.into()));
    assert!(start.elapsed() < Duration::from_secs(8));
    until("both are counted", || site.refused("proxy_header") == 2);
    let late = ("header_refused", "no PROXY protocol header in time", "127.0.0.1");
    assert_eq!(site.told().iter().map(shown).collect::<Vec<_>>(), [late, late]);
}

#[test]
fn behind_a_balancer_rules_change_as_well() {
    let (endpoints, open) = (json!([balanced(&["127.0.0.1", "127.0.0.2"])]), json!([rule(&["192.0.2.0/24"])]));
    let mut site = Site::serving(&endpoints, &open);
    let enter = |site: &Site, from: &str, header: &[u8]| {
        let mut client = site.client(from);
        client.send_bytes(header);
        assert_eq!(client.ask(&["PING"]), PONG);
        client
    };
    let (mut client, mut itself) = (enter(&site, "127.0.0.1", V1), enter(&site, "127.0.0.1", &v2(0x20, 0, b"")));
    let mut other = enter(&site, "127.0.0.2", V1);
    let mut waits = site.client("127.0.0.2");
    taken(&site);
    site.apply(&json!([balanced(&["127.0.0.1"])]), &open);
    assert_eq!((other.reply(), waits.reply()), (END.into(), END.into()), "their balancer is none any more");
    assert_eq!((client.ask(&["PING"]), itself.ask(&["PING"])), (PONG.into(), PONG.into()));
    site.apply(&json!([balanced(&["127.0.0.1"])]), &json!([rule(&["127.0.0.1"])]));
    assert_eq!(client.reply(), END);
    assert_eq!(itself.ask(&["PING"]), PONG);
    let told = site.told();
    assert_eq!(shown(told.last().unwrap()), ("rules_changed", "security_group", "192.0.2.7"));
}

#[test]
fn an_endpoint_that_becomes_one_for_balancers_is_for_nobody_else() {
    let mut site = Site::serving(&json!([endpoint("primary"), endpoint("reader")]), &Value::Null);
    let (mut direct, mut reader) = (site.client("127.0.0.1"), Client::connect_from("127.0.0.1", &site.at[1]));
    assert_eq!((direct.ask(&["PING"]), reader.ask(&["PING"])), (PONG.into(), PONG.into()));
    site.apply(&json!([balanced(&["127.0.0.1"]), endpoint("reader")]), &Value::Null);
    assert_eq!(direct.reply(), END, "though it connected from where a balancer is");
    assert_eq!(reader.ask(&["PING"]), PONG);
}

#[test]
fn over_a_unix_socket_everybody_may_connect_and_a_balancer_says_who_it_is() {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let path = |()| {
        let number = NUMBER.fetch_add(1, Relaxed);
        std::env::temp_dir().join(format!("shardproxy-entry-{}-{number}", std::process::id()))
    };
    let [plain, balanced] = [(); 2].map(path);
    let at = |path: &std::path::Path| vec![format!("unix:{}", path.display())];
    let endpoints = json!([
        {"kind": "primary", "addresses": at(&plain)},
        {"kind": "reader", "addresses": at(&balanced), "proxy_protocol": ["10.0.0.0/8"]},
    ]);
    let site = Site::serving(&endpoints, &json!([rule(&["192.0.2.0/24"])]));
    let mut client = Client::connect_unix(&plain);
    assert_eq!(client.ask(&["PING"]), PONG);
    for cut in [1, 20, V1.len(), V1.len() + 2] {
        let bytes = [V1, &request(&["PING"])].concat();
        let mut behind = Client::connect_unix(&balanced);
        behind.send_bytes(&bytes[..cut]);
        taken(&site);
        behind.send_bytes(&bytes[cut..]);
        assert_eq!(behind.reply(), PONG);
        assert_eq!(site.addresses().last().map(String::as_str), Some("192.0.2.7:50000"));
    }
    let mut refused = Client::connect_unix(&balanced);
    refused.send_bytes(b"PROXY TCP4 192.0.3.7 10.0.0.1 50000 6379\r\n");
    assert_eq!(refused.reply(), END);
}

#[test]
fn what_monitor_and_events_show_is_the_client() {
    let site = Site::serving(&json!([balanced(&["127.0.0.1"])]), &Value::Null);
    let mut monitor = site.client("127.0.0.1");
    monitor.send_bytes(V1);
    assert_eq!(monitor.ask(&["MONITOR"]), "+OK");
    let mut client = site.client("127.0.0.1");
    client.send_bytes(b"PROXY TCP4 192.0.2.9 10.0.0.1 50000 6379\r\n");
    client.send(&["SET", "key", "1"]);
    assert!(monitor.reply().contains(" [0 192.0.2.9:50000] \"SET\""));
}
