//! Sessions over real sockets, with rustls' other interface at the other end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::*;

struct Made {
    certificate: String,
    key: String,
}

impl Made {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn pair(&self) -> Pair<'_> {
        Pair { certificate: &self.certificate, key: &self.key }
    }

    fn server(&self) -> Arc<ServerConfig> {
        server_config(&[self.pair()], None, false).unwrap()
    }

    fn client(&self) -> Arc<ClientConfig> {
        client_config(&self.certificate, None).unwrap()
    }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}

fn sockets() -> (TcpStream, mio::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    theirs.set_nodelay(true).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (theirs, mio::net::TcpStream::from_std(ours))
}

fn until<T>(mut step: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(8);
    loop {
        if let Some(done) = step() {
            return done;
        }
        assert!(Instant::now() < deadline, "not within 8 s");
        thread::sleep(Duration::from_micros(200));
    }
}

fn shake(tls: &mut Tls) -> Result<(), Fault> {
    until(|| match tls.shake() {
        Ok(true) => Some(Ok(())),
        Ok(false) => None,
        Err(fault) => Some(Err(fault)),
    })
}

fn read_some(tls: &mut Tls, buffer: &mut [u8]) -> usize {
    until(|| match tls.read(buffer) {
        Ok(n) => Some(n),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    })
}

/// Write as callers do: what did not leave is presented again.
fn write_all(tls: &mut Tls, mut bytes: &[u8], mut meanwhile: impl FnMut()) {
    until(|| {
        while !bytes.is_empty() {
            match tls.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    meanwhile();
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
        Some(())
    });
}

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A session with ours as the server, and whatever the client does first.
fn served(made: &Made, first: impl FnOnce(&mut Client) + Send + 'static) -> (Tls, thread::JoinHandle<Client>) {
    let (theirs, ours) = sockets();
    let connection = ClientConnection::new(made.client(), name()).unwrap();
    let client = thread::spawn(move || {
        let mut client = StreamOwned::new(connection, theirs);
        client.conn.complete_io(&mut client.sock).unwrap();
        first(&mut client);
        client
    });
    let mut tls = Tls::accept(ours, made.server()).unwrap();
    shake(&mut tls).unwrap();
    (tls, client)
}

#[test]
fn bytes_pass_both_ways() {
    let (mut tls, client) = served(&Made::new(), |client| {
        client.write_all(b"PING\r\n").unwrap();
        let mut reply = [0; 7];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+PONG\r\n");
    });
    let mut buffer = [0; 100];
    let n = read_some(&mut tls, &mut buffer);
    assert_eq!(&buffer[..n], b"PING\r\n");
    while tls.has_more() {
        tls.read(&mut buffer).unwrap_err(); // they came with the handshake
    }
    assert_eq!(tls.held(), 0, "a session that is idle holds nothing");
    assert_eq!(tls.write(b"+PONG\r\n").unwrap(), 7);
    client.join().unwrap();
}

#[test]
fn much_passes_in_small_and_in_large_records() {
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 + i / 256) as u8).collect();
    let expected = sent.clone();
    let (mut tls, client) = served(&Made::new(), move |client| {
        for byte in &sent[..3000] {
            client.write_all(&[*byte]).unwrap(); // a record each
        }
        client.write_all(&sent[3000..]).unwrap();
        client.flush().unwrap();
    });
    let mut got = Vec::new();
    for room in [1usize, 7, 100, 70_000].iter().cycle() {
        let mut buffer = vec![0; *room];
        let n = read_some(&mut tls, &mut buffer);
        got.extend_from_slice(&buffer[..n]);
        if got.len() == expected.len() {
            break;
        }
    }
    assert!(got == expected);
    client.join().unwrap();
}

#[test]
fn what_the_socket_does_not_take_leaves_later_and_once() {
    let (mut tls, client) = served(&Made::new(), |_| {});
    let mut client = client.join().unwrap();
    let sent: Vec<u8> = (0..9_000_000u32).map(|i| (i * 11 + i / 256) as u8).collect();
    let mut left = &sent[..];
    let mut blocked = 0;
    while blocked < 3 {
        match tls.write(left) {
            Ok(n) => left = &left[n..],
            Err(_) => blocked += 1, // and whoever asks again is told the same
        }
    }
    assert!(!left.is_empty() && tls.held() > 0, "it is pending");
    assert!(tls.held() <= 2 * 66 * 1024, "{}", tls.held());
    let mut got = vec![0; sent.len()];
    let reader = thread::spawn(move || {
        client.read_exact(&mut got).unwrap();
        got
    });
    write_all(&mut tls, left, || {});
    assert!(reader.join().unwrap() == sent);
    assert_eq!(tls.held(), 0);
}

#[test]
fn the_last_byte_is_told_when_it_is_out() {
    let (mut tls, client) = served(&Made::new(), |_| {});
    let mut client = client.join().unwrap();
    let block = vec![b'x'; 60_000];
    let mut told = 0;
    let last = loop {
        match tls.write(&block) {
            Ok(n) if n == block.len() => told += n,
            Ok(n) => {
                told += n;
                break n;
            }
            Err(error) => panic!("nothing was pending: {error}"),
        }
    };
    assert_eq!(last, block.len() - 1);
    assert!(tls.write(b"x").is_err());
    let mut got = vec![0; told + 1];
    let reader = thread::spawn(move || client.read_exact(&mut got).map(|()| got.len()));
    write_all(&mut tls, b"x", || {});
    assert_eq!(reader.join().unwrap().unwrap(), told + 1);
}

#[test]
fn slices_leave_as_one() {
    let (mut tls, client) = served(&Made::new(), |client| {
        let mut got = [0; 9];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"abcdefghi");
    });
    let slices = [b"abc".as_slice(), b"", b"def", b"ghi"].map(std::io::IoSlice::new);
    assert_eq!(tls.write_vectored(&slices).unwrap(), 9);
    client.join().unwrap();
}

#[test]
fn an_end_that_was_said_is_read_behind_what_came_before_it() {
    let (mut tls, client) = served(&Made::new(), |client| {
        client.write_all(b"QUIT\r\n").unwrap();
        client.conn.send_close_notify();
        client.conn.complete_io(&mut client.sock).unwrap();
        let mut reply = [0; 5];
        client.read_exact(&mut reply).unwrap(); // it may be answered all the same
    });
    let mut buffer = [0; 100];
    until(|| {
        let n = read_some(&mut tls, &mut buffer);
        assert_eq!(&buffer[..n], b"QUIT\r\n");
        Some(())
    });
    while !tls.has_more() {
        assert_eq!(read_some(&mut tls, &mut buffer), 0);
    }
    assert_eq!(tls.read(&mut buffer).unwrap(), 0, "and no event told of it");
    assert_eq!(tls.write(b"+OK\r\n").unwrap(), 5);
    client.join().unwrap();
}

/// One event tells of both.
#[test]
fn an_end_within_a_record_is_read_at_once() {
    for part in [&[23, 3, 3, 0, 100, 1, 2][..], &[23]] {
        let (mut tls, client) = served(&Made::new(), |_| {});
        let mut client = client.join().unwrap();
        client.sock.write_all(part).unwrap();
        client.sock.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(tls.read(&mut [0; 100]).unwrap(), 0);
    }
}

#[test]
fn a_close_of_ours_is_said() {
    let (tls, client) = served(&Made::new(), |client| {
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0, "and no broken end");
    });
    drop(tls);
    client.join().unwrap();
}

#[test]
fn an_end_that_was_said_is_answered() {
    let (mut tls, client) = served(&Made::new(), |client| {
        client.conn.send_close_notify();
        client.conn.complete_io(&mut client.sock).unwrap();
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0, "and no broken end");
    });
    assert_eq!(read_some(&mut tls, &mut [0; 10]), 0);
    drop(tls);
    client.join().unwrap();
}

/// Whether each of two connections of one client goes on from an earlier one.
fn resumed(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> [bool; 2] {
    [(); 2].map(|()| {
        let (theirs, ours) = sockets();
        let connection = ClientConnection::new(client.clone(), name()).unwrap();
        let reader = thread::spawn(move || {
            let mut client = StreamOwned::new(connection, theirs);
            client.read_exact(&mut [0; 2]).unwrap();
        });
        let mut tls = Tls::accept(ours, server.clone()).unwrap();
        shake(&mut tls).unwrap();
        tls.write(b"ok").unwrap();
        reader.join().unwrap();
        tls.is_resumed()
    })
}

#[test]
fn a_session_goes_on_by_its_ticket() {
    let made = Made::new();
    assert_eq!(resumed(&made.server(), &made.client()), [false, true]);
}

#[test]
fn who_shows_a_certificate_shows_it_each_time() {
    let (made, own) = (Made::new(), Made::new());
    let server = server_config(&[made.pair()], Some((&own.certificate, Demand::Required)), false).unwrap();
    let client = client_config(&made.certificate, Some(own.pair())).unwrap();
    assert_eq!(resumed(&server, &client), [false, false]);
}

#[test]
fn who_speaks_no_tls_is_told_plainly() {
    let (mut theirs, ours) = sockets();
    let mut tls = Tls::accept(ours, Made::new().server()).unwrap();
    theirs.write_all(b"PING\r\n").unwrap();
    let fault = shake(&mut tls).unwrap_err();
    assert!(fault.is_plain && tls.has_begun());
    tls.say_plainly(b"-ERR no\r\n");
    let mut told = String::new();
    theirs.read_to_string(&mut told).unwrap();
    assert_eq!(told, "-ERR no\r\n");
}

/// A session with ours as the client of a server with that certificate.
fn asked(server: &Made, client: Arc<ClientConfig>, name: &str) -> Result<(), Fault> {
    let (theirs, ours) = sockets();
    let connection = ServerConnection::new(server.server()).unwrap();
    let node = thread::spawn(move || {
        let mut stream = StreamOwned::new(connection, theirs);
        let mut got = [0; 4];
        if stream.read_exact(&mut got).is_ok() {
            stream.write_all(&got).unwrap();
        }
    });
    let mut tls = Tls::connect(ours, client, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    let result = shake(&mut tls);
    if result.is_ok() {
        assert_eq!(tls.write(b"PING").unwrap(), 4);
        assert_eq!(read_some(&mut tls, &mut [0; 10]), 4);
    }
    drop(tls);
    node.join().unwrap();
    result
}

#[test]
fn a_node_is_verified_and_what_is_wrong_with_it_named() {
    let (node, other) = (Made::new(), Made::new());
    assert_eq!(asked(&node, node.client(), "localhost"), Ok(()));
    let why = |client, name| asked(&node, client, name).unwrap_err().why;
    assert_eq!(why(node.client(), "node-1"), "its certificate is for localhost, not for node-1");
    let is_unknown = why(other.client(), "localhost");
    assert!(is_unknown.contains("self-signed"), "{is_unknown}");
}
