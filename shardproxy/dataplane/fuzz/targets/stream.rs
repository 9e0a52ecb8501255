//! A source's stream of commands means the same however it is cut, and nothing panics.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use shardproxy_dataplane::command::CommandTable;
use shardproxy_dataplane::replication::stream::{Change, Decoder};

static TABLE: LazyLock<Arc<CommandTable>> = LazyLock::new(|| Arc::new(CommandTable::builtin().unwrap()));

/// What is told of it, where it ends, and whether it ended there.
fn told(bytes: &[u8], piece: usize, database: Option<u32>) -> (Vec<(Vec<u8>, u8, i64)>, i64, bool) {
    let mut decoder = Decoder::new(TABLE.clone(), 0, database, 0);
    let (mut start, mut told) = (0, Vec::new());
    for end in (0..bytes.len()).step_by(piece).chain([bytes.len()]) {
        loop {
            let step = decoder.step(&bytes[start..end], &mut |change, at| {
                told.push(match change {
                    Change::Key(key) => (key.to_vec(), 0, at),
                    Change::Command { key, request } => {
                        assert!(request.windows(key.len()).any(|part| part == key) || key.is_empty());
                        (key.to_vec(), 1, at)
                    }
                    Change::Emptied => (Vec::new(), 2, at),
                });
            });
            match step {
                Ok(Some(taken)) => {
                    assert!(taken > 0 && start + taken <= end);
                    start += taken;
                }
                Ok(None) => break,
                Err(_) => return (told, decoder.offset(), true),
            }
        }
    }
    (told, decoder.offset(), false)
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (piece, knows, stream) = input;
    let database = knows.then_some(0);
    let whole = told(stream, stream.len().max(1), database);
    assert_eq!(told(stream, usize::from(piece).max(1), database), whole);
});
