//! Endpoints on unix sockets and IPv6; what a killed process left behind, and what is not ours to remove.

use std::io::Write;
use std::net::TcpStream as StdTcp;
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnix};
use std::time::{Duration, Instant};

use super::*;

/// A directory of this test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shardproxy-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> (PathBuf, Address) {
        let path = self.0.join("s.sock");
        (path.clone(), Address::Unix(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn accepted(listener: &Listener) -> Stream {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => assert!(error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline, "{error}"),
        }
    }
}

fn carries_bytes(listener: &Listener, mut peer: impl Write) -> bool {
    let mut stream = accepted(listener);
    peer.write_all(b"hello").unwrap();
    let (mut buffer, deadline) = ([0; 8], Instant::now() + Duration::from_secs(5));
    while Instant::now() < deadline {
        if let Ok(n) = stream.read(&mut buffer) {
            return &buffer[..n] == b"hello";
        }
    }
    false
}

fn listens(path: &Path) -> bool {
    StdUnix::connect(path).is_ok()
}

#[test]
fn a_socket_file_lives_as_long_as_its_listener() {
    let directory = Directory::new("lives");
    let (path, address) = directory.socket();
    let listener = Listener::bind(&address).unwrap();
    assert_eq!(listener.address().unwrap(), address);
    assert!(carries_bytes(&listener, StdUnix::connect(&path).unwrap()));
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn an_abandoned_socket_file_is_taken_over() {
    let directory = Directory::new("abandoned");
    let (path, address) = directory.socket();
    drop(StdUnixListener::bind(&path).unwrap()); // as a killed process leaves it
    assert!(path.exists());
    let listener = Listener::bind(&address).unwrap();
    assert!(carries_bytes(&listener, StdUnix::connect(&path).unwrap()));
}

#[test]
fn what_somebody_else_uses_is_left_alone() {
    let directory = Directory::new("used");
    let (path, address) = directory.socket();
    let other = StdUnixListener::bind(&path).unwrap();
    assert_eq!(Listener::bind(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert!(listens(&path));
    drop(other);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"no socket").unwrap();
    assert!(Listener::bind(&address).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"no socket");
}

#[test]
fn a_listener_removes_no_file_but_its_own() {
    let directory = Directory::new("own");
    let (path, address) = directory.socket();
    let old = Listener::bind(&address).unwrap();
    std::fs::remove_file(&path).unwrap();
    let next = Listener::bind(&address).unwrap(); // as the process that takes over
    drop(old);
    assert!(listens(&path), "the successor's file is gone");
    drop(next);
    assert!(!path.exists());
}

#[test]
fn both_families_may_share_a_port() {
    let v6 = Listener::bind(&Address::parse("[::1]:0").unwrap()).unwrap();
    let Ok(Address::Ip(bound)) = v6.address() else { panic!("no address") };
    assert!(bound.is_ipv6() && bound.port() != 0);
    assert!(carries_bytes(&v6, StdTcp::connect(bound).unwrap()));
    let any = Listener::bind(&Address::parse("[::]:0").unwrap()).unwrap();
    let Ok(Address::Ip(bound)) = any.address() else { panic!("no address") };
    let v4 = Listener::bind(&Address::parse(&format!("0.0.0.0:{}", bound.port())).unwrap()).unwrap();
    assert!(carries_bytes(&v4, StdTcp::connect(("127.0.0.1", bound.port())).unwrap()));
    assert!(carries_bytes(&any, StdTcp::connect(("::1", bound.port())).unwrap()));
}

#[test]
fn a_port_in_use_is_refused() {
    let first = Listener::bind(&Address::parse("127.0.0.1:0").unwrap()).unwrap();
    let error = Listener::bind(&first.address().unwrap()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}
