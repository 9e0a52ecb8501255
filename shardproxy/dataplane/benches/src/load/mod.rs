//! The load: connections dealt to threads, one run from connect to report.
//!
//! ```text
//! connect all | warm-up, not counted | measured: requests, latency, CPU of the watched processes | finish what is sent
//! ```

mod batch;
mod connection;
mod pace;
mod tally;
mod wire;
mod worker;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::args::Args;
use crate::cpu::{self, Watch};
use crate::json::Object;
use crate::workload::{Shape, Workload};
use crate::Protocol;
pub use tally::Tally;

const LONGEST_RUN: f64 = 3600.0; // seconds

/// What to do, as the command line says it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// TLS is spoken, by these terms.
    pub tls: Option<Arc<ClientConfig>>,
    pub workload: Workload,
    pub connections: usize,
    pub pipeline: usize,
    pub threads: usize,
    pub keys: u64,
    pub value_size: usize,
    /// Compare values with their keys. An echo cannot pass.
    pub verify: bool,
    /// Take keys in order instead of at random: fills every key once.
    pub sequential: bool,
    pub duration: Duration,
    pub warmup: Duration,
    /// Stop after that many; `duration` then only bounds the run.
    pub requests: Option<u64>,
    /// Requests per second over all connections; `None` is as fast as replies come.
    pub rate: Option<f64>,
    pub watches: Vec<Watch>,
}

pub const OPTIONS: [&str; 15] = [
    "cacert",
    "protocol",
    "address",
    "workload",
    "connections",
    "pipeline",
    "threads",
    "keys",
    "value-size",
    "duration",
    "warmup",
    "requests",
    "rate",
    "watch",
    "channel",
];
pub const SWITCHES: [&str; 2] = ["no-verify", "sequential"];

impl Plan {
    pub fn from_args(args: &Args) -> Result<Self, String> {
        let workload: Workload = args.get_or("workload", Workload::Get)?;
        let requests: Option<u64> = args.get("requests")?;
        let plan = Self {
            protocol: args.get_or("protocol", Protocol::Resp)?,
            address: address(args)?,
            tls: args.all("cacert").last().map(wire::tls_config).transpose()?,
            workload,
            connections: args.get_or("connections", 50)?,
            pipeline: args.get_or("pipeline", 1)?,
            threads: args.get_or("threads", 1)?,
            keys: args.get_or("keys", 100_000)?,
            value_size: args.get_or("value-size", workload.value_size())?,
            verify: !args.has("no-verify"),
            sequential: args.has("sequential"),
            duration: seconds(args, "duration", if requests.is_some() { 60.0 } else { 5.0 })?,
            warmup: seconds(args, "warmup", 0.0)?,
            requests,
            rate: args.get("rate")?,
            watches: args.all("watch").map(Watch::parse).collect::<Result<_, _>>()?,
        };
        for (name, value) in [("connections", plan.connections), ("pipeline", plan.pipeline), ("threads", plan.threads)]
        {
            if value == 0 || value > 100_000 {
                return Err(format!("--{name} {value}: use 1 to 100000"));
            }
        }
        if plan.keys == 0 || plan.rate.is_some_and(|r| !r.is_finite() || r <= 0.0) {
            return Err("--keys and --rate must be above 0".into());
        }
        Ok(plan)
    }
}

pub fn address(args: &Args) -> Result<SocketAddr, String> {
    let text: String = args.get("address")?.ok_or("--address host:port is needed")?;
    let mut found = text.to_socket_addrs().map_err(|e| format!("--address {text}: {e}"))?;
    found.next().ok_or_else(|| format!("--address {text}: no such host"))
}

pub fn seconds(args: &Args, name: &str, default: f64) -> Result<Duration, String> {
    let value: f64 = args.get_or(name, default)?;
    if (0.0..=LONGEST_RUN).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(format!("--{name} {value}: use 0 to {LONGEST_RUN} seconds"))
    }
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// What the threads share.
#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    /// Requests that may still be sent.
    budget: AtomicU64,
    next_key: AtomicU64,
    /// Threads that still run.
    running: AtomicU64,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    pub elapsed: Duration,
    pub tally: Tally,
    /// CPU time of each watched set, and of this process.
    pub cpu: Vec<(String, Duration)>,
}

pub fn run(plan: &Plan) -> io::Result<Report> {
    let shape = Shape::new(plan.protocol, plan.workload, plan.value_size)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let threads = plan.threads.min(plan.connections);
    let shared = Arc::new(Shared {
        phase: AtomicU8::new(if plan.requests.is_some() { MEASURE } else { WARM_UP }),
        budget: AtomicU64::new(plan.requests.unwrap_or(u64::MAX)),
        next_key: AtomicU64::new(0),
        running: AtomicU64::new(threads as u64),
    });
    let workers = (0..threads)
        .map(|index| worker::Worker::connect(plan, &shape, &shared, index, threads))
        .collect::<io::Result<Vec<_>>>()?;
    let ready = Arc::new(Barrier::new(threads + 1));
    let handles: Vec<_> = workers
        .into_iter()
        .map(|worker| {
            let ready = Arc::clone(&ready);
            thread::spawn(move || {
                ready.wait();
                worker.run()
            })
        })
        .collect();
    let before = readings(&plan.watches)?; // also says early when a watched process is not there
    ready.wait();
    let (elapsed, cpu) = measure(plan, &shared, before)?;
    let mut tally = Tally::default();
    for handle in handles {
        let part = handle.join().map_err(|_| io::Error::other("a load thread panicked"))??;
        tally.merge(&part);
    }
    Ok(Report { elapsed, tally, cpu })
}

type Readings = Vec<(String, Duration)>;

/// Wait through the phases; return how long the measured one was and the CPU time used in it.
fn measure(plan: &Plan, shared: &Shared, before: Readings) -> io::Result<(Duration, Readings)> {
    let mut before = before;
    if plan.requests.is_none() {
        thread::sleep(plan.warmup);
        before = readings(&plan.watches)?;
        shared.phase.store(MEASURE, Ordering::Release);
    }
    let start = Instant::now();
    while start.elapsed() < plan.duration && shared.running.load(Ordering::Acquire) > 0 {
        let left = plan.duration.saturating_sub(start.elapsed());
        thread::sleep(left.min(Duration::from_millis(if plan.requests.is_some() { 1 } else { 50 })));
    }
    let elapsed = start.elapsed();
    shared.phase.store(STOP, Ordering::Release);
    let after = readings(&plan.watches)?;
    let used = after.into_iter().zip(before).map(|((label, end), (_, begin))| (label, end.saturating_sub(begin)));
    Ok((elapsed, used.collect()))
}

fn readings(watches: &[Watch]) -> io::Result<Readings> {
    let mut all = Vec::with_capacity(watches.len() + 1);
    for watch in watches {
        let used = watch
            .read()
            .map_err(|e| io::Error::new(e.kind(), format!("--watch {}: is the process there? {e}", watch.label)))?;
        all.push((watch.label.clone(), used));
    }
    all.push(("load".to_owned(), cpu::own()));
    Ok(all)
}

impl Report {
    pub fn to_json(&self, plan: &Plan) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let requests = self.tally.requests;
        let mut cpu = Object::default();
        for (label, used) in &self.cpu {
            cpu = cpu.number(label, used.as_secs_f64() * 1e6 / (requests.max(1)) as f64);
        }
        let mut busy = Object::default();
        for (label, used) in &self.cpu {
            busy = busy.number(label, used.as_secs_f64() / seconds);
        }
        Object::default()
            .string("protocol", plan.protocol.name())
            .string("workload", &format!("{:?}", plan.workload).to_lowercase())
            .integer("connections", plan.connections as u64)
            .integer("pipeline", plan.pipeline as u64)
            .integer("threads", plan.threads as u64)
            .integer("value_size", plan.value_size as u64)
            .number("seconds", seconds)
            .integer("requests", requests)
            .number("requests_per_second", requests as f64 / seconds)
            .object("latency_us", self.tally.latency_json())
            .object("cpu_us_per_request", cpu)
            .object("cpus_busy", busy)
            .integer("hits", self.tally.hits)
            .integer("misses", self.tally.misses)
            .integer("errors", self.tally.errors)
            .integer("wrong", self.tally.wrong)
            .integer("closed", self.tally.closed)
            .integer("unanswered", self.tally.unanswered)
            .string("first_fault", &self.tally.first_fault)
            .finish()
    }
}
