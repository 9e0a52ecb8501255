//! All files of a load, a few at once, each by a thread of its own; and how far they are.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ring::digest::{digest, SHA256};
use serde::Serialize;

use super::file::{length_of, Counts, Walk};
use super::order::{LoadOrder, Seats};
use crate::replication::node::Stop;
use crate::replication::told::{Teller, Told};
use crate::sync::lock;

/// A target neither took nor answered anything for so long: it is given up.
pub const SILENCE: Duration = Duration::from_secs(60);
/// Files read at once: their targets are what is slow, and each has a connection to all of them.
const AT_ONCE: usize = 4;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    pub is_over: bool,
    pub why: String,
    pub keys: u64,
    pub bytes: u64,
    pub total: u64,
    pub leftovers: u64,
    pub expired: u64,
    pub unmatched: u64,
    pub functions: u64,
    /// Of each file up to which byte all is answered, and how many it has.
    pub positions: Vec<u64>,
    pub lengths: Vec<u64>,
    pub seconds: f64,
    #[serde(skip)]
    read: Vec<u64>,
}

/// What the threads of a load have in common.
pub struct Shared<'r> {
    pub order: &'r LoadOrder,
    pub seats: Seats,
    pub stop: &'r Stop,
    teller: &'r Teller<Status>,
    begun: Instant,
    libraries: Mutex<HashSet<Vec<u8>>>,
    why: Mutex<Option<String>>,
}

impl Shared<'_> {
    /// Whether no file of this load had this library before.
    pub fn is_new(&self, library: &[u8]) -> bool {
        lock(&self.libraries).insert(digest(&SHA256, library).as_ref().to_vec())
    }

    pub fn tell(&self, number: usize, read: u64, answered: u64, counts: Counts) {
        self.teller.tell(|status| {
            status.keys += counts.keys;
            status.leftovers += counts.leftovers;
            status.expired += counts.expired;
            status.unmatched += counts.unmatched;
            status.functions += counts.functions;
            status.positions[number] = answered;
            status.read[number] = read;
            status.bytes = status.read.iter().sum();
            status.seconds = self.begun.elapsed().as_secs_f64();
        });
    }
}

pub struct Load(Told<Status>);

impl Load {
    pub fn start(order: LoadOrder) -> io::Result<Self> {
        let failed = |status: &mut Status, why| (status.is_over, status.why) = (true, why);
        let positions = order.files.iter().map(|file| file.start).collect();
        let read = vec![0; order.files.len()];
        let first = Status { positions, read, ..Status::default() };
        Told::start("shardproxy-load", first, failed, move |teller, stop| run(&order, teller, stop)).map(Self)
    }

    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Wait until it is over, or so long.
    pub fn wait(&self, within: Duration) {
        self.0.wait(within, |status| status.is_over);
    }

    pub fn stop(&self) {
        self.0.stop();
    }
}

fn run(order: &LoadOrder, teller: &Teller<Status>, stop: &Stop) -> Result<(), String> {
    let seats = order.check()?;
    let lengths = order.files.iter().map(|file| length_of(&file.path)).collect::<Result<Vec<u64>, String>>()?;
    teller.tell(|status| {
        status.total = lengths.iter().sum();
        status.lengths = lengths;
    });
    let shared = Shared {
        order,
        seats,
        stop,
        teller,
        begun: Instant::now(),
        libraries: Mutex::default(),
        why: Mutex::default(),
    };
    let next = AtomicUsize::new(0);
    let walk = || {
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&n| n < order.files.len()) {
            if let Err(why) = Walk::new(&shared, number).all() {
                lock(&shared.why).get_or_insert(why);
                stop.stop(); // the others too
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..order.files.len().min(AT_ONCE) {
            scope.spawn(walk);
        }
        walk();
    });
    if let Some(why) = lock(&shared.why).take() {
        return Err(why);
    }
    stop.check().map_err(|error| error.to_string())?;
    teller.tell(|status| {
        status.is_over = true;
        status.seconds = shared.begun.elapsed().as_secs_f64();
    });
    Ok(())
}
