//! Ketama rings, of several makes that differ in what they call a server, in how they round weights, or in knowing none.

use std::fmt::Write as _;

use super::function::{md5_points, KeyHash};
use super::ring::Ring;

/// Points of a server of average weight.
const POINTS: f32 = 160.0;
/// Points made of one MD5 digest.
const PER_DIGEST: f32 = 4.0;
/// Points of every server where there are no weights (libmemcached's `MEMCACHED_POINTS_PER_SERVER`).
const UNWEIGHTED_POINTS: u32 = 100;
/// memcached's port, which libmemcached leaves out of a server's name.
const DEFAULT_PORT: u16 = 11211;

/// A server as it is told to whoever makes a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Given by the config: stands for host and port.
    pub name: Option<String>,
    /// An IPv6 address without brackets; or the path of a unix socket.
    pub host: String,
    /// None for a unix socket.
    pub port: Option<u16>,
    pub weight: u32,
}

impl Server {
    /// `host:port`, or the path.
    pub fn address(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    fn without_default_port(&self) -> String {
        if self.port == Some(DEFAULT_PORT) {
            self.host.clone()
        } else {
            self.address()
        }
    }
}

/// As twemproxy builds it (`nc_ketama.c`): `<name>-<i>`.
pub fn twemproxy(servers: &[Server]) -> Ring {
    let count = |share: f32, servers: f32| (f64::from(share * POINTS / PER_DIGEST * servers) + 1e-10) as f32;
    ring(servers, count, |server| server.name.clone().unwrap_or_else(|| server.without_default_port()))
}

/// As libmemcached builds it (`hosts.cc`): `<host>-<i>` or `<host>:<port>-<i>`.
pub fn libmemcached(servers: &[Server]) -> Ring {
    let count = |share: f32, servers: f32| share * POINTS / PER_DIGEST * servers + 1e-10;
    ring(servers, count, |server| server.name.clone().unwrap_or_else(|| server.without_default_port()))
}

/// As libmemcached builds it when it is told nothing of weights (`MEMCACHED_BEHAVIOR_KETAMA` alone): the same texts, but one
/// point of each, by the function that hashes the keys.
pub fn libmemcached_unweighted(servers: &[Server], hash: KeyHash) -> Ring {
    let mut points = Vec::new();
    for (index, server) in (0..).zip(servers) {
        let name = server.name.clone().unwrap_or_else(|| server.without_default_port());
        let point = |number| (hash.of(format!("{name}-{number}").as_bytes()), index);
        points.extend((0..UNWEIGHTED_POINTS).map(point));
    }
    Ring::new(points)
}

/// As spymemcached builds it (`KetamaNodeLocator`): Java's text of the socket address, `<host name>/<ip>:<port>-<i>`, or
/// `<ip>:<port>-<i>` where no host name was given. A server that has a name must bring that text as its name.
pub fn spymemcached(servers: &[Server]) -> Result<Ring, String> {
    for server in servers.iter().filter(|server| server.name.is_none()) {
        if server.port.is_none() || server.host.parse::<std::net::IpAddr>().is_err() {
            return Err(format!(
                "ketama-spy hashes host name and IP address: name the node {0} as Java shows its address, \
                 such as \"{1}/10.0.0.1:{2}\"",
                server.address(),
                server.host,
                server.port.unwrap_or(DEFAULT_PORT),
            ));
        }
    }
    let count = |share: f32, servers: f32| (f64::from(share * POINTS / PER_DIGEST * servers) + 1e-10) as f32;
    Ok(ring(servers, count, |server| server.name.clone().unwrap_or_else(|| server.address())))
}

/// `digests` says, in their own rounding, how many digests a server of such a share of the weight has, among so many servers.
#[allow(clippy::cast_precision_loss)] // they reckon in single precision
fn ring(servers: &[Server], digests: impl Fn(f32, f32) -> f32, name: impl Fn(&Server) -> String) -> Ring {
    let total: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
    let mut points = Vec::new();
    for (index, server) in (0..).zip(servers) {
        let share = server.weight as f32 / total as f32;
        let count = digests(share, servers.len() as f32).floor() as u32;
        let mut text = name(server);
        let stem = text.len();
        for number in 0..count {
            text.truncate(stem);
            let _ = write!(text, "-{number}"); // a String takes everything
            points.extend(md5_points(text.as_bytes()).map(|value| (value, index)));
        }
    }
    Ring::new(points)
}
