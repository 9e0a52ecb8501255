//! Replies to reads that caching rules are about: whether there was something, and whether somebody is to look how old it is.

use super::{Errands, Missed};
use crate::caching::{digest_of_key, is_missing, memcached, missing_key, Ages, ASKED_FOR};
use crate::clients::Clients;
use crate::command::Misses;
use crate::dialect::resp::arguments_of;
use crate::exchange::{Asked, Entry, Loads};
use crate::links::Link;
use crate::model::Rule;
use crate::shared::{CacheAged, Events};
use crate::turn::Served;

/// Who looks at such a reply: a worker.
pub struct Looker<'a> {
    pub served: &'a Served,
    pub events: &'a Events,
    pub ages: &'a mut Ages,
    pub now: u64,
}

impl Looker<'_> {
    /// Whether something is missing that is loaded: then its request is kept for that. What left piece by piece is a value.
    pub fn is_missed(
        &mut self,
        link: &mut Link,
        clients: &mut Clients,
        (request, reply): (&Entry, &[u8]),
        errands: &mut Errands,
    ) -> bool {
        let asked = link.exchange.head_bytes();
        let cluster = link.way.cluster;
        let rule = match request.asked {
            Asked::Loads(loads) if link.is_streaming => {
                self.found(cluster, loads, asked);
                None
            }
            Asked::Loads(loads) if loads.looks == 0 => self.missed(cluster, loads, asked, reply),
            Asked::Loads(loads) => self.missed_again(clients, request, loads, asked, reply),
            Asked::MemcachedLoads(_, loads) => self.missed_memcached(cluster, loads, asked, reply),
            _ => None,
        };
        let Some(rule) = rule else { return false };
        let (bytes, reply) = (link.exchange.head_body(), reply.to_vec());
        link.exchange.pop();
        link.metrics.requests.increment();
        errands.missed.push(Missed { request: *request, bytes, rule, reply });
        true
    }

    /// By which rule what is missing is loaded, if something is.
    fn missed(&mut self, cluster: usize, loads: Loads, request: &[u8], reply: &[u8]) -> Option<u16> {
        if is_missing(loads.misses, reply) {
            if let Some(rule) = self.rule_of_missing(loads.misses, request, reply, &[]) {
                return Some(rule);
            }
        }
        self.found(cluster, loads, request);
        None
    }

    fn found(&mut self, cluster: usize, loads: Loads, request: &[u8]) {
        if loads.looks == 0 {
            self.count_hit(loads);
        }
        if loads.is_due {
            let most = if loads.misses == Misses::Any { usize::MAX } else { 1 };
            self.ask_ages(cluster, arguments_of(request).skip(1).take(most));
        }
    }

    /// The same of a read that was passed on, of all but the keys that have no value.
    #[cold]
    fn missed_again(
        &self,
        clients: &mut Clients,
        entry: &Entry,
        loads: Loads,
        request: &[u8],
        reply: &[u8],
    ) -> Option<u16> {
        if !is_missing(loads.misses, reply) {
            return None;
        }
        let absent = clients
            .owed(&entry.owed)?
            .order
            .as_deref()
            .map_or(&[][..], |order| order.absent((entry.owed.sequence, entry.owed.part)));
        self.rule_of_missing(loads.misses, request, reply, absent)
    }

    /// The same of a memcached node's reply.
    fn missed_memcached(&mut self, cluster: usize, loads: Loads, request: &[u8], reply: &[u8]) -> Option<u16> {
        let rules = self.served.cluster.rules.as_ref()?;
        let rule = |key: &[u8]| rules.find(key).filter(|rule| rule.loads).map(|rule| rule.number);
        let missed = memcached::missing(request, reply, rule);
        if missed.is_none() {
            self.count_hit(loads);
            if loads.is_due {
                memcached::each_key(request, |key| self.ask_ages(cluster, std::iter::once(key)));
            }
        }
        missed
    }

    fn count_hit(&self, loads: Loads) {
        if let Some(metrics) = self.served.rules.get(usize::from(loads.rule)) {
            metrics.hits.increment();
        }
    }

    /// By the rules of now: they may be others than when the request left. Not of keys that are known to be `absent`.
    fn rule_of_missing(&self, misses: Misses, request: &[u8], reply: &[u8], absent: &[u64]) -> Option<u16> {
        let rules = self.served.cluster.rules.as_ref()?;
        let is_absent = |key: &[u8]| !absent.is_empty() && absent.contains(&digest_of_key(0, key));
        let loads = |key: &[u8]| rules.find(key).is_some_and(|rule| rule.loads) && !is_absent(key);
        let key = if misses == Misses::Any {
            missing_key(request, reply, loads)?
        } else {
            arguments_of(request).nth(1).filter(|key| loads(key))?
        };
        rules.find(key).map(|rule| rule.number)
    }

    #[cold]
    fn ask_ages<'k>(&mut self, cluster: usize, keys: impl Iterator<Item = &'k [u8]>) {
        let Some(rules) = &self.served.cluster.rules else { return };
        for key in keys {
            let Some(Rule { number, .. }) = rules.find(key).filter(|rule| rule.loads && rule.checks) else { continue };
            let digest = digest_of_key(cluster, key);
            if self.ages.is_known(digest, self.now) {
                continue;
            }
            let cluster = self.served.cluster.spec.name.clone();
            if self.events.ask_age(CacheAged { cluster, rule: *number, key: key.to_vec() }) {
                self.ages.set(digest, self.now + ASKED_FOR, self.now);
            }
        }
    }
}
