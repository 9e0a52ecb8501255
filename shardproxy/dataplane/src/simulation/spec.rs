//! Clusters as inputs want them: an engine, shards, limits and times.

use serde_json::{json, Value};

use super::input::Input;
use crate::metrics::CloseReason;

pub const MOST_NODES: usize = 6;
const SHARDS: usize = 3;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peace {
    /// Whatever can.
    None,
    /// Nothing: every request must succeed.
    Full,
}

#[derive(Clone, Debug)]
pub struct Spec {
    pub is_memcached: bool,
    pub epoch: u64,
    /// Of each shard there may be the numbers of its nodes, and which of them is primary.
    shards: Vec<(Vec<usize>, Option<usize>)>,
    /// So many of them there are.
    count: usize,
    /// There is such a cluster.
    pub is_served: bool,
    pub buffers: usize,
    pub peace: Peace,
    /// Which shard holds slots, which part of them, and whether only what writes to them.
    hold: Option<(usize, usize, bool)>,
    limits: Value,
    timeouts: Value,
    reads: &'static str,
    wait: u32,
    /// Primaries are named by who they are; now and then by who they are not.
    identity: Option<&'static str>,
    action: &'static str,
    gutter: usize,
    pub has_reader: bool,
    /// All keys have a caching rule, that loads, writes or both.
    rule: Option<(bool, bool)>,
}

impl Spec {
    pub fn read(input: &mut Input) -> Self {
        let bits = input.byte();
        let is_memcached = bits & 1 == 1;
        let count = input.below(SHARDS) + 1;
        let per_shard = if is_memcached { 1 } else { MOST_NODES / SHARDS };
        let shards: Vec<_> =
            (0..SHARDS).map(|shard| ((0..per_shard).map(|node| shard * per_shard + node).collect(), Some(0))).collect();
        let peace = if input.once_in(4) { Peace::Full } else { Peace::None };
        // a full queue holds its clients: that is no reason to fail
        let limits = match if peace == Peace::Full { 3 + input.below(2) * 3 } else { input.below(8) } {
            0 => json!({"in_flight": 4}),
            1 => json!({"client_output": 100_000}),
            2 => json!({"dedicated": 1}),
            3 => json!({"shard_queue": 20_000}),
            4 => json!({"in_flight": 2, "dedicated": 1, "shard_queue": 5_000, "client_output": 30_000}),
            5 => json!({"request": 50_000}),
            _ => json!({}),
        };
        let timeouts = match input.below(4) {
            0 => json!({"reply": 0.5, "park": 0.3, "slow": 0.9}),
            1 => json!({"idle": 5}),
            2 => json!({"reply": 2, "park": 6, "connect": 0.2}),
            _ => json!({}),
        };
        let gutter = usize::from(is_memcached && count > 1 && bits & 0x30 == 0x30);
        Self {
            is_memcached,
            epoch: 1,
            buffers: if bits & 2 == 2 && peace == Peace::None { 1 << 20 } else { 0 },
            peace,
            hold: None,
            limits,
            timeouts,
            reads: ["primary", "primary", "replica", "nearest"][usize::from(bits >> 2 & 3)],
            wait: u32::from(!is_memcached && bits & 0x30 == 0x10),
            identity: (!is_memcached && bits & 0xc0 == 0x40).then_some("node"),
            action: ["miss", "rehash", "rehash", "gutter"][usize::from(bits >> 4 & 3)],
            gutter,
            has_reader: bits & 0x80 != 0,
            shards,
            count,
            is_served: true,
            rule: input.once_in(3).then(|| (input.once_in(2), input.once_in(2))),
        }
    }

    /// The nodes of one of its shards.
    pub fn nodes(&self, input: &mut Input) -> &[usize] {
        &self.shards[input.below(self.count)].0
    }

    /// Another epoch: other primaries, or none, or other shards, or no cluster; or a shard holds some of its slots. Whether all
    /// that is under way may come after what is sent now: memcached's keys are moved by nobody.
    pub fn change(&mut self, input: &mut Input) -> bool {
        self.epoch += 1;
        let shard = input.below(self.count);
        let (nodes, primary) = &mut self.shards[shard];
        self.is_served = true;
        let choice = input.below(10);
        match choice {
            6 => self.count = (input.below(SHARDS) + 1).max(self.gutter + 1),
            7 => self.is_served = false,
            _ if self.is_memcached => {} // the same again
            8 => self.hold = Some((shard, input.below(3), input.once_in(2))),
            9 => self.hold = None,
            0 | 1 => *primary = None,
            2 => *primary = Some(0),
            3 => *primary = Some(nodes.len() - 1),
            _ => self.identity = self.identity.map(|known| if known == "node" { "other" } else { "node" }),
        }
        choice == 7 || choice == 6 && self.is_memcached
    }

    /// Why clients are never closed here.
    pub fn impossible(&self) -> Vec<CloseReason> {
        let limited = |key: &str| self.limits.get(key).is_some();
        let table = [
            (CloseReason::Binary, true),
            (CloseReason::Idle, self.timeouts.get("idle").is_none()),
            (CloseReason::Buffers, self.buffers == 0),
            (CloseReason::Output, !limited("client_output")),
            (CloseReason::Cut, self.peace == Peace::Full),
            (CloseReason::Killed, self.peace == Peace::Full),
        ];
        table.into_iter().filter(|(_, is_impossible)| *is_impossible).map(|(reason, _)| reason).collect()
    }

    /// All is well: every shard has a primary, who is who it should be.
    pub fn heal(&mut self) {
        self.epoch += 1;
        self.is_served = true;
        self.hold = None;
        self.identity = self.identity.map(|_| "node");
        for (_, primary) in &mut self.shards {
            *primary = primary.or(Some(0));
        }
    }

    pub fn json(&self, address: impl Fn(usize) -> String) -> String {
        let count = self.count - self.gutter; // spare nodes own nothing
        let shards = self.shards[..self.count].iter().enumerate().map(|(number, (nodes, primary))| {
            let (first, last) = (number * 16384 / count, (number + 1) * 16384 / count - 1);
            let slots = if number < count { vec![(first, last)] } else { Vec::new() };
            let run_id = |node: usize| json!({"run_id": format!("{}{}", self.identity.unwrap_or(""), nodes[node])});
            let describe = |(_, part, only_writes): (usize, usize, bool)| {
                let middle = usize::midpoint(first, last);
                let (first, last) = [(first, last), (first, middle), (middle, last)][part];
                json!({"slots": [[first, last]], "only_writes": only_writes})
            };
            let hold = self.hold.filter(|&(shard, ..)| shard == number && !self.is_memcached);
            json!({
                "hold": hold.map(describe), "slots": slots, "primary": primary, "wait": self.wait, "name": format!("n{number}"),
                "nodes": nodes.iter().map(|&node| json!({"address": address(node)})).collect::<Vec<_>>(),
                "identity": primary.filter(|_| self.identity.is_some()).map(run_id),
            })
        });
        let mut endpoints = vec![json!({"kind": "configuration", "addresses": ["unix:/c"]})];
        if self.has_reader {
            endpoints.push(json!({"kind": "reader", "addresses": ["unix:/r"]}));
        }
        let mut spec = json!({
            "name": "c", "engine": if self.is_memcached { "memcached" } else { "redis" }, "epoch": self.epoch,
            "version": "7.0.15", "endpoints": endpoints, "shards": shards.collect::<Vec<_>>(),
            "limits": self.limits, "timeouts": self.timeouts,
            "reads": if self.is_memcached { "primary" } else { self.reads },
        });
        if let Some((loads, writes)) = self.rule {
            let rule = json!({"match": "*", "loads": loads, "writes": writes, "checks": loads});
            spec["caching"] = json!({"rules": [rule]});
        }
        if self.is_memcached {
            let action = if self.action == "gutter" && self.gutter == 0 { "miss" } else { self.action };
            spec["memcached"] = json!({"gutter": self.gutter, "on_failure": {"action": action}});
        }
        spec.to_string()
    }
}
