//! What INFO says of an engine: which history its data has, from where on it can tell it, and what it may be used for. Pure.

use std::sync::Arc;

/// A place in a history: the same number in another one is another place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub replid: Arc<str>,
    pub offset: i64,
}

/// What is read of INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub run_id: String,
    /// Major and minor version as clients see them.
    pub version: (u32, u32),
    pub is_primary: bool,
    /// A replica hears its primary.
    pub is_linked: bool,
    pub replid: String,
    pub offset: i64,
    /// The name its history had before, and up to where that holds.
    former: Option<(String, i64)>,
    /// The bytes of the history it still has: the first one, and how many.
    backlog: Option<(i64, i64)>,
    /// It refuses writes while too few replicas confirm theirs: a reader would count as one.
    pub needs_replicas: bool,
    pub is_loading: bool,
    pub is_clustered: bool,
    /// Databases that have keys, and how many.
    pub databases: Vec<(u32, u64)>,
}

impl Facts {
    pub fn read(info: &str) -> Self {
        let field = |name: &str| {
            let mut lines = info.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(known, _)| *known == name).map_or("", |(_, value)| value.trim())
        };
        let number = |name: &str| field(name).parse::<i64>().ok();
        let mut parts = field("redis_version").split('.').map(|part| part.parse().unwrap_or(0));
        let former = field("master_replid2").to_owned();
        let databases = info.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("db")?.split_once(":keys=")?;
            Some((name.parse().ok()?, rest.split(',').next()?.parse().ok()?))
        });
        Self {
            run_id: field("run_id").to_owned(),
            version: (parts.next().unwrap_or(0), parts.next().unwrap_or(0)),
            is_primary: field("role") == "master",
            is_linked: field("master_link_status") == "up",
            replid: field("master_replid").to_owned(),
            offset: number("master_repl_offset").unwrap_or(0),
            former: number("second_repl_offset").filter(|&offset| offset > 0).map(|offset| (former, offset)),
            backlog: (number("repl_backlog_active") == Some(1))
                .then(|| Some((number("repl_backlog_first_byte_offset")?, number("repl_backlog_histlen")?)))
                .flatten(),
            needs_replicas: field("role") == "master" && number("min_slaves_good_slaves").is_some(),
            is_loading: number("loading") == Some(1) || number("async_loading") == Some(1),
            is_clustered: number("cluster_enabled") == Some(1),
            databases: databases.collect(),
        }
    }

    /// Whether it can tell the history of that name from behind this offset on.
    pub fn can_tell(&self, replid: &str, offset: i64) -> bool {
        let Some(next) = offset.checked_add(1) else { return false };
        let is_same = self.replid == replid || self.was_called(replid, offset);
        is_same && self.backlog.is_some_and(|(first, length)| next >= first && next <= first.saturating_add(length))
    }

    /// Whether it has the history of that name, and is not there yet.
    pub fn is_behind(&self, replid: &str, offset: i64) -> bool {
        self.replid == replid && self.offset < offset
    }

    /// Whether its history had that name up to this offset, and has another one now. Behind where the former name holds
    /// there may be two histories.
    pub fn was_called(&self, replid: &str, offset: i64) -> bool {
        let holds = |until: i64| offset.checked_add(1).is_some_and(|next| next <= until);
        self.former.as_ref().is_some_and(|(former, until)| former == replid && holds(*until))
    }

    /// Why nothing is read from it, whatever else there is.
    pub fn why_no_source(&self) -> Option<&'static str> {
        if self.is_loading {
            return Some("it loads its data");
        }
        if self.version < (5, 0) {
            return Some("engines before Redis 5 do not tell what scripts did");
        }
        if !self.is_primary && !self.is_linked {
            return Some("it does not hear its primary");
        }
        None
    }

    /// The database that a stream is about which has not said it, if there is only one that it may be.
    pub fn only_database(&self, ours: u32) -> Option<u32> {
        self.databases.iter().all(|&(known, _)| known == ours).then_some(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICA: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Persistence\r\nloading:0\r\n# Replication\r\nrole:slave\r\n\
         master_link_status:up\r\nmaster_replid:new\r\nmaster_replid2:old\r\nmaster_repl_offset:500\r\nsecond_repl_offset:301\r\n\
         repl_backlog_active:1\r\nrepl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:101\r\nrepl_backlog_histlen:400\r\n\
         # Cluster\r\ncluster_enabled:0\r\n# Keyspace\r\ndb0:keys=7,expires=1,avg_ttl=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n";

    #[test]
    fn info_is_read() {
        let facts = Facts::read(REPLICA);
        assert_eq!((&*facts.run_id, facts.version, facts.is_primary, facts.is_linked), ("abc", (7, 0), false, true));
        assert_eq!((&*facts.replid, facts.offset, facts.databases), ("new", 500, vec![(0, 7), (3, 1)]));
        let facts = Facts::read(REPLICA);
        assert_eq!((facts.only_database(0), facts.why_no_source()), (None, None));
        assert_eq!(Facts::read("").only_database(2), Some(2));
    }

    #[test]
    fn a_history_can_be_told_within_the_backlog_and_before_it_was_renamed() {
        let facts = Facts::read(REPLICA);
        for (replid, offset, expected) in [
            ("new", 500, true),
            ("new", 100, true),
            ("new", 99, false),
            ("new", 501, false),
            ("old", 300, true),
            ("old", 301, false),
            ("other", 200, false),
        ] {
            assert_eq!(facts.can_tell(replid, offset), expected, "{replid} {offset}");
        }
        for (replid, offset, expected) in [("new", 501, true), ("new", 500, false), ("old", 501, false)] {
            assert_eq!(facts.is_behind(replid, offset), expected, "{replid} {offset}");
        }
        assert!(!facts.can_tell("new", i64::MAX));
        for (replid, offset, expected) in [
            ("old", 300, true),
            ("old", 0, true),
            ("old", 301, false),
            ("old", i64::MAX, false),
            ("new", 300, false),
            ("other", 300, false),
        ] {
            assert_eq!(facts.was_called(replid, offset), expected, "{replid} {offset}");
        }
        let without = REPLICA.replace("repl_backlog_active:1", "repl_backlog_active:0");
        assert!(!Facts::read(&without).can_tell("new", 500));
    }

    #[test]
    fn who_cannot_be_read_from_says_why() {
        for (from, to, expected) in [
            ("loading:0", "loading:1", "loads"),
            ("up\r\n", "down\r\n", "hear"),
            ("version:7.0", "version:4.0", "before Redis 5"),
        ] {
            let why = Facts::read(&REPLICA.replace(from, to)).why_no_source();
            assert!(why.is_some_and(|why| why.contains(expected)), "{why:?}");
        }
        let primary = REPLICA.replace("role:slave", "role:master");
        assert!(!Facts::read(&primary).needs_replicas);
        assert!(Facts::read(&(primary + "min_slaves_good_slaves:0\r\n")).needs_replicas);
    }
}
