//! Commands the data plane hands to trio: a queue, and an eventfd that says it is not empty.
//! An offloaded command is a barrier: it starts when its client's earlier replies are in, and later requests wait.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::client::{Client, Flow};
use crate::command::Command;
use crate::metrics::lock;
use crate::net::EventFd;
use crate::plane::Shared;
use crate::protocol::texts;
use crate::request::Request;
use crate::route::{answer_own, take_silence, Next};
use crate::upstream::Pending;
use crate::worker::{Core, Effect, Offloaded};

/// Commands waiting for Python at most; one per client is possible.
const WAITING: usize = 100_000;

pub struct Offload {
    pub token: u64,
    pub cluster: String,
    pub endpoint: &'static str,
    pub client_id: u64,
    pub resp: u8,
    pub db: u32,
    pub local_address: String,
    pub is_known: bool,
    /// None: nobody waits for the answer to this token any more.
    pub arguments: Vec<Vec<u8>>,
}

impl Offload {
    /// What is no command of a client.
    const fn notice(token: u64) -> Self {
        Self {
            token,
            cluster: String::new(),
            endpoint: "configuration",
            client_id: 0,
            resp: 2,
            db: 0,
            local_address: String::new(),
            is_known: false,
            arguments: Vec::new(),
        }
    }
}

pub struct OffloadQueue {
    waiting: Mutex<Vec<Offload>>,
    tokens: AtomicU64,
    pub wakeup: EventFd,
}

impl OffloadQueue {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), tokens: AtomicU64::new(1), wakeup: EventFd::new()? })
    }

    pub fn take(&self) -> Vec<Offload> {
        self.wakeup.clear();
        std::mem::take(&mut *lock(&self.waiting))
    }

    /// Tell the control plane what a client did, which nobody waits to hear about.
    pub fn report(&self, cluster: &str, client: &str, what: &str) {
        self.push(Offload {
            cluster: cluster.to_owned(),
            local_address: client.to_owned(),
            arguments: vec![what.as_bytes().to_vec()],
            ..Offload::notice(0)
        });
    }

    /// The client of an offloaded command has gone. There is one such notice per offload at most, so it always has room.
    fn abandon(&self, token: u64) {
        lock(&self.waiting).push(Offload::notice(token));
        self.wakeup.raise();
    }

    /// Queue it unless too many wait already.
    fn push(&self, offload: Offload) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING {
            return false;
        }
        waiting.push(offload);
        self.wakeup.raise();
        true
    }

    /// A token no other offload has; the worker's number in its lowest byte says who waits for the answer.
    fn token(&self, worker: usize) -> u64 {
        self.tokens.fetch_add(1, Relaxed) << 8 | worker as u64
    }
}

/// The answer to an offloaded command is still wanted. When this goes before the answer comes, with its client or with a
/// worker that panics, the control plane is told.
pub struct Ticket {
    token: u64,
    shared: Arc<Shared>,
    is_answered: bool,
}

impl Ticket {
    fn of(core: &Core, token: u64) -> Self {
        Self { token, shared: core.shared.clone(), is_answered: false }
    }

    /// The answer has come.
    pub const fn redeem(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_answered {
            self.shared.offloads.abandon(self.token);
        }
    }
}

/// Which worker waits for the answer to this token.
pub const fn worker_of(token: u64) -> usize {
    (token & 0xff) as usize
}

pub fn submit(
    core: &mut Core,
    client: &mut Client,
    index: usize,
    command: Option<&Command>,
    request: &Request,
) -> Next {
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    let Some(served) = &core.clusters[client.cluster] else { return Next::Close };
    served.metrics.offloads.increment();
    let offload = describe(core, &served.cluster.spec.name, client, command.is_some(), request);
    let token = offload.token;
    if !core.shared.offloads.push(offload) {
        answer_own(core, client, texts::BUSY_OFFLOADS);
        return Next::Go;
    }
    let silent =
        if command.is_some() { take_silence(client) } else { client.reply_mode != crate::client::ReplyMode::On };
    let sequence = client.replies.expect(silent);
    let offloaded = Offloaded {
        client: index,
        tag: client.tag(),
        sequence,
        ticket: Ticket::of(core, token),
        raw: if command.is_some() { Vec::new() } else { request.bytes.to_vec() },
        command: command.map_or(u16::MAX, |c| c.id),
        since: core.micros,
        waits: command.is_some_and(|c| &*c.name == "wait") && request.argument(1) != b"0",
        effect: Effect::of(command, request),
    };
    core.offloaded.insert(token, offloaded);
    client.flow = Flow::Offloaded(token);
    Next::Wait
}

/// Have a command answered in Python whose reply an engine could not give: it lacks a script or function that was loaded
/// through the proxy. False if too many commands wait already.
pub fn heal(core: &mut Core, client: &mut Client, pending: &Pending, request: &Request) -> bool {
    let Some(served) = &core.clusters[client.cluster] else { return false };
    let offload = describe(core, &served.cluster.spec.name, client, true, request);
    let token = offload.token;
    if !core.shared.offloads.push(offload) {
        return false;
    }
    served.metrics.offloads.increment();
    let offloaded = Offloaded {
        client: pending.client as usize,
        tag: pending.tag,
        sequence: pending.sequence,
        ticket: Ticket::of(core, token),
        raw: Vec::new(),
        command: pending.command,
        since: pending.since,
        waits: false,
        effect: Effect::None,
    };
    core.offloaded.insert(token, offloaded);
    client.flow = Flow::Offloaded(token);
    true
}

fn describe(core: &Core, cluster: &str, client: &Client, is_known: bool, request: &Request) -> Offload {
    Offload {
        token: core.shared.offloads.token(core.number),
        cluster: cluster.to_owned(),
        endpoint: client.endpoint.name(),
        client_id: client.id,
        resp: client.resp,
        db: client.db,
        local_address: client.stream.local(),
        is_known,
        arguments: request.arguments().map(<[u8]>::to_vec).collect(),
    }
}
