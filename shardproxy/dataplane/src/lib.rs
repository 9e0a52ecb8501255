//! The data plane of shardproxy: worker threads that frame, route and answer every ordinary request.
//!
//! ```text
//!  client ─ bytes ─> frame ─> command ─> key ─> slot ─> route ─┬─> upstream (node) ─ bytes ─> engine
//!                    (protocol/) (command/)   (hash/) (route.rs) ├─> split ─> several upstreams ─> join (split.rs)
//!                                                               └─> offload ─> trio ─> answer
//!  client <─ bytes ─ reply queue in request order (reply.rs) <─ frame <─────────────── bytes ─ engine
//! ```
//!
//! A request's way is that of the modules: `acceptor`, `worker`, `client`, `request`, `command`, `route`, `split`,
//! `upstream`, `reply`. Only `python` knows Python.

mod acceptor;
mod answer;
mod block;
mod buffer;
mod census;
mod client;
pub mod command;
mod databases;
mod durable;
mod durations;
mod exec_reply;
mod families;
mod glob;
pub mod hash;
mod identity;
mod mailbox;
mod memcache;
mod metrics;
mod net;
mod offload;
mod patience;
mod pause;
mod plane;
pub mod protocol;
mod pubsub;
#[cfg(feature = "python")]
mod python;
mod recent;
mod reply;
mod request;
mod role;
mod route;
mod scripts;
mod split;
mod topology;
mod transaction;
mod upstream;
mod worker;

#[cfg(fuzzing)]
pub use memcache::wire as memcache_wire;
pub use plane::{ApplyError, Hint, HintKind, Plane};
pub use topology::Cluster;
