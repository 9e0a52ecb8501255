//! What was counted.

use crate::histogram::Histogram;
use crate::json::Object;
use crate::reply::{Fault, Verdict};

const LONGEST_FAULT: usize = 200; // bytes of the first fault that are kept

#[derive(Debug, Default)]
pub struct Tally {
    /// Requests answered in the measured time, faults included.
    pub requests: u64,
    pub latency: Histogram,
    pub hits: u64,
    pub misses: u64,
    /// Error replies.
    pub errors: u64,
    /// Replies to something that was not asked, and bytes that are no reply.
    pub wrong: u64,
    /// Connections that ended before the run did.
    pub closed: u64,
    /// Requests sent whose replies never came.
    pub unanswered: u64,
    pub first_fault: String,
}

impl Tally {
    /// Faults always count; hits and misses only in the measured time.
    pub fn reply(&mut self, verdict: &Verdict, bytes: &[u8], count: bool) {
        if count {
            self.hits += verdict.hits as u64;
            self.misses += verdict.misses as u64;
        }
        match verdict.fault {
            None => {}
            Some(Fault::Error) => {
                self.errors += 1;
                self.remember(bytes);
            }
            Some(Fault::Wrong) => {
                self.wrong += 1;
                self.remember(bytes);
            }
        }
    }

    pub fn broken(&mut self, bytes: &[u8]) {
        self.wrong += 1;
        self.remember(bytes);
    }

    fn remember(&mut self, bytes: &[u8]) {
        if self.first_fault.is_empty() {
            let shown = &bytes[..bytes.len().min(LONGEST_FAULT)];
            self.first_fault = String::from_utf8_lossy(shown).into_owned();
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.latency.merge(&other.latency);
        self.hits += other.hits;
        self.misses += other.misses;
        self.errors += other.errors;
        self.wrong += other.wrong;
        self.closed += other.closed;
        self.unanswered += other.unanswered;
        if self.first_fault.is_empty() {
            self.first_fault.clone_from(&other.first_fault);
        }
    }

    pub fn latency_json(&self) -> Object {
        let us = |ns: u64| ns as f64 / 1000.0;
        Object::default()
            .number("mean", self.latency.mean() / 1000.0)
            .number("p50", us(self.latency.percentile(0.5)))
            .number("p99", us(self.latency.percentile(0.99)))
            .number("p99_9", us(self.latency.percentile(0.999)))
            .number("max", us(self.latency.max()))
    }
}
