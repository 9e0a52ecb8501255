//! Which sockets have something to read: one look for all of them, in place of a call for each.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

/// What is known of a socket.
#[derive(Clone, Default)]
pub struct Flag(Rc<Cell<Seen>>);

#[derive(Clone, Copy, Default)]
struct Seen {
    has_unread: bool,
    is_hung_up: bool,
}

impl Flag {
    /// Whether there may be something to read.
    pub fn get(&self) -> bool {
        self.0.get().has_unread
    }

    /// Whoever has read all there was lowers it.
    pub fn set(&self, has_unread: bool) {
        self.0.set(Seen { has_unread, ..self.0.get() });
    }

    /// The other end is closed: what is still to be read was sent before.
    pub fn is_hung_up(&self) -> bool {
        self.0.get().is_hung_up
    }
}

pub struct Watch {
    poll: Poll,
    events: Events,
    flags: Vec<Flag>,
}

impl Watch {
    pub fn new() -> Self {
        Self { poll: Poll::new().expect("an epoll"), events: Events::with_capacity(64), flags: Vec::new() }
    }

    /// Watch it until it is closed.
    pub fn add(&mut self, socket: &mut impl Source) -> Flag {
        let token = Token(self.flags.len());
        self.poll.registry().register(socket, token, Interest::READABLE).expect("it is a socket");
        let flag = Flag::default();
        flag.set(true);
        self.flags.push(flag.clone());
        flag
    }

    /// Forget all but the first so many.
    pub fn truncate(&mut self, count: usize) {
        self.flags.truncate(count);
    }

    pub fn look(&mut self) {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("a look");
        for event in &self.events {
            if let Some(flag) = self.flags.get(event.token().0) {
                let is_hung_up = flag.is_hung_up() || event.is_read_closed();
                flag.0.set(Seen { has_unread: true, is_hung_up });
            }
        }
    }
}
