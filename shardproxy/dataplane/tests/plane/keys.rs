//! Clients that wait for keys in the proxy, whatever their node does meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::client::Client;
use crate::engine::{bulk, Act, Engine, Gate};
use crate::proxy::{until, Proxy, Spec};

const FOR_EVER: &[&str] = &["BLPOP", "a", "0"];

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
}

impl Shelf {
    fn pop(&mut self, words: &[String]) -> Vec<u8> {
        match words[0].as_str() {
            "TYPE" => self.holder(&words[1]),
            "BLPOP" => match self.lists.get_mut(&words[1]).and_then(VecDeque::pop_front) {
                Some(element) => [b"*2\r\n".to_vec(), bulk(&words[1]), bulk(&element)].concat(),
                None => b"*-1\r\n".to_vec(),
            },
            _ => b"+OK\r\n".to_vec(),
        }
    }

    fn holder(&self, key: &str) -> Vec<u8> {
        let has_some = self.lists.get(key).is_some_and(|list| !list.is_empty());
        if has_some {
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
    lists[0].push(&engines[0], "a", "kept");
    assert_eq!(proxy.client().ask(FOR_EVER), popped("kept"));
}
