//! What goes with a client to the process that serves it from now on: all that its connection knows of it.

use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Client, Details, Flow, Origin, ReplyMode};
use crate::dialect::proxy_protocol::Source;
use crate::model::EndpointKind;

/// Another version may write or read it: what it does not know is left out, what is missing is as in a new connection.
#[derive(Serialize, Deserialize, Default, Debug)]
#[serde(default)]
pub struct Passage {
    pub cluster: String,
    /// Its endpoint's kind, and address as it is configured.
    pub endpoint: String,
    pub address: String,
    /// It comes by way of a balancer; and where it is, if that was said.
    pub is_balanced: bool,
    pub source: Option<SocketAddr>,
    /// As whom it has logged in, and for how many seconds that is good.
    pub user: Option<String>,
    pub session: Option<f64>,
    resp: u8,
    db: u32,
    prefers_replicas: bool,
    is_silent: bool,
    name: Vec<u8>,
    lib_name: Vec<u8>,
    lib_version: Vec<u8>,
    no_evict: bool,
}

impl Client {
    /// Whether it has been answered all that it has sent, as far as that was read, and is in the middle of nothing.
    pub fn is_at_boundary(&self) -> bool {
        self.flow == Flow::Open
            && self.closing.is_none()
            && self.replies.is_empty()
            && self.output.is_empty()
            && self.input.is_empty()
            && self.parser.is_none()
            && self.memcache.swallow == 0
            && self.transaction.as_deref().is_none_or(|it| !it.is_open && !it.is_watching && !it.watch_lost)
            && self.executing.is_none()
            && self.lease.is_none()
            && self.waits_at.is_none()
            && self.waiting.is_none()
            && !self.listens()
    }

    /// Whether there is no more to it than its connection and what a passage tells: nothing is under way, queued, watched or
    /// subscribed to, and no TLS session would be lost.
    pub fn may_be_passed(&self) -> bool {
        self.is_at_boundary()
            && self.reply_mode != ReplyMode::SkipNext
            && self.certificate_name.is_none()
            && self.tracking.is_none()
            && self.stream.tls().is_none()
            && !self.is_half_closed
            && !self.is_gone
    }

    pub fn passage(&self, cluster: &str, now: Instant) -> Passage {
        let Details { name, lib_name, lib_version, no_evict } = self.details.as_deref().cloned().unwrap_or_default();
        let source = self.origin.as_ref().and_then(|origin| match origin.source {
            Some(Source::Client(address)) => Some(address),
            _ => None,
        });
        let user = self.login.user.as_deref().filter(|_| self.login.is_said);
        Passage {
            cluster: cluster.to_owned(),
            endpoint: self.endpoint.name().to_owned(),
            address: self.address_of_endpoint.to_string(),
            is_balanced: self.origin.is_some(),
            source,
            user: user.map(|user| user.name.to_string()),
            session: self.login.ends.map(|ends| ends.saturating_duration_since(now).as_secs_f64()),
            resp: self.resp,
            db: self.db,
            prefers_replicas: self.prefers_replicas,
            is_silent: self.reply_mode == ReplyMode::Off,
            name,
            lib_name,
            lib_version,
            no_evict,
        }
    }

    /// Be as before.
    pub fn resume(&mut self, passage: Passage) {
        if passage.is_balanced {
            let source = passage.source.map_or(Source::Balancer, Source::Client);
            self.origin = Some(Box::new(Origin { source: Some(source) }));
        }
        self.resp = if passage.resp == 3 { 3 } else { 2 };
        self.db = passage.db;
        self.prefers_replicas = passage.prefers_replicas;
        self.reply_mode = if passage.is_silent { ReplyMode::Off } else { ReplyMode::On };
        let Passage { name, lib_name, lib_version, no_evict, .. } = passage;
        if no_evict || [&name, &lib_name, &lib_version].iter().any(|text| !text.is_empty()) {
            *self.details() = Details { name, lib_name, lib_version, no_evict };
        }
    }
}

impl Passage {
    pub fn kind(&self) -> Option<EndpointKind> {
        EndpointKind::ALL.into_iter().find(|kind| kind.name() == self.endpoint)
    }
}
