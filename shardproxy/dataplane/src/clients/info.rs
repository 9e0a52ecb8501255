//! Clients as CLIENT LIST shows them.

use std::time::Instant;

use super::{Client, Details, Flow, Mode, Subscriptions};

/// A client as CLIENT LIST shows it.
pub struct ClientInfo {
    pub id: u64,
    pub worker: usize,
    pub cluster: String,
    pub endpoint: &'static str,
    pub address: String,
    pub local_address: String,
    pub age: u64,
    pub idle: u64,
    pub user: String,
    pub resp: u8,
    pub db: u32,
    pub pending: usize,
    pub input: usize,
    pub output: usize,
    pub held: usize,
    pub last_command: u16,
    /// Channels, patterns, shard channels.
    pub subscriptions: [usize; 3],
    /// Commands queued since MULTI.
    pub queued: Option<u32>,
    pub is_watching: bool,
    pub is_blocked: bool,
    /// MONITOR was sent.
    pub is_monitor: bool,
    /// Its keys are tracked; all with its prefixes; and who was to be told instead has gone.
    pub is_tracking: bool,
    pub is_broadcast: bool,
    pub is_redirect_broken: bool,
    /// As CLIENT GETREDIR says.
    pub redirect: i64,
    pub details: Details,
}

impl Client {
    pub fn info(&self, worker: usize, cluster: &str, now: Instant) -> ClientInfo {
        let details = self.details.as_deref().cloned().unwrap_or_default();
        ClientInfo {
            id: self.id,
            worker,
            cluster: cluster.to_owned(),
            endpoint: self.endpoint.name(),
            address: self.address(),
            local_address: self.stream.local(),
            age: now.duration_since(self.created).as_secs(),
            idle: now.duration_since(self.last_active).as_secs(),
            user: self.login.name().to_owned(),
            resp: self.resp,
            db: self.db,
            pending: self.replies.len(),
            input: self.input.len(),
            output: self.output.len(),
            held: self.held(),
            last_command: self.last_command,
            subscriptions: self.subscriptions.as_deref().map_or([0; 3], Subscriptions::counts),
            queued: self.transaction.as_deref().filter(|t| t.is_open).map(|t| t.commands),
            is_watching: self.transaction.as_deref().is_some_and(|t| t.is_watching),
            is_blocked: self.is_blocked(),
            is_monitor: self.tap.is_some(),
            is_tracking: self.tracking.is_some(),
            is_broadcast: self.tracking.as_deref().is_some_and(|tracking| tracking.mode == Mode::Broadcast),
            is_redirect_broken: self.tracking.as_deref().is_some_and(|tracking| tracking.is_broken),
            redirect: self.redirects_to(),
            details,
        }
    }

    /// Whether what it asked for waits: here for keys, at an engine, for a connection to do so, or because CLIENT PAUSE holds it.
    pub fn is_blocked(&self) -> bool {
        self.waits_at.is_some()
            || self.lease.is_some() && !self.replies.is_empty()
            || matches!(self.flow, Flow::Queued | Flow::Stopped)
    }
}
