//! A worker that panics takes its clients with it, and nobody else; nor does a name's address lead astray.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::model::EndpointKind;

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

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
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
        plane.mailboxes[0].send(Message::Panic);
        until("the worker starts anew", || plane.statistics()["workers"][0]["restarts"] == round);
        until("its clients are counted no more", || plane.statistics()["clusters"]["c"]["clients"] == 3);
        let served = clients.iter().filter(|stream| is_served(stream)).count();
        assert_eq!(served, 3, "the other worker's clients go on");
        let late: Vec<TcpStream> = (0..3).map(|_| connect(&address)).collect();
        assert!(late.iter().all(is_served), "as many may come as went");
        assert_eq!(plane.clients().iter().filter(|client| client.worker == 0).count(), 3);
        drop((clients, late));
        until("all are gone", || plane.seats.taken(0) == 0);
    }
}

#[test]
fn what_waits_in_the_mailbox_outlives_a_panic() {
    let (plane, address) = plane(1, 0);
    plane.mailboxes[0].send(Message::Panic);
    let clients: Vec<TcpStream> = (0..20).map(|_| connect(&address)).collect();
    until("the worker starts anew", || plane.statistics()["workers"][0]["restarts"] == 1);
    assert!(clients.iter().all(is_served), "whoever it had not yet taken on");
    assert!(is_served(&connect(&address)));
}

/// The acceptor judges by the rules of then; they may be others when the worker hears of the client.
#[test]
fn who_was_admitted_by_former_rules_is_not_taken_on() {
    let (plane, _) = plane(1, 0);
    let spec = json!({
        "name": "c", "engine": "redis", "epoch": 2, "shards": [{"primary": null, "nodes": []}],
        "endpoints": [{"kind": "primary", "addresses": ["127.0.0.1:0"]}], "inbound": [{"from": ["127.0.0.2"]}],
    });
    plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
    let mut client = arrive(&plane, 99, "127.0.0.1:0");
    assert_eq!(client.read(&mut [0; 10]).unwrap(), 0, "it is closed");
    let told = plane.take();
    assert!(matches!(&told[..], [Event::Access(told)] if told.client_id == 99), "{told:?}");
}

/// Somebody without TLS and without a balancer whom the acceptor has let in at that address.
fn arrive(plane: &Plane, id: u64, address: &str) -> TcpStream {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let client = connect(&listener.local_addr().unwrap().to_string());
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    plane.mailboxes[0].send(Message::Accepted(crate::worker::Arrived {
        stream: crate::net::Stream::Tcp(mio::net::TcpStream::from_std(stream)),
        id,
        cluster: 0,
        endpoint: EndpointKind::Primary,
        address: address.into(),
        is_balanced: false,
        speaks_tls: false,
        seat: plane.seats.deal(0, 0).unwrap(),
        passage: None,
    }));
    client
}

/// A worker may know other rules than the acceptor: what they ask for beyond is not left out.
#[test]
fn nobody_is_taken_on_where_the_cluster_has_no_endpoint_or_one_that_asks_for_more() {
    let (plane, _) = plane(1, 0);
    assert!(is_served(&arrive(&plane, 1, "127.0.0.1:0")));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let pair = json!({"certificate": made.cert.pem(), "key": made.signing_key.serialize_pem()});
    let endpoint = |address, more: (&str, Value)| {
        let mut endpoint = json!({"kind": "primary", "addresses": [address]});
        endpoint[more.0] = more.1;
        endpoint
    };
    let spec = json!({
        "name": "c", "engine": "redis", "epoch": 2, "shards": [{"primary": null, "nodes": []}],
        "endpoints": [
            endpoint("127.0.0.2:0", ("tls", json!(true))), endpoint("127.0.0.3:0", ("proxy_protocol", json!(["10.0.0.0/8"]))),
            endpoint("127.0.0.4:0", ("tls", json!(false))),
        ],
        "tls": {"certificates": [pair]},
    });
    plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
    assert!(is_served(&arrive(&plane, 2, "127.0.0.4:0")));
    for gone in ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"] {
        assert!(!is_served(&arrive(&plane, 3, gone)), "{gone}");
    }
    until("their places are free again", || plane.seats.taken(0) == 0);
}

/// Between a new epoch and the end of what it has no more, its listener is still there.
#[test]
fn who_connects_where_the_cluster_has_no_endpoint_is_not_let_in() {
    let (plane, _) = plane(1, 0);
    for (address, expected) in [("127.0.0.1:0", true), ("127.0.0.2:0", false)] {
        let key = EndpointKey { cluster: 9, kind: EndpointKind::Primary, address: address.into() };
        let bound = listen(&plane, key);
        assert!(!is_served(&connect(&bound)), "there is no such cluster");
        let key = EndpointKey { cluster: 0, kind: EndpointKind::Reader, address: address.into() };
        let bound = listen(&plane, key);
        assert!(!is_served(&connect(&bound)), "it has no such kind of endpoint");
        plane.acceptor.close(0);
        let key = EndpointKey { cluster: 0, kind: EndpointKind::Primary, address: address.into() };
        let bound = listen(&plane, key);
        assert_eq!(is_served(&connect(&bound)), expected, "{address}");
        plane.acceptor.close(0);
    }
}

/// Listen there, whatever the cluster has; where that is.
fn listen(plane: &Plane, key: EndpointKey) -> String {
    let address = Address::parse(&key.address).unwrap();
    let prepared = plane.acceptor.prepare(key.cluster, &[(key, address)]).map_err(|(address, _)| address).unwrap();
    plane.acceptor.commit(prepared)[0].1.clone()
}

/// A node that answers whatever it is sent with +OK, as often as a command begins.
fn agreeable() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    let commands = memchr::memchr_iter(b'*', &bytes[..n]).count();
                    let _ = stream.write_all(&b"+OK\r\n".repeat(commands));
                }
            });
        }
    });
    port
}

fn says(mut stream: &TcpStream, text: &str) -> bool {
    let mut reply = vec![0; text.len()];
    stream.read_exact(&mut reply).is_ok() && reply == text.as_bytes()
}

/// Of two workers, each with clients that wait for all there is to wait for, one panics.
#[test]
fn what_a_panicking_worker_had_is_given_back_and_what_others_have_is_theirs() {
    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    const SUBSCRIBED: &str = "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
    let plane = Plane::start(2, TABLE, 0).unwrap();
    let spec = |name: &str, epoch: u64, park: f64, port: Option<u16>| {
        let node = json!({"address": format!("127.0.0.1:{}", port.unwrap_or(1))});
        let shard = json!({"slots": [[0, 16383]], "primary": port.map(|_| 0), "nodes": [node]});
        let endpoint = json!({"kind": "primary", "addresses": ["127.0.0.1:0"]});
        let spec = json!({
            "name": name, "engine": "redis", "epoch": epoch, "shards": [shard], "endpoints": [endpoint],
            "timeouts": {"park": park},
        });
        Cluster::parse(spec.to_string().as_bytes()).unwrap()
    };
    let parking = plane.apply(spec("c", 1, 60.0, None)).unwrap()[0].1.clone();
    let hearing = plane.apply(spec("s", 1, 0.0, None)).unwrap()[0].1.clone();
    let [parked, subscribed, asking] = [&parking, &hearing, &parking].map(|address| [(); 4].map(|()| connect(address)));
    for (mut parked, mut asking) in parked.iter().zip(&asking) {
        parked.write_all(SET).unwrap();
        asking.write_all(b"INFO\r\n").unwrap();
    }
    for mut stream in &subscribed {
        stream.write_all(b"SUBSCRIBE news\r\n").unwrap();
        assert!(says(stream, SUBSCRIBED));
    }
    let mut asked: Vec<u64> = Vec::new();
    until("all is asked", || {
        asked
            .extend(plane.take().iter().filter_map(|e| if let Event::Offloaded(o) = e { Some(o.token) } else { None }));
        asked.len() == 4
    });
    let counted = || {
        let statistics = plane.statistics();
        let of_cluster = |cluster: &str, name: &str| statistics["clusters"][cluster][name].as_u64().unwrap();
        let clients = [of_cluster("c", "clients"), of_cluster("s", "clients")];
        let subscribers = plane.subscribers("s", Kind::Channel, vec![b"news".to_vec()])[0];
        (
            clients,
            of_cluster("c", "parked"),
            plane.shared.parked(),
            subscribers,
            [0, 1].map(|cluster| plane.seats.taken(cluster)),
        )
    };
    until("all is counted", || counted() == ([8, 4], 4, 4 * SET.len(), 4, [8, 4]));
    plane.mailboxes[0].send(Message::Panic);
    until("the worker starts anew", || plane.statistics()["workers"][0]["restarts"] == 1);
    until("what it had is given back", || counted() == ([4, 2], 2, 2 * SET.len(), 2, [4, 2]));
    let mut abandoned: Vec<u64> = Vec::new();
    until("the control plane hears who has gone", || {
        abandoned.extend(plane.take().iter().filter_map(|e| {
            if let Event::Abandoned(token) = e {
                Some(*token)
            } else {
                None
            }
        }));
        abandoned.len() == 2
    });
    assert!(abandoned.iter().all(|token| worker_of(*token) == 0 && asked.contains(token)));
    plane.apply(spec("c", 2, 60.0, Some(agreeable()))).unwrap();
    for &token in &asked {
        plane.answer(token, b"+OK\r\n".to_vec());
    }
    for group in [&parked, &asking] {
        assert_eq!(group.iter().filter(|stream| says(stream, "+OK\r\n")).count(), 2, "the other worker's");
    }
    for mut stream in [(); 4].map(|()| connect(&parking)) {
        stream.write_all(SET).unwrap();
        assert!(says(&stream, "+OK\r\n"), "whichever worker has it");
    }
}

/// Those of one worker wait with another, which keeps the order of their keys.
#[test]
fn nothing_is_asked_for_clients_that_a_worker_has_lost() {
    let plane = Plane::start(2, TABLE, 0).unwrap();
    let spec = json!({
        "name": "c", "engine": "redis", "epoch": 1, "shards": [{"slots": [[0, 16383]], "primary": null, "nodes": []}],
        "endpoints": [{"kind": "primary", "addresses": ["127.0.0.1:0"]}], "timeouts": {"park": 60.0},
    });
    let bound = plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
    let clients = [(); 4].map(|()| connect(&bound[0].1));
    let asked = || plane.shared.workers[0].parked.get();
    let mut one = 0;
    for (number, mut client) in clients.iter().enumerate() {
        write!(client, "*3\r\n$5\r\nBLPOP\r\n$1\r\n{number}\r\n$1\r\n0\r\n").unwrap();
        until("it is asked for", || asked() > number as u64 * one);
        one = asked() / (number as u64 + 1);
    }
    assert_eq!(asked(), 4 * one);
    plane.mailboxes[1].send(Message::Panic);
    until("two are asked for no more", || asked() == 2 * one);
    assert_eq!(plane.clients().len(), 2);
    plane.remove("c");
    until("nobody is", || asked() == 0);
}

/// A worker that starts anew knows the newest epoch, and may find older ones in its mailbox.
#[test]
fn an_older_epoch_is_not_gone_back_to() {
    let (plane, address) = plane(1, 0);
    let described = |epoch: u64, port: u16| {
        let node = json!({"address": format!("127.0.0.1:{port}")});
        let spec = json!({
            "name": "c", "engine": "redis", "epoch": epoch, "timeouts": {"park": 0.0},
            "shards": [{"slots": [[0, 16383]], "primary": 0, "nodes": [node]}],
            "endpoints": [{"kind": "primary", "addresses": ["127.0.0.1:0"]}],
        });
        Cluster::parse(spec.to_string().as_bytes()).unwrap()
    };
    plane.apply(described(3, agreeable())).unwrap();
    let (applied, taken) = sync_channel(1);
    let rights = plane.shared.named("c").unwrap().rights;
    let older = Some(Ruled { cluster: Arc::new(described(2, 1)), rights });
    plane.mailboxes[0].send(Message::Apply { index: 0, ruled: older, applied });
    taken.recv_timeout(Duration::from_secs(8)).unwrap();
    let mut client = connect(&address);
    client.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n").unwrap();
    assert!(says(&client, "+OK\r\n"), "the newest one's primary has it");
}

#[test]
fn a_worker_that_panics_once_it_was_told_to_stop_stops() {
    for _ in 0..10 {
        let (plane, _) = plane(1, 0);
        plane.stop_workers();
        plane.mailboxes[0].send(Message::Panic);
        until("it stops", || lock(&plane.threads).iter().all(JoinHandle::is_finished));
    }
}

/// Another connection may be in the place of the one that asked when the answer comes.
#[test]
fn a_late_address_leads_nobody_to_another_shards_node() {
    let (first_known, first) = sync_channel(1);
    let (second_known, second) = sync_channel(1);
    let gates = [Mutex::new(first), Mutex::new(second)];
    let lookup = move |host: &str, port: u16| {
        let _ = lock(&gates[usize::from(host == "second")]).recv();
        Ok(vec![([127, 0, 0, 1], port).into()])
    };
    let plane = Plane::with(1, TABLE, 0, Resolver::with(Box::new(lookup)).unwrap()).unwrap();
    let nodes = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |node: &TcpListener| node.local_addr().unwrap().port();
    let spec = json!({
        "name": "c", "engine": "redis", "epoch": 1,
        "endpoints": [{"kind": "reader", "addresses": ["127.0.0.1:0"]}], "timeouts": {"connect": 60},
        "shards": [
            {"slots": [[0, 8191]], "primary": 0, "nodes": [{"address": format!("first:{}", port(&nodes[0]))}]},
            {"slots": [[8192, 16383]], "primary": 0, "nodes": [{"address": format!("second:{}", port(&nodes[1]))}]},
        ],
    });
    let bound = plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
    let mut gone = connect(&bound[0].1);
    gone.write_all(b"XREAD BLOCK 0 STREAMS bar $\r\n").unwrap(); // of the first shard
    until("it waits", || plane.clients().iter().any(|client| client.is_blocked));
    drop(gone);
    until("it is gone", || plane.clients().is_empty());
    let mut client = connect(&bound[0].1);
    client.write_all(b"XREAD BLOCK 0 STREAMS foo $\r\n").unwrap(); // of the second
    until("the other waits", || plane.clients().iter().any(|client| client.is_blocked));
    first_known.send(()).unwrap();
    until("it is known", || plane.shared.resolver.last_known("first", port(&nodes[0]), 0).is_some());
    plane.clients(); // the worker has been told, too
    second_known.send(()).unwrap();
    for node in &nodes {
        node.set_nonblocking(true).unwrap();
    }
    until("its own node is connected to", || nodes[1].accept().is_ok());
    assert!(nodes[0].accept().is_err(), "the other shard's is not");
}

#[test]
fn a_node_is_reached_by_its_last_address_while_its_name_is_looked_up() {
    let (known, answers) = sync_channel(2);
    let answers = Mutex::new(answers);
    let lookup = move |_: &str, port: u16| {
        let _ = lock(&answers).recv();
        Ok(vec![([127, 0, 0, 1], port).into()])
    };
    let plane = Plane::with(1, TABLE, 0, Resolver::with(Box::new(lookup)).unwrap()).unwrap();
    let node = TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = json!({
        "name": "c", "engine": "redis", "epoch": 1, "endpoints": [{"kind": "primary", "addresses": ["127.0.0.1:0"]}],
        "shards": [{
            "slots": [[0, 16383]], "primary": 0,
            "nodes": [{"address": format!("name:{}", node.local_addr().unwrap().port())}],
        }],
        "timeouts": {"connect": 60, "park": 60},
    });
    let bound = plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
    known.send(()).unwrap();
    let mut client = connect(&bound[0].1);
    client.write_all(b"GET key\r\n").unwrap();
    node.set_nonblocking(true).unwrap();
    until("the node is connected to, and lost", || node.accept().is_ok());
    until("it is connected to again", || node.accept().is_ok());
    drop(known);
}

/// Commands have numbers, and users know them: whoever is judged is judged by the table that is in use.
#[test]
fn a_worker_that_hears_of_an_older_table_judges_by_it() {
    let plane = Plane::start(1, TABLE, 0).unwrap();
    let spec = json!({
        "name": "c", "engine": "redis", "epoch": 1, "shards": [{"primary": null, "nodes": []}],
        "endpoints": [{"kind": "primary", "addresses": ["127.0.0.1:0"]}],
        "access": {"users": [{"name": "default", "enabled": true, "nopass": true, "rules": "~* +ping"}]},
    });
    let bound = plane.apply(Cluster::parse(spec.to_string().as_bytes()).unwrap()).unwrap();
    let mut table: Value = serde_json::from_slice(TABLE).unwrap();
    let is_kept = |entry: &Value| entry["name"] != "append"; // the others' numbers are less by one
    table["commands"].as_array_mut().unwrap().retain(is_kept);
    let older = Arc::new(CommandTable::from_json(table.to_string().as_bytes()).unwrap());
    let mut client = connect(&bound[0].1);
    assert!(is_served(&client));
    let rights = vec![Some(plane.shared.named("c").unwrap().rights)]; // by the newer one
    plane.mailboxes[0].send(Message::Learn { table: older, rights });
    plane.clients();
    assert!(is_served(&client), "who is there");
    assert!(is_served(&connect(&bound[0].1)), "and who comes");
    client.write_all(b"ECHO x\r\n").unwrap();
    assert!(says(&client, "-NOPERM this user has no permissions to run the 'echo' command\r\n"));
    plane.mailboxes[0].send(Message::Panic);
    until("the worker starts anew", || plane.statistics()["workers"][0]["restarts"] == 1);
    let mut client = connect(&bound[0].1);
    assert!(is_served(&client));
    client.write_all(b"GET x\r\n").unwrap();
    assert!(says(&client, "-NOPERM this user has no permissions to run the 'get' command\r\n"));
}
