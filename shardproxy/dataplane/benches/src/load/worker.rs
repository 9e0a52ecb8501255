//! One thread: its connections, its epoll, its counts.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::connection::{Connection, State};
use super::pace::Pace;
use super::tally::Tally;
use super::{Plan, Shared, MEASURE, STOP};
use crate::timer::Timer;
use crate::workload::Shape;

const GRACE: Duration = Duration::from_secs(2); // for replies that are still due at the end
const TICK: Duration = Duration::from_millis(20); // how late a change of phase may be seen when nothing happens
const TIMER: Token = Token(usize::MAX - 1);

pub struct Worker {
    poll: Poll,
    connections: Vec<Option<Connection>>,
    idle: VecDeque<usize>,
    sender: Sender,
    timer: Option<Timer>,
    pace: Option<Pace>,
    tally: Tally,
}

/// What fills batches: the keys, the budget and the clock.
struct Sender {
    shape: Shape,
    shared: Arc<Shared>,
    keys: u64,
    sequential: bool,
    verify: bool,
    pipeline: u64,
    random: u64,
    base: Instant,
}

impl Worker {
    /// Open this thread's share of the connections.
    pub fn connect(plan: &Plan, shape: &Shape, shared: &Arc<Shared>, index: usize, threads: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for number in (index..plan.connections).step_by(threads) {
            let mut connection =
                Connection::open(plan.address, plan.tls.as_ref(), shape, plan.pipeline).map_err(|e| {
                    io::Error::new(e.kind(), format!("connection {} of {}: {e}", number + 1, plan.connections))
                })?;
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.wire.stream, Token(connections.len()), both)?;
            connections.push(Some(connection));
        }
        let base = Instant::now();
        let pace = plan.rate.map(|rate| {
            let own_rate = rate * connections.len() as f64 / plan.connections as f64;
            Pace::new(own_rate, plan.pipeline, 0)
        });
        let timer = if pace.is_some() { Some(Timer::new(poll.registry(), TIMER)?) } else { None };
        let sender = Sender {
            shape: shape.clone(),
            shared: Arc::clone(shared),
            keys: plan.keys,
            sequential: plan.sequential,
            verify: plan.verify,
            pipeline: plan.pipeline as u64,
            random: 0x9e37_79b9_7f4a_7c15 ^ ((index as u64 + 1) << 32),
            base,
        };
        let idle = (0..connections.len()).collect();
        Ok(Self { poll, connections, idle, sender, timer, pace, tally: Tally::default() })
    }

    pub fn run(mut self) -> io::Result<Tally> {
        let result = self.turns();
        self.sender.shared.running.fetch_sub(1, Ordering::Release);
        result?;
        self.tally.unanswered += self.connections.iter().flatten().map(Connection::unanswered).sum::<u64>();
        Ok(self.tally)
    }

    fn turns(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut deadline = None;
        self.sender.base = Instant::now();
        self.send_idle();
        while self.busy() {
            self.poll.poll(&mut events, Some(TICK))?;
            let phase = self.sender.shared.phase.load(Ordering::Acquire);
            if phase == STOP && *deadline.get_or_insert_with(|| Instant::now() + GRACE) < Instant::now() {
                break;
            }
            for event in &events {
                if event.token() == TIMER {
                    self.timer.iter_mut().for_each(Timer::take);
                } else {
                    self.serve(event.token().0, event.is_writable(), phase);
                }
            }
            if self.pace.is_some() || phase == STOP {
                self.send_idle();
            }
            if let (Some(pace), Some(timer)) = (&self.pace, &self.timer) {
                if !self.idle.is_empty() && self.sender.may_send() {
                    timer.arm(pace.wait(self.sender.now()))?;
                }
            }
        }
        Ok(())
    }

    /// Something is still to come: a reply, or a request that may be sent.
    fn busy(&self) -> bool {
        let open = self.connections.iter().flatten().count();
        open > self.idle.len() || (open > 0 && self.sender.may_send())
    }

    fn serve(&mut self, index: usize, writable: bool, phase: u8) {
        let Some(connection) = self.connections[index].as_mut() else {
            return;
        };
        if writable && connection.flush() == State::Ended {
            return self.end(index);
        }
        let sender = &self.sender;
        match connection.receive(&sender.shape, sender.verify, &mut self.tally, || sender.now(), phase == MEASURE) {
            State::Waiting => {}
            State::Idle if self.pace.is_none() => self.send(index, None),
            State::Idle => self.idle.push_back(index),
            State::Ended => self.end(index),
        }
    }

    /// Give idle connections what is due.
    fn send_idle(&mut self) {
        for _ in 0..self.idle.len() {
            let due = match self.pace.as_mut() {
                None => None,
                Some(_) if !self.sender.may_send() => return,
                Some(pace) => match pace.take(self.sender.now()) {
                    None => return,
                    due => due,
                },
            };
            let Some(index) = self.idle.pop_front() else {
                return;
            };
            self.send(index, due);
        }
    }

    fn send(&mut self, index: usize, due: Option<u64>) {
        let Some(connection) = self.connections[index].as_mut() else {
            return;
        };
        if !self.sender.fill(connection) {
            return self.idle.push_back(index);
        }
        let due = due.unwrap_or_else(|| self.sender.now());
        if connection.send(due) == State::Ended {
            self.end(index);
        }
    }

    fn end(&mut self, index: usize) {
        if let Some(connection) = self.connections[index].take() {
            self.idle.retain(|idle| *idle != index);
            self.tally.closed += 1;
            self.tally.unanswered += connection.unanswered();
        }
    }
}

impl Sender {
    fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    fn may_send(&self) -> bool {
        self.shared.phase.load(Ordering::Relaxed) != STOP && self.shared.budget.load(Ordering::Relaxed) > 0
    }

    /// Fill a batch, or say that nothing may be sent any more.
    fn fill(&mut self, connection: &mut Connection) -> bool {
        if !self.may_send() {
            return false;
        }
        let granted = self.grant();
        if granted == 0 {
            return false;
        }
        let (keys, sequential, random) = (self.keys, self.sequential, &mut self.random);
        let next_key = &self.shared.next_key;
        connection.batch.fill(&self.shape, granted as usize, || {
            if sequential {
                next_key.fetch_add(1, Ordering::Relaxed) % keys
            } else {
                next_random(random) % keys
            }
        });
        true
    }

    /// Take up to a pipeline of requests from the budget. Without a limit the budget is never touched.
    fn grant(&self) -> u64 {
        let budget = &self.shared.budget;
        if budget.load(Ordering::Relaxed) == u64::MAX {
            return self.pipeline;
        }
        let take = |left: u64| Some(left.saturating_sub(self.pipeline));
        let left = budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or(0);
        left.min(self.pipeline)
    }
}

/// xorshift64*: fast, and even enough to choose keys.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}
