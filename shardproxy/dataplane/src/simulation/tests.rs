//! Worlds by seeds, in every run of the tests; the fuzzer looks for more.

use std::panic::{catch_unwind, AssertUnwindSafe};

use proptest::prelude::*;

fn input_of(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let length = 20 + next() % 600;
    (0..length).map(|_| (next() >> 32) as u8).collect()
}

/// What broke, if anything did.
fn complaint(input: &[u8]) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| super::run(input))).err()?;
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Some(text.unwrap_or("a panic without words").lines().next().unwrap_or_default().to_owned())
}

#[test]
fn every_request_is_answered_once_in_order_and_by_its_own_reply() {
    let setting = |name: &str, default| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (first, count) = (setting("SIMULATION_SEED", 0), setting("SIMULATION_COUNT", 1500));
    let broken = (first..first + count).filter_map(|seed| Some((seed, complaint(&input_of(seed))?)));
    let broken: Vec<_> = broken.take(20).collect();
    assert!(broken.is_empty(), "seeds and what broke: {broken:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn a_small_world_is_kept_when_it_breaks(input in proptest::collection::vec(any::<u8>(), 5..80)) {
        super::run(&input);
    }
}

/// What the fuzzer may begin with: `cargo test --lib corpus -- --ignored`, then `cargo +nightly fuzz run worker`.
#[test]
#[ignore = "it writes files"]
fn a_corpus_of_seeds() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/worker");
    std::fs::create_dir_all(directory).unwrap();
    for seed in 0..500 {
        std::fs::write(format!("{directory}/seed-{seed}"), input_of(seed)).unwrap();
    }
}
