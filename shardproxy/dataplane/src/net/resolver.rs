//! Names to addresses on threads of their own, since the system's resolver blocks.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::{io, thread};

use crate::sync::lock;

#[cfg(test)]
mod tests;

/// Lookups at a time: a name whose servers do not answer holds up one of them for many seconds.
const THREADS: usize = 3;
/// At most so many connects wait.
const WAITING: usize = 4096;
/// Names whose addresses are remembered at most.
const KNOWN: usize = 4096;

type Name = (String, u16);
/// The worker that asks, and for which of its links.
pub type Asker = (usize, usize);
type Done = Box<dyn FnOnce(io::Result<SocketAddr>) + Send>;
type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Waiting {
    who: Asker,
    turn: usize,
    done: Done,
}

#[derive(Default)]
struct State {
    /// Names that no thread has taken yet.
    queue: VecDeque<Name>,
    /// Who waits for each name; it is here until it is looked up.
    waiting: HashMap<Name, Vec<Waiting>>,
    count: usize,
    /// What each name led to when it was looked up last.
    known: HashMap<Name, Vec<SocketAddr>>,
    is_over: bool,
}

struct Names {
    state: Mutex<State>,
    /// The queue is not empty, or all is over.
    called: Condvar,
    lookup: Box<Lookup>,
}

pub struct Resolver(Arc<Names>);

impl Resolver {
    /// The threads end when the `Resolver` is dropped, and what they look up is looked up.
    pub fn start() -> io::Result<Self> {
        Self::with(Box::new(|host, port| Ok((host, port).to_socket_addrs()?.collect())))
    }

    /// Looks nothing up, and needs no threads.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn idle() -> Self {
        let lookup: Box<Lookup> = Box::new(|_, _| Ok(Vec::new()));
        Self(Arc::new(Names { state: Mutex::default(), called: Condvar::new(), lookup }))
    }

    pub(crate) fn with(lookup: Box<Lookup>) -> io::Result<Self> {
        let resolver = Self(Arc::new(Names { state: Mutex::default(), called: Condvar::new(), lookup }));
        for _ in 0..THREADS {
            let names = resolver.0.clone();
            thread::Builder::new().name("shardproxy-dns".into()).spawn(move || names.run())?;
        }
        Ok(resolver)
    }

    /// Look a name up and call `done` on a thread of the resolver's. Whoever asks for a name that is being looked up is
    /// answered with the others, who asks again in place of its first time. A name may have several addresses, of which
    /// some do not answer: each `turn` gets the next one.
    pub fn resolve(&self, host: &str, port: u16, who: Asker, turn: usize, done: Done) {
        let asks = Waiting { who, turn, done };
        let name = (host.to_owned(), port);
        let mut state = lock(&self.0.state);
        let earlier = state.waiting.get_mut(&name).and_then(|w| w.iter_mut().find(|waiting| waiting.who == who));
        if let Some(earlier) = earlier {
            *earlier = asks;
            return;
        }
        if state.count >= WAITING {
            drop(state);
            return (asks.done)(Err(io::Error::other("too many names wait for resolution")));
        }
        state.count += 1;
        if let Some(waiting) = state.waiting.get_mut(&name) {
            return waiting.push(asks);
        }
        state.waiting.insert(name.clone(), vec![asks]);
        state.queue.push_back(name);
        self.0.called.notify_one();
    }

    /// The address a name led to when it was looked up last: to go on with while its servers do not answer.
    pub fn last_known(&self, host: &str, port: u16, turn: usize) -> Option<SocketAddr> {
        choose(lock(&self.0.state).known.get(&(host.to_owned(), port))?, turn)
    }

    /// All the addresses a name led to when it was looked up last.
    pub fn all_known(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        lock(&self.0.state).known.get(&(host.to_owned(), port)).cloned().unwrap_or_default()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        lock(&self.0.state).is_over = true;
        self.0.called.notify_all();
    }
}

impl Names {
    fn run(&self) {
        while let Some(name) = self.next() {
            let found = (self.lookup)(&name.0, name.1);
            let mut state = lock(&self.state);
            let waiting = state.waiting.remove(&name).unwrap_or_default();
            state.count -= waiting.len();
            if let Some(addresses) = found.as_ref().ok().filter(|addresses| !addresses.is_empty()) {
                if state.known.len() >= KNOWN {
                    state.known.clear();
                }
                state.known.insert(name, addresses.clone());
            }
            drop(state);
            for Waiting { turn, done, .. } in waiting {
                done(match &found {
                    Ok(addresses) => choose(addresses, turn).ok_or_else(|| io::Error::other("the name has no address")),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                });
            }
        }
    }

    /// The next name to look up; none when all is over.
    fn next(&self) -> Option<Name> {
        let mut state = lock(&self.state);
        loop {
            if state.is_over {
                return None;
            }
            if let Some(name) = state.queue.pop_front() {
                return Some(name);
            }
            state = self.called.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn choose(addresses: &[SocketAddr], turn: usize) -> Option<SocketAddr> {
    addresses.get(turn % addresses.len().max(1)).copied()
}
