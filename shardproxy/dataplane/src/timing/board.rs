//! What all workers found, until the control plane takes it: slow requests, traces, and a sample for spans.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::Record;
use crate::glob;
use crate::sync::lock;

/// Records of a trace that wait to be taken.
const QUEUE: usize = 4096;
/// Traces at once, of all clusters.
const TRACES: usize = 8;

#[derive(Default)]
pub struct Timings {
    /// By cluster.
    logs: Mutex<Vec<Arc<SlowLog>>>,
    traces: Mutex<Vec<Arc<Trace>>>,
    sampling: Mutex<Sampling>,
    spans: Mutex<VecDeque<Arc<Record>>>,
    spans_dropped: AtomicU64,
    next: AtomicU64,
    /// Changes with traces and sampling.
    version: AtomicU64,
}

/// How many requests are sampled, and how many of them may wait.
#[derive(Clone, Copy, Default)]
struct Sampling {
    /// 0-1.
    share: f64,
    queue: usize,
}

/// Of one cluster.
#[derive(Default)]
struct SlowLog {
    /// Of all workers, about the oldest first.
    entries: Mutex<VecDeque<Arc<Record>>>,
    total: AtomicU64,
    traces_dropped: AtomicU64,
}

/// Requests of a cluster that somebody wants to see now.
pub struct Trace {
    pub cluster: usize,
    pattern: Vec<u8>,
    queue: Mutex<Found>,
    is_over: AtomicBool,
}

/// What a trace has found, and how many more it tells.
#[derive(Default)]
struct Found {
    records: VecDeque<Arc<Record>>,
    seen: u64,
    dropped: u64,
    left: usize,
}

/// Some of what a trace has found.
#[derive(Default, Debug)]
pub struct Traced {
    pub records: Vec<Arc<Record>>,
    /// Since its begin: all that matched, and those of them that nobody is told of.
    pub seen: u64,
    pub dropped: u64,
    /// It looks for no more, and has told all it found.
    pub is_over: bool,
}

impl Trace {
    /// Whether it is about requests with any keys, or none.
    pub fn is_about_all(&self) -> bool {
        self.pattern == b"*"
    }

    /// Whether it is about requests with this key.
    pub fn is_about(&self, key: &[u8]) -> bool {
        self.is_about_all() || glob::matches(&self.pattern, key)
    }

    /// Whether it ended.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Look for no more.
    pub fn stop(&self) {
        lock(&self.queue).left = 0;
        self.is_over.store(true, Relaxed);
    }

    /// So many of what it has found and not told yet, the oldest first.
    pub fn take(&self, most: usize) -> Traced {
        let mut queue = lock(&self.queue);
        let count = queue.records.len().min(most);
        let records = queue.records.drain(..count).collect();
        let is_over = self.is_over() && queue.records.is_empty();
        Traced { records, seen: queue.seen, dropped: queue.dropped, is_over }
    }
}

impl Timings {
    fn log(&self, cluster: usize) -> Arc<SlowLog> {
        let mut logs = lock(&self.logs);
        if logs.len() <= cluster {
            logs.resize_with(cluster + 1, Arc::default);
        }
        logs[cluster].clone()
    }

    /// A number for a record.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// A worker found a request that took long. The cluster keeps so many.
    pub fn add_slow(&self, record: Arc<Record>, most: usize) {
        let log = self.log(record.cluster);
        log.total.fetch_add(1, Relaxed);
        let mut entries = lock(&log.entries);
        entries.push_back(record);
        while entries.len() > most {
            entries.pop_front();
        }
    }

    /// So many more took long, of which nothing else is known.
    pub fn count_slow(&self, cluster: usize, count: u64) {
        self.log(cluster).total.fetch_add(count, Relaxed);
    }

    /// So many slow requests of a cluster, the newest first.
    pub fn slow(&self, cluster: usize, most: usize) -> Vec<Arc<Record>> {
        let log = self.log(cluster);
        let mut found: Vec<_> = lock(&log.entries).iter().cloned().collect();
        found.sort_by_key(|record| std::cmp::Reverse(record.id));
        found.truncate(most);
        found
    }

    /// How many are kept.
    pub fn slow_kept(&self, cluster: usize) -> usize {
        lock(&self.log(cluster).entries).len()
    }

    /// Forget them.
    pub fn forget_slow(&self, cluster: usize) {
        lock(&self.log(cluster).entries).clear();
    }

    /// How many requests of a cluster took long, and how many a trace did not tell of, since the start.
    pub fn counts(&self, cluster: usize) -> (u64, u64) {
        let log = self.log(cluster);
        (log.total.load(Relaxed), log.traces_dropped.load(Relaxed))
    }

    /// Trace requests with a key like that until so many were told; none: there are too many traces.
    pub fn trace(&self, cluster: usize, pattern: &[u8], limit: usize) -> Option<Arc<Trace>> {
        let mut traces = lock(&self.traces);
        if traces.len() >= TRACES {
            return None;
        }
        let queue = Mutex::new(Found { left: limit, ..Found::default() });
        let trace = Arc::new(Trace { cluster, pattern: pattern.to_vec(), queue, is_over: AtomicBool::new(limit == 0) });
        traces.push(trace.clone());
        self.version.fetch_add(1, SeqCst);
        Some(trace)
    }

    pub fn end_trace(&self, trace: &Arc<Trace>) {
        trace.is_over.store(true, Relaxed);
        lock(&self.traces).retain(|known| !Arc::ptr_eq(known, trace));
        self.version.fetch_add(1, SeqCst);
    }

    pub fn traces(&self) -> Vec<Arc<Trace>> {
        lock(&self.traces).clone()
    }

    /// Tell a trace of a request that it is about.
    pub fn tell(&self, trace: &Trace, record: Arc<Record>) {
        let mut queue = lock(&trace.queue);
        if queue.left == 0 {
            return;
        }
        queue.seen += 1;
        if queue.records.len() >= QUEUE {
            queue.dropped += 1;
            self.log(trace.cluster).traces_dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.records.push_back(record);
        queue.left -= 1;
        if queue.left == 0 {
            trace.is_over.store(true, Relaxed);
        }
    }

    /// Sample this share of all requests, and let so many wait; 0 = none.
    pub fn sample(&self, share: f64, queue: usize) {
        *lock(&self.sampling) = Sampling { share, queue };
        self.version.fetch_add(1, SeqCst);
    }

    /// The share of requests that is sampled.
    pub fn share(&self) -> f64 {
        lock(&self.sampling).share
    }

    pub fn add_span(&self, record: Arc<Record>) {
        let most = lock(&self.sampling).queue;
        let mut spans = lock(&self.spans);
        if spans.len() < most {
            spans.push_back(record);
        } else {
            self.spans_dropped.fetch_add(1, Relaxed);
        }
    }

    /// So many of those sampled, the oldest first; and how many found no room since the start.
    pub fn take_spans(&self, most: usize) -> (Vec<Arc<Record>>, u64) {
        let mut spans = lock(&self.spans);
        let count = spans.len().min(most);
        (spans.drain(..count).collect(), self.spans_dropped.load(Relaxed))
    }

    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(timings: &Timings, cluster: usize) -> Arc<Record> {
        Arc::new(Record { id: timings.number(), cluster, ..Record::default() })
    }

    #[test]
    fn the_newest_of_all_workers_are_kept_and_told_in_order() {
        let timings = Timings::default();
        let records: Vec<_> = (0..5).map(|_| record(&timings, 1)).collect();
        for at in [0, 1, 3, 2, 4] {
            timings.add_slow(records[at].clone(), 3);
        }
        let ids = |most| timings.slow(1, most).iter().map(|record| record.id).collect::<Vec<u64>>();
        assert_eq!((ids(9), ids(1), ids(0), timings.slow_kept(1)), (vec![4, 3, 2], vec![4], vec![], 3));
        assert_eq!((timings.slow(0, 9).len(), timings.counts(1), timings.counts(0)), (0, (5, 0), (0, 0)));
        timings.forget_slow(1);
        assert!(timings.slow(1, 9).is_empty() && timings.counts(1).0 == 5);
    }

    #[test]
    fn a_trace_takes_what_it_is_about_until_it_has_enough() {
        let timings = Timings::default();
        let trace = timings.trace(0, b"user:*", 2).unwrap();
        assert!(trace.is_about(b"user:1") && !trace.is_about(b"other") && !trace.is_about_all());
        (0..3).for_each(|_| timings.tell(&trace, record(&timings, 0)));
        assert!(trace.is_over(), "nobody looks for more");
        let found = trace.take(1);
        assert_eq!((found.records.len(), found.seen, found.dropped, found.is_over), (1, 2, 0, false));
        let found = trace.take(1);
        assert_eq!((found.records[0].id, found.is_over), (1, true), "in order, and all of them");
        let others: Vec<_> = (1..TRACES).map(|_| timings.trace(0, b"*", 1).unwrap()).collect();
        assert!(timings.trace(0, b"*", 1).is_none(), "they are few");
        assert!(others[0].is_about_all() && others[0].is_about(b"k"));
        others[0].stop();
        timings.tell(&others[0], record(&timings, 0));
        assert!(others[0].take(9).is_over && others[0].take(9).records.is_empty());
        let version = timings.version();
        timings.end_trace(&trace);
        assert!(timings.version() != version && timings.traces().len() == TRACES - 1);
    }

    #[test]
    fn what_nobody_takes_is_dropped_and_counted() {
        let timings = Timings::default();
        let trace = timings.trace(2, b"*", QUEUE * 2).unwrap();
        (0..QUEUE + 3).for_each(|_| timings.tell(&trace, record(&timings, 2)));
        let found = trace.take(usize::MAX);
        assert_eq!((found.records.len(), found.seen, found.dropped), (QUEUE, QUEUE as u64 + 3, 3));
        assert_eq!(timings.counts(2), (0, 3));
        timings.sample(0.5, 2);
        (0..3).for_each(|_| timings.add_span(record(&timings, 0)));
        let (first, dropped) = timings.take_spans(1);
        assert_eq!((first[0].id, dropped, timings.take_spans(9).0.len()), (4099, 1, 1));
    }
}
