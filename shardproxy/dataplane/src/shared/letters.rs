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
    /// This worker started anew: its clients have gone. What it writes from then on is of new ones.
    Gone { worker: usize },
}

/// The end of a client's wait.
pub struct Answer {
    pub owed: Owed,
    /// The number of its command, and since when it was owed a reply, microseconds on its worker's clock.
    pub command: u16,
    pub since: u32,
    pub what: Told,
}

pub enum Told {
    Reply(Vec<u8>),
    /// An error of the proxy's own.
    Failure(Vec<u8>),
    /// It closes: its reply is larger than it may be owed.
    Cut,
    /// Only an engine can keep it waiting: it gets a connection of its own. This is its request, and when its wait is over.
    Elsewhere(Box<[u8]>, Option<Instant>),
}

/// A client that begins to wait.
pub struct Entrant {
    pub claim: Claim,
    pub cluster: usize,
    /// The slot of its first key.
    pub slot: u16,
    pub speech: Speech,
    pub is_read: bool,
    pub is_write: bool,
    pub request: Box<[u8]>,
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
    pub since: u32,
    /// It may have been executed.
    pub is_doubtful: bool,
    is_settled: bool,
}

impl Claim {
    pub const fn new(shared: Arc<Shared>, worker: u16, client: u64, owed: Owed, (command, since): (u16, u32)) -> Self {
        Self { shared, worker, client, owed, command, since, is_doubtful: false, is_settled: false }
    }

    /// It is answered so.
    pub fn settle(mut self, what: Told) -> Answer {
        self.is_settled = true;
        Answer { owed: self.owed, command: self.command, since: self.since, what }
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
            let answer = Answer { owed, command, since, what: Told::Failure(text.to_vec()) };
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
