//! Which shard a key belongs to, by the cluster's hashing.

use super::{Action, Cluster, ClusterSpec, ShardSpec, NO_SHARD};
use crate::hash::{self, Distribution, KeyHash, Method, Server};
use crate::net::Address;

#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// None: by slot.
    distribution: Option<Distribution>,
    /// What a slot is hashed from stands between these, rather than between braces.
    tag: Option<(u8, u8)>,
}

impl Placement {
    pub fn build(spec: &ClusterSpec) -> Result<Self, String> {
        let memcached = &spec.memcached;
        let tag = match memcached.tag.as_deref().map(str::as_bytes) {
            None => None,
            Some(&[open, close]) => Some((open, close)),
            Some(_) => return Err("a hash tag is two ASCII characters".into()),
        };
        if matches!(spec.hashing.as_str(), "" | "slots") {
            return Ok(Self { distribution: None, tag });
        }
        let hash = memcached.hash.as_deref().map(KeyHash::named).transpose()?;
        let own = spec.shards.len().saturating_sub(memcached.gutter);
        let servers: Vec<Server> = spec.shards[..own].iter().map(server).collect::<Result<_, _>>()?;
        let method = Method::named(&spec.hashing)?;
        Ok(Self { distribution: Some(Distribution::new(method, hash, tag, &servers)?), tag: None })
    }

    #[inline]
    pub fn shard_of(&self, cluster: &Cluster, key: &[u8]) -> u16 {
        match &self.distribution {
            None => cluster.shard_of(self.slot(key)),
            Some(distribution) => distribution.server_of(key).map_or(NO_SHARD, |server| server as u16),
        }
    }

    /// Where the key goes while these shards are `out`; `NO_SHARD` when all are.
    pub fn shard_of_but(&self, cluster: &Cluster, key: &[u8], out: &[bool]) -> u16 {
        let Some(distribution) = &self.distribution else { return slot_of_but(cluster, self.slot(key), out) };
        distribution.server_of_but(key, out).map_or(NO_SHARD, |server| server as u16)
    }

    /// The shards that a key goes to in turn while its own is down, as each of them may be, too.
    pub fn stand_ins<'a>(&'a self, cluster: &'a Cluster, key: &'a [u8]) -> impl Iterator<Item = u16> + 'a {
        let spec = &cluster.spec.memcached;
        let nodes = cluster.shards.len() - spec.gutter;
        let (mut last, mut out) = (self.shard_of(cluster, key), vec![false; nodes]);
        let mut spares = 0..spec.gutter;
        std::iter::from_fn(move || match spec.on_failure.action {
            Action::Miss => None,
            Action::Rehash => {
                if std::mem::replace(out.get_mut(usize::from(last))?, true) {
                    return None;
                }
                last = self.shard_of_but(cluster, key, &out);
                (last != NO_SHARD).then_some(last)
            }
            Action::Gutter => {
                let place = (usize::from(hash::slot(key)) + spares.next()?) % spec.gutter;
                Some((nodes + place) as u16)
            }
        })
    }

    #[inline]
    fn slot(&self, key: &[u8]) -> u16 {
        match self.tag {
            None => hash::slot(key),
            Some((open, close)) => hash::slot_of_part(hash::tag_of(key, open, close).unwrap_or(key)),
        }
    }
}

/// The slots of a shard that is out are dealt to the others.
fn slot_of_but(cluster: &Cluster, slot: u16, out: &[bool]) -> u16 {
    let own = cluster.shard_of(slot);
    if out.get(usize::from(own)) == Some(&false) {
        return own;
    }
    let left = || (0..).zip(out).filter(|(_, &out)| !out).map(|(shard, _)| shard);
    left().nth(usize::from(slot) % left().count().max(1)).unwrap_or(NO_SHARD)
}

/// A node as the methods know it.
fn server(shard: &ShardSpec) -> Result<Server, String> {
    let node = shard.nodes.first().ok_or("a shard has no node")?;
    let (host, port) = match Address::parse(&node.address)? {
        Address::Ip(address) => (address.ip().to_string(), Some(address.port())),
        Address::Name(host, port) => (host, Some(port)),
        Address::Unix(path) => (path.display().to_string(), None),
    };
    Ok(Server { name: shard.name.clone(), host, port, weight: shard.weight.unwrap_or(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(hashing: &str, memcached: &str, shards: usize) -> Result<Cluster, String> {
        let per = 16384 / shards;
        let shards: Vec<String> = (0..shards)
            .map(|n| {
                let (first, last) = (n * per, if n + 1 == shards { 16383 } else { n * per + per - 1 });
                let slots = if hashing == "slots" { format!("[[{first},{last}]]") } else { "[]".into() };
                format!(r#"{{"slots":{slots},"primary":0,"nodes":[{{"address":"10.0.0.{n}:11211"}}],"weight":1}}"#)
            })
            .collect();
        let shards = shards.join(",");
        Cluster::parse(
            format!(
                r#"{{"name":"c","engine":"memcached","epoch":1,"hashing":"{hashing}","memcached":{memcached},
                     "shards":[{shards}]}}"#
            )
            .as_bytes(),
        )
    }

    fn keys() -> impl Iterator<Item = Vec<u8>> {
        (0..500).map(|n| format!("key:{n}").into_bytes())
    }

    #[test]
    fn only_the_keys_of_a_node_that_is_out_move() {
        for hashing in
            ["slots", "ketama", "ketama-libmemcached", "ketama-libmemcached-unweighted", "ketama-spy", "rendezvous"]
        {
            let options = if hashing == "ketama" { r#"{"hash":"murmur"}"# } else { "{}" };
            let cluster = cluster(hashing, options, 4).unwrap();
            let mut used = [0; 4];
            for key in keys() {
                let own = cluster.placement.shard_of(&cluster, &key);
                used[usize::from(own)] += 1;
                let but = cluster.placement.shard_of_but(&cluster, &key, &[false, false, true, false]);
                assert!(but == own || own == 2 && but != NO_SHARD, "{hashing}");
                assert_eq!(cluster.placement.shard_of_but(&cluster, &key, &[true; 4]), NO_SHARD);
            }
            assert!(used.iter().all(|&count| count > 50), "{hashing} {used:?}");
        }
    }

    #[test]
    fn the_gutter_has_no_keys_of_its_own() {
        let cluster = cluster("modula", r#"{"gutter":1,"hash":"crc32"}"#, 3).unwrap();
        assert!(keys().all(|key| cluster.placement.shard_of(&cluster, &key) < 2));
    }

    #[test]
    fn tags_are_hashed_alone() {
        for hashing in ["ketama", "slots"] {
            let cluster = cluster(hashing, r#"{"tag":"[]"}"#, 4).unwrap();
            for tag in ["tag", "tug", "tog", "{a}b"] {
                let shard_of = |key: &str| cluster.placement.shard_of(&cluster, key.as_bytes());
                let shard = shard_of(tag);
                assert!(["a[#]", "[#]b", "x[#][y]"].iter().all(|key| shard_of(&key.replace('#', tag)) == shard));
            }
        }
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        assert!(cluster("ketama", r#"{"hash":"hsieh"}"#, 2).unwrap_err().contains("licence"));
        assert!(cluster("best", "{}", 2).unwrap_err().contains("best"));
    }
}
