//! Whole RDBs, made here part by part: read whole, byte by byte, cut and damaged.

use std::io::{self, Read};

use proptest::prelude::*;

use super::*;
use crate::model::{Families, FamilySpec};

/// Gives at most so many bytes at once.
struct Drips<'a>(&'a [u8], usize);

impl Read for Drips<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(to.len()).min(self.0.len());
        let (now, later) = self.0.split_at(count);
        to[..count].copy_from_slice(now);
        self.0 = later;
        Ok(count)
    }
}

fn length(n: u64) -> Vec<u8> {
    match n {
        0..64 => vec![n as u8],
        64..16384 => vec![0x40 | (n >> 8) as u8, n as u8],
        16384..0x1_0000_0000 => [&[0x80][..], &(n as u32).to_be_bytes()].concat(),
        _ => [&[0x81][..], &n.to_be_bytes()].concat(),
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [length(text.len() as u64), text.to_vec()].concat()
}

fn counted(parts: &[Vec<u8>]) -> Vec<u8> {
    [length(parts.len() as u64), parts.concat()].concat()
}

fn whole(begins: &[u8], body: &[u8]) -> Vec<u8> {
    let mut rdb = [begins, body, &[255]].concat();
    rdb.extend_from_slice(&crc64(0, &rdb).to_le_bytes());
    rdb
}

fn record(kind: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[kind][..], &string(key), value].concat()
}

/// One value of each type, as its bytes.
fn values() -> Vec<(u8, &'static [u8], Vec<u8>, &'static str)> {
    const REDIS: &[u8] = b"REDIS0012";
    const VALKEY: &[u8] = b"VALKEY080";
    let text = string(b"text");
    let pair = [text.clone(), text.clone()].concat();
    let scores = vec![[&text[..], &[3], b"1.5"].concat(), [&text[..], &[253]].concat(), [&text[..], &[255]].concat()];
    let pel = |count: u64| counted(&vec![[vec![7; 24], length(1)].concat(); count as usize]);
    let consumer = |times: usize| [&text[..], &vec![1; times], &length(2), &[9; 32]].concat();
    let stream = |facts: usize, group_facts: usize, times: usize| {
        let group = [text.clone(), vec![5; group_facts], pel(2), counted(&[consumer(times), consumer(times)])].concat();
        [counted(&[pair.clone(), pair.clone()]), vec![3; facts], counted(&[group.clone(), group])].concat()
    };
    let module = [
        length(0x1234_5678_9abc_def0),
        vec![1],
        length(70),
        vec![2, 1, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 5],
        text.clone(),
        vec![0],
    ]
    .concat();
    vec![
        (0, REDIS, text.clone(), "string"),
        (0, REDIS, vec![0xc0, 7], "string"),
        (0, REDIS, vec![0xc1, 7, 0], "string"),
        (0, REDIS, vec![0xc2, 7, 0, 0, 0], "string"),
        (0, REDIS, vec![0xc3, 4, 6, 2, b'a', b'b', b'c'], "string"),
        (0, REDIS, [&[0x80, 0, 0, 0, 4][..], b"text"].concat(), "string"),
        (0, REDIS, [&[0x81, 0, 0, 0, 0, 0, 0, 0, 4][..], b"text"].concat(), "string"),
        (1, REDIS, counted(&[text.clone(), vec![0xc0, 1]]), "list"),
        (2, REDIS, counted(std::slice::from_ref(&text)), "set"),
        (3, REDIS, counted(&scores), "zset"),
        (4, REDIS, counted(&[pair.clone(), pair.clone()]), "hash"),
        (5, REDIS, counted(&vec![[&text[..], &[0; 8]].concat(); 70]), "zset"),
        (7, REDIS, module, "module"),
        (9, REDIS, text.clone(), "hash"),
        (10, REDIS, text.clone(), "list"),
        (11, REDIS, text.clone(), "set"),
        (12, REDIS, text.clone(), "zset"),
        (13, REDIS, text.clone(), "hash"),
        (14, REDIS, counted(std::slice::from_ref(&text)), "list"),
        (15, REDIS, stream(3, 2, 8), "stream"),
        (16, REDIS, text.clone(), "hash"),
        (17, REDIS, text.clone(), "zset"),
        (18, REDIS, counted(&[[&[1][..], &text].concat(), [&[2][..], &text].concat()]), "list"),
        (19, REDIS, stream(8, 3, 8), "stream"),
        (20, REDIS, text.clone(), "set"),
        (21, REDIS, stream(8, 3, 16), "stream"),
        (22, VALKEY, counted(&[[&pair[..], &[0; 8]].concat()]), "hash"),
        (24, REDIS, [&[0; 8][..], &counted(&[[&length(9)[..], &pair].concat()])].concat(), "hash"),
        (25, REDIS, [&[0; 8][..], &text].concat(), "hash"),
    ]
}

/// All records of an RDB, their keys and DUMP payloads.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

fn split(rdb: &[u8], piece: usize) -> Result<Records, RdbError> {
    let mut reader = Reader::new(Source::new(Drips(rdb, piece), MOST, false), true)?;
    let version = reader.version();
    let mut found = Vec::new();
    loop {
        match reader.next_part()? {
            Part::Record(record) => {
                assert_eq!(record.length, record.value.len() as u64);
                let mut payload = Vec::new();
                payload_write(record.kind, record.value, version, &mut payload);
                found.push((record.key.to_vec(), payload));
            }
            Part::End(_) => return Ok(found),
            Part::Library(_) | Part::Fact(..) => {}
        }
    }
}

fn count(rdb: &[u8], piece: usize) -> Result<Summary, RdbError> {
    summarize(Drips(rdb, piece), &Owned::default(), |_| Ok(())).map(|(summary, _)| summary)
}

#[test]
fn each_type_ends_where_it_ends() {
    for (kind, begins, value, name) in values() {
        let body = [record(kind, b"key", &value), record(0, b"next", &string(b"v"))].concat();
        let rdb = whole(begins, &body);
        for piece in [1, 2, 3, rdb.len()] {
            let found = split(&rdb, piece).unwrap_or_else(|error| panic!("type {kind}: {error}"));
            assert_eq!(found[1].0, b"next", "type {kind}");
            let payload = &found[0].1;
            assert_eq!((payload[0], &payload[1..payload.len() - 10]), (kind, &value[..]));
            let summary = count(&rdb, piece).unwrap();
            assert_eq!((summary.keys, summary.is_checked, summary.bytes), (2, true, rdb.len() as u64));
            assert!(summary.types[name] >= 1, "type {kind}");
        }
        for end in 0..rdb.len() {
            match count(&rdb[..end], 7) {
                Err(RdbError::Short(at)) => assert_eq!(at, end as u64, "type {kind}"),
                Err(RdbError::NotRdb) => assert!(end < 9),
                other => panic!("type {kind}, cut at {end}: {other:?}"),
            }
        }
    }
}

#[test]
fn keys_are_read_however_they_are_written() {
    for (written, key) in [
        (&b"\x03key"[..], &b"key"[..]),
        (b"\xc0\xff", b"-1"),
        (b"\xc1\x00\x80", b"-32768"),
        (b"\xc2\xff\xff\xff\x7f", b"2147483647"),
        (b"\xc3\x05\x06\x02abc\x20\x02", b""), // packed wrongly: see below
        (b"\xc3\x06\x06\x02abc\x20\x02", b"abcabc"),
    ] {
        let rdb = whole(b"REDIS0010", &[&[0][..], written, &string(b"v")].concat());
        let found = split(&rdb, 1);
        match key {
            b"" => assert!(found.is_err(), "{found:?}"),
            key => assert_eq!(found.unwrap()[0].0, key),
        }
    }
}

#[test]
fn what_stands_before_a_key_is_its_own() {
    let body = [
        &[254][..],
        &length(300),
        &[251, 2, 1, 244, 1, 1, 1, 252],
        &1_700_000_000_123u64.to_le_bytes(),
        &[249, 5],
        &record(0, b"a", &string(b"1")),
        &[253],
        &17u32.to_le_bytes(),
        &[248, 60],
        &record(0, b"b", &string(b"2")),
        &record(0, b"c", &string(b"3")),
    ]
    .concat();
    let rdb = whole(b"REDIS0011", &body);
    let mut reader = Reader::new(Source::new(&rdb[..], MOST, false), false).unwrap();
    let mut found = Vec::new();
    while let Part::Record(record) = reader.next_part().unwrap() {
        assert!(record.value.is_empty());
        found.push((record.key.to_vec(), record.database, record.expires, record.used));
    }
    assert_eq!(
        found,
        [
            (b"a".to_vec(), 300, Some(1_700_000_000_123), Some(Used::Often(5))),
            (b"b".to_vec(), 300, Some(17_000), Some(Used::Idle(60))),
            (b"c".to_vec(), 300, None, None),
        ]
    );
}

#[test]
fn a_summary_says_what_is_in_it() {
    let body = [
        &[250][..],
        &string(b"redis-ver"),
        &string(b"7.0.15"),
        &[250],
        &string(b"repl-id"),
        &string(b"abc"),
        &[250],
        &string(b"repl-offset"),
        &[0xc1, 0x10, 0x27],
        &[245],
        &string(b"#!lua name=b\n"),
        &[245],
        &string(b"#!lua name=a\n"),
        &[254, 0],
        &record(0, b"foo", &string(b"1")),
        &record(0, b"x{foo}", &string(b"1")),
        &[254, 3, 252],
        &1u64.to_le_bytes(),
        &record(2, b"hello", &counted(&[string(b"1")])),
    ]
    .concat();
    let rdb = whole(b"REDIS0010", &body);
    let owned = Owned { families: None, slots: Some(SlotSet::of(&[(12182, 12182)]).unwrap()) };
    let (summary, _) = summarize(&rdb[..], &owned, |_| Ok(())).unwrap();
    assert_eq!(summary.keys_per_slot, [(866, 1), (12182, 2)].into());
    assert_eq!((summary.keys, summary.strays, summary.expires, summary.functions), (3, 1, 1, 2));
    assert_eq!(summary.databases, [0, 3].into());
    assert_eq!(summary.types, [("set", 1), ("string", 2)].into());
    assert_eq!((&*summary.engine, &*summary.replid, summary.offset), ("redis 7.0.15", "abc", Some(10_000)));
    assert_eq!(summary.sha256, super::source::hex(ring::digest::digest(&ring::digest::SHA256, &rdb).as_ref()));
}

#[test]
fn functions_have_one_digest_in_whatever_order() {
    let [a, b] = [b"#!lua name=a\n", b"#!lua name=b\n"].map(|source| [&[245][..], &string(source)].concat());
    let digest = |body: &[u8]| count(&whole(b"REDIS0010", body), 100).unwrap().functions_sha256;
    assert_eq!(digest(&[&a[..], &b].concat()), digest(&[&b[..], &a].concat()));
    assert_ne!(digest(&a), digest(&b));
}

#[test]
fn slots_are_those_of_key_families() {
    let families = Families::compile(&[FamilySpec { pattern: "bull:{q}:*".into(), hash: "{q}".into() }]).unwrap();
    let owned = Owned { families, slots: None };
    assert_eq!(owned.slot_of(b"bull:foo:1"), 12182);
    assert!(SlotSet::of(&[(0, 16384)]).is_err() && SlotSet::of(&[(2, 1)]).is_ok_and(|set| !set.has(1)));
}

#[test]
fn what_is_not_known_is_refused_and_named() {
    let cases: &[(&[u8], u8, &str)] = &[
        (b"REDIS0012", 22, "release candidate"),
        (b"REDIS0011", 23, "type 23"),
        (b"REDIS0013", 26, "Redis 8"),
        (b"VALKEY080", 24, "type 24"),
        (b"REDIS0010", 99, "type 99"),
        (b"REDIS0010", 6, "module"),
        (b"REDIS0010", 246, "opcode 246"),
        (b"REDIS0010", 243, "Redis 8"),
        (b"REDIS0010", 242, "opcode 242"),
    ];
    for (begins, kind, word) in cases {
        let error = count(&whole(begins, &record(*kind, b"key", b"\x01\x01\x01\x01")), 100).unwrap_err();
        assert!(matches!(error, RdbError::Unknown { .. }) && error.to_string().contains(word), "{kind}: {error}");
    }
    for begins in [&b"REDIS00x1"[..], b"REDIS0000", b"VALKEY0", b"<html>...", b""] {
        assert!(matches!(count(&whole(begins, b""), 100), Err(RdbError::NotRdb)));
    }
}

#[test]
fn damage_is_found() {
    let rdb = whole(b"REDIS0010", &record(0, b"key", &string(&[b'v'; 1000])));
    for place in 9..rdb.len() {
        let mut broken = rdb.clone();
        broken[place] ^= 4;
        assert!(count(&broken, 100).is_err(), "{place}");
    }
    let end = rdb.len() - 8;
    let unchecked = [&rdb[..end], &[0; 8]].concat();
    assert!(!count(&unchecked, 100).unwrap().is_checked);
    let old = [b"REDIS0004", &rdb[9..end]].concat();
    assert!(!count(&old, 100).unwrap().is_checked);
}

#[test]
fn nothing_is_reserved_for_what_is_only_announced() {
    for body in [
        &b"\x00\x01k\x81\x7f\xff\xff\xff\xff\xff\xff\xff"[..],
        b"\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x04\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xf5\x81\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\xc3\x01\x81\xff\xff\xff\xff\xff\xff\xff\xffa",
        b"\x0f\x01k\x00\x00\x00\x00\x01\x01g\x00\x00\x00\x01\x01c12345678\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let rdb = whole(b"REDIS0010", body);
        assert!(split(&rdb, 100).is_err() && count(&rdb, 100).is_err(), "{}", body.escape_ascii());
    }
}

#[test]
fn a_value_that_is_kept_has_a_bound_and_one_that_is_not_has_none() {
    let big = vec![b'v'; 1 << 20];
    let body = [record(0, b"big", &string(&big)), record(1, b"many", &counted(&vec![string(b"item"); 60_000]))];
    for body in body {
        let rdb = whole(b"REDIS0010", &body);
        let mut keeping = Reader::new(Source::new(&rdb[..], 1 << 18, false), true).unwrap();
        assert!(matches!(keeping.next_part(), Err(RdbError::TooLarge { .. })));
        let mut passing = Reader::new(Source::new(&rdb[..], 1 << 18, false), false).unwrap();
        assert!(matches!(passing.next_part(), Ok(Part::Record(_))));
        assert!(matches!(passing.next_part(), Ok(Part::End(true))));
    }
}

fn any_rdb() -> impl Strategy<Value = Vec<(Vec<u8>, usize, usize)>> {
    let kinds = values().iter().filter(|(_, begins, ..)| begins.starts_with(b"REDIS")).count();
    prop::collection::vec((prop::collection::vec(any::<u8>(), 0..100), 0..kinds, 0..3usize), 0..40)
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in(records in any_rdb(), piece in 1..300usize) {
        let kinds: Vec<_> = values().into_iter().filter(|(_, begins, ..)| begins.starts_with(b"REDIS")).collect();
        let mut body = Vec::new();
        let mut expected = Vec::new();
        for (key, kind, before) in records {
            let (kind, _, value, _) = &kinds[kind];
            match before {
                1 => body.extend_from_slice(&[252, 1, 2, 3, 4, 5, 6, 7, 8]),
                2 => body.extend_from_slice(&[250, 1, b'a', 0xc0, 1, 254, 1]),
                _ => {}
            }
            body.extend_from_slice(&record(*kind, &key, value));
            let mut payload = Vec::new();
            payload_write(*kind, value, 12, &mut payload);
            expected.push((key, payload));
        }
        let rdb = whole(b"REDIS0012", &body);
        prop_assert_eq!(split(&rdb, piece).unwrap(), expected);
        prop_assert_eq!(count(&rdb, piece).unwrap(), count(&rdb, rdb.len()).unwrap());
    }

    #[test]
    fn anything_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..300), piece in 1..50usize) {
        let rdb = [b"REDIS0012", &body[..]].concat();
        let kept = split(&rdb, piece).map(|found| found.len()).map_err(|error| error.to_string());
        let counted = count(&rdb, rdb.len()).map(|summary| summary.keys as usize).map_err(|error| error.to_string());
        prop_assert_eq!(kept, counted);
    }

    #[test]
    fn a_damaged_one_never_passes(place in 9..400usize, bit in 0..8u32) {
        let body: Vec<u8> = values().into_iter().filter(|(_, begins, ..)| begins.starts_with(b"REDIS"))
            .flat_map(|(kind, _, value, _)| record(kind, b"key", &value)).collect();
        let mut rdb = whole(b"REDIS0012", &body);
        prop_assume!(place < rdb.len());
        rdb[place] ^= 1 << bit;
        prop_assert!(count(&rdb, 64).is_err());
    }

    /// What is nearly an RDB goes deeper than what is none: bytes of one changed, put in and taken out.
    #[test]
    fn what_is_nearly_one_is_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 1..6),
        is_valkey in any::<bool>(),
        piece in 1..50usize,
    ) {
        let begins: &[u8] = if is_valkey { b"VALKEY080" } else { b"REDIS0004" };
        let mut rdb: Vec<u8> = values().into_iter().filter(|(_, of, ..)| of[0] == begins[0])
            .flat_map(|(kind, _, value, _)| record(kind, b"key", &value)).collect();
        for (place, what, byte) in edits {
            let place = place.index(rdb.len());
            match what {
                0 => rdb[place] = byte,
                1 => rdb.insert(place, byte),
                2 => rdb[place] = 0x81,
                _ => drop(rdb.remove(place)),
            }
        }
        let rdb = [begins, &rdb, &[255]].concat();
        let kept = split(&rdb, piece).map_err(|error| error.to_string());
        prop_assert_eq!(&kept, &split(&rdb, rdb.len()).map_err(|error| error.to_string()));
        let counted = count(&rdb, piece);
        if let (Ok(kept), Ok(counted)) = (kept, counted) {
            prop_assert_eq!(kept.len() as u64, counted.keys);
        }
    }
}

#[test]
fn what_is_told_of_by_name_is_counted_up_to_a_bound() {
    let of = |count: u64, one: &dyn Fn(u64) -> Vec<u8>| {
        let body: Vec<u8> = (0..count).flat_map(one).collect();
        count_whole(&body)
    };
    let database = |n: u64| [&[254][..], &length(n), &record(0, b"k", &string(b"v"))].concat();
    let library = |n: u64| [&[245][..], &string(&n.to_le_bytes())].concat();
    let module = |n: u64| {
        let id = (n << 10) | 1;
        record(7, b"k", &[&[0x81][..], &id.to_be_bytes(), &[0]].concat())
    };
    let all: [&dyn Fn(u64) -> Vec<u8>; 3] = [&database, &library, &module];
    for (what, one) in ["databases", "libraries", "types of modules"].into_iter().zip(all) {
        assert!(of(65_536, one).is_ok(), "{what}");
        let error = of(65_537, one).unwrap_err();
        assert!(matches!(error, RdbError::TooMany { .. }) && error.to_string().contains(what), "{what}: {error}");
    }
}

fn count_whole(body: &[u8]) -> Result<Summary, RdbError> {
    let rdb = whole(b"REDIS0012", body);
    count(&rdb, rdb.len())
}

#[test]
fn a_file_of_few_keys_asks_whether_to_go_on_all_the_same() {
    let file = std::env::temp_dir().join(format!("few-{}.rdb", std::process::id()));
    std::fs::write(&file, whole(b"REDIS0012", &record(0, b"key", &string(&vec![b'x'; 20 << 20])))).unwrap();
    let mut asked = 0;
    let stopped = summarize_file(&file, &Owned::default(), |keys| {
        asked += 1;
        if keys == 0 {
            Err(RdbError::NotRdb)
        } else {
            Ok(())
        }
    });
    std::fs::remove_file(&file).unwrap();
    assert!(stopped.is_err() && asked == 1, "{asked}");
}
