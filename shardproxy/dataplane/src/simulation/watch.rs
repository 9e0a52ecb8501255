//! Which sockets have something to read: one look for all of them, in place of a call for each.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll, Token};

/// Whether there may be something. Whoever has read all of it lowers it.
pub type Flag = Rc<Cell<bool>>;

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
        self.flags.push(Rc::new(Cell::new(true)));
        self.flags[token.0].clone()
    }

    /// Forget all but the first so many.
    pub fn truncate(&mut self, count: usize) {
        self.flags.truncate(count);
    }

    pub fn look(&mut self) {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("a look");
        for event in &self.events {
            if let Some(flag) = self.flags.get(event.token().0) {
                flag.set(true);
            }
        }
    }
}
