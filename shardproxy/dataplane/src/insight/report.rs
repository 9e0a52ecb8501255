//! What workers know of a cluster, joined into one: rates add up.

use std::collections::HashMap;

use serde_json::{json, Map, Value};

use super::big::BigKey;
use crate::model::{Cluster, NO_SLOT};

/// A second.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rate {
    pub requests: f64,
    pub reads: f64,
    pub bytes: f64,
}

impl Rate {
    fn join(&mut self, other: Self) {
        self.requests += other.requests;
        self.reads += other.reads;
        self.bytes += other.bytes;
    }
}

pub struct KeyRate {
    pub key: Vec<u8>,
    pub is_cut: bool,
    pub hash: u64,
    /// Place of the shard.
    pub shard: u16,
    pub slot: u16,
    pub rate: Rate,
}

pub struct SlotRate {
    pub slot: u16,
    pub requests: f64,
}

pub struct FamilyRate {
    pub family: String,
    pub rate: Rate,
    /// Requests a second by place of the shard.
    pub shards: Vec<f64>,
}

/// What one worker knows, or all together.
#[derive(Default)]
pub struct HotReport {
    pub seconds: f64,
    pub sampled: u64,
    pub by_requests: Vec<KeyRate>,
    pub by_bytes: Vec<KeyRate>,
    pub slots: Vec<SlotRate>,
    pub families: Vec<FamilyRate>,
    /// By place of the shard.
    pub shards: Vec<Rate>,
}

/// What one worker knows of a cluster.
#[derive(Default)]
pub struct Report {
    pub hot: HotReport,
    pub big: Vec<BigKey>,
}

/// At most so many slots are told of.
const SLOTS_TOLD: usize = 100;

/// Of all workers, the most first, as JSON. Bytes of keys stand as the characters with their numbers.
pub fn tell(cluster: &Cluster, reports: Vec<HotReport>) -> Value {
    let spec = cluster.spec.hot_keys;
    let seconds = reports.iter().map(|report| report.seconds).fold(0.0, f64::max);
    let sampled: u64 = reports.iter().map(|report| report.sampled).sum();
    let (mut requests, mut bytes, mut slots) = (HashMap::new(), HashMap::new(), HashMap::<u16, f64>::new());
    let (mut families, mut shards) = (HashMap::<String, FamilyRate>::new(), Vec::<Rate>::new());
    for report in reports {
        report.by_requests.into_iter().for_each(|key| join_key(&mut requests, key));
        report.by_bytes.into_iter().for_each(|key| join_key(&mut bytes, key));
        report.slots.iter().for_each(|one| *slots.entry(one.slot).or_default() += one.requests);
        report.families.into_iter().for_each(|family| join_family(&mut families, family));
        shards.resize(shards.len().max(report.shards.len()), Rate::default());
        shards.iter_mut().zip(report.shards).for_each(|(shard, rate)| shard.join(rate));
    }
    let of_shard = |place: u16| shards.get(usize::from(place)).map_or(0.0, |rate| rate.requests);
    let total: f64 = shards.iter().map(|rate| rate.requests).sum();
    let key = |key: &KeyRate| {
        let place = if key.slot == NO_SLOT { key.shard } else { cluster.shard_of(key.slot) };
        json!({
            "key": latin(&key.key), "is_cut": key.is_cut, "slot": (key.slot != NO_SLOT).then_some(key.slot),
            "shard": cluster.number_of(place), "requests_per_second": key.rate.requests, "bytes_per_second": key.rate.bytes,
            "share": part(key.rate.requests, of_shard(key.shard)), "reads": part(key.rate.reads, key.rate.requests),
        })
    };
    let mut slots: Vec<(u16, f64)> = slots.into_iter().collect();
    slots.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    let slot = |&(slot, requests): &(u16, f64)| {
        let place = cluster.shard_of(slot);
        let share = part(requests, of_shard(place));
        json!({"slot": slot, "shard": cluster.number_of(place), "requests_per_second": requests, "share": share})
    };
    let mut families: Vec<FamilyRate> = families.into_values().collect();
    families.sort_by(|one, other| other.rate.requests.total_cmp(&one.rate.requests));
    let family = |family: &FamilyRate| {
        let of_shards = (0..).zip(&family.shards).filter(|(_, &requests)| requests > 0.0);
        let of_shards: Map<String, Value> = of_shards
            .filter_map(|(place, &requests)| {
                Some((cluster.number_of(place)?.to_string(), json!(part(requests, of_shard(place)))))
            })
            .collect();
        json!({
            "family": family.family, "requests_per_second": family.rate.requests, "bytes_per_second": family.rate.bytes,
            "share": part(family.rate.requests, total), "reads": part(family.rate.reads, family.rate.requests),
            "shards": of_shards,
        })
    };
    json!({
        "seconds": seconds, "sample": spec.sample, "sampled": sampled,
        "by_requests": most(requests, spec.keys, |rate| rate.requests).iter().map(key).collect::<Vec<_>>(),
        "by_bytes": most(bytes, spec.keys, |rate| rate.bytes).iter().map(key).collect::<Vec<_>>(),
        "slots": slots.iter().take(SLOTS_TOLD).map(slot).collect::<Vec<_>>(),
        "families": families.iter().map(family).collect::<Vec<_>>(),
    })
}

/// The largest keys of all workers, the largest first.
pub fn tell_big(cluster: &Cluster, keys: Vec<BigKey>, name_of: impl Fn(u16) -> String) -> Value {
    let mut joined: HashMap<u64, BigKey> = HashMap::new();
    for key in keys {
        match joined.get_mut(&key.hash) {
            Some(known) => known.join(key),
            None => {
                joined.insert(key.hash, key);
            }
        }
    }
    let mut keys: Vec<BigKey> = joined.into_values().collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.size()));
    let told = keys.iter().take(cluster.spec.hot_keys.keys).map(|key| {
        let place = if key.slot == NO_SLOT { key.shard } else { cluster.shard_of(key.slot) };
        json!({
            "key": latin(&key.key), "is_cut": key.is_cut, "slot": (key.slot != NO_SLOT).then_some(key.slot),
            "shard": cluster.number_of(place), "command": name_of(key.command),
            "request_bytes": key.request, "reply_bytes": key.reply, "at": key.at,
        })
    });
    told.collect()
}

fn join_key(all: &mut HashMap<u64, KeyRate>, key: KeyRate) {
    match all.get_mut(&key.hash) {
        Some(known) => known.rate.join(key.rate),
        None => {
            all.insert(key.hash, key);
        }
    }
}

fn join_family(all: &mut HashMap<String, FamilyRate>, family: FamilyRate) {
    let Some(known) = all.get_mut(&family.family) else {
        all.insert(family.family.clone(), family);
        return;
    };
    known.rate.join(family.rate);
    known.shards.resize(known.shards.len().max(family.shards.len()), 0.0);
    known.shards.iter_mut().zip(family.shards).for_each(|(shard, requests)| *shard += requests);
}

/// The first of them, the most first.
fn most(all: HashMap<u64, KeyRate>, count: usize, by: impl Fn(&Rate) -> f64) -> Vec<KeyRate> {
    let mut all: Vec<KeyRate> = all.into_values().collect();
    all.sort_by(|one, other| by(&other.rate).total_cmp(&by(&one.rate)).then_with(|| one.key.cmp(&other.key)));
    all.truncate(count);
    all
}

fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (of / whole).min(1.0)
    } else {
        0.0
    }
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
