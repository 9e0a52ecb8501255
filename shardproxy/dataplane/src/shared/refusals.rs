//! Connections that were refused, counted by cluster and reason; of a flood of them only some are told one by one.

use std::sync::Mutex;

use serde_json::{Map, Value};

use crate::sync::lock;

/// How many of one reason and cluster are told in a second.
const TOLD: u32 = 5;
const SECOND: u64 = 1000; // ms

/// Why a connection was refused, or closed before its client was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many clients as there may be.
    Limit,
    /// No rule admits from there.
    SecurityGroup,
    /// The endpoint is for balancers, and it is none of them.
    NoBalancer,
    /// A balancer did not say, or not rightly, whose connection it is.
    Header,
    /// There is no TLS session with it.
    Handshake,
    /// As many handshakes are under way as may be.
    Handshakes,
}

impl Refusal {
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Limit, "limit"),
        (Self::SecurityGroup, "security_group"),
        (Self::NoBalancer, "no_balancer"),
        (Self::Header, "proxy_header"),
        (Self::Handshake, "handshake"),
        (Self::Handshakes, "handshake_limit"),
    ];

    /// As metrics and events call it.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    all: u64,
    /// The second in which the last ones were, and how many of it were told.
    second: u64,
    told: u32,
}

/// By cluster.
#[derive(Default)]
pub struct Refusals(Mutex<Vec<[Count; Refusal::ALL.len()]>>);

impl Refusals {
    /// Count one; whether it is to be told.
    pub fn count(&self, cluster: usize, why: Refusal, millis: u64) -> bool {
        let mut counts = lock(&self.0);
        if counts.len() <= cluster {
            counts.resize_with(cluster + 1, Default::default);
        }
        let count = &mut counts[cluster][why as usize];
        count.all += 1;
        if count.second != millis / SECOND {
            (count.second, count.told) = (millis / SECOND, 0);
        }
        count.told += 1;
        count.told <= TOLD
    }

    /// The counts of a cluster by reason.
    pub fn of(&self, cluster: usize) -> Value {
        let counts = lock(&self.0).get(cluster).copied().unwrap_or_default();
        let by_name = Refusal::ALL.map(|(why, name)| (name.to_owned(), counts[why as usize].all.into()));
        Value::Object(Map::from_iter(by_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_some_of_each_second_told() {
        let refusals = Refusals::default();
        let told = |cluster, why, millis| (0..100).filter(|_| refusals.count(cluster, why, millis)).count();
        assert_eq!(told(1, Refusal::SecurityGroup, 0), 5);
        assert_eq!(told(1, Refusal::SecurityGroup, 999), 0);
        assert_eq!(told(1, Refusal::Header, 999), 5, "another reason");
        assert_eq!(told(2, Refusal::SecurityGroup, 999), 5, "another cluster");
        assert_eq!(told(1, Refusal::SecurityGroup, 1000), 5, "another second");
        assert_eq!(refusals.of(1)["security_group"], 300);
        assert_eq!(refusals.of(1)["limit"], 0);
        assert_eq!(refusals.of(7)["limit"], 0);
    }

    #[test]
    fn each_reason_has_its_place() {
        for (place, (why, name)) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!((why as usize, why.name()), (place, name));
        }
    }
}
