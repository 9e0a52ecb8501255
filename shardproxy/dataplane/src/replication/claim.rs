//! Who copies to a target: connections bear a name, and whoever copies later ends those of whoever did before.
//!
//! A process that was stopped in the middle of a copy may go on once others have written to the target. What it then writes
//! goes to a connection that is closed; and what the engine had not read of it yet went with that connection.
//!
//! ```text
//!   shardproxy-copier-<cluster>:<term>:<run>:<number>      term   of the cluster's leader
//!                                                          run    of those that copy together
//!                                                          number of the copier in its process
//! ```

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::fault::{Fault, Kind};
use super::node::{Node, NodeError};
use super::value::Value;

const PREFIX: &str = "shardproxy-copier-";
/// Between looks at whether all have gone: most engines have closed them when they say so.
const LOOKS_EVERY: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ClaimSpec {
    pub cluster: String,
    pub term: u64,
    pub run: u64,
}

/// A copier's, for all of its connections to targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    group: String,
    place: (u64, u64),
    number: u64,
}

/// What another connection is to a copier's own.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    Stranger,
    Fellow,
    Older,
    Later,
}

impl Claim {
    /// Without a spec it copies for nobody, and before and after none.
    pub fn new(spec: Option<ClaimSpec>) -> Result<Self, String> {
        static COPIERS: AtomicU64 = AtomicU64::new(0);
        let number = COPIERS.fetch_add(1, Ordering::Relaxed);
        let Some(ClaimSpec { cluster, term, run }) = spec else {
            let group = format!("{PREFIX}:{}.{}:", process::id(), crate::net::boot_time());
            return Ok(Self { group, place: (0, 0), number });
        };
        if cluster.is_empty() || !cluster.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
            return Err(format!("{cluster:?} is no name of a cluster"));
        }
        Ok(Self { group: format!("{PREFIX}{cluster}:"), place: (term, run), number })
    }

    pub fn name(&self) -> String {
        format!("{}{}:{}:{}", self.group, self.place.0, self.place.1, self.number)
    }

    fn compare(&self, name: &str) -> Other {
        let mut parts = name.strip_prefix(&self.group).unwrap_or_default().split(':').map(str::parse::<u64>);
        let (Some(Ok(term)), Some(Ok(run)), Some(Ok(number)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Other::Stranger;
        };
        match (term, run).cmp(&self.place) {
            std::cmp::Ordering::Less => Other::Older,
            std::cmp::Ordering::Greater => Other::Later,
            std::cmp::Ordering::Equal if number == self.number => Other::Older, // one that was lost before
            std::cmp::Ordering::Equal => Other::Fellow,
        }
    }

    /// Who is to be ended of what CLIENT LIST shows, `own` left out; or the name of a later one.
    fn find(&self, list: &str, own: &str) -> Result<Vec<String>, String> {
        let mut older = Vec::new();
        for line in list.lines() {
            let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default();
            let (id, name) = (field("id="), field("name="));
            match self.compare(name) {
                Other::Older if id != own => older.push(id.to_owned()),
                Other::Later => return Err(name.to_owned()),
                _ => {}
            }
        }
        Ok(older)
    }
}

/// Why a target cannot be claimed.
pub enum Unclaimed {
    Node(NodeError),
    Later(Fault),
}

impl From<NodeError> for Unclaimed {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

/// Name a connection and end those of older copiers, before anything is written. What is not allowed is returned in words.
pub fn claim(node: &mut Node, claim: &Claim, until: Instant) -> Result<Option<String>, Unclaimed> {
    match try_claim(node, claim, until) {
        Err(Unclaimed::Node(NodeError::Refused(why))) => Ok(Some(format!("older copiers cannot be ended: {why}"))),
        Err(error) => Err(error),
        Ok(()) => Ok(None),
    }
}

fn try_claim(node: &mut Node, claim: &Claim, until: Instant) -> Result<(), Unclaimed> {
    node.send(&[b"CLIENT", b"SETNAME", claim.name().as_bytes()]);
    node.accepted(until)?;
    let reply = ask(node, &[b"CLIENT", b"ID"], until)?;
    let Some(own) = Value::read(&reply).and_then(|value| value.integer()) else {
        return Err(node.refused(&reply).into());
    };
    loop {
        let reply = ask(node, &[b"CLIENT", b"LIST"], until)?;
        let list = Value::read(&reply);
        let Some(list) = list.as_ref().and_then(Value::text) else { return Err(node.refused(&reply).into()) };
        let older = claim.find(&String::from_utf8_lossy(list), &own.to_string()).map_err(|name| {
            let why = format!("{}: a later copier writes to it ({name})", node.address());
            Unclaimed::Later(Fault::new(Kind::Lapsed, why))
        })?;
        if older.is_empty() {
            return Ok(());
        }
        for id in older {
            let reply = ask(node, &[b"CLIENT", b"KILL", b"ID", id.as_bytes()], until)?;
            if reply.starts_with(b"-") {
                return Err(node.refused(&reply).into());
            }
        }
        node.rest(LOOKS_EVERY)?;
        if Instant::now() >= until {
            return Err(node.lost("an older copier's connection does not end").into());
        }
    }
}

fn ask(node: &mut Node, words: &[&[u8]], until: Instant) -> Result<Vec<u8>, NodeError> {
    node.send(words);
    node.reply(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cluster: &str, term: u64, run: u64, number: u64) -> Claim {
        let spec = ClaimSpec { cluster: cluster.into(), term, run };
        Claim { number, ..Claim::new(Some(spec)).unwrap() }
    }

    #[test]
    fn older_ones_of_the_same_cluster_are_found() {
        let own = of("main", 7, 2, 5);
        for (other, expected) in [
            (of("main", 6, 9, 9), Other::Older),
            (of("main", 7, 1, 9), Other::Older),
            (of("main", 7, 2, 5), Other::Older),
            (of("main", 7, 2, 4), Other::Fellow),
            (of("main", 7, 3, 0), Other::Later),
            (of("main", 8, 0, 0), Other::Later),
            (of("mai", 1, 1, 1), Other::Stranger),
            (of("main2", 1, 1, 1), Other::Stranger),
            (Claim::new(None).unwrap(), Other::Stranger),
        ] {
            assert_eq!(own.compare(&other.name()), expected, "{}", other.name());
        }
        for name in
            ["", "app", "shardproxy-copier-main:1:2", "shardproxy-copier-main:1:2:x", "shardproxy-copier-main:1:2:3:4"]
        {
            assert_eq!(own.compare(name), Other::Stranger, "{name}");
        }
    }

    #[test]
    fn a_list_is_read() {
        let own = of("main", 7, 2, 5);
        let line =
            |id: u64, name: &str| format!("id={id} addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name={name} age=1 db=0\n");
        let mut list =
            line(1, "") + &line(2, &of("main", 6, 0, 0).name()) + &line(3, &own.name()) + &line(4, &own.name());
        assert_eq!(own.find(&list, "4"), Ok(vec!["2".into(), "3".into()]));
        let later = of("main", 8, 0, 0).name();
        list += &line(5, &later);
        assert_eq!(own.find(&list, "4"), Err(later));
    }

    #[test]
    fn a_name_is_one_that_an_engine_takes() {
        for cluster in ["", "a b", "a:b", "a\n"] {
            assert!(Claim::new(Some(ClaimSpec { cluster: cluster.into(), term: 1, run: 1 })).is_err());
        }
        assert_ne!(Claim::new(None).unwrap().name(), Claim::new(None).unwrap().name());
    }
}
