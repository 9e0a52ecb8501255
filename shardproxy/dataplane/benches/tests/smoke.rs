//! The load against the echo: every request answered, counted and judged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::net::TcpListener;
use shardproxy_bench::cpu::Watch;
use shardproxy_bench::load::{run, Plan};
use shardproxy_bench::workload::Workload;
use shardproxy_bench::{echo, Protocol};

struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start(protocol: Protocol, value_size: usize) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = thread::spawn(move || echo::serve(listener, protocol, value_size, &flag).unwrap());
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(thread::JoinHandle::join);
    }
}

fn plan(address: SocketAddr, protocol: Protocol, workload: Workload) -> Plan {
    Plan {
        protocol,
        address,
        tls: None,
        workload,
        connections: 7,
        pipeline: 3,
        threads: 2,
        keys: 100,
        value_size: workload.value_size(),
        verify: false,
        sequential: false,
        duration: Duration::from_secs(20),
        warmup: Duration::ZERO,
        requests: Some(1000),
        rate: None,
        watches: vec![Watch::parse(&format!("me={}", std::process::id())).unwrap()],
    }
}

#[test]
fn every_request_is_answered_and_counted() {
    use Workload::{Get, Get4k, Mget10, Multi5, Set, Set4k, Set5};
    let both = [Protocol::Resp, Protocol::Memcache];
    let table = [(Get, 1), (Set, 0), (Mget10, 10), (Get4k, 1), (Set4k, 0), (Multi5, 0), (Set5, 0)];
    for (workload, hits) in table {
        for protocol in both {
            if protocol == Protocol::Memcache && matches!(workload, Multi5 | Set5) {
                continue;
            }
            let echo = Echo::start(protocol, workload.value_size());
            let report = run(&plan(echo.address, protocol, workload)).unwrap();
            let tally = &report.tally;
            assert_eq!(tally.requests, 1000, "{protocol:?} {workload:?}");
            assert_eq!(tally.latency.total(), 1000);
            assert_eq!((tally.hits, tally.misses), (1000 * hits, 0), "{protocol:?} {workload:?}");
            let faults = (tally.errors, tally.wrong, tally.closed, tally.unanswered);
            assert_eq!(faults, (0, 0, 0, 0), "{protocol:?} {workload:?}: {}", tally.first_fault);
        }
    }
}

#[test]
fn a_value_that_is_not_its_keys_is_wrong() {
    let echo = Echo::start(Protocol::Resp, 32);
    let verifying = Plan { verify: true, ..plan(echo.address, Protocol::Resp, Workload::Get) };
    let report = run(&verifying).unwrap();
    assert_eq!((report.tally.requests, report.tally.wrong), (1000, 1000));
    assert!(report.tally.first_fault.starts_with("$32\r\n"));
}

#[test]
fn another_protocol_is_wrong_and_the_run_ends() {
    let echo = Echo::start(Protocol::Resp, 32);
    let report = run(&plan(echo.address, Protocol::Memcache, Workload::Get)).unwrap();
    assert_eq!((report.tally.requests, report.tally.closed), (0, 7));
    assert!(report.tally.unanswered >= 21);
}

#[test]
fn a_pace_is_kept_and_the_report_says_so() {
    let echo = Echo::start(Protocol::Resp, 32);
    let paced = Plan { rate: Some(20_000.0), requests: Some(400), ..plan(echo.address, Protocol::Resp, Workload::Get) };
    let report = run(&paced).unwrap();
    assert_eq!(report.tally.requests, 400);
    assert!(report.elapsed >= Duration::from_millis(15), "400 at 20000/s take 20 ms: {:?}", report.elapsed);
    let json = report.to_json(&paced);
    for part in [r#""requests": 400"#, r#""p99_9": "#, r#""me": "#, r#""load": "#, r#""first_fault": """#] {
        assert!(json.contains(part), "{part} in {json}");
    }
}

#[test]
fn nobody_listening_is_said() {
    let gone = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap().local_addr().unwrap();
    let error = run(&plan(gone, Protocol::Resp, Workload::Get)).unwrap_err();
    assert!(error.to_string().contains("connection 1 of 7"), "{error}");
}
