//! Commands that wait for the control plane: a queue, and an eventfd that says it is not empty.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

use crate::net::EventFd;
use crate::sync::lock;

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
    /// Bytes of commands that nobody waits for any more, as long as they may lie here.
    abandoned: AtomicUsize,
    pub wakeup: EventFd,
}

impl OffloadQueue {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            waiting: Mutex::default(),
            tokens: AtomicU64::new(1),
            abandoned: AtomicUsize::new(0),
            wakeup: EventFd::new()?,
        })
    }

    pub fn take(&self) -> Vec<Offload> {
        self.wakeup.clear();
        self.abandoned.store(0, Relaxed);
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
    pub fn abandon(&self, token: u64, bytes: usize) {
        self.abandoned.fetch_add(bytes, Relaxed);
        lock(&self.waiting).push(Offload::notice(token));
        self.wakeup.raise();
    }

    /// Bytes no worker counts.
    pub fn held(&self) -> usize {
        self.abandoned.load(Relaxed)
    }

    /// Queue it unless too many wait already.
    pub fn push(&self, offload: Offload) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING {
            return false;
        }
        waiting.push(offload);
        self.wakeup.raise();
        true
    }

    /// A token no other offload has; the worker's number in its lowest byte says who waits for the answer.
    pub fn token(&self, worker: usize) -> u64 {
        self.tokens.fetch_add(1, Relaxed) << 8 | worker as u64
    }
}

/// Which worker waits for the answer to this token.
pub const fn worker_of(token: u64) -> usize {
    (token & 0xff) as usize
}
