//! Names to addresses for threads that may wait, though neither longer than they are told nor after their end.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::node::{NodeError, Stop};
use crate::net::{wait_ready, EventFd, Resolver, Wanted};
use crate::sync::lock;

/// An answer holds for so long, be it that there is none.
const HOLDS: Duration = Duration::from_secs(2);
/// Names whose answers are remembered at most.
const KNOWN: usize = 1024;

type Answer = Result<(), String>;

struct Asked {
    woken: EventFd,
    answer: Mutex<Option<Answer>>,
}

pub struct Names {
    resolver: Resolver,
    looked: Mutex<HashMap<(String, u16), (Instant, Answer)>>,
}

static NAMES: Mutex<Option<Arc<Names>>> = Mutex::new(None);
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Who asks: of each thread one question waits at a time.
    static THREAD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
}

impl Names {
    /// Those of the process: its threads start with the first name.
    pub fn shared() -> Result<Arc<Self>, NodeError> {
        let mut names = lock(&NAMES);
        if let Some(names) = names.as_ref() {
            return Ok(names.clone());
        }
        let resolver = Resolver::start().map_err(|error| NodeError::Lost(error.to_string()))?;
        Ok(names.insert(Arc::new(Self::with(resolver))).clone())
    }

    fn with(resolver: Resolver) -> Self {
        Self { resolver, looked: Mutex::default() }
    }

    /// All addresses of a name, those of its last answer where there is none in time. An error says why there are none.
    pub fn find(&self, host: &str, port: u16, stop: &Stop, until: Instant) -> Result<Vec<SocketAddr>, NodeError> {
        let name = (host.to_owned(), port);
        let held = lock(&self.looked).get(&name).filter(|(at, _)| at.elapsed() < HOLDS).map(|(_, held)| held.clone());
        let answer = match held {
            Some(answer) => answer,
            None => self.look(&name, stop, until)?,
        };
        let found = self.resolver.all_known(host, port);
        match answer {
            _ if !found.is_empty() => Ok(found),
            Err(why) => Err(NodeError::Lost(format!("{host}:{port}: {why}"))),
            Ok(()) => Err(NodeError::Lost(format!("{host}:{port}: the name has no address"))),
        }
    }

    fn look(&self, name: &(String, u16), stop: &Stop, until: Instant) -> Result<Answer, NodeError> {
        let lost = |error: std::io::Error| NodeError::Lost(format!("{}:{}: {error}", name.0, name.1));
        let asked = Arc::new(Asked { woken: EventFd::new().map_err(lost)?, answer: Mutex::new(None) });
        let answers = asked.clone();
        let done = move |found: std::io::Result<SocketAddr>| {
            *lock(&answers.answer) = Some(found.map(drop).map_err(|error| error.to_string()));
            answers.woken.raise();
        };
        self.resolver.resolve(&name.0, name.1, (THREAD.with(Cell::get), 0), 0, Box::new(done));
        loop {
            stop.check()?;
            if let Some(answer) = lock(&asked.answer).take() {
                let mut looked = lock(&self.looked);
                if looked.len() >= KNOWN {
                    looked.clear();
                }
                looked.insert(name.clone(), (Instant::now(), answer.clone()));
                return Ok(answer);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Err("its name was not looked up in time".into()));
            }
            wait_ready(&mut [Wanted::read(asked.woken.as_fd()), stop.wanted()], left).map_err(lost)?;
            stop.heard();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// The answers that each look-up waits for.
    fn names(answers: Vec<io::Result<Vec<SocketAddr>>>) -> (Arc<Names>, std::sync::mpsc::Sender<()>) {
        let (tell, told) = channel::<()>();
        let state = Mutex::new((told, answers.into_iter()));
        let lookup = move |_: &str, _: u16| {
            let mut state = lock(&state);
            let _ = state.0.recv(); // over as well
            state.1.next().unwrap_or_else(|| Err(io::Error::other("asked too often")))
        };
        (Arc::new(Names::with(Resolver::with(Box::new(lookup)).unwrap())), tell)
    }

    #[test]
    fn all_addresses_are_found_and_held_for_a_while() {
        let both: Vec<SocketAddr> = vec!["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()];
        let (names, tell) = names(vec![Ok(both.clone())]);
        tell.send(()).unwrap();
        for _ in 0..3 {
            assert_eq!(names.find("a", 1, &Stop::new().unwrap(), Instant::now() + SOON), Ok(both.clone()));
        }
    }

    #[test]
    fn a_look_up_that_hangs_ends_with_its_time_and_with_the_thread() {
        let (names, _tell) = names(Vec::new());
        let stop = Stop::new().unwrap();
        let late = names.find("a", 1, &stop, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert!(matches!(&late, NodeError::Lost(why) if why.contains("in time")), "{late}");
        let (other, heard) = (names.clone(), stop.clone());
        let waiting = thread::spawn(move || other.find("a", 1, &heard, Instant::now() + Duration::from_secs(3600)));
        stop.stop();
        assert_eq!(waiting.join().unwrap(), Err(NodeError::Stopped));
    }

    #[test]
    fn the_last_answer_does_where_there_is_no_other() {
        let one: Vec<SocketAddr> = vec!["127.0.0.1:1".parse().unwrap()];
        let (names, tell) = names(vec![Ok(one.clone())]);
        tell.send(()).unwrap();
        let stop = Stop::new().unwrap();
        assert_eq!(names.find("a", 1, &stop, Instant::now() + SOON), Ok(one.clone()));
        lock(&names.looked).clear(); // it does not hold any more
        assert_eq!(names.find("a", 1, &stop, Instant::now() + Duration::from_millis(20)), Ok(one.clone()));
        tell.send(()).unwrap();
        assert_eq!(names.find("a", 1, &stop, Instant::now() + SOON), Ok(one));
    }

    #[test]
    fn a_name_that_is_not_there_is_not_asked_for_at_each_attempt() {
        let (names, tell) = names(vec![Err(io::Error::other("no such name"))]);
        tell.send(()).unwrap();
        for _ in 0..3 {
            let error = names.find("a", 1, &Stop::new().unwrap(), Instant::now() + SOON).unwrap_err();
            assert_eq!(error.to_string(), "a:1: no such name");
        }
    }
}
