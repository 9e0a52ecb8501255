//! Places for clients: how many each cluster and each worker has, and to which worker the next one goes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Connected clients by cluster and by worker, as dealt out.
pub struct Seats {
    by_cluster: Mutex<Vec<usize>>,
    by_worker: Vec<AtomicUsize>,
    /// Clients of all clusters together that there are descriptors for; 0 = no limit.
    most: AtomicUsize,
}

impl Seats {
    pub fn new(workers: usize) -> Self {
        let by_worker = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        Self { by_cluster: Mutex::default(), by_worker, most: AtomicUsize::default() }
    }

    /// How many clients the cluster has.
    #[cfg(test)]
    pub fn taken(&self, cluster: usize) -> usize {
        lock(&self.by_cluster).get(cluster).copied().unwrap_or(0)
    }

    pub fn limit(&self, most: usize) {
        self.most.store(most, Relaxed);
    }

    /// Count one more client of a cluster and choose its worker; none when the cluster or the process has as many as it may.
    pub fn deal(self: &Arc<Self>, cluster: usize, limit: usize) -> Option<Seat> {
        let mut clients = lock(&self.by_cluster);
        if clients.len() <= cluster {
            clients.resize(cluster + 1, 0);
        }
        let most = self.most.load(Relaxed);
        if limit > 0 && clients[cluster] >= limit || most > 0 && clients.iter().sum::<usize>() >= most {
            return None;
        }
        clients[cluster] += 1;
        let worker = (0..self.by_worker.len()).min_by_key(|&w| self.by_worker[w].load(Relaxed))?;
        self.by_worker[worker].fetch_add(1, Relaxed);
        Some(Seat { seats: self.clone(), cluster: cluster as u32, worker: worker as u32 })
    }
}

/// A client's place, given up however the client ends: in a panic, too.
pub struct Seat {
    seats: Arc<Seats>,
    cluster: u32,
    worker: u32,
}

impl Seat {
    pub const fn worker(&self) -> usize {
        self.worker as usize
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.seats.by_cluster).get_mut(self.cluster as usize) {
            *count = count.saturating_sub(1);
        }
        self.seats.by_worker[self.worker as usize].fetch_sub(1, Relaxed);
    }
}
