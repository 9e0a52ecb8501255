//! Who a shard's primary is or was last, since when, and what it last refused: what waiting may cure.

use std::time::{Duration, Instant};

use crate::model::Cluster;

/// A refusal is the reason for what waited in vain if it was not longer ago than this: who waits asks again ten times a second.
const RECENT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Reign {
    /// Its address, and the run id of its process.
    primary: Option<(String, Option<String>)>,
    /// When it took over from another one.
    since: Option<Instant>,
    refused: Option<(Box<[u8]>, Instant)>,
    /// Since when requests of the shard are held, some or all.
    held: Option<Instant>,
}

impl Reign {
    /// The next one, in a new epoch; while there is no primary the last one counts.
    pub fn next(before: Option<Self>, cluster: &Cluster, shard: u16, now: Instant) -> Self {
        let before = before.unwrap_or_default();
        let held = cluster.hold_of(shard).map(|_| before.held.unwrap_or(now));
        let before = Self { held, ..before };
        let Some(node) = cluster.shards[usize::from(shard)].primary else { return Self { refused: None, ..before } };
        let (label, run_id) = (&cluster.nodes[usize::from(node)].label, cluster.run_id_of(shard, node));
        let is_other = before.primary.as_ref().is_some_and(|(known, known_id)| {
            known != label || known_id.as_deref().zip(run_id).is_some_and(|(known, now)| known != now)
        });
        let primary = Some((label.clone(), run_id.map(str::to_owned)));
        if is_other {
            return Self { primary, since: Some(now), refused: None, held };
        }
        Self { primary, ..before }
    }

    /// Whether it took over within that time: its replicas may be on their way to it.
    pub fn is_young(&self, now: Instant, limit: Duration) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < limit)
    }

    /// From when on a request that is held has waited: who comes late waits no longer than who was there.
    pub fn held_from(&self, now: Instant) -> Instant {
        self.held.unwrap_or(now)
    }

    pub fn note_refusal(&mut self, reply: Vec<u8>, now: Instant) {
        self.refused = Some((reply.into_boxed_slice(), now));
    }

    /// It is another's turn to say why nothing goes on.
    pub fn forget_refusal(&mut self) {
        self.refused = None;
    }

    /// What the primary said a moment ago to those who wait for it.
    pub fn refusal(&self, now: Instant) -> Option<&[u8]> {
        let (reply, at) = self.refused.as_ref()?;
        (now.saturating_duration_since(*at) < RECENT).then_some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_the_primary_begins_a_reign() {
        let epoch = |primary: &str, run_id: &str| {
            let nodes = r#"[{"address":"127.0.0.1:1"},{"address":"127.0.0.1:2"}]"#;
            let shards = format!(r#"[{{"primary":{primary},"identity":{run_id},"nodes":{nodes}}}]"#);
            let json = format!(r#"{{"name":"c","engine":"redis","epoch":1,"shards":{shards}}}"#);
            Cluster::parse(json.as_bytes()).unwrap()
        };
        let (one, other) = (r#"{"run_id":"one"}"#, r#"{"run_id":"other"}"#);
        let now = Instant::now();
        let mut reign: Option<Reign> = None;
        for (primary, run_id, is_new) in [
            ("null", "null", false),
            ("0", "null", false), // the first that is known
            ("0", one, false),
            ("null", "null", false),
            ("0", one, false), // it was held up
            ("0", other, true),
        ] {
            let next = Reign::next(reign.take(), &epoch(primary, run_id), 0, now);
            assert_eq!(next.is_young(now, Duration::from_secs(3)), is_new, "{primary} {run_id}");
            assert!(!next.is_young(now + Duration::from_secs(3), Duration::from_secs(3)));
            reign = Some(next);
        }
        let before = Reign::next(None, &epoch("0", one), 0, now);
        assert!(Reign::next(Some(before), &epoch("1", "null"), 0, now).is_young(now, Duration::from_secs(3)));
    }
}
