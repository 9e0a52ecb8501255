//! What is told of requests, by a worker's look at them.

use std::sync::Arc;

use super::budget::DESCRIBED;
use super::*;
use crate::clients::{Came, Clients};
use crate::command::CommandTable;
use crate::exchange::{Entry, Head, Owed, WHOLE};
use crate::metrics::Class;
use crate::model::Cluster;

const NO_SOCKET: u32 = 7;
const SLOW: &str = r#""slow_log": {"threshold": 0.0001, "entries": 100},"#;

/// A worker's look at requests of one cluster, whose clients have gone.
struct Rig {
    timing: Timing,
    timings: Timings,
    clients: Clients,
    spec: Cluster,
}

impl Rig {
    fn new(slow_log: &str) -> Self {
        let spec = format!(
            r#"{{"name": "c", "engine": "redis", "epoch": 1, "endpoints": [], {slow_log}
            "shards": [{{"number": 9, "slots": [[0, 16383]], "primary": null, "nodes": []}}]}}"#
        );
        Self {
            timing: Timing::new(Arc::new(CommandTable::builtin().unwrap())),
            timings: Timings::default(),
            clients: Clients::default(),
            spec: Cluster::parse(spec.as_bytes()).unwrap(),
        }
    }

    fn begin(&mut self) {
        self.timing.begin(&self.timings);
    }

    /// A request has its answer.
    fn look(&mut self, entry: &Entry, bytes: &[u8], now: u32) {
        self.see(&seen(entry, bytes, now));
    }

    fn see(&mut self, seen: &Seen) {
        self.timing.look(&mut self.clients, &self.spec, seen, false);
    }

    fn settle(&mut self, now: u32) {
        self.timing.settle(&self.timings, &mut self.clients, now);
    }

    fn tick(&mut self, now: u32) {
        self.timing.tick(&self.timings, &mut self.clients, now);
    }

    fn told(&self) -> Vec<Arc<Record>> {
        self.timings.slow(2, 128)
    }
}

fn seen<'a>(request: &'a Entry, bytes: &'a [u8], now: u32) -> Seen<'a> {
    let (cluster, link, reply, length) = (2, None, b"+OK", bytes.len());
    Seen { cluster, link, request, bytes, length, reply, streamed: 0, is_error: false, now, elapsed: None }
}

fn owed(sequence: u32, part: u16) -> Owed {
    Owed { client: NO_SOCKET, tag: 1, sequence, part }
}

fn entry(owed: Owed, since: u32) -> Entry {
    Entry { owed, slot: 5, class: Class::Read, ..Entry::nobody(since) }
}

fn came(sequence: u32, at: u64) -> Came {
    Came { at, sequence, is_parked: true, request: Head::default(), refusal: None }
}

#[test]
fn all_count_while_somebody_looks_or_one_came_earlier_than_it_seems() {
    let mut rig = Rig::new("");
    rig.begin();
    assert_eq!(rig.timing.mask(), u32::MAX);
    let trace = rig.timings.trace(0, b"*", 1).unwrap();
    rig.begin();
    assert_eq!(rig.timing.mask(), 0, "somebody looks");
    rig.timings.end_trace(&trace);
    rig.begin();
    assert_eq!(rig.timing.mask(), u32::MAX);
    rig.timing.waited((1, 2), &came(0, 0));
    assert_eq!(rig.timing.mask(), 0, "one came earlier than it seems");
}

#[test]
fn a_share_is_told_as_one_of_so_many() {
    let mut rig = Rig::new("");
    for (share, interval) in [(0.01, 100), (1.0, 1), (2.0, 1), (0.0, 0)] {
        rig.timings.sample(share, 10);
        assert!(rig.timing.begin(&rig.timings) && !rig.timing.begin(&rig.timings), "it is new once");
        assert_eq!(rig.timing.interval(), interval, "{share}");
    }
}

#[test]
fn what_is_too_much_to_describe_is_counted_once() {
    let mut rig = Rig::new(SLOW);
    for sequence in 0..DESCRIBED + 5 {
        rig.look(&entry(owed(sequence, WHOLE), 0), b"", 100);
    }
    for part in 0..9 {
        rig.look(&entry(owed(1000, part), 0), b"", 100);
    }
    rig.look(&entry(owed(1001, WHOLE), 0), b"", 99);
    rig.settle(100);
    assert_eq!((rig.told().len(), rig.timings.counts(2).0), (64, 64));
    rig.tick(100);
    assert_eq!(rig.timings.counts(2).0, 70, "the fast one is none of them");
    rig.tick(100);
    assert_eq!(rig.timings.counts(2).0, 70);
}

#[test]
fn of_one_in_parts_the_slowest_is_told() {
    let mut rig = Rig::new(SLOW);
    for (part, now) in [(0, 200), (1, 200), (2, 300), (3, 400), (4, 400)] {
        rig.look(&entry(owed(1, part), 0), b"", now);
    }
    rig.settle(400);
    let told = rig.told();
    assert_eq!((told.len(), told[0].micros, told[0].phases.upstream), (1, 400, Some(400)));
    assert_eq!(told[0].shard, Some(9), "by the number that it keeps");
}

#[test]
fn what_was_not_taken_when_it_came_is_found_by_its_place() {
    let mut rig = Rig::new(SLOW);
    let ticket = (NO_SOCKET as usize, 1);
    rig.timing.waited(ticket, &came(3, 50));
    rig.timing.waited(ticket, &came(3, 90));
    rig.timing.waited(ticket, &came(4, 60));
    assert_eq!(rig.timing.mask(), 0);
    rig.look(&entry(owed(3, WHOLE), 130), b"", 150);
    rig.settle(150);
    let told = rig.told();
    assert_eq!((told[0].micros, told[0].phases.parked), (100, Some(80)), "since it came first");
    (0..came::MOST as u32 + 9).for_each(|n| rig.timing.waited((9, 9), &came(n, 0)));
    assert_eq!(rig.timing.arrivals.len(), came::MOST);
    rig.tick(200);
    assert!(rig.timing.arrivals.is_empty() && rig.timing.mask() == u32::MAX, "nobody is owed those");
}

#[test]
fn a_trace_is_told_of_its_keys_alone_and_until_it_is_over() {
    let mut rig = Rig::new("");
    let trace = rig.timings.trace(2, b"user:*", 1).unwrap();
    rig.begin();
    for key in [&b"other"[..], b"user:1"] {
        let mut bytes = Vec::new();
        crate::dialect::resp::write::command(&mut bytes, &[b"GET", key]);
        rig.look(&entry(owed(1, WHOLE), 0), &bytes, 10);
    }
    rig.settle(10);
    let told = trace.take(9).records;
    assert_eq!((told.len(), told[0].key.as_deref()), (1, Some(&b"user:1"[..])));
    assert!(!rig.timing.is_tracing(2) && rig.timing.mask() == u32::MAX, "it has what it wants");
}

const HOUR: u64 = 3_600_000_000;

/// Let hours pass, a tick at a time.
fn pass(rig: &mut Rig, hours: u64) {
    for at in (0..=hours * HOUR).step_by(600_000_000) {
        rig.tick(at as u32);
    }
}

#[test]
fn what_its_client_takes_hours_for_is_told_whole() {
    let mut rig = Rig::new(SLOW);
    rig.look(&entry(owed(1, WHOLE), 1000), b"", 2000);
    pass(&mut rig, 3);
    rig.settle((3 * HOUR) as u32);
    assert_eq!(rig.told()[0].micros, 3 * HOUR - 1000);
}

#[test]
fn a_wait_of_hours_is_told_whole_and_no_phase_has_more_than_it_can() {
    let mut rig = Rig::new("");
    let trace = rig.timings.trace(2, b"*", 9).unwrap();
    rig.begin();
    pass(&mut rig, 3);
    let now = (3 * HOUR) as u32;
    let entry = Entry { class: Class::Block, ..entry(owed(1, WHOLE), now.wrapping_sub(u32::MAX)) };
    rig.see(&Seen { elapsed: Some(2 * HOUR), ..seen(&entry, b"", now) });
    rig.settle(now);
    let told = trace.take(9).records;
    assert_eq!((told[0].micros, told[0].phases.upstream), (2 * HOUR, Some(u32::MAX)));
}

#[test]
fn what_was_held_for_hours_is_told_whole() {
    let mut rig = Rig::new(SLOW);
    pass(&mut rig, 3);
    rig.timing.waited((NO_SOCKET as usize, 1), &came(1, HOUR));
    let now = (3 * HOUR) as u32;
    rig.look(&entry(owed(1, WHOLE), now.wrapping_sub(30)), b"", now);
    rig.settle(now);
    let told = rig.told();
    assert_eq!((told[0].micros, told[0].phases.parked), (2 * HOUR, Some(u32::MAX)));
}
