//! The data plane of shardproxy: worker threads that frame, route and answer every ordinary request.
//!
//! ```text
//!  client ─ bytes ─> frame ─> command ─> gate ─> key ─> slot ─> place ─┬─> link ─ bytes ─> engine
//!                   (dialect) (command) (admit)  (model, hash)        ├─> several, joined (exchange/join)
//!                                                                     └─> offload ─> trio ─> answer
//!  client <─ bytes ─ reply queue in request order <─ exit <─ frame <────────────── bytes ─ engine
//!                    (exchange/replies)           (complete)
//! ```
//!
//! The rooms are floors, and a room imports from those below it only (rooms.rs checks):
//!
//! ```text
//!  python                 the boundary: the only room that knows Python
//!  replication            copies of engines' data: threads of its own, beside the workers
//!  plane                  threads, listeners, the operations of the control plane
//!  worker                 one thread: its turn, sockets, messages, ticks; schedules, decides nothing
//!  serve > admit          what is done about a request, one file per family, behind one gate
//!  recovery > pubsub      what becomes of requests that found no answer; subscriptions
//!  tracking               which keys have changed, and who is told
//!  waiting                clients that wait for keys, in the order they came
//!  complete               the one exit: replies to whom they are owed
//!  place > turn > shared  which connection; what a turn works on; what all threads share
//!  timing                 where the time of requests goes
//!  links clients          connections to nodes, connections of applications
//!  insight                what is asked for, and which keys are hot or large
//!  exchange               requests and replies in their order; no sockets
//!  access                 who may do what: users and their rules
//!  caching                what a miss is, whose age is known, what leases are called
//!  dialect model command  what is spoken, the topology, the command table
//!  hash glob net near metrics maps sync
//! ```

pub mod access;
mod admit;
mod caching;
mod clients;
pub mod command;
mod complete;
pub mod dialect;
mod exchange;
mod glob;
pub mod hash;
mod insight;
mod links;
mod maps;
mod metrics;
mod model;
mod near;
mod net;
mod place;
mod plane;
mod pubsub;
#[cfg(feature = "python")]
mod python;
mod recovery;
pub mod replication;
#[cfg(test)]
mod rooms;
mod serve;
mod shared;
#[cfg(any(test, fuzzing))]
pub mod simulation;
mod sync;
mod timing;
mod tracking;
mod turn;
mod waiting;
mod worker;

pub use model::Cluster;
pub use plane::{
    Access, AccessEvent, ApplyError, CacheAged, ClientDid, Event, Loss, NodeDown, NodeLost, Offload, Plane,
};
