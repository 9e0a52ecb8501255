//! Where the time of requests went, as the control plane asks.

use std::sync::Arc;

use super::Plane;
use crate::shared::Shared;
use crate::timing::{Record, Trace, Traced};

/// The slow requests of a cluster, the newest first.
pub struct SlowRequests(pub Vec<Arc<Record>>);

/// Requests that were sampled, each with the name of its cluster; and how many found no room since the start.
pub struct Spans {
    pub records: Vec<(String, Arc<Record>)>,
    pub dropped: u64,
}

/// Requests of a cluster are traced as long as this is there.
pub struct Tracing {
    shared: Arc<Shared>,
    trace: Arc<Trace>,
}

impl Tracing {
    /// So many of what was found and not told yet.
    pub fn take(&self, most: usize) -> Traced {
        self.trace.take(most)
    }

    /// Look for no more.
    pub fn stop(&self) {
        self.trace.stop();
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.shared.timings.end_trace(&self.trace);
    }
}

impl Plane {
    /// So many of them. None: the cluster is not served.
    pub fn slow_requests(&self, cluster: &str, most: usize) -> Option<SlowRequests> {
        let (index, _) = self.shared.find(cluster)?;
        Some(SlowRequests(self.shared.timings.slow(index, most)))
    }

    /// How many are kept.
    pub fn slow_kept(&self, cluster: &str) -> Option<usize> {
        let (index, _) = self.shared.find(cluster)?;
        Some(self.shared.timings.slow_kept(index))
    }

    pub fn forget_slow_requests(&self, cluster: &str) {
        if let Some((index, _)) = self.shared.find(cluster) {
            self.shared.timings.forget_slow(index);
        }
    }

    /// Trace so many requests with keys like that. None: the cluster is not served; an error: there are too many traces.
    pub fn trace(&self, cluster: &str, pattern: &[u8], limit: usize) -> Option<Result<Tracing, String>> {
        let (index, _) = self.shared.find(cluster)?;
        let trace = self.shared.timings.trace(index, pattern, limit);
        let trace = trace.map(|trace| Tracing { shared: self.shared.clone(), trace });
        Some(trace.ok_or_else(|| "too many traces at once".to_owned()))
    }

    /// Sample this share of all requests, and keep so many until they are taken.
    pub fn sample(&self, share: f64, queue: usize) {
        self.shared.timings.sample(share, queue);
    }

    /// Up to so many of those sampled.
    pub fn take_spans(&self, most: usize) -> Spans {
        let (records, dropped) = self.shared.timings.take_spans(most);
        let name = |cluster: usize| self.shared.cluster(cluster).map_or_else(String::new, |c| c.spec.name.clone());
        let records = records.into_iter().map(|record| (name(record.cluster), record)).collect();
        Spans { records, dropped }
    }
}
