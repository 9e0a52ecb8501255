//! What ROLE says on a primary: how far its writes have got, and which attached replica has confirmed how much of them.

use std::net::{IpAddr, SocketAddr};

use crate::dialect::resp::reply::{array_elements, integer};

#[derive(Debug, PartialEq, Eq)]
pub struct Role {
    /// Where its last write ends.
    pub offset: i64,
    /// Attached replicas by address, and the offset each has confirmed.
    pub replicas: Vec<(String, i64)>,
}

impl Role {
    /// None for a replica, and for an error.
    pub fn of_primary(reply: &[u8]) -> Option<Self> {
        let mut elements = array_elements(reply).ok()?.map_while(Result::ok);
        if text(elements.next()?)? != "master" {
            return None;
        }
        let offset = integer(elements.next()?)?;
        let replicas = array_elements(elements.next()?).ok()?.map_while(Result::ok).map(attached);
        Some(Self { offset, replicas: replicas.collect::<Option<_>>()? })
    }
}

fn attached(replica: &[u8]) -> Option<(String, i64)> {
    let mut words = array_elements(replica).ok()?.map_while(Result::ok).map(text);
    let (host, port, offset) = (words.next()??, words.next()??, words.next()??);
    Some((address(host, port.parse().ok()?), offset.parse().ok()?))
}

/// As an `Address` is written.
fn address(host: &str, port: u16) -> String {
    host.parse::<IpAddr>().map_or_else(|_| format!("{host}:{port}"), |ip| SocketAddr::new(ip, port).to_string())
}

fn text(bulk: &[u8]) -> Option<&str> {
    let start = memchr::memchr(b'\n', bulk.strip_prefix(b"$")?)? + 2;
    std::str::from_utf8(bulk.get(start..)?.strip_suffix(b"\r\n")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_lists_who_confirmed_what() {
        let reply = b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*2\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n\
            *3\r\n$3\r\n::1\r\n$4\r\n9002\r\n$1\r\n0\r\n";
        let replicas = vec![("127.0.0.1:9001".to_owned(), 3_129_242), ("[::1]:9002".to_owned(), 0)];
        assert_eq!(Role::of_primary(reply), Some(Role { offset: 3_129_659, replicas }));
        let alone = Role { offset: 0, replicas: Vec::new() };
        assert_eq!(Role::of_primary(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"), Some(alone));
    }

    #[test]
    fn whoever_else_answers_confirms_nothing() {
        for reply in [
            &b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:3167038\r\n"[..],
            b"*2\r\n$8\r\nsentinel\r\n*0\r\n",
            b"-NOPERM this user has no permissions to run the 'role' command\r\n",
            b"*3\r\n$6\r\nmaster\r\n:7\r\n*1\r\n*3\r\n$1\r\nx\r\n$4\r\nport\r\n$1\r\n0\r\n",
            b"*1\r\n$6\r\nmaster\r\n",
            b"+OK\r\n",
        ] {
            assert_eq!(Role::of_primary(reply), None, "{}", String::from_utf8_lossy(reply));
        }
    }
}
