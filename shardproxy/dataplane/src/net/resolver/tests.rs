//! Names are looked up on other threads, every one of them is answered.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Ask for these names, each of them with its own turn; the answers as they come.
fn ask(resolver: &Resolver, asked: &[(&str, usize)]) -> Receiver<(String, io::Result<SocketAddr>)> {
    let (sender, answers) = channel();
    for (number, &(host, turn)) in asked.iter().enumerate() {
        let (sender, name) = (sender.clone(), host.to_owned());
        resolver.resolve(host, 1, (0, number), turn, Box::new(move |found| sender.send((name, found)).unwrap()));
    }
    answers
}

/// Every name leads to 10.0.0.1 and 10.0.0.2; those that begin with "slow" once a word is sent for each lookup.
fn staged() -> (Resolver, Sender<()>, Arc<AtomicUsize>) {
    let (go, gate) = channel();
    let (gate, count) = (Mutex::new(gate), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    let resolver = Resolver::with(Box::new(move |host, port| {
        counter.fetch_add(1, SeqCst);
        if host.starts_with("slow") {
            let _ = lock(&gate).recv_timeout(PATIENCE);
        }
        Ok(vec![([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], port).into()])
    }));
    (resolver.unwrap(), go, count)
}

#[test]
fn each_turn_gets_the_next_address_of_a_name() {
    let resolver = Resolver::start().unwrap();
    let answers = ask(&resolver, &[("localhost", 0), ("localhost", 1), ("localhost", 2), ("localhost", 3)]);
    let found: Vec<SocketAddr> = (0..4).map(|_| answers.recv_timeout(PATIENCE).unwrap().1.unwrap()).collect();
    let all: Vec<SocketAddr> = ("localhost", 1).to_socket_addrs().unwrap().collect();
    assert!((0..4).all(|turn| found.contains(&all[turn % all.len()])), "{found:?} of {all:?}");
}

#[test]
fn a_name_that_does_not_exist_is_an_error_and_stops_nobody() {
    let resolver = Resolver::start().unwrap();
    let answers = ask(&resolver, &[("no such name", 0), ("127.0.0.1", 0)]);
    for _ in 0..2 {
        let (name, found) = answers.recv_timeout(PATIENCE).unwrap();
        assert_eq!(found.is_ok(), name == "127.0.0.1", "{found:?}");
    }
}

#[test]
fn an_address_found_can_be_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (sender, answers) = channel();
    let port = listener.local_addr().unwrap().port();
    let resolver = Resolver::start().unwrap();
    resolver.resolve("127.0.0.1", port, (0, 0), 7, Box::new(move |found| sender.send(found.unwrap()).unwrap()));
    assert!(std::net::TcpStream::connect(answers.recv_timeout(PATIENCE).unwrap()).is_ok());
}

#[test]
fn a_name_whose_servers_do_not_answer_holds_up_no_other() {
    let (resolver, go, _) = staged();
    let answers = ask(&resolver, &[("slow a", 0), ("slow b", 0), ("quick", 0)]);
    assert_eq!(answers.recv_timeout(PATIENCE).unwrap().0, "quick");
    (0..2).for_each(|_| go.send(()).unwrap());
    assert!((0..2).all(|_| answers.recv_timeout(PATIENCE).unwrap().1.is_ok()));
}

#[test]
fn one_lookup_answers_all_who_ask_meanwhile() {
    let (resolver, go, count) = staged();
    let answers = ask(&resolver, &[("slow", 0), ("slow", 1), ("slow", 2), ("slow", 3)]);
    go.send(()).unwrap();
    let found: Vec<String> = (0..4).map(|_| answers.recv_timeout(PATIENCE).unwrap().1.unwrap().to_string()).collect();
    assert_eq!(found, ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(count.load(SeqCst), 1);
}

#[test]
fn what_a_name_led_to_last_is_known_while_it_is_looked_up() {
    let (resolver, go, _) = staged();
    assert_eq!(resolver.last_known("slow", 1, 0), None);
    let first = ask(&resolver, &[("slow", 0)]);
    go.send(()).unwrap();
    first.recv_timeout(PATIENCE).unwrap().1.unwrap();
    let _second = ask(&resolver, &[("slow", 0)]);
    assert_eq!(resolver.last_known("slow", 1, 1), Some(([10, 0, 0, 2], 1).into()));
    drop(go);
}

#[test]
fn who_asks_again_is_answered_once() {
    let (resolver, go, _) = staged();
    let (first, second) = (ask(&resolver, &[("slow", 0), ("slow", 0)]), ask(&resolver, &[("slow", 1)]));
    go.send(()).unwrap();
    assert_eq!(second.recv_timeout(PATIENCE).unwrap().1.unwrap(), ([10, 0, 0, 2], 1).into());
    assert!(first.recv_timeout(PATIENCE).is_ok(), "the other one");
    assert!(first.recv_timeout(PATIENCE).is_err(), "nobody is left to answer");
}
