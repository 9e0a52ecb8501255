//! What workers write to each other about clients that wait: all who wait for a key are kept by one worker, so that they
//! are served in the order they came, whoever has their connections.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mio::Waker;

use super::Shared;
use crate::command::Form;
use crate::dialect::texts;
use crate::exchange::Owed;
use crate::model::Speech;
use crate::sync::lock;

pub enum Letter {
    /// A client begins to wait.
    Waits(Box<Entrant>),
    /// The client with this id has gone. `is_passed_on`: it was not where its worker had it.
    Left { client: u64, is_passed_on: bool },
    /// What a client gets that waited.
    Answer(Answer),
    /// Whether the worker has a client.
    Seek(Seek),
    /// It has, or has not.
    Sought { owed: Owed, worker: u16, is_there: bool },
    /// A client is told what another one tracks.
    Changed(Changed),
    /// It has gone.
    Unheard { from: Sender, to: u64 },
    /// This worker started anew: its clients have gone. What it writes from then on is of new ones.
    Gone { worker: usize },
}

/// Who is to hear instead of another client, which is owed an answer.
#[derive(Clone, Copy)]
pub struct Seek {
    pub client: u64,
    pub worker: u16,
    pub owed: Owed,
}

/// A client that has another one told: its place and tag.
#[derive(Clone, Copy)]
pub struct Sender {
    pub worker: u16,
    pub ticket: (usize, u32),
}

/// Keys have changed, an array; or all may have.
pub struct Changed {
    pub to: u64,
    pub from: Sender,
    pub keys: Option<Arc<[u8]>>,
}

/// The end of a client's wait.
pub struct Answer {
    pub owed: Owed,
    /// The number of its command, and since when it was owed a reply, microseconds on its worker's clock as if that did not
    /// wrap.
    pub command: u16,
    pub since: u64,
    /// Its bytes, where they are known.
    pub request: Box<[u8]>,
    pub what: Told,
}

pub enum Told {
    Reply(Vec<u8>),
    /// An error of the proxy's own.
    Failure(Vec<u8>),
    /// It closes: its reply is larger than it may be owed.
    Cut,
    /// Only an engine can keep it waiting: it gets a connection of its own, in its turn by when it came.
    Elsewhere {
        request: Box<[u8]>,
        number: u64,
        ends: Option<Instant>,
    },
}

/// A client that begins to wait.
pub struct Entrant {
    pub claim: Claim,
    pub cluster: usize,
    /// The slot of its first key.
    pub slot: u16,
    /// Its keys have several slots: only where there is one shard it may wait for them.
    pub is_spread: bool,
    pub speech: Speech,
    pub is_read: bool,
    pub is_write: bool,
    pub request: Box<[u8]>,
    /// What goes before each attempt to execute it: the deletion of its keys' leases, or nothing.
    pub cancel: Box<[u8]>,
    /// Its place among its worker's clients that wait, should it need a connection of its own.
    pub number: u64,
    /// None for what only its engine understands.
    pub form: Option<Form>,
    /// When it has waited long enough.
    pub ends: Option<Instant>,
}

/// Who is owed an answer. If this goes without one, with a worker that panics, its client is told.
pub struct Claim {
    shared: Arc<Shared>,
    pub worker: u16,
    pub client: u64,
    pub owed: Owed,
    pub command: u16,
    pub since: u64,
    /// It may have been executed.
    pub is_doubtful: bool,
    is_settled: bool,
}

impl Claim {
    pub const fn new(shared: Arc<Shared>, worker: u16, client: u64, owed: Owed, (command, since): (u16, u64)) -> Self {
        Self { shared, worker, client, owed, command, since, is_doubtful: false, is_settled: false }
    }

    /// It is answered so.
    pub fn settle(mut self, what: Told) -> Answer {
        self.is_settled = true;
        Answer { owed: self.owed, command: self.command, since: self.since, request: Box::default(), what }
    }

    /// Its client has gone.
    pub fn forget(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_settled {
            let text = if self.is_doubtful { texts::WORKER_LOST_IN_DOUBT } else { texts::WORKER_LOST };
            let (owed, command, since) = (self.owed, self.command, self.since);
            let answer = Answer { owed, command, since, request: Box::default(), what: Told::Failure(text.to_vec()) };
            self.shared.post(usize::from(self.worker), Letter::Answer(answer));
        }
    }
}

/// The letters of one worker.
#[derive(Default)]
pub struct Post {
    queue: Mutex<VecDeque<Letter>>,
    waker: Mutex<Option<Arc<Waker>>>,
}

impl Post {
    /// From now on `waker` is woken for letters.
    pub fn attach(&self, waker: Arc<Waker>) {
        *lock(&self.waker) = Some(waker);
    }

    pub fn send(&self, letter: Letter) {
        let was_empty = {
            let mut queue = lock(&self.queue);
            queue.push_back(letter);
            queue.len() == 1
        };
        if was_empty {
            if let Some(waker) = lock(&self.waker).as_ref() {
                let _ = waker.wake(); // an eventfd at its maximum is already awake
            }
        }
    }

    /// All that came, the oldest first.
    pub fn take(&self) -> VecDeque<Letter> {
        std::mem::take(&mut lock(&self.queue))
    }
}
