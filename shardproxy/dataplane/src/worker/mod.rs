//! One worker thread: it owns its epoll, its clients and its connections to nodes, and shares nothing with other workers.
//!
//! ```text
//!   a turn:  wait ─> read and route every ready client ─> read and deliver every ready link
//!                 ─> flush each dirty link once ─> flush each dirty client once ─> mailbox, clock
//! ```

mod mailbox;
mod messages;
mod nodes;
mod reading;
mod ticks;
mod writing;

pub use mailbox::{Mailbox, Message};

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::clients::{Clients, Deferral};
use crate::command::CommandTable;
use crate::complete::Errands;
use crate::dialect::resp::request::RequestParser;
use crate::recovery;
use crate::shared::Shared;
use crate::turn::Turn;

/// Bytes read from one socket per turn: enough for a deep pipeline, little enough to be fair.
const READ_SIZE: usize = 128 * 1024;
/// Bytes written to one socket per turn; what is more leaves in the next ones. As much as is read of one connection, so
/// that what only passes through does not gather.
const SHARE: usize = 8 * READ_SIZE;
/// An incomplete request or reply up to this size is copied to and from where the next bytes are read; a longer one is
/// added to where it is.
const LEFT_OVER: usize = 16 * 1024;
const TICK: Duration = Duration::from_millis(100);
const WAKE: Token = Token(usize::MAX);

pub struct Worker {
    poll: Poll,
    mailbox: Arc<Mailbox>,
    messages: Vec<Message>,
    table: Arc<CommandTable>,
    /// The table as each cluster's config has it.
    tables: Vec<Arc<CommandTable>>,
    clients: Clients,
    turn: Turn,
    parser: RequestParser,
    scratch: Vec<u8>,
    errands: Errands,
    unread: Vec<usize>,
    /// Clients not read while memory is short; the tick looks at them again.
    throttled: Vec<usize>,
    /// Clients with some of their replies: the rest may come in the next turn, and leave in the same write. And those whose
    /// turn's share was written.
    deferred: Vec<usize>,
    /// Clients whose replies wait for that of their EXEC; the tick flushes them at the latest.
    late: Vec<usize>,
    next_tick: Instant,
    sweep: usize,
    is_draining: bool,
    is_stopped: bool,
}

/// Clients have even tokens, links odd ones.
#[inline]
const fn client_token(index: usize) -> Token {
    Token(index << 1)
}

#[inline]
const fn link_token(index: usize) -> Token {
    Token(index << 1 | 1)
}

impl Worker {
    pub fn new(number: usize, shared: &Arc<Shared>, mailbox: Arc<Mailbox>) -> io::Result<Self> {
        let poll = Poll::new()?;
        mailbox.attach(Waker::new(poll.registry(), WAKE)?);
        let table = shared.table();
        let (mut turn, mut clients) =
            (Turn::new(number, poll.registry().try_clone()?, shared.clone()), Clients::default());
        for (index, cluster) in shared.clusters().into_iter().enumerate() {
            recovery::apply(&mut turn, &mut clients, index, cluster);
        }
        let mut worker = Self {
            poll,
            mailbox,
            messages: Vec::new(),
            table,
            tables: Vec::new(),
            clients,
            turn,
            parser: RequestParser::new(),
            scratch: vec![0; READ_SIZE],
            errands: Errands::default(),
            unread: Vec::new(),
            throttled: Vec::new(),
            deferred: Vec::new(),
            late: Vec::new(),
            next_tick: Instant::now(),
            sweep: 0,
            is_draining: false,
            is_stopped: false,
        };
        worker.make_tables();
        Ok(worker)
    }

    /// Each cluster's table anew: the table or a cluster's config has changed.
    fn make_tables(&mut self) {
        let Self { turn, table, tables, .. } = self;
        tables.clear();
        tables.extend(turn.clusters.iter().map(|served| {
            let overrides = served.as_ref().map(|served| &served.cluster.spec.commands).filter(|o| !o.is_empty());
            overrides.map_or_else(|| table.clone(), |overrides| Arc::new(table.with(overrides)))
        }));
    }

    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.is_stopped {
            self.turn(&mut events)?;
        }
        Ok(())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let is_idle = self.clients.again() == 0
            && !self.turn.links.has_unread()
            && self.deferred.is_empty()
            && !self.turn.pool.has_spent();
        let wait = if is_idle { self.next_due().saturating_duration_since(self.turn.now) } else { Duration::ZERO };
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        self.turn.begin(Instant::now());
        let mut is_called = false;
        self.read_left_over();
        for _ in 0..self.clients.again() {
            if let Some(index) = self.clients.next_again() {
                self.client_again(index);
            }
        }
        for event in events.iter() {
            let token = event.token();
            if token == WAKE {
                is_called = true;
            } else if token.0 & 1 == 0 {
                let index = token.0 >> 1;
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.client_ready(index, event.is_read_closed() || event.is_error());
                }
                if event.is_writable() {
                    self.client_writable(index);
                }
            } else {
                self.link_ready(token.0 >> 1, event);
            }
        }
        if is_called {
            self.take_messages();
        }
        self.retry_due();
        self.flush();
        if self.turn.now >= self.next_tick {
            self.tick();
            self.next_tick = self.turn.now + TICK;
            self.flush();
        }
        if self.turn.pool.has_spent() {
            self.turn.pool.free_some();
        }
        Ok(())
    }

    /// Every dirty link is written once, then every dirty client.
    fn flush(&mut self) {
        recovery::settle(&mut self.turn, &mut self.clients);
        while let Some(index) = self.turn.links.next_dirty() {
            self.link_flush(index);
        }
        let mut overdue = std::mem::take(&mut self.deferred);
        while let Some(index) = self.clients.next_dirty() {
            let Some(client) = self.clients.get_mut(index) else { continue };
            match client.deferral() {
                Deferral::None => self.client_flush(index),
                Deferral::OneTurn => {
                    client.is_deferred = true; // it stays dirty
                    self.deferred.push(index);
                }
                Deferral::UntilReply => {
                    client.is_dirty = false;
                    if !client.is_late {
                        client.is_late = true;
                        self.late.push(index);
                    }
                }
            }
        }
        for index in overdue.drain(..) {
            if let Some(client) = self.clients.get_mut(index) {
                client.is_unwritten = false;
            }
            self.client_flush(index);
        }
        if self.deferred.is_empty() {
            self.deferred = overdue; // its memory serves again
        }
    }
}
