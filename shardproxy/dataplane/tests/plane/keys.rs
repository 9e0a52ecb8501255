//! Clients that wait for keys in the proxy, whatever their node does meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Client;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const FOR_EVER: &[&str] = &["BLPOP", "a", "0"];
const STREAMS: [&str; 2] = ["s", "t"];
const BUSY: &str = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";

/// Lists, and whom to tell of changes.
#[derive(Default)]
struct Shelf {
    lists: HashMap<String, VecDeque<String>>,
    queued: HashMap<usize, Vec<Vec<String>>>,
    watchers: HashMap<String, Vec<usize>>,
    /// What EXEC says instead of doing anything, so many times.
    refusals: VecDeque<&'static str>,
    /// What BLPOP says instead of QUEUED.
    objection: Option<&'static str>,
    /// What TYPE says, and CLIENT TRACKING.
    trouble: Option<&'static str>,
}

impl Shelf {
    fn pop(&mut self, words: &[String]) -> Vec<u8> {
        match words[0].as_str() {
            "TYPE" => self.holder(&words[1]),
            "BLPOP" => match self.lists.get_mut(&words[1]).and_then(VecDeque::pop_front) {
                Some(element) => [b"*2\r\n".to_vec(), bulk(&words[1]), bulk(&element)].concat(),
                None => b"*-1\r\n".to_vec(),
            },
            "XREAD" => self.read(words.iter().skip_while(|word| *word != "STREAMS").skip(1)),
            _ => b"+OK\r\n".to_vec(),
        }
    }

    /// The first of these streams in which there is something.
    fn read<'a>(&self, mut keys: impl Iterator<Item = &'a String>) -> Vec<u8> {
        let has_some = |key: &&String| self.lists.get(*key).is_some_and(|list| !list.is_empty());
        match keys.find(has_some) {
            Some(key) => [b"*1\r\n*2\r\n".to_vec(), bulk(key), bulk("entries")].concat(),
            None => b"*-1\r\n".to_vec(),
        }
    }

    fn holder(&self, key: &str) -> Vec<u8> {
        let has_some = self.lists.get(key).is_some_and(|list| !list.is_empty());
        if has_some && STREAMS.contains(&key) {
            b"+stream\r\n".to_vec()
        } else if has_some {
            b"+list\r\n".to_vec()
        } else {
            b"+none\r\n".to_vec()
        }
    }

    fn answer(&mut self, number: usize, words: &[String]) -> Act {
        if let Some(queued) = self.queued.get_mut(&number) {
            if words[0] != "EXEC" {
                if let Some(objection) = self.objection.filter(|_| words[0] == "BLPOP") {
                    return Act::say(objection);
                }
                queued.push(words.to_vec());
                return Act::say("+QUEUED\r\n");
            }
            let queued = self.queued.remove(&number).unwrap_or_default();
            if let Some(refusal) = self.refusals.pop_front() {
                return Act::say(refusal);
            }
            let replies: Vec<u8> = queued.iter().flat_map(|words| self.pop(words)).collect();
            return Act::Say([format!("*{}\r\n", queued.len()).into_bytes(), replies].concat());
        }
        if let Some(trouble) = self.trouble.filter(|_| words[0] == "TYPE" || words.contains(&"TRACKING".to_owned())) {
            return Act::say(trouble);
        }
        match words[0].as_str() {
            "MULTI" => {
                self.queued.insert(number, Vec::new());
                Act::say("+OK\r\n")
            }
            "CLIENT" if words[1] == "TRACKING" => Act::say("+OK\r\n"),
            "TYPE" => {
                self.watchers.entry(words[1].clone()).or_default().push(number);
                Act::Say(self.holder(&words[1]))
            }
            _ => Act::Serve,
        }
    }
}

#[derive(Clone, Default)]
struct Lists(Arc<Mutex<Shelf>>);

impl Lists {
    fn engine(&self) -> Engine {
        let state = self.0.clone();
        Engine::tracking(move |number, words| state.lock().unwrap().answer(number, words))
    }

    fn put(&self, key: &str, element: &str) {
        self.0.lock().unwrap().lists.entry(key.into()).or_default().push_back(element.into());
    }

    /// Push, and tell who watches.
    fn push(&self, engine: &Engine, key: &str, element: &str) {
        self.put(key, element);
        self.tell(engine, key);
    }

    fn tell(&self, engine: &Engine, key: &str) {
        let watchers = self.0.lock().unwrap().watchers.remove(key).unwrap_or_default();
        let text = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len());
        for number in watchers {
            engine.tell(number, text.as_bytes());
        }
    }

    fn is_watched(&self, key: &str) -> bool {
        self.0.lock().unwrap().watchers.contains_key(key)
    }
}

fn popped(element: &str) -> String {
    let text = [b"*2\r\n".to_vec(), bulk("a"), bulk(element)].concat();
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

fn entries(key: &str) -> String {
    let text = [b"*1\r\n*2\r\n".to_vec(), bulk(key), bulk("entries")].concat();
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

/// A client that waits, its key watched.
fn waiting(proxy: &Proxy, lists: &Lists) -> Client {
    let before = blocked(proxy);
    let mut client = proxy.client();
    client.send(FOR_EVER);
    until("it waits", || blocked(proxy) == before + 1 && lists.is_watched("a"));
    client
}

fn blocked(proxy: &Proxy) -> usize {
    proxy.plane.clients().iter().filter(|client| client.is_blocked).count()
}

#[test]
fn one_after_another_is_served_and_an_answer_needs_no_waiting() {
    let lists = Lists::default();
    let engine = lists.engine();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    lists.put("a", "there");
    assert_eq!(proxy.client().ask(FOR_EVER), popped("there"));
    let mut clients: Vec<Client> = (0..5).map(|_| waiting(&proxy, &lists)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        lists.push(&engine, "a", &number.to_string());
        assert_eq!(client.reply(), popped(&number.to_string()));
    }
    assert_eq!(proxy.plane.statistics()["dedicated"], 0);
}

#[test]
fn who_just_came_is_told_why_the_engine_refuses() {
    let lists = Lists::default();
    let engine = lists.engine();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut waiting = waiting(&proxy, &lists);
    {
        let mut shelf = lists.0.lock().unwrap();
        shelf.objection = Some("-NOPERM no\r\n");
        shelf.refusals.push_back("-EXECABORT Transaction discarded because of previous errors.\r\n");
    }
    assert_eq!(proxy.client().ask(&["BLPOP", "b", "0"]), "-NOPERM no");
    {
        let mut shelf = lists.0.lock().unwrap();
        shelf.objection = None;
        let busy = "-BUSY Redis is busy running a script.\r\n";
        shelf.refusals.extend([busy, busy]);
    }
    lists.push(&engine, "a", "x");
    assert_eq!(waiting.reply(), popped("x"), "who waited already is asked for again");
    assert!(lists.0.lock().unwrap().refusals.is_empty());
}

/// It refuses whatever is asked within MULTI, be it to take something away.
#[test]
fn who_waits_goes_on_at_an_engine_without_memory() {
    let lists = Lists::default();
    let engine = lists.engine();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = waiting(&proxy, &lists);
    {
        let mut shelf = lists.0.lock().unwrap();
        shelf.objection = Some("-OOM command not allowed when used memory > 'maxmemory'.\r\n");
        shelf.refusals.push_back("-EXECABORT Transaction discarded because of previous errors.\r\n");
    }
    lists.push(&engine, "a", "x");
    until("it has a connection of its own", || proxy.plane.statistics()["dedicated"] == 1);
    until("it is asked for there", || engine.connections().last().unwrap().requests.iter().any(|r| r == FOR_EVER));
    let number = engine.connections().len() - 1;
    engine.tell(number, format!("{}\r\n", popped("x")).as_bytes());
    assert_eq!(client.reply(), popped("x"));
}

#[test]
fn a_node_that_runs_a_script_tells_of_changes_afterwards() {
    let lists = Lists::default();
    let engine = lists.engine();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = waiting(&proxy, &lists);
    let (connections, asked) = (engine.connections().len(), engine.asked("TYPE"));
    lists.0.lock().unwrap().trouble = Some(BUSY);
    lists.push(&engine, "a", "x");
    until("it is asked in vain", || engine.asked("TYPE") > asked);
    lists.0.lock().unwrap().trouble = None;
    assert_eq!(client.reply(), popped("x"));
    assert_eq!(engine.connections().len(), connections, "none was given up");
}

#[test]
fn who_waits_is_told_of_no_failover_while_the_node_is_only_busy() {
    let lists = Lists::default();
    let engine = lists.engine();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)).timeouts(json!({"park": 0.2})));
    let (mut client, lost) = (waiting(&proxy, &lists), Instant::now());
    proxy.plane.spare("test", &engine.address, 60.0);
    lists.0.lock().unwrap().trouble = Some(BUSY);
    engine.cut();
    until("it would have waited too long", || lost.elapsed() > Duration::from_millis(600));
    assert_eq!(blocked(&proxy), 1);
    lists.put("a", "x");
    lists.0.lock().unwrap().trouble = None;
    assert_eq!(client.reply(), popped("x"));
    lists.0.lock().unwrap().watchers.clear();
    let mut client = waiting(&proxy, &lists);
    proxy.plane.spare("test", &engine.address, 0.0);
    lists.0.lock().unwrap().trouble = Some(BUSY);
    engine.cut();
    assert_eq!(client.reply(), "-TRYAGAIN shard 0 failing over, command not executed");
}

#[test]
fn a_worker_rests_while_a_node_does_not_take_what_it_is_asked() {
    let (lists, gate) = (Lists::default(), Gate::closed());
    let (shelf, held) = (lists.0.clone(), gate.clone());
    let engine = Engine::tracking(move |number, words| {
        let act = shelf.lock().unwrap().answer(number, words);
        if number > 0 && words[0] == "TYPE" {
            act.behind(&held)
        } else {
            act
        }
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    let keys: Vec<String> = (0..200).map(|number| format!("{number}{}", "x".repeat(32 << 10))).collect();
    let words: Vec<&str> = ["BLPOP"].into_iter().chain(keys.iter().map(String::as_str)).chain(["0"]).collect();
    client.send(&words);
    until("its node is asked", || engine.asked("TYPE") > 0);
    until("it rests", || {
        let turns = proxy.of_worker("turns");
        thread::sleep(Duration::from_millis(200));
        proxy.of_worker("turns") < turns + 20
    });
    gate.open();
    lists.push(&engine, &keys[199], "x");
    assert!(client.reply().ends_with("$1\r\nx"));
}

/// What a routine look at a stream shows is nothing new, unless it has changed since.
#[test]
fn a_change_is_heard_of_while_the_key_is_looked_at_again() {
    let lists = Lists::default();
    let (gate, shelf) = (Gate::closed(), lists.0.clone());
    let held = gate.clone();
    let (looks, watcher) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let known = watcher.clone();
    let engine = Engine::tracking(move |number, words| {
        if words == ["TYPE", "s"] && looks.fetch_add(1, SeqCst) == 1 {
            known.store(number, SeqCst);
            return Act::say("+stream\r\n").behind(&held);
        }
        shelf.lock().unwrap().answer(number, words)
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "0"]);
    until("it is looked at again", || watcher.load(SeqCst) > 0);
    lists.put("s", "entry");
    engine.tell(watcher.load(SeqCst), b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\ns\r\n");
    gate.open();
    assert_eq!(client.reply(), entries("s"));
}

#[test]
fn a_pause_holds_who_is_to_be_asked_for_once_more() {
    let lists = Lists::default();
    let (gate, shelf) = (Gate::closed(), lists.0.clone());
    let (held, is_held) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let holds = is_held.clone();
    let engine = Engine::tracking(move |number, words| {
        let act = shelf.lock().unwrap().answer(number, words);
        if words[0] == "EXEC" && holds.swap(false, SeqCst) {
            Act::say("*2\r\n*-1\r\n+stream\r\n").behind(&held) // somebody else has trimmed it
        } else {
            act
        }
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = proxy.client();
    client.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "t", "0", "0"]);
    until("it waits", || STREAMS.iter().all(|key| lists.is_watched(key)));
    is_held.store(true, SeqCst);
    let asked = engine.asked("EXEC");
    lists.push(&engine, "s", "entry");
    until("it is asked for", || engine.asked("EXEC") > asked);
    lists.0.lock().unwrap().lists.clear();
    lists.push(&engine, "t", "entry");
    until("the other is seen to hold something", || lists.is_watched("t"));
    proxy.plane.pause("test", 60.0, false, Vec::new());
    let (asked, turns) = (engine.asked("XREAD"), proxy.of_worker("turns"));
    gate.open();
    until("its answer is seen to", || proxy.of_worker("turns") > turns + 3);
    assert_eq!(engine.asked("XREAD"), asked);
    proxy.plane.pause("test", 0.0, false, Vec::new());
    assert_eq!(client.reply(), entries("t"));
}

#[test]
fn only_who_was_asked_for_when_the_node_is_lost_is_in_doubt() {
    let lists = Lists::default();
    let (gate, shelf) = (Gate::closed(), lists.0.clone());
    let held = gate.clone();
    let engine = Engine::tracking(move |number, words| {
        let act = shelf.lock().unwrap().answer(number, words);
        let takes = matches!(&act, Act::Say(reply) if reply.ends_with(b"$4\r\nlost\r\n+none\r\n"));
        if takes {
            act.behind(&held)
        } else {
            act
        }
    });
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let (mut first, mut second) = (waiting(&proxy, &lists), waiting(&proxy, &lists));
    lists.push(&engine, "a", "lost");
    until("it is taken", || lists.0.lock().unwrap().lists["a"].is_empty());
    engine.cut();
    assert!(first.reply().starts_with("-ERR INDOUBT shard 0 primary lost"));
    gate.open();
    lists.put("a", "next"); // nobody is told: the connections are new
    assert_eq!(second.reply(), popped("next"));
}

#[test]
fn what_was_pushed_while_nobody_heard_is_found() {
    let lists = Lists::default();
    let engine = lists.engine();
    let proxy = Proxy::start(&Spec::shard(&[&engine], Some(0)));
    let mut client = waiting(&proxy, &lists);
    engine.cut();
    lists.put("a", "x");
    assert_eq!(client.reply(), popped("x"));
    let mut client = waiting(&proxy, &lists);
    lists.put("a", "y"); // and no change is told: keys are looked at again by and by
    assert_eq!(client.reply(), popped("y"));
}

#[test]
fn nothing_is_taken_for_who_left_while_there_was_no_primary() {
    let lists = Lists::default();
    let engine = lists.engine();
    let mut proxy = Proxy::start(&Spec::shard(&[&engine], None));
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.send(FOR_EVER);
    until("it waits", || blocked(&proxy) == 1);
    other.send(&["BLPOP", "a", "0.05"]);
    assert_eq!(other.reply(), "*-1", "its own timeout ends it");
    drop(client);
    until("it is gone", || proxy.plane.clients().len() == 1);
    lists.put("a", "kept");
    proxy.apply(&Spec::shard(&[&engine], Some(0)));
    assert_eq!(other.ask(&["GET", "k"]), "$1\r\nk");
    assert_eq!(engine.asked("BLPOP"), 0);
}

#[test]
fn who_waits_moves_with_the_primary_and_no_longer_than_what_is_parked() {
    let (old, new) = (Lists::default(), Lists::default());
    let engines = [old.engine(), new.engine()];
    let nodes = [&engines[0], &engines[1]];
    let spec = |primary| Spec::shard(&nodes, primary).timeouts(json!({"park": 0.5}));
    let mut proxy = Proxy::start(&spec(Some(0)));
    let mut client = waiting(&proxy, &old);
    proxy.apply(&spec(None));
    proxy.apply(&spec(Some(1)));
    until("the next primary is asked", || new.is_watched("a"));
    old.push(&engines[0], "a", "nobody's");
    new.push(&engines[1], "a", "x");
    assert_eq!(client.reply(), popped("x"));
    let mut client = waiting(&proxy, &new);
    assert_eq!(proxy.client().ask(&["GET", "k"]), "$1\r\nk", "behind what it was asked for the client");
    proxy.apply(&spec(None));
    assert_eq!(client.reply(), "-TRYAGAIN shard 0 failing over, command not executed");
    assert_eq!(old.0.lock().unwrap().lists["a"], ["nobody's"]);
}

#[test]
fn shards_that_become_several_keep_their_clients_waiting() {
    let lists: Vec<Lists> = (0..2).map(|_| Lists::default()).collect();
    let engines: Vec<Engine> = lists.iter().map(Lists::engine).collect();
    let mut proxy = Proxy::with(2, 0, &Spec::shard(&[&engines[0]], Some(0)));
    let mut client = waiting(&proxy, &lists[0]);
    proxy.apply(&Spec::shards(&engines));
    until("its new shard is asked", || lists[1].is_watched("a"));
    lists[1].push(&engines[1], "a", "x");
    assert_eq!(client.reply(), popped("x"));
    drop(client);
    let client = waiting(&proxy, &lists[1]);
    proxy.apply(&Spec::shard(&[&engines[0]], Some(0)));
    drop(client);
    until("it waits no more", || proxy.statistic("/waiting") == 0);
    // its worker says so; that it has gone is on its way to those that keep the order, before what any of them says later
    let mut others: Vec<Client> = (0..8).map(|_| proxy.client()).collect();
    for (other, key) in others.iter_mut().zip(["b", "c", "d", "e", "f", "g", "h", "i"]) {
        other.send(&["BLPOP", key, "0"]);
        until("who comes later waits", || lists[0].is_watched(key));
    }
    lists[0].push(&engines[0], "a", "kept");
    assert_eq!(proxy.client().ask(FOR_EVER), popped("kept"));
}
