//! The whole data plane between plain sockets and small fake engines that do what no good engine does.

mod asides;
mod blocking;
mod cache;
mod client;
mod crowds;
mod drain;
mod durable;
mod early;
mod engine;
mod epochs;
mod extremes;
mod identity;
mod limits;
mod losses;
mod offloads;
mod proxy;
mod recent;
mod refusals;
mod replies;
mod scripts;
mod subscriptions;
mod transactions;
mod trickles;
mod turns;
mod waiting;
