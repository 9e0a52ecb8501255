//! Durable writes: a write is acknowledged when so many replicas have it. One WAIT covers all writes of a batch; their
//! replies are held until its own is in.
//!
//! ```text
//!   window   SET SET GET SET WAIT        replies   +OK +OK $1 +OK :1
//!            └── one batch ──┘                     └─ held ─┘ (the GET's is not)  └─ enough: let them out
//! ```

use std::mem;

use crate::metrics::Class;
use crate::protocol::resp::write;
use crate::topology::ClusterSpec;
use crate::upstream::{Pending, Upstream};

/// The reply to a write that awaits its replicas.
pub struct Held {
    pub request: Pending,
    pub reply: Vec<u8>,
}

/// Close a batch that has writes by a WAIT.
pub fn close_batch(upstream: &mut Upstream, spec: &ClusterSpec, since: u32) {
    let mut batch = upstream.pending.iter().rev().take_while(|request| request.class != Class::Wait);
    if !batch.any(Pending::is_durable) {
        return;
    }
    let milliseconds = (spec.wait_timeout * 1e3) as u64;
    let (replicas, timeout) = (spec.wait.to_string(), milliseconds.max(1).to_string());
    let sink = upstream.window.sink();
    let start = sink.len();
    write::command(sink, &[b"WAIT", replicas.as_bytes(), timeout.as_bytes()]);
    let length = sink.len() - start;
    upstream.pending.push_back(Pending { class: Class::Wait, ..Pending::nobody(length, since) });
}

/// WAIT has answered: the held replies, each as its client is to see it.
pub fn release(upstream: &mut Upstream, wanted: u32, reply: &[u8]) -> Vec<Held> {
    let held = mem::take(&mut upstream.awaiting);
    let replicas = crate::protocol::resp::reply::integer(reply).unwrap_or(0);
    if replicas >= i64::from(wanted) {
        return held;
    }
    let text = in_doubt(replicas, wanted);
    held.into_iter().map(|held| Held { reply: text.clone(), ..held }).collect()
}

/// What a write is told that its primary has, and too few replicas.
pub fn in_doubt(replicas: i64, wanted: u32) -> Vec<u8> {
    let mut text = Vec::new();
    let what = "ERR INDOUBT written on primary, acknowledged by";
    write::error(&mut text, &format!("{what} {replicas} of {wanted} replicas"));
    text
}
