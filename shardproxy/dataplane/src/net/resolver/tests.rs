//! Names are looked up on another thread, every one of them is answered.

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

#[test]
fn each_turn_gets_the_next_address_of_a_name() {
    let resolver = Resolver::start().unwrap();
    let (sender, answers) = channel();
    for turn in 0..4 {
        let sender = sender.clone();
        resolver.resolve("localhost", 1, turn, Box::new(move |found| sender.send(found.unwrap()).unwrap()));
    }
    let found: Vec<SocketAddr> = (0..4).map(|_| answers.recv_timeout(Duration::from_secs(5)).unwrap()).collect();
    let all: Vec<SocketAddr> = ("localhost", 1).to_socket_addrs().unwrap().collect();
    assert!(found.iter().eq((0..4).map(|turn| &all[turn % all.len()])), "{found:?} of {all:?}");
}

#[test]
fn a_name_that_does_not_exist_is_an_error_and_stops_nobody() {
    let resolver = Resolver::start().unwrap();
    let (sender, answers) = channel();
    for host in ["", "no such name", "127.0.0.1"] {
        let sender = sender.clone();
        resolver.resolve(host, 1, 0, Box::new(move |found| sender.send(found.is_ok()).unwrap()));
    }
    let known: Vec<bool> = (0..3).map(|_| answers.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!(known[1..], [false, true]);
}

#[test]
fn an_address_found_can_be_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let found = lookup("127.0.0.1", listener.local_addr().unwrap().port(), 7).unwrap();
    assert!(std::net::TcpStream::connect(found).is_ok());
}
