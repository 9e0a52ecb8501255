//! Auto Discovery: the layout of the cluster as `ElastiCache`'s own clients ask for it.
//!
//! ```text
//!   > config get cluster            > get AmazonElastiCache:cluster        (older clients)
//!   < CONFIG cluster 0 <n>          < VALUE AmazonElastiCache:cluster 0 <n>
//!   < <version>\n<host>|<ip>|<port> <host>|<ip>|<port>\n
//!   < END
//! ```

use crate::model::Discovery;

pub const LEGACY_KEY: &[u8] = b"AmazonElastiCache:cluster";

/// The reply to `config get cluster`, or to a get of the legacy key.
pub fn reply(discovery: &Discovery, local_address: &str, is_legacy: bool) -> Vec<u8> {
    let own;
    let nodes = if discovery.nodes.is_empty() {
        let Some(found) = split(local_address) else {
            return b"SERVER_ERROR a unix socket has no address to tell: set advertise on the endpoint\r\n".to_vec();
        };
        own = [found];
        &own[..]
    } else {
        &discovery.nodes[..]
    };
    let list: Vec<String> = nodes.iter().map(|(host, ip, port)| format!("{host}|{ip}|{port}")).collect();
    let body = format!("{}\n{}\n", discovery.version, list.join(" "));
    let head = if is_legacy { "VALUE AmazonElastiCache:cluster" } else { "CONFIG cluster" };
    format!("{head} 0 {}\r\n{body}\r\nEND\r\n", body.len()).into_bytes()
}

fn split(address: &str) -> Option<(String, String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_is_elasticaches_byte_for_byte() {
        let nodes = vec![("a.x".into(), "10.0.0.1".into(), 11211), ("b.x".into(), "10.0.0.2".into(), 11212)];
        let discovery = Discovery { version: 12, nodes };
        let text = |legacy| String::from_utf8(reply(&discovery, "", legacy)).unwrap();
        assert_eq!(text(false), "CONFIG cluster 0 41\r\n12\na.x|10.0.0.1|11211 b.x|10.0.0.2|11212\n\r\nEND\r\n");
        assert_eq!(
            text(true),
            "VALUE AmazonElastiCache:cluster 0 41\r\n12\na.x|10.0.0.1|11211 b.x|10.0.0.2|11212\n\r\nEND\r\n"
        );
    }

    #[test]
    fn a_proxy_tells_the_address_it_was_reached_at() {
        let discovery = Discovery { version: 1, nodes: Vec::new() };
        let text = |local| String::from_utf8(reply(&discovery, local, false)).unwrap();
        assert_eq!(text("127.0.0.1:11211"), "CONFIG cluster 0 28\r\n1\n127.0.0.1|127.0.0.1|11211\n\r\nEND\r\n");
        assert!(text("[::1]:5").contains("\n::1|::1|5\n"));
        assert!(text("/run/x.sock").starts_with("SERVER_ERROR"));
    }
}
