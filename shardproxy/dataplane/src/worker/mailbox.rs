//! How other threads talk to a worker: a queue and a waker. The worker empties it once per turn.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::Waker;

use super::{Arrived, Chore};
use crate::command::CommandTable;
use crate::insight::Report;
use crate::net::Passing;
use crate::shared::{Rights, Ruled};
use crate::sync::lock;
use crate::turn::Settling;

pub enum Message {
    /// Somebody connected.
    Accepted(Arrived),
    /// The next epoch of a cluster; none when it is no longer served.
    Apply {
        index: usize,
        ruled: Option<Ruled>,
        applied: SyncSender<()>,
    },
    /// Another command table, and by it the rights in each cluster.
    Learn {
        table: Arc<CommandTable>,
        rights: Vec<Option<Arc<Rights>>>,
    },
    Resolved {
        link: usize,
        attempt: u64,
        result: io::Result<SocketAddr>,
    },
    Answer {
        token: u64,
        reply: Vec<u8>,
    },
    Retry {
        token: u64,
    },
    /// An offloaded command is executed as if no caching rule were about it; with `absent`, a read that finds nothing of
    /// other keys than these comes back.
    PassOn {
        token: u64,
        absent: Option<Vec<Vec<u8>>>,
    },
    /// Nobody need ask how old this key is before then: milliseconds on the plane's clock.
    Fresh {
        digest: u64,
        until: u64,
    },
    /// Something that is asked of many clients.
    Chore(Chore),
    Unblock {
        client: u64,
        with_error: bool,
        unblocked: SyncSender<bool>,
    },
    /// Tell what is hot and large in a cluster.
    Report {
        cluster: usize,
        told: SyncSender<Report>,
    },
    /// Say so as soon as nothing is under way that a cluster holds.
    Settle(Settling),
    /// Nobody comes any more. Clients are closed when they have been answered, and after this long all are.
    Drain(Duration),
    /// Another process serves the clients from now on.
    PassTo(Arc<Passing>),
    Stop,
    #[cfg(test)]
    Panic,
}

#[derive(Default)]
pub struct Mailbox {
    queue: Mutex<VecDeque<Message>>,
    waker: Mutex<Option<Arc<Waker>>>,
}

impl Mailbox {
    pub fn send(&self, message: Message) {
        lock(&self.queue).push_back(message);
        self.wake();
    }

    /// Have the worker take a turn.
    pub fn wake(&self) {
        if let Some(waker) = lock(&self.waker).as_ref() {
            let _ = waker.wake(); // an eventfd at its maximum is already awake
        }
    }

    /// From now on `waker` is woken for each message.
    pub fn attach(&self, waker: Arc<Waker>) {
        let _ = waker.wake(); // messages may have come before
        *lock(&self.waker) = Some(waker);
    }

    /// The oldest message. The others stay, whatever becomes of a worker that takes one.
    pub fn take(&self) -> Option<Message> {
        lock(&self.queue).pop_front()
    }
}
