//! MONITOR: clients that hear what all clients of their cluster ask for, whichever workers these are at.
//!
//! ```text
//!   each worker:  requests of a turn ─> lines ─> a batch ─┬─> queue of a tap ─ wake ─> its worker ─> its client
//!                                                         └─> queue of another tap …
//! ```
//!
//! A queue is bounded: whoever does not keep up is told nothing more, and is closed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use mio::Waker;

use crate::sync::lock;

/// What waits for one tap, and what its client has not read, at most; less where clients may have less. As much as an
/// engine lets a subscriber have unread.
const UNREAD: usize = 32 << 20;
/// Bytes by which lines are told apart in time: seconds and microseconds, as wide for the next two hundred years.
const STAMP: usize = "+1339518083.107412".len();

/// Lines, each with its end, in the order of their times.
pub type Batch = Arc<[u8]>;

/// All taps of all clusters.
#[derive(Default)]
pub struct Taps {
    by_cluster: Mutex<Vec<Vec<Arc<Tap>>>>,
    /// Changes with them.
    version: AtomicU64,
    /// Of each worker.
    wakers: Mutex<Vec<Option<Arc<Waker>>>>,
    /// Bytes of all queues.
    held: AtomicUsize,
}

/// What one client is to hear.
pub struct Tap {
    pub worker: usize,
    /// Its client's place and tag.
    pub ticket: (usize, u32),
    /// What may be unread.
    pub limit: usize,
    cluster: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    batches: Vec<Batch>,
    bytes: usize,
    /// More came than it may hold: something is missing for good.
    is_over: bool,
}

/// A client monitors as long as this is there, however it ends: in a panic, too.
pub struct Tapping {
    taps: Arc<Taps>,
    tap: Arc<Tap>,
}

impl Tapping {
    /// Whether it is this one: the client may have ended one and begun another.
    pub fn is_of(&self, tap: &Arc<Tap>) -> bool {
        Arc::ptr_eq(&self.tap, tap)
    }
}

impl Drop for Tapping {
    fn drop(&mut self) {
        self.taps.remove(&self.tap);
    }
}

impl Taps {
    /// From now on this wakes the worker.
    pub fn attach(&self, worker: usize, waker: Arc<Waker>) {
        let mut wakers = lock(&self.wakers);
        if wakers.len() <= worker {
            wakers.resize(worker + 1, None);
        }
        wakers[worker] = Some(waker);
    }

    /// A client hears its cluster, and has no more than `client_output` unread.
    pub fn add(self: &Arc<Self>, cluster: usize, worker: usize, ticket: (usize, u32), client_output: usize) -> Tapping {
        let limit = client_output.min(UNREAD);
        let tap = Arc::new(Tap { worker, ticket, limit, cluster, queue: Mutex::default() });
        let mut taps = lock(&self.by_cluster);
        if taps.len() <= cluster {
            taps.resize_with(cluster + 1, Vec::new);
        }
        taps[cluster].push(tap.clone());
        self.version.fetch_add(1, SeqCst);
        Tapping { taps: self.clone(), tap }
    }

    fn remove(&self, tap: &Arc<Tap>) {
        let mut taps = lock(&self.by_cluster);
        if let Some(of_cluster) = taps.get_mut(tap.cluster) {
            of_cluster.retain(|known| !Arc::ptr_eq(known, tap));
        }
        self.version.fetch_add(1, SeqCst);
        drop(taps);
        let mut queue = lock(&tap.queue);
        self.empty(&mut queue);
        queue.is_over = true; // a worker may know it still
    }

    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// Those there are, by cluster; none if empty.
    pub fn list(&self) -> Vec<Vec<Arc<Tap>>> {
        let taps = lock(&self.by_cluster);
        if taps.iter().all(Vec::is_empty) {
            return Vec::new();
        }
        taps.clone()
    }

    /// Bytes that no worker counts.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Tell a tap some lines.
    pub fn tell(&self, tap: &Tap, batch: &Batch) {
        let mut queue = lock(&tap.queue);
        if queue.is_over {
            return;
        }
        if queue.bytes + batch.len() > tap.limit {
            self.empty(&mut queue);
            queue.is_over = true;
        } else {
            self.held.fetch_add(batch.len(), Relaxed);
            queue.bytes += batch.len();
            queue.batches.push(batch.clone());
        }
        let is_awake = queue.batches.len() > 1;
        drop(queue);
        if !is_awake {
            if let Some(Some(waker)) = lock(&self.wakers).get(tap.worker) {
                let _ = waker.wake(); // an eventfd at its maximum is already awake
            }
        }
    }

    /// What it was told since this was last asked, in the order of time; none when something is missing.
    pub fn take(&self, tap: &Tap) -> Option<Vec<Batch>> {
        let mut queue = lock(&tap.queue);
        if queue.is_over {
            return None;
        }
        let batches = std::mem::take(&mut queue.batches);
        self.empty(&mut queue);
        drop(queue);
        Some(in_order(batches))
    }

    fn empty(&self, queue: &mut Queue) {
        self.held.fetch_sub(queue.bytes, Relaxed);
        (queue.bytes, queue.batches) = (0, Vec::new());
    }
}

/// One worker's lines stay in their order; those of several are merged by time.
fn in_order(batches: Vec<Batch>) -> Vec<Batch> {
    let last_of = |batch: &Batch| {
        let end = batch.len().saturating_sub(1);
        stamp(&batch[memchr::memrchr(b'\n', &batch[..end]).map_or(0, |at| at + 1)..]).to_vec()
    };
    let is_sorted = batches.windows(2).all(|two| *last_of(&two[0]) <= *stamp(&two[1]));
    if is_sorted {
        return batches;
    }
    let mut lines: Vec<&[u8]> = batches.iter().flat_map(|batch| batch.split_inclusive(|&byte| byte == b'\n')).collect();
    lines.sort_by_key(|line| stamp(line));
    vec![lines.concat().into()]
}

fn stamp(line: &[u8]) -> &[u8] {
    &line[..line.len().min(STAMP)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lines: &str) -> Batch {
        lines.replace('\n', "\r\n").into_bytes().into()
    }

    fn taken(taps: &Taps, tap: &Tap) -> Option<String> {
        let batches = taps.take(tap)?;
        Some(String::from_utf8(batches.concat()).unwrap().replace("\r\n", "\n"))
    }

    #[test]
    fn lines_of_several_workers_come_in_the_order_of_their_times() {
        let taps = Arc::new(Taps::default());
        let (_tapping, _other) = (taps.add(2, 0, (5, 6), UNREAD), taps.add(1, 0, (7, 8), UNREAD));
        let tap = taps.list()[2][0].clone();
        assert_eq!((tap.ticket, taps.list()[1].len()), ((5, 6), 1));
        taps.tell(&tap, &batch("+1000000000.000001 [0 a] \"A\"\n+1000000000.000004 [0 a] \"B\"\n"));
        taps.tell(&tap, &batch("+1000000000.000002 [0 b] \"C\"\n+1000000000.000003 [0 b] \"D\"\n"));
        let lines = taken(&taps, &tap).unwrap();
        assert_eq!(lines.lines().map(|line| &line[25..28]).collect::<String>(), r#""A""C""D""B""#);
        taps.tell(&tap, &batch("+1000000000.000005 [0 a] \"E\"\n"));
        assert_eq!(taken(&taps, &tap).as_deref(), Some("+1000000000.000005 [0 a] \"E\"\n"));
        assert_eq!((taken(&taps, &tap).as_deref(), taps.held()), (Some(""), 0));
    }

    #[test]
    fn who_does_not_keep_up_hears_nothing_more() {
        let taps = Arc::new(Taps::default());
        let tapping = taps.add(0, 0, (1, 1), 100);
        let tap = taps.list()[0][0].clone();
        let line = batch("+1000000000.000001 [0 a] \"0123456789\"\n");
        let version = taps.version();
        (0..2).for_each(|_| taps.tell(&tap, &line));
        assert_eq!(taps.held(), 2 * line.len());
        taps.tell(&tap, &line);
        assert_eq!((taps.held(), taken(&taps, &tap)), (0, None));
        taps.tell(&tap, &line);
        assert_eq!(taken(&taps, &tap), None);
        drop(tapping);
        assert!(taps.list().is_empty() && taps.version() != version);
        let tapping = taps.add(0, 0, (1, 1), 100);
        let tap = taps.list()[0][0].clone();
        taps.tell(&tap, &line);
        drop(tapping);
        taps.tell(&tap, &line);
        assert_eq!(taps.held(), 0, "what a worker tells that knows it still is thrown away");
    }
}
