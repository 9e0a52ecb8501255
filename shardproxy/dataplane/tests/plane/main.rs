//! The whole data plane between plain sockets and small fake engines that do what no good engine does.

mod access;
mod asides;
mod blocking;
mod busy;
mod cache;
mod cache_users;
mod caching;
#[allow(dead_code)] // `memory` uses the rest
mod client;
mod clustered;
mod crowds;
mod drain;
mod durable;
mod early;
#[allow(dead_code)] // `memory` uses the rest
mod engine;
mod entry;
mod epochs;
mod extremes;
mod growth;
mod held;
mod holds;
mod identity;
mod keys;
mod large;
mod leases;
mod limits;
mod logins;
mod looks;
mod losses;
mod monitoring;
mod offloads;
mod one_shard;
mod passing;
mod pausing;
#[allow(dead_code)] // `memory` uses the rest
mod proxy;
mod recent;
mod refusals;
mod replies;
mod scripts;
mod subscriptions;
mod tracking;
mod transactions;
mod trickles;
mod turns;
mod waiting;
