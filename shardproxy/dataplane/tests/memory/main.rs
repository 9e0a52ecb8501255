//! Whatever clients make the proxy hold is accounted, bounded by `limits.buffers`, and given back: what the allocator
//! has handed to the proxy's threads is compared with what the proxy says it holds.

mod access;
mod accounts;
mod allocator;
mod bounds;
#[path = "../plane/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../plane/engine.rs"]
#[allow(dead_code)]
mod engine;
mod large;
mod memcached;
mod meter;
#[path = "../plane/proxy.rs"]
#[allow(dead_code)]
mod proxy;

#[global_allocator]
static COUNTING: allocator::Counting = allocator::Counting;

const MIB: usize = 1 << 20;
