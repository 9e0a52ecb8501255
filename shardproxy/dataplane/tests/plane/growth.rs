//! What clients may have many of costs its own size, never its square, and no turn of a worker more than so much of it:
//! steps are counted, not time.

use crate::client::{request, Client};
use crate::engine::{Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

/// What one turn of a worker may do; a step takes a microsecond or a few.
const STEPS_OF_A_TURN: u64 = 2500;

/// More than many turns may do.
const MANY: usize = 20_000;

fn engine() -> Engine {
    Engine::scripted(|_, request| answer(request))
}

fn answer(request: &[String]) -> Act {
    match request[0].as_str() {
        "PUBLISH" => Act::say(":1\r\n"),
        "subscribe" if request[1].starts_with("no:") => Act::say("-NOPERM no access to that channel\r\n"),
        _ => Act::Serve,
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}:{number}")).collect()
}

type Request = fn(&str, &[String]) -> Vec<u8>;
type End = fn(&mut Client, &[String]);

/// All names in one command.
fn at_once(word: &str, names: &[String]) -> Vec<u8> {
    let words: Vec<&str> = std::iter::once(word).chain(names.iter().map(String::as_str)).collect();
    request(&words)
}

/// A command for each name, in one pipeline.
fn one_by_one(word: &str, names: &[String]) -> Vec<u8> {
    names.iter().flat_map(|name| request(&[word, name])).collect()
}

fn subscriber(proxy: &Proxy, word: &str, names: &[String]) -> Client {
    let mut client = proxy.client();
    client.send_bytes(&at_once(word, names));
    confirmed(&mut client, names.len());
    client
}

fn confirmed(client: &mut Client, count: usize) {
    (1..=count).for_each(|number| {
        let reply = client.reply();
        assert!(reply.starts_with("*3\r\n") && reply.ends_with(&format!("\r\n:{number}")), "{number}: {reply}");
    });
}

/// `work` tells how many steps a worker took for so many of something.
fn grows_with_its_size(what: &str, sizes: [usize; 3], work: impl Fn(usize) -> u64) {
    let steps = sizes.map(&work);
    let (small, large) = (steps[0], steps[2]);
    assert!(small > 0, "{what}: no step is counted");
    assert!(large < small * 5 + 1000, "{what}: {steps:?} steps for {sizes:?}");
}

fn proxy(engine: &Engine) -> Proxy {
    Proxy::start(&Spec::shard(&[engine], Some(0)))
}

/// Two clients ask for the same, before anything of it is answered; the steps until both are told.
fn steps_for_two(word: &str, name: &str, requests: &[u8], is_told: impl Fn(&mut Client)) -> u64 {
    let gate = Gate::closed();
    let (held, first) = (gate.clone(), format!("{name}:0"));
    let engine = Engine::scripted(move |_, request| match request.get(1) {
        Some(name) if *name == first => answer(request).behind(&held),
        _ => answer(request),
    });
    let proxy = proxy(&engine);
    let _another = subscriber(&proxy, word, &["another".to_owned()]); // the connection is up
    let mut clients = [proxy.client(), proxy.client()];
    for client in &mut clients {
        client.send_bytes(requests);
    }
    until("both wait", || proxy.pending() == 2);
    gate.open();
    clients.iter_mut().for_each(is_told);
    proxy.of_worker("steps")
}

#[test]
fn two_clients_subscribe_to_the_same() {
    let requests: [(&str, Request); 2] = [("one command", at_once), ("a pipeline", one_by_one)];
    for word in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"] {
        for (what, request) in requests {
            grows_with_its_size(&format!("{word} in {what}"), [1000, 2000, 4000], |count| {
                let requests = request(word, &names("{n}", count));
                steps_for_two(word, "{n}", &requests, |client| confirmed(client, count))
            });
        }
    }
}

#[test]
fn two_clients_are_refused_the_same() {
    grows_with_its_size("refused", [1000, 2000, 4000], |count| {
        steps_for_two("SUBSCRIBE", "no", &at_once("SUBSCRIBE", &names("no", count)), |client| {
            assert_eq!(client.reply(), "-NOPERM no access to that channel");
            assert_eq!(client.ask(&["PING"]), "+PONG");
        })
    });
}

#[test]
fn many_clients_of_one_channel_close() {
    grows_with_its_size("subscribers", [50, 100, 200], |count| {
        let engine = engine();
        let proxy = proxy(&engine);
        let news = names("news", 1);
        let clients: Vec<Client> = (0..count).map(|_| subscriber(&proxy, "SUBSCRIBE", &news)).collect();
        drop(clients);
        until("nobody is subscribed", || engine.asked("unsubscribe") == 1);
        proxy.of_worker("steps")
    });
}

#[test]
fn what_nobody_subscribed_to_is_published_without_a_look_at_the_rest() {
    let steps = [1000, 4000].map(|count| {
        let (engine, another) = (engine(), engine());
        let mut proxy = proxy(&engine);
        let elsewhere = proxy.apply_to("other", &Spec::shard(&[&another], Some(0)));
        let _listener = subscriber(&proxy, "SUBSCRIBE", &names("news", count));
        let mut other = Client::connect(&elsewhere);
        other.send_bytes(&at_once("PSUBSCRIBE", &names("*", count)));
        confirmed(&mut other, count);
        let mut publisher = proxy.client();
        let before = proxy.of_worker("steps");
        (0..10).for_each(|_| assert_eq!(publisher.ask(&["PUBLISH", "unheard", "x"]), ":1"));
        proxy.of_worker("steps") - before
    });
    assert!(steps[1] < 100, "{steps:?} steps beside 1000 and 4000 topics");
}

/// A pattern is looked at where its first letters agree.
#[test]
fn patterns_that_begin_otherwise_are_not_looked_at() {
    let engine = engine();
    let proxy = proxy(&engine);
    let patterns: Vec<String> = (0..4000).map(|number| format!("user:{number}:*")).collect();
    let _listeners = [0, 1].map(|_| subscriber(&proxy, "PSUBSCRIBE", &patterns));
    let mut publisher = proxy.client();
    let before = proxy.of_worker("steps");
    assert_eq!(publisher.ask(&["PUBLISH", "user:17:news", "x"]), ":2", "the engine knows one of the two");
    assert_eq!(publisher.ask(&["PUBLISH", "nobody", "x"]), ":1");
    let steps = proxy.of_worker("steps") - before;
    assert!(steps < 100, "{steps} steps");
}

#[test]
fn no_turn_subscribes_to_more_than_its_share() {
    for word in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"] {
        let engine = engine();
        let proxy = proxy(&engine);
        let _client = subscriber(&proxy, word, &names("{n}", MANY));
        let (all, longest) = (proxy.of_worker("steps"), proxy.of_worker("longest"));
        assert!(all > MANY as u64 && longest < STEPS_OF_A_TURN, "{word}: {longest} of {all} steps in one turn");
    }
}

/// However it ends: all at once, by name, with the client's connection, or by RESET.
#[test]
fn no_turn_gives_up_more_than_its_share() {
    let ends: [(&str, End); 4] = [
        ("all", |client, _| client.send(&["UNSUBSCRIBE"])),
        ("by name", |client, names| client.send_bytes(&at_once("UNSUBSCRIBE", names))),
        ("close", |client, _| client.finish()),
        ("RESET", |client, _| client.send(&["RESET"])),
    ];
    for (what, end) in ends {
        let engine = engine();
        let proxy = proxy(&engine);
        let names = names("news", MANY);
        let mut client = subscriber(&proxy, "SUBSCRIBE", &names);
        end(&mut client, &names);
        let mut other = proxy.client();
        assert_eq!(other.ask(&["GET", "key"]), "$3\r\nkey");
        until("all are given up", || engine.asked("unsubscribe") == MANY);
        let longest = proxy.of_worker("longest");
        assert!(longest < STEPS_OF_A_TURN, "{what}: {longest} steps in one turn");
    }
}

#[test]
fn no_turn_subscribes_a_new_connection_to_more_than_its_share() {
    let engine = engine();
    let proxy = proxy(&engine);
    let _client = subscriber(&proxy, "SUBSCRIBE", &names("news", MANY));
    engine.cut();
    until("all are subscribed anew", || engine.asked("subscribe") == 2 * MANY);
    let longest = proxy.of_worker("longest");
    assert!(longest < STEPS_OF_A_TURN, "{longest} steps in one turn");
}

/// A message to many counts a step for some of them; what more has come waits for the next turn.
#[test]
fn no_turn_hands_out_more_than_its_share_of_messages() {
    let engine = engine();
    let proxy = proxy(&engine);
    let news = names("news", 1);
    let mut listeners: Vec<Client> = (0..50).map(|_| subscriber(&proxy, "SUBSCRIBE", &news)).collect();
    let before = proxy.of_worker("steps");
    let payloads: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    engine.publish_all(&news[0], &payloads);
    for listener in &mut listeners {
        for payload in &payloads {
            let message = listener.reply();
            assert!(message.ends_with(&format!("\r\n{payload}")), "{message}");
        }
    }
    let (all, longest) = (proxy.of_worker("steps") - before, proxy.of_worker("longest"));
    assert!(all >= 1000 + 50_000 / 50 && longest < STEPS_OF_A_TURN, "{longest} of {all} steps in one turn");
}

/// A primary that is none any more refuses all that is under way to it; what is read behind it waits as well.
#[test]
fn a_demoted_primary_refuses_all_that_is_under_way() {
    grows_with_its_size("refusals", [2000, 4000, 8000], |count| {
        let gate = Gate::closed();
        let held = gate.clone();
        let engine = Engine::scripted(move |_, request| match (request[0].as_str(), request[1].as_str()) {
            ("SET", "0") => Act::say("-READONLY You can't write against a read only replica.\r\n").behind(&held),
            ("SET", _) => Act::say("-READONLY You can't write against a read only replica.\r\n"),
            _ => Act::Serve,
        });
        let timeouts = serde_json::json!({"park": 0.05});
        let replica = Engine::plain();
        let proxy = Proxy::start(&Spec::shard(&[&engine, &replica], Some(0)).timeouts(timeouts));
        let mut clients: Vec<Client> = (0..count / 1000).map(|_| proxy.client()).collect();
        for client in &mut clients {
            let pair = |n: usize| [request(&["SET", &n.to_string(), "1"]), request(&["GET", "key"])].concat();
            client.send_bytes(&(0..500).flat_map(pair).collect::<Vec<u8>>());
        }
        until("all is under way", || proxy.pending() == count);
        let before = proxy.of_worker("steps");
        gate.open();
        for client in &mut clients {
            for _ in 0..500 {
                assert!(client.reply().starts_with("-READONLY"), "it was not executed");
                client.reply();
            }
        }
        proxy.of_worker("steps") - before
    });
}
