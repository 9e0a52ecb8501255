//! A whole worker without threads or time: clients, nodes and the clock do what the bytes of an input say, and a model
//! knows what must come of it. Run by the fuzzer on what it makes up, and by the tests on seeds.
//!
//! ```text
//!   input ─> world ─┬─> client (socket) ──── rig: one worker, a turn at a time ──── node (listener, connections)
//!                   │   request: what it asks     and a clock that is wound          answer: what it says
//!                   └─> model: one reply per request, in order, its own     ledger: nothing executed twice
//! ```
//!
//! Every request carries a token that its answer must have, so that a reply that is another's is recognised.

mod answer;
mod client;
mod finale;
mod frame;
mod input;
mod ledger;
mod model;
mod monitor;
mod node;
mod request;
mod rig;
mod spec;
mod token;
mod watch;
mod wire;
mod world;

#[cfg(test)]
mod tests;

/// Play what the input says and check all of it; a violation panics.
pub fn run(input: &[u8]) {
    world::World::begin(input).play();
}

/// Whether to tell what happens, for whoever looks into a broken world.
fn is_traced() -> bool {
    static IS_TRACED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IS_TRACED.get_or_init(|| std::env::var_os("SIMULATION_TRACE").is_some_and(|value| !value.is_empty()))
}
