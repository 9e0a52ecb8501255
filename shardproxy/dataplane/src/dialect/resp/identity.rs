//! Who a node is: the process that answers, and its role. A primary that was killed and is back within milliseconds, empty,
//! is another process at the same address: it must get nothing before somebody has decided what becomes of the shard.
//! Knows nothing of connections.
//!
//! ```text
//!   connect ─> AUTH, HELLO … INFO server, INFO replication ─> run_id and role as named ─> requests leave
//!                                                          └─> a stranger: closed, its requests wait
//! ```

use crate::dialect::resp::write;

/// Engines before Redis 7 take one section at a time.
pub const QUESTIONS: u8 = 2;

pub fn ask(out: &mut Vec<u8>) {
    write::command(out, &[b"INFO", b"server"]);
    write::command(out, &[b"INFO", b"replication"]);
}

/// Why a node is not who it should be.
#[derive(Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Another process, a replica, or one that does not tell.
    Stranger(String),
    /// It could not answer now. It may in a moment.
    Later(String),
}

/// The run id in a reply to INFO server.
pub fn run_id(reply: &[u8]) -> Result<&[u8], Doubt> {
    answer(reply, b"run_id:")
}

/// A node of a Redis Cluster, in the reply to INFO server, is served from as such only: it owns slots, and what it hears on
/// its bus is heard from every other node as well.
pub fn check_mode(reply: &[u8], is_clustered: bool) -> Result<(), Doubt> {
    let is_cluster = [&b"redis_mode:"[..], b"server_mode:"].iter().any(|name| answer(reply, name) == Ok(b"cluster"));
    match (is_cluster, is_clustered) {
        (true, false) => Err(Doubt::Stranger("the node runs in cluster mode (cluster-enabled yes)".into())),
        (false, true) => Err(Doubt::Stranger("the node does not run in cluster mode (cluster-enabled no)".into())),
        _ => Ok(()),
    }
}

/// The reply to INFO replication must be a primary's.
pub fn check_role(reply: &[u8]) -> Result<(), Doubt> {
    match answer(reply, b"role:")? {
        b"master" => Ok(()),
        _ => Err(Doubt::Stranger("the node is a replica".into())),
    }
}

/// The node must be the process of that run id.
pub fn check_run_id(known: &str, expected: &str) -> Result<(), Doubt> {
    if known == expected {
        return Ok(());
    }
    Err(Doubt::Stranger(format!("another process answers: its run_id is {known}, not {expected}")))
}

fn answer<'r>(reply: &'r [u8], name: &[u8]) -> Result<&'r [u8], Doubt> {
    if reply[0] == b'-' {
        let text = String::from_utf8_lossy(&reply[1..]).trim_end().to_owned();
        let is_passing = [&b"-LOADING"[..], b"-BUSY", b"-MASTERDOWN", b"-ERR max number of clients"];
        return Err(if is_passing.iter().any(|word| reply.starts_with(word)) {
            Doubt::Later(format!("the node does not say who it is yet: {text}"))
        } else {
            Doubt::Stranger(format!("the node does not say who it is, its user must be allowed INFO: {text}"))
        });
    }
    let mut lines = reply.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.find_map(|line| line.strip_prefix(name)).ok_or_else(|| {
        let name = String::from_utf8_lossy(name).trim_end_matches(':').to_owned();
        Doubt::Stranger(format!("the node does not say who it is: INFO has no {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_in_both_versions_of_resp() {
        for reply in [
            "$40\r\n# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n\r\n",
            "=44\r\ntxt:# Server\r\nrun_id:abc\r\n\r\n",
        ] {
            assert_eq!(run_id(reply.as_bytes()), Ok(&b"abc"[..]), "{reply}");
        }
        assert_eq!(check_role(b"$28\r\n# Replication\r\nrole:master\r\n\r\n"), Ok(()));
        assert!(matches!(check_role(b"$27\r\n# Replication\r\nrole:slave\r\n\r\n"), Err(Doubt::Stranger(_))));
    }

    #[test]
    fn a_node_of_a_redis_cluster_is_a_stranger() {
        for (mode, is_good) in [
            ("redis_mode:standalone", true),
            ("redis_mode:cluster", false),
            ("server_mode:cluster", false),
            ("x:1", true),
        ] {
            let reply = format!("$99\r\n# Server\r\n{mode}\r\nrun_id:abc\r\n\r\n");
            assert_eq!(check_mode(reply.as_bytes(), false).is_ok(), is_good, "{mode}");
            assert_eq!(check_mode(reply.as_bytes(), true).is_ok(), !is_good, "{mode}");
        }
    }

    #[test]
    fn who_does_not_tell_is_a_stranger_unless_it_cannot_yet() {
        for (reply, is_stranger) in [
            ("-NOAUTH Authentication required.\r\n", true),
            ("-NOPERM this user has no permissions to run the 'info' command\r\n", true),
            ("-ERR unknown command 'INFO'\r\n", true),
            ("+OK\r\n", true),
            ("$0\r\n\r\n", true),
            ("-LOADING Redis is loading the dataset in memory\r\n", false),
            ("-BUSY Redis is busy running a script.\r\n", false),
            ("-ERR max number of clients reached\r\n", false),
        ] {
            let doubt = run_id(reply.as_bytes()).unwrap_err();
            assert_eq!(matches!(doubt, Doubt::Stranger(_)), is_stranger, "{reply}");
        }
    }
}
