//! A thread that tells how far it is: whoever ordered it looks, waits for changes, and ends it.

use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::node::Stop;
use crate::sync::lock;

struct Shared<S> {
    /// And whether the thread has ended.
    status: Mutex<(S, bool)>,
    changed: Condvar,
}

/// The thread's side.
pub struct Teller<S>(Arc<Shared<S>>);

impl<S> Teller<S> {
    pub fn tell(&self, change: impl FnOnce(&mut S)) {
        change(&mut lock(&self.0.status).0);
        self.0.changed.notify_all();
    }
}

/// The side of whoever ordered it. The thread ends with it.
pub struct Told<S> {
    shared: Arc<Shared<S>>,
    stop: Stop,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<S: Clone + Send + 'static> Told<S> {
    /// Start the thread; `failed` writes down what it returns as an error, or that it broke.
    pub fn start(
        name: &str,
        first: S,
        failed: fn(&mut S, String),
        run: impl FnOnce(&Teller<S>, &Stop) -> Result<(), String> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared { status: Mutex::new((first, false)), changed: Condvar::new() });
        let (stop, teller) = (Stop::new()?, Teller(shared.clone()));
        let heard = stop.clone();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let end = catch_unwind(AssertUnwindSafe(|| run(&teller, &heard)));
            let why = end.unwrap_or_else(|_| Err("it broke: the log of the process says where".into())).err();
            let mut status = lock(&teller.0.status);
            if let Some(why) = why {
                failed(&mut status.0, why);
            }
            status.1 = true;
            teller.0.changed.notify_all();
        })?;
        Ok(Self { shared, stop, thread: Mutex::new(Some(thread)) })
    }

    pub fn status(&self) -> S {
        lock(&self.shared.status).0.clone()
    }

    /// Wait until this is so, the thread has ended, or so long.
    pub fn wait(&self, within: Duration, is_so: impl Fn(&S) -> bool) {
        let status = lock(&self.shared.status);
        let is_waiting = |status: &mut (S, bool)| !status.1 && !is_so(&status.0);
        drop(
            self.shared.changed.wait_timeout_while(status, within, is_waiting).unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// End the thread and wait for that, however many do so at once: its waits end at once.
    pub fn stop(&self) {
        self.stop.stop();
        let mut thread = lock(&self.thread);
        if let Some(thread) = thread.take() {
            let _ = thread.join(); // that it broke is in the status
        }
    }
}

impl<S> Drop for Told<S> {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn told(run: impl FnOnce(&Teller<String>, &Stop) -> Result<(), String> + Send + 'static) -> Told<String> {
        Told::start("test", String::new(), |status, why| *status = format!("failed: {why}"), run).unwrap()
    }

    #[test]
    fn a_change_ends_a_wait_and_so_does_the_end() {
        let thread = told(|teller, stop| {
            teller.tell(|status| *status = "half".into());
            stop.rest(LONG).map_err(|error| error.to_string())
        });
        thread.wait(LONG, |status| status == "half");
        assert_eq!(thread.status(), "half");
        thread.stop();
        thread.wait(LONG, |status| status == "never");
        assert_eq!(thread.status(), "failed: it was told to stop");
    }

    #[test]
    fn that_it_broke_is_told() {
        let thread = told(|_, _| panic!("broken on purpose"));
        thread.wait(LONG, |_| false);
        assert!(thread.status().starts_with("failed: it broke"));
    }

    #[test]
    fn whoever_stops_it_returns_when_it_has_ended() {
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let thread = Arc::new(told(move |_, _| ends.recv().map_err(|error| error.to_string())));
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..2 {
            let (thread, tell) = (thread.clone(), tell.clone());
            Builder::new().spawn(move || (thread.stop(), tell.send(()))).unwrap();
        }
        assert!(told.recv_timeout(Duration::from_millis(200)).is_err(), "one returned before the end");
        end.send(()).unwrap();
        told.recv_timeout(LONG).unwrap();
        told.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn a_wait_has_its_end() {
        let thread = told(|_, stop| stop.rest(LONG).map_err(|error| error.to_string()));
        thread.wait(Duration::from_millis(1), |_| false);
        assert_eq!(thread.status(), "");
    }
}
