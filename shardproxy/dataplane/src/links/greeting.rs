//! What a new connection says before requests may leave, and what its node must answer.

use std::time::Instant;

use super::{login, Link, Role, State};
use crate::dialect::memcached;
use crate::dialect::memcached::reply::is_error;
use crate::dialect::resp::identity::{self, Doubt};
use crate::dialect::resp::reply::integer;
use crate::dialect::resp::write;
use crate::dialect::texts;
use crate::model::{Cluster, EngineKind, NodeAuth};

impl Link {
    /// What it says, and how many replies that brings. A node that was lost must say something, whatever it is: that its
    /// kernel accepts connections does not show that it lives.
    pub fn greeting(&self, cluster: &Cluster) -> (Vec<u8>, u8) {
        match self.engine {
            EngineKind::Memcached => memcached::greeting::greeting(&cluster.spec.node_auth),
            EngineKind::Redis => self.greeting_resp(cluster),
        }
    }

    fn greeting_resp(&self, cluster: &Cluster) -> (Vec<u8>, u8) {
        let auth = &cluster.spec.node_auth;
        let (mut bytes, mut replies) = (Vec::new(), 0);
        replies += login::say(&mut bytes, auth);
        if self.way.resp == 3 {
            write::command(&mut bytes, &[b"HELLO", b"3"]);
            replies += 1;
        }
        if self.way.db != 0 {
            write::command(&mut bytes, &[b"SELECT", self.way.db.to_string().as_bytes()]);
            replies += 1;
        }
        if cluster.spec.clustered && !self.listens() && !cluster.is_primary(self.way.shard, self.way.node) {
            bytes.extend_from_slice(texts::READONLY_REQUEST); // else a replica sends every read on to its primary
            replies += 1;
        }
        if self.is_leased() {
            write::command(&mut bytes, &[b"CLIENT", b"ID"]);
            replies += 1;
        }
        if self.is_watcher() {
            let words: [&[u8]; 4] = [b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
            write::command(&mut bytes, if self.is_feed() { &words } else { &words[..3] });
            replies += 1;
        }
        if self.identity.is_asking {
            identity::ask(&mut bytes);
            replies += identity::QUESTIONS;
        }
        // that a node accepts connections does not say that it is alive
        if self.is_subscriber() || replies == 0 && self.trouble.down_since.is_some() {
            write::command(&mut bytes, &[b"PING"]);
            replies += 1;
        }
        (bytes, replies)
    }

    /// Whether it has to say who it is, or ask who its node is, before more leaves.
    #[inline]
    pub const fn must_speak(&self) -> bool {
        self.identity.is_unproven || self.login.is_due
    }

    /// What it says then, and how many replies that brings.
    pub fn speech(&mut self, auth: &NodeAuth, now: Instant) -> (Vec<u8>, u8) {
        let (mut bytes, mut replies) = (Vec::new(), 0);
        if std::mem::take(&mut self.login.is_due) {
            self.login.since = now;
            replies += login::say(&mut bytes, auth);
        }
        self.identity.is_asking = std::mem::take(&mut self.identity.is_unproven);
        if self.identity.is_asking {
            identity::ask(&mut bytes);
            replies += identity::QUESTIONS;
        }
        (bytes, replies)
    }

    /// A reply to its greeting; `left` of them were to come. An error closes it.
    pub fn greeted(&mut self, cluster: &Cluster, left: u8, reply: &[u8]) -> Result<(), String> {
        match self.engine {
            EngineKind::Memcached => self.greeted_memcached(left, reply),
            EngineKind::Redis => self.greeted_resp(cluster, left, reply),
        }
    }

    fn greeted_memcached(&mut self, left: u8, reply: &[u8]) -> Result<(), String> {
        if is_error(reply) {
            let text = String::from_utf8_lossy(reply);
            return Err(format!("the node refused the proxy's greeting: {}", text.trim_end()));
        }
        if left > 1 {
            self.state = State::Greeting(left - 1);
        } else if reply.starts_with(b"VERSION ") {
            self.state = State::Ready;
            self.trouble.recovered();
        } else {
            return Err("the node did not tell its version".into());
        }
        Ok(())
    }

    fn greeted_resp(&mut self, cluster: &Cluster, left: u8, reply: &[u8]) -> Result<(), String> {
        self.trouble.busy = reply.starts_with(b"-BUSY ").then(|| reply.into());
        let is_asking = self.identity.is_asking;
        if is_asking && left <= identity::QUESTIONS {
            return self.told(cluster, left, reply);
        }
        if self.is_turned_away(&cluster.spec.node_auth, reply) {
            self.trouble.lacks_database = self.way.db != 0 && reply.starts_with(b"-ERR DB index is out of range");
            let text = String::from_utf8_lossy(&reply[1..reply.len() - 2]);
            self.note_refusal(&text);
            return Err(format!("the node refused the proxy's greeting: {text}"));
        }
        let after = if is_asking { identity::QUESTIONS } else { 0 };
        if self.is_watcher() && left == after + 1 && reply != texts::OK {
            self.note_refusal("ERR not understood");
            return Err("the node tells of no changes to keys".into());
        }
        if let Role::Leased(leased) = &mut self.role {
            if left == after + 1 {
                leased.engine_id = integer(reply).and_then(|id| u64::try_from(id).ok()).unwrap_or(0);
            }
        }
        self.greeted_on(cluster, left);
        Ok(())
    }

    /// Whether the connection cannot be used after this reply. A PING is answered by an error while the node loads or cannot
    /// write to its disk, and is answered all the same.
    fn is_turned_away(&self, auth: &NodeAuth, reply: &[u8]) -> bool {
        let is_ping = auth.password.is_none() && self.way.resp != 3 && self.way.db == 0 && !self.is_leased();
        reply[0] == b'-' && (!is_ping || reply.starts_with(b"-ERR max number of clients"))
    }

    /// A node that is too old to tell of changes, or may not tell the proxy's user, is well otherwise.
    fn note_refusal(&mut self, text: &str) {
        let is_final = ["ERR ", "NOPERM", "NOPROTO"].iter().any(|word| text.starts_with(word));
        if let Role::Watcher(watcher) = &mut self.role {
            watcher.refusal = (is_final && !text.starts_with("ERR max number of clients")).then(|| text.to_owned());
        }
    }

    fn greeted_on(&mut self, cluster: &Cluster, left: u8) {
        if left > 1 {
            self.state = State::Greeting(left - 1);
            return;
        }
        self.state = State::Ready;
        // it was named since the greeting was written
        let is_named = self.is_identified() && cluster.run_id_of(self.way.shard, self.way.node).is_some();
        self.identity.is_unproven = is_named && self.identity.run_id.is_none() && !self.listens();
        self.trouble.recovered();
    }

    /// The node has said who it is. What counts is whom the topology names now, not when it was asked.
    fn told(&mut self, cluster: &Cluster, left: u8, reply: &[u8]) -> Result<(), String> {
        let expected = cluster.run_id_of(self.way.shard, self.way.node);
        let outcome = if left == identity::QUESTIONS {
            let outcome = identity::run_id(reply).and_then(|run_id| {
                let run_id = String::from_utf8_lossy(run_id);
                self.identity.run_id = Some(run_id.as_ref().into());
                expected.map_or(Ok(()), |expected| identity::check_run_id(&run_id, expected))
            });
            outcome.and_then(|()| identity::check_mode(reply, cluster.spec.clustered))
        } else {
            identity::check_role(reply)
        };
        match outcome.or_else(|doubt| if expected.is_some() { Err(doubt) } else { Ok(()) }) {
            Ok(()) => {
                self.greeted_on(cluster, left);
                Ok(())
            }
            Err(Doubt::Stranger(why)) => {
                self.identity.is_stranger = true;
                Err(why)
            }
            Err(Doubt::Later(why)) => Err(why),
        }
    }
}
