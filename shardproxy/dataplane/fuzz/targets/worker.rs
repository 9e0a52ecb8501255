//! Whatever clients, nodes and the clock do, a worker answers every request once, in order, and keeps its accounts.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| shardproxy_dataplane::simulation::run(input));
