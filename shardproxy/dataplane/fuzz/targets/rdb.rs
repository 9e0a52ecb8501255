//! An RDB is the same however it is cut, kept or passed; and nothing panics, nor holds more than it was given.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use shardproxy_dataplane::replication::rdb::{summarize, Owned, Part, Reader, Source};

const MOST: usize = 1 << 20;

struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(to.len()).min(self.0.len());
        let (now, later) = self.0.split_at(count);
        to[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

/// Records, the bytes of their values, and how it ended.
fn read(rdb: &[u8], piece: usize, keeps: bool) -> (u64, u64, String) {
    let (mut records, mut bytes) = (0, 0);
    let reader = Reader::new(Source::new(Pieces(rdb, piece), MOST, false), keeps);
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (0, 0, error.to_string()),
    };
    loop {
        match reader.next_part() {
            Ok(Part::Record(record)) => {
                assert!(record.length <= rdb.len() as u64);
                assert_eq!(record.value.len() as u64, if keeps { record.length } else { 0 });
                records += 1;
                bytes += record.length;
            }
            Ok(Part::End(_)) => return (records, bytes, String::new()),
            Ok(Part::Library(_) | Part::Fact(..)) => {}
            Err(error) => return (records, bytes, error.to_string()),
        }
    }
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (piece, is_valkey, body) = input;
    let rdb = [if is_valkey { b"VALKEY080" } else { b"REDIS0004" }, body].concat();
    let whole = read(&rdb, rdb.len(), true);
    assert_eq!(read(&rdb, usize::from(piece).max(1), true), whole);
    let passed = read(&rdb, usize::from(piece).max(1), false);
    if passed.2.is_empty() && whole.2.is_empty() {
        assert_eq!(passed, whole);
    }
    if let Ok((summary, _)) = summarize(&rdb[..], &Owned::default(), |_| Ok(())) {
        assert_eq!(summary.keys, passed.0);
        assert_eq!(summary.keys_per_slot.values().sum::<u64>(), summary.keys);
    }
});
