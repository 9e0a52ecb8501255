//! One worker thread: it owns its epoll, its clients and its connections to nodes, and shares nothing with other workers.
//!
//! ```text
//!   a turn:  wait ─> read and route every ready client ─> read and deliver every ready link
//!                 ─> flush each dirty link once ─> flush each dirty client once ─> mailbox, chores, clock
//! ```

mod chores;
mod entry;
mod handshakes;
mod mailbox;
mod messages;
mod nodes;
mod passing;
#[cfg(any(test, fuzzing))]
mod probe;
mod reading;
mod slow;
mod taps;
mod ticks;
mod writing;

pub use chores::Chore;
pub use entry::Arrived;
pub use mailbox::{Mailbox, Message};
#[cfg(any(test, fuzzing))]
pub use probe::Sums;

use handshakes::Handshakes;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};

use crate::clients::{Clients, Deferral};
use crate::command::CommandTable;
use crate::complete::Errands;
use crate::dialect::resp::request::RequestParser;
use crate::metrics::NodeMetrics;
use crate::net::Passing;
use crate::shared::Shared;
use crate::turn::Turn;
use crate::{pubsub, recovery, tracking, waiting};

/// Bytes read from one socket per turn: enough for a deep pipeline, little enough to be fair.
const READ_SIZE: usize = 128 * 1024;
/// Bytes written to one socket per turn; what is more leaves in the next ones. As much as is read of one connection, so
/// that what only passes through does not gather.
const SHARE: usize = 8 * READ_SIZE;
/// An incomplete request or reply up to this size is copied to and from where the next bytes are read; a longer one is
/// added to where it is.
const LEFT_OVER: usize = 16 * 1024;
/// Replies of a batch wait so long for the rest of it, to leave in one write.
const HOLD: Duration = Duration::from_micros(500);
/// Requests of a turn, if they are so few, wait for those of the next one, to leave in the same writes. More fill their
/// writes by themselves; one alone has nobody to wait for.
const FEW: std::ops::Range<u32> = 2..24;
/// Clients that are written to in one turn; with more of them, as when a message has many subscribers, it takes several.
const FLUSHES: usize = 512;
const TICK: Duration = Duration::from_millis(100);
const WAKE: Token = Token(usize::MAX);

pub struct Worker {
    poll: Poll,
    mailbox: Arc<Mailbox>,
    table: Arc<CommandTable>,
    /// The table as each cluster's config has it.
    tables: Vec<Arc<CommandTable>>,
    clients: Clients,
    handshakes: Handshakes,
    turn: Turn,
    parser: RequestParser,
    scratch: Vec<u8>,
    errands: Errands,
    unread: Vec<usize>,
    /// Clients not read while memory is short; the tick looks at them again.
    throttled: Vec<usize>,
    /// Clients with some of their replies: the rest may come in the next turn, and leave in the same write.
    deferred: Vec<usize>,
    /// Clients that were written this turn's share of what they are owed.
    unwritten: Vec<usize>,
    /// Clients whose replies wait for that of their EXEC; the tick flushes them at the latest.
    late: Vec<usize>,
    /// The requests of the turn before this one have not been sent yet.
    has_gathered: bool,
    /// The rights, by cluster, that clients have or are being given.
    followed: Vec<u32>,
    /// What is asked of many clients, and not done yet.
    chores: VecDeque<Chore>,
    /// A turn took as many messages as it may, and there may be more.
    has_mail: bool,
    /// Nodes that were told to owe what may take long.
    busy: Vec<Arc<NodeMetrics>>,
    next_tick: Instant,
    sweep: usize,
    is_draining: bool,
    /// Until when a client that has just been answered is closed, and one that is idle is not.
    leaves_at: Option<Instant>,
    /// Where clients go on.
    heir: Option<Arc<Passing>>,
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
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        shared.attach(number, waker.clone());
        mailbox.attach(waker.clone());
        shared.taps.attach(number, waker);
        let table = shared.table();
        let (mut turn, mut clients) =
            (Turn::new(number, poll.registry().try_clone()?, shared.clone()), Clients::default());
        for (index, ruled) in shared.clusters().into_iter().enumerate() {
            recovery::apply(&mut turn, &mut clients, index, ruled);
        }
        let mut worker = Self {
            poll,
            mailbox,
            table,
            tables: Vec::new(),
            clients,
            handshakes: Handshakes::default(),
            turn,
            parser: RequestParser::new(),
            scratch: vec![0; READ_SIZE],
            errands: Errands::default(),
            busy: Vec::new(),
            unread: Vec::new(),
            throttled: Vec::new(),
            deferred: Vec::new(),
            unwritten: Vec::new(),
            late: Vec::new(),
            has_gathered: false,
            followed: Vec::new(),
            chores: VecDeque::new(),
            has_mail: false,
            next_tick: Instant::now(),
            sweep: 0,
            is_draining: shared.is_draining.load(SeqCst),
            leaves_at: None,
            heir: None,
            is_stopped: shared.is_stopping.load(SeqCst),
        };
        worker.make_tables();
        Ok(worker)
    }

    /// Each cluster's table anew: the table or a cluster's config has changed.
    fn make_tables(&mut self) {
        let Self { turn, table, tables, .. } = self;
        tables.clear();
        turn.looks.insight.table = table.clone();
        turn.looks.timing.learn(table);
        tables.extend(turn.clusters.iter().map(|served| {
            let overrides = served.as_ref().map(|served| &served.cluster.spec.commands).filter(|o| !o.is_empty());
            overrides.map_or_else(|| table.clone(), |overrides| Arc::new(table.with(overrides)))
        }));
        for served in turn.clusters.iter_mut().flatten() {
            served.rights = turn.shared.rights_by(&served.cluster, table, &served.rights);
        }
    }

    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.is_stopped {
            let wait = self.wait();
            self.poll(&mut events, wait)?;
            self.turn(&events, Instant::now());
        }
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, wait: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()), // there are no events then
            other => other,
        }
    }

    fn turn(&mut self, events: &Events, now: Instant) {
        self.turn.begin(now);
        let steps = self.steps();
        let mut is_called = false;
        recovery::look_at_leases(&mut self.turn, &mut self.clients);
        self.read_left_over();
        for _ in 0..self.clients.again() {
            if let Some(index) = self.clients.next_again() {
                self.client_again(index);
            }
        }
        for event in events {
            let token = event.token();
            if token == WAKE {
                is_called = true;
            } else if token.0 & 1 == 0 {
                let index = token.0 >> 1;
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.client_ready(index, event);
                }
                if event.is_writable() {
                    self.client_writable(index);
                }
            } else {
                self.link_ready(token.0 >> 1, event);
            }
        }
        if is_called || self.has_mail {
            self.take_messages();
            self.take_letters();
        }
        if self.handshakes.can_go_on() {
            self.shake_hands();
        }
        self.do_chores();
        self.retry_due();
        pubsub::work(&mut self.turn, &mut self.clients);
        self.turn.settle_pubsub();
        waiting::work(&mut self.turn, &mut self.clients);
        tracking::work(&mut self.turn, &mut self.clients);
        self.hear_taps();
        self.flush(!events.is_empty());
        if self.turn.accounts.is_over() {
            self.relieve(false);
        }
        if self.turn.now >= self.next_tick {
            self.tick();
            self.next_tick = self.turn.now + TICK;
            self.hear_taps();
            self.flush(false);
        }
        if self.turn.looks.timing.is_watching() {
            self.turn.looks.timing.settle(&self.turn.shared.timings, &mut self.clients, self.turn.micros);
        }
        if self.turn.pool.has_spent() {
            self.turn.pool.free_some();
        }
        let longest = &self.turn.shared.workers[self.turn.number].longest;
        longest.set(longest.get().max(self.steps() - steps));
    }

    fn steps(&self) -> u64 {
        self.turn.shared.workers[self.turn.number].steps.get()
    }

    /// How long nothing is to be done unless something happens.
    fn wait(&self) -> Duration {
        let Turn { links, pubsub, pool, waits, .. } = &self.turn;
        let is_asked = self.has_mail || !self.chores.is_empty();
        let is_busy = self.clients.again() > 0
            || self.clients.has_dirty()
            || links.has_unread()
            || links.has_dirty()
            || self.handshakes.can_go_on()
            || !self.unwritten.is_empty();
        if is_asked || is_busy || pool.has_spent() || !pubsub.jobs.is_empty() || waits.is_busy() {
            return Duration::ZERO;
        }
        let due = self.next_due().saturating_duration_since(self.turn.now);
        if self.deferred.is_empty() {
            due
        } else {
            due.min(HOLD)
        }
    }

    /// Every dirty link is written once, then every dirty client.
    fn flush(&mut self, is_busy: bool) {
        recovery::settle(&mut self.turn, &mut self.clients);
        if !self.gathers(is_busy) {
            while let Some(index) = self.turn.links.next_dirty() {
                self.link_flush(index);
            }
        }
        let mut overdue = std::mem::take(&mut self.deferred);
        let rest = std::mem::take(&mut self.unwritten);
        for _ in 0..FLUSHES {
            let Some(index) = self.clients.next_dirty() else { break };
            let Some(client) = self.clients.get_mut(index) else { continue };
            match client.deferral() {
                Deferral::None => self.client_flush(index),
                Deferral::Hold => {
                    client.deferred_at = self.turn.micros; // it stays dirty
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
        for index in rest {
            if let Some(client) = self.clients.get_mut(index) {
                client.is_unwritten = false;
                self.client_flush(index);
            }
        }
        for index in overdue.drain(..) {
            let Some(client) = self.clients.get_mut(index) else { continue };
            let held = self.turn.micros.wrapping_sub(client.deferred_at);
            if client.is_dirty && client.deferral() == Deferral::Hold && held < HOLD.as_micros() as u32 {
                self.deferred.push(index);
            } else {
                self.client_flush(index);
            }
        }
        if self.deferred.is_empty() {
            self.deferred = overdue; // its memory serves again
        }
    }

    /// Whether the requests of this turn wait for those of the next.
    fn gathers(&mut self, is_busy: bool) -> bool {
        self.has_gathered = is_busy && !self.has_gathered && FEW.contains(&self.turn.batch);
        if !self.has_gathered {
            self.turn.batch = 0;
        }
        self.has_gathered
    }
}
