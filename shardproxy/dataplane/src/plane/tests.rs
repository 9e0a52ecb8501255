//! A worker that panics takes its clients with it, and nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;

const TABLE: &[u8] = include_bytes!("../../../commands/table.json");

fn plane(workers: usize, clients: usize) -> (Plane, String) {
    let plane = Plane::start(workers, TABLE, 0).unwrap();
    let spec = json!({
        "name": "c", "engine": "redis", "epoch": 1, "shards": [{"primary": null, "nodes": []}],
        "endpoints": [{"kind": "primary", "addresses": ["127.0.0.1:0"]}], "limits": {"clients": clients},
    });
    let bound = plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
    (plane, bound[0].1.clone())
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    stream
}

fn is_served(mut stream: &TcpStream) -> bool {
    let mut reply = [0; 7];
    stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut reply).is_ok() && &reply == b"+PONG\r\n"
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(8);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 8 s: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_panicking_worker_starts_anew_and_the_others_go_on() {
    let (plane, address) = plane(2, 6);
    for round in 1..4 {
        let clients: Vec<TcpStream> = (0..6).map(|_| connect(&address)).collect();
        assert!(clients.iter().all(is_served), "round {round}");
        let infos = plane.clients();
        assert_eq!(infos.iter().filter(|client| client.worker == 0).count(), 3, "clients are dealt evenly");
        plane.shared.mailboxes[0].send(Message::Panic);
        until("the worker starts anew", || plane.statistics()["workers"][0]["restarts"] == round);
        until("its clients are counted no more", || plane.statistics()["clusters"]["c"]["clients"] == 3);
        let served = clients.iter().filter(|stream| is_served(stream)).count();
        assert_eq!(served, 3, "the other worker's clients go on");
        let late: Vec<TcpStream> = (0..3).map(|_| connect(&address)).collect();
        assert!(late.iter().all(is_served), "as many may come as went");
        assert_eq!(plane.clients().iter().filter(|client| client.worker == 0).count(), 3);
        drop((clients, late));
        until("all are gone", || lock(&plane.shared.clients)[0] == 0);
    }
}

#[test]
fn what_waits_in_the_mailbox_outlives_a_panic() {
    let (plane, address) = plane(1, 0);
    plane.shared.mailboxes[0].send(Message::Panic);
    let clients: Vec<TcpStream> = (0..20).map(|_| connect(&address)).collect();
    until("the worker starts anew", || plane.statistics()["workers"][0]["restarts"] == 1);
    // those it had taken out of the mailbox when it panicked are closed, the others are served
    let served = clients.iter().filter(|stream| is_served(stream)).count();
    until("only who is served is counted", || lock(&plane.shared.clients)[0] == served);
    assert!(is_served(&connect(&address)));
}
