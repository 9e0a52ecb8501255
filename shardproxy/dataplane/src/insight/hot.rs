//! What is asked for now, at one worker: keys, slots, families of keys, and the shards they are on.
//!
//! ```text
//!        window before        │  this window
//!   ──── 15 s, all of it ─────│──── so far ───>  rates are over both: of the last 15 to 30 seconds
//! ```

use std::sync::Arc;

use super::families::Families;
use super::layout::Layout;
use super::report::{FamilyRate, HotReport, KeyRate, Rate, SlotRate};
use super::top::{Item, Sighting, Sketch, Tally, Top};
use crate::hash::SLOTS;
use crate::metrics::{ClusterMetrics, Registry, ShardMetrics};
use crate::model::{Cluster, NO_SLOT};
use crate::near::hash_of;

/// Milliseconds of a window.
const WINDOW: u64 = 15_000;
/// Of less than a second no rate is told: what was counted is of a whole one.
const SHORTEST: u64 = 1000;
/// What is left over of bytes beyond this counts for one more.
const UNIT: u32 = 16;

/// What was counted in one window.
struct Window {
    millis: u64,
    sampled: u64,
    by_requests: Top,
    by_bytes: Top,
    slots: Vec<u32>,
    shards: Vec<Tally>,
    families: Families,
}

impl Window {
    /// `most` keys on each list.
    fn new(most: usize) -> Self {
        let (by_requests, by_bytes) = (Top::new(most), Top::new(most));
        let (slots, shards) = (Vec::new(), Vec::new());
        Self { millis: 0, sampled: 0, by_requests, by_bytes, slots, shards, families: Families::default() }
    }

    fn clear(&mut self) {
        (self.millis, self.sampled) = (0, 0);
        self.by_requests.clear();
        self.by_bytes.clear();
        self.slots.fill(0);
        self.shards.clear();
        self.families.clear();
    }

    fn held(&self) -> usize {
        let lists = self.by_requests.held() + self.by_bytes.held() + self.families.held();
        lists + self.slots.capacity() * size_of::<u32>() + self.shards.capacity() * size_of::<Tally>()
    }

    fn shard(&mut self, shard: u16) -> &mut Tally {
        let place = usize::from(shard);
        if self.shards.len() <= place {
            self.shards.resize(place + 1, Tally::default());
        }
        &mut self.shards[place]
    }
}

/// What one takes beside its lists: slots twice, sketches, families, and what is learned of keys.
const BESIDE: usize = 512 * 1024;

/// About 400 KiB, where keys are long.
pub struct Hot {
    now: Window,
    before: Window,
    /// When this window began, milliseconds on the plane's clock.
    began: u64,
    requests: Sketch,
    bytes: Sketch,
    layout: Layout,
    /// The family of the key that is looked at.
    family: Vec<u8>,
}

impl Hot {
    pub fn new(most: usize, now: u64) -> Self {
        Self {
            now: Window::new(most),
            before: Window::new(most),
            began: now,
            requests: Sketch::default(),
            bytes: Sketch::default(),
            layout: Layout::default(),
            family: Vec::new(),
        }
    }

    /// Bytes that it takes.
    pub fn held(&self) -> usize {
        self.now.held() + self.before.held() + 2 * Sketch::HELD + self.layout.held() + size_of::<Self>()
    }

    /// About the most that is, with so many keys on each list.
    pub const fn most_held(keys: usize) -> usize {
        4 * Top::most_held(keys) + BESIDE
    }

    /// Whether nothing was looked at in both windows.
    pub const fn is_idle(&self) -> bool {
        self.now.sampled + self.before.sampled == 0
    }

    /// A request was looked at.
    pub fn sampled(&mut self) {
        self.now.sampled += 1;
    }

    /// A request without keys is part of its shard's load all the same.
    pub fn count_keyless(&mut self, shard: u16, is_read: bool, bytes: u32) {
        let tally = Tally { requests: 1, reads: u64::from(is_read), bytes: u64::from(bytes) };
        self.now.shard(shard).join(tally);
    }

    /// A key was asked for; `micros`: how long its request took; `every`: for how many requests one stands.
    pub fn count(
        &mut self,
        (cluster, metrics): (&Cluster, &ClusterMetrics),
        seen: &Sighting,
        (micros, every): (u32, u32),
    ) {
        let Self { now, requests, bytes, layout, family, .. } = self;
        now.by_requests.count(requests, seen, seen.times);
        now.by_bytes.count(bytes, seen, seen.bytes.div_ceil(UNIT).saturating_mul(seen.times).max(1));
        if seen.slot != NO_SLOT {
            if now.slots.is_empty() {
                now.slots.resize(usize::from(SLOTS), 0);
            }
            now.slots[usize::from(seen.slot)] += seen.times;
        }
        now.shard(seen.shard).add(seen);
        family.clear();
        let hash = match cluster.family_of(seen.key) {
            Some(declared) => {
                family.extend_from_slice(declared.as_bytes());
                hash_of(0, family)
            }
            None => layout.family(seen.key, family),
        };
        let times = now.families.count((hash, family), seen, metrics);
        let times = times.unwrap_or(&metrics.other_families);
        times.record_times(micros, every.saturating_mul(seen.times));
    }

    /// Once a second: windows end, families come to have times of their own, and shards are told who is hottest there.
    pub fn tick(
        &mut self,
        now: u64,
        name: &str,
        (metrics, registry): (&ClusterMetrics, &Registry),
        shards: &[Arc<ShardMetrics>],
    ) {
        self.now.millis = now.saturating_sub(self.began);
        self.now.families.promote(name, metrics, registry);
        let mut hottest = vec![0; shards.len()];
        for (item, tally) in self.keys(|window| &window.by_requests) {
            if let Some(most) = hottest.get_mut(usize::from(item.shard)) {
                *most = tally.requests.max(*most);
            }
        }
        for (place, (shard, hottest)) in shards.iter().zip(hottest).enumerate() {
            shard.sampled.set(self.shard(place).requests);
            shard.hottest.set(hottest);
        }
        if self.now.millis >= WINDOW {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
            self.requests.clear();
            self.bytes.clear();
            self.layout.refresh();
            self.began = now;
        }
    }

    /// What a shard was asked for in both windows, by its place.
    fn shard(&self, place: usize) -> Tally {
        let mut tally = self.now.shards.get(place).copied().unwrap_or_default();
        tally.join(self.before.shards.get(place).copied().unwrap_or_default());
        tally
    }

    /// The keys of a list in both windows.
    fn keys(&self, list: impl Fn(&Window) -> &Top) -> impl Iterator<Item = (&Item, Tally)> {
        let (now, before) = (list(&self.now), list(&self.before));
        let of_both = now.items().iter().map(|item| {
            let mut tally = item.tally;
            tally.join(before.get(item.hash).map_or_else(Tally::default, |item| item.tally));
            (item, tally)
        });
        let gone = before.items().iter().filter(|item| now.get(item.hash).is_none());
        of_both.chain(gone.map(|item| (item, item.tally)))
    }

    /// What is known now. `every`: for how many requests one stands.
    pub fn report(&self, now: u64, every: u32) -> HotReport {
        let millis = now.saturating_sub(self.began) + self.before.millis;
        let rates = Scale::of(millis, every);
        let key = |(item, tally): (&Item, Tally)| KeyRate {
            key: item.key.clone(),
            is_cut: item.is_cut,
            hash: item.hash,
            shard: item.shard,
            slot: item.slot,
            rate: rates.of_tally(tally),
        };
        let slots = (0..SLOTS).filter_map(|slot| {
            let of = |window: &Window| window.slots.get(usize::from(slot)).copied().unwrap_or(0);
            let requests = u64::from(of(&self.now)) + u64::from(of(&self.before));
            (requests > 0).then(|| SlotRate { slot, requests: rates.of_count(requests) })
        });
        let families = [&self.now, &self.before].into_iter().flat_map(|window| window.families.known());
        let families = families.map(|family| FamilyRate {
            family: String::from_utf8_lossy(&family.name).into_owned(),
            rate: rates.of_tally(family.tally),
            shards: family.shards.iter().map(|&requests| rates.of_count(requests)).collect(),
        });
        let places = self.now.shards.len().max(self.before.shards.len());
        HotReport {
            seconds: rates.seconds,
            sampled: self.now.sampled + self.before.sampled,
            by_requests: self.keys(|window| &window.by_requests).map(key).collect(),
            by_bytes: self.keys(|window| &window.by_bytes).map(key).collect(),
            slots: slots.collect(),
            families: families.collect(),
            shards: (0..places).map(|place| rates.of_tally(self.shard(place))).collect(),
        }
    }
}

/// From what was sampled to rates.
#[derive(Clone, Copy)]
struct Scale {
    seconds: f64,
    every: f64,
}

#[allow(clippy::cast_precision_loss)]
impl Scale {
    fn of(millis: u64, every: u32) -> Self {
        Self { seconds: millis.max(SHORTEST) as f64 / 1e3, every: f64::from(every) }
    }

    fn of_count(self, count: u64) -> f64 {
        count as f64 * self.every / self.seconds
    }

    fn of_tally(self, tally: Tally) -> Rate {
        let Tally { requests, reads, bytes } = tally;
        Rate { requests: self.of_count(requests), reads: self.of_count(reads), bytes: self.of_count(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    /// One that has seen as many keys, of as many families on as many shards, as it may.
    fn full(keys: usize) -> Hot {
        let spec = br#"{"name": "c", "engine": "redis", "epoch": 1, "endpoints": [],
            "shards": [{"slots": [[0, 16383]], "primary": null, "nodes": []}]}"#;
        let (cluster, metrics, mut hot) = (Cluster::parse(spec).unwrap(), ClusterMetrics::default(), Hot::new(keys, 0));
        for seconds in [0, 15] {
            for n in 0..10_000u64 {
                let key = format!("{:x}:{}:{}", n % 97, n, "word:".repeat(30)).into_bytes();
                let (shard, slot) = ((n % 250) as u16, (n % 16384) as u16);
                let seen =
                    Sighting { hash: hash_of(0, &key), key: &key, shard, slot, is_read: true, bytes: 10, times: 1 };
                hot.count((&cluster, &metrics), &seen, (1, 1));
            }
            hot.tick((seconds + 15) * 1000, "c", (&metrics, &Registry::default()), &[]);
        }
        hot
    }

    #[test]
    fn it_takes_no_more_than_it_says() {
        for keys in [20, 200, 2000] {
            let (held, most) = (full(keys).held(), Hot::most_held(keys));
            assert!(held <= most && held > most / 3, "{keys} keys: {held} of {most}");
        }
    }

    #[test]
    fn it_is_idle_when_nothing_was_looked_at_in_both_windows() {
        let (metrics, registry) = (ClusterMetrics::default(), Registry::default());
        let mut hot = Hot::new(10, 0);
        let tick = |hot: &mut Hot, seconds: u64| {
            hot.tick(seconds * 1000, "main", (&metrics, &registry), &[]);
            hot.is_idle()
        };
        hot.sampled();
        assert!(!tick(&mut hot, 1) && !tick(&mut hot, 15), "it was just now");
        assert!(!tick(&mut hot, 29), "rates are of both windows");
        assert!(tick(&mut hot, 30));
    }
}
