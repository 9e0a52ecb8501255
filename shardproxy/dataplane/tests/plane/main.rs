//! The whole data plane between plain sockets and small fake engines that do what no good engine does.

mod blocking;
#[allow(dead_code)] // `memory` uses the rest
mod client;
mod drain;
mod durable;
#[allow(dead_code)] // `memory` uses the rest
mod engine;
mod epochs;
mod growth;
mod identity;
mod limits;
mod losses;
mod offloads;
#[allow(dead_code)] // `memory` uses the rest
mod proxy;
mod recent;
mod refusals;
mod replies;
mod scripts;
mod subscriptions;
mod transactions;
mod waiting;
