//! Which of a cluster's memcached nodes a key belongs to, as the client or proxy says that placed it there.

use super::ketama::{self, Server};
use super::rendezvous::Rendezvous;
use super::ring::Ring;
use super::{tag_of, KeyHash};

/// How nodes share the keys, but for slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// twemproxy.
    Ketama,
    KetamaLibmemcached,
    KetamaLibmemcachedUnweighted,
    KetamaSpy,
    /// pymemcache.
    Rendezvous,
    /// Hash modulo nodes: twemproxy and libmemcached.
    Modula,
}

impl Method {
    pub fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "ketama" => Self::Ketama,
            "ketama-libmemcached" => Self::KetamaLibmemcached,
            "ketama-libmemcached-unweighted" => Self::KetamaLibmemcachedUnweighted,
            "ketama-spy" => Self::KetamaSpy,
            "rendezvous" => Self::Rendezvous,
            "modula" => Self::Modula,
            other => return Err(format!("there is no hashing {other:?}")),
        })
    }

    /// The hash function of keys where none is chosen: twemproxy's default, and libmemcached's with and without weights.
    pub const fn hash(self) -> KeyHash {
        match self {
            Self::Ketama => KeyHash::Fnv1a64,
            Self::KetamaLibmemcached | Self::KetamaSpy | Self::Rendezvous => KeyHash::Md5,
            Self::KetamaLibmemcachedUnweighted | Self::Modula => KeyHash::OneAtATime,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Distribution {
    places: Places,
    hash: KeyHash,
    /// The part of a key between the first of these bytes and the next of those is hashed.
    tag: Option<(u8, u8)>,
}

#[derive(Clone, Debug)]
enum Places {
    Ring(Ring),
    Rendezvous(Rendezvous),
    /// The weight of each server: it has so many of the remainders.
    Modula(Box<[u32]>),
}

impl Distribution {
    /// `hash` is the method's own unless given. `tag` is two bytes.
    pub fn new(
        method: Method,
        hash: Option<KeyHash>,
        tag: Option<(u8, u8)>,
        servers: &[Server],
    ) -> Result<Self, String> {
        if servers.is_empty() {
            return Err("there are no nodes to share the keys".into());
        }
        let hash = hash.unwrap_or(method.hash());
        let places = match method {
            Method::Ketama => Places::Ring(ketama::twemproxy(servers)),
            Method::KetamaLibmemcached => Places::Ring(ketama::libmemcached(servers)),
            Method::KetamaLibmemcachedUnweighted => Places::Ring(ketama::libmemcached_unweighted(servers, hash)),
            Method::KetamaSpy => Places::Ring(ketama::spymemcached(servers)?),
            Method::Rendezvous => Places::Rendezvous(Rendezvous::new(servers)),
            Method::Modula => Places::Modula(servers.iter().map(|server| server.weight).collect()),
        };
        Ok(Self { places, hash, tag })
    }

    /// The index of the key's server.
    #[inline]
    pub fn server_of(&self, key: &[u8]) -> Option<usize> {
        let key = self.hashed_part(key);
        match &self.places {
            Places::Ring(ring) => ring.server_of(self.hash.of(key)),
            Places::Rendezvous(rendezvous) => rendezvous.server_of(key, |_| false),
            Places::Modula(weights) => by_remainder(self.hash.of(key), weights, |_| false),
        }
    }

    /// The index of the key's server while those that are `out` are ejected; none when all are.
    pub fn server_of_but(&self, key: &[u8], out: &[bool]) -> Option<usize> {
        let is_out = |server: usize| out.get(server).is_some_and(|&out| out);
        let key = self.hashed_part(key);
        match &self.places {
            Places::Ring(ring) => ring.walk(self.hash.of(key)).find(|&server| !is_out(server)),
            Places::Rendezvous(rendezvous) => rendezvous.server_of(key, is_out),
            Places::Modula(weights) => by_remainder(self.hash.of(key), weights, is_out),
        }
    }

    #[inline]
    fn hashed_part<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        self.tag.and_then(|(open, close)| tag_of(key, open, close)).unwrap_or(key)
    }
}

/// The server whose share of the remainders, in their order, holds this one's.
fn by_remainder(hash: u32, weights: &[u32], is_out: impl Fn(usize) -> bool) -> Option<usize> {
    let left = || weights.iter().map(|&weight| u64::from(weight)).enumerate().filter(|(server, _)| !is_out(*server));
    let total: u64 = left().map(|(_, weight)| weight).sum();
    let mut rest = u64::from(hash).checked_rem(total)?;
    for (server, weight) in left() {
        if rest < weight {
            return Some(server);
        }
        rest -= weight;
    }
    None
}
