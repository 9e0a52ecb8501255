//! What an RDB holds, counted while it is read.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{digest, Context, SHA256};
use serde::Serialize;

use super::reader::{Part, Reader, Record, MOST};
use super::source::hex;
use super::value::{module_name, name_of};
use super::{RdbError, Source};
use crate::hash::{self, SLOTS};
use crate::model::Families;

/// Progress is told each so many keys.
const OFTEN: u64 = 1024;
/// And whether to stop each so many bytes of a file, however few keys these have.
const EVERY: u64 = 16 << 20;
/// Databases, types of modules, and libraries, each.
const MOST_NAMES: usize = 65_536;

/// By which rule keys have their slots, and which of them are the RDB's; others are leftovers.
#[derive(Clone, Debug, Default)]
pub struct Owned {
    pub families: Option<Families>,
    /// None: all are.
    pub slots: Option<SlotSet>,
}

impl Owned {
    #[inline]
    pub fn slot_of(&self, key: &[u8]) -> u16 {
        self.families.as_ref().map_or_else(|| hash::slot(key), |families| families.slot(key))
    }

    #[inline]
    pub fn has(&self, slot: u16) -> bool {
        self.slots.as_ref().is_none_or(|slots| slots.has(slot))
    }
}

#[derive(Clone, Debug)]
pub struct SlotSet(Box<[bool]>);

impl SlotSet {
    /// Of ranges, first and last included; an error names one that cannot be.
    pub fn of(ranges: &[(u16, u16)]) -> Result<Self, String> {
        let mut set = vec![false; usize::from(SLOTS)].into_boxed_slice();
        for &(first, last) in ranges {
            let range = set.get_mut(usize::from(first)..=usize::from(last));
            range.ok_or_else(|| format!("no range of slots: {first}-{last}"))?.fill(true);
        }
        Ok(Self(set))
    }

    #[inline]
    pub fn has(&self, slot: u16) -> bool {
        self.0[usize::from(slot)]
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub bytes: u64,
    pub sha256: String,
    /// Its own checksum vouches for it; else it was written without one.
    pub is_checked: bool,
    pub version: u16,
    pub keys: u64,
    pub keys_per_slot: BTreeMap<u16, u64>,
    pub strays: u64,
    pub expires: u64,
    pub functions: u64,
    /// Of the libraries' sources in whatever order; of nothing when there is none.
    pub functions_sha256: String,
    pub databases: BTreeSet<u32>,
    pub types: BTreeMap<&'static str, u64>,
    /// Names of the modules' types.
    pub modules: BTreeSet<String>,
    pub engine: String,
    pub replid: String,
    pub offset: Option<i64>,
    /// The longest value, bytes as they are in the RDB.
    pub longest: u64,
}

/// Counts records one by one.
pub struct Tally<'o> {
    owned: &'o Owned,
    per_slot: Box<[u64]>,
    libraries: Vec<[u8; 32]>,
    types: [u64; 256],
    last_database: Option<u32>,
    found: Summary,
}

impl<'o> Tally<'o> {
    pub fn new(owned: &'o Owned) -> Self {
        Self {
            owned,
            per_slot: vec![0; usize::from(SLOTS)].into_boxed_slice(),
            libraries: Vec::new(),
            types: [0; 256],
            last_database: None,
            found: Summary::default(),
        }
    }

    pub const fn keys(&self) -> u64 {
        self.found.keys
    }

    /// Fails at a database or a module's type more than are counted.
    #[inline]
    pub fn record(&mut self, record: &Record) -> Result<(), RdbError> {
        let slot = self.owned.slot_of(record.key);
        self.found.keys += 1;
        self.found.strays += u64::from(!self.owned.has(slot));
        self.found.expires += u64::from(record.expires.is_some());
        self.found.longest = self.found.longest.max(record.length);
        self.per_slot[usize::from(slot)] += 1;
        self.types[usize::from(record.kind)] += 1;
        if self.last_database != Some(record.database) {
            self.last_database = Some(record.database);
            self.found.databases.insert(record.database);
            few("databases", self.found.databases.len())?;
        }
        if let Some(id) = record.module {
            self.found.modules.insert(module_name(id));
            few("types of modules", self.found.modules.len())?;
        }
        Ok(())
    }

    pub fn library(&mut self, source: &[u8]) -> Result<(), RdbError> {
        few("libraries of functions", self.libraries.len() + 1)?;
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, source).as_ref());
        self.libraries.push(id);
        Ok(())
    }

    pub fn fact(&mut self, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        match name {
            b"redis-ver" => self.found.engine = format!("redis {text}"),
            b"valkey-ver" => self.found.engine = format!("valkey {text}"),
            b"repl-id" => self.found.replid = text.into_owned(),
            b"repl-offset" => self.found.offset = text.parse().ok(),
            _ => {}
        }
    }

    fn end<R: Read>(mut self, mut reader: Reader<R>, is_checked: bool) -> (Summary, Source<R>) {
        let maker = reader.maker();
        for (kind, &count) in self.types.iter().enumerate().filter(|(_, count)| **count > 0) {
            *self.found.types.entry(name_of(kind as u8, maker).unwrap_or("unknown")).or_default() += count;
        }
        let filled = self.per_slot.iter().enumerate().filter(|(_, keys)| **keys > 0);
        self.found.keys_per_slot = filled.map(|(slot, &keys)| (slot as u16, keys)).collect();
        self.libraries.sort_unstable();
        let mut functions = Context::new(&SHA256);
        self.libraries.iter().for_each(|library| functions.update(library));
        self.found.functions = self.libraries.len() as u64;
        self.found.functions_sha256 = hex(functions.finish().as_ref());
        self.found.bytes = reader.position();
        self.found.version = reader.version();
        self.found.is_checked = is_checked;
        self.found.sha256 = reader.source().end_sha().unwrap_or_default();
        (self.found, reader.into_source())
    }
}

const fn few(what: &'static str, count: usize) -> Result<(), RdbError> {
    if count > MOST_NAMES {
        return Err(RdbError::TooMany { what, most: MOST_NAMES });
    }
    Ok(())
}

/// Read a whole RDB, holding a window of it in memory. `progress` is told the keys so far now and then, and may end it.
/// The source is given back with what follows the RDB in it.
pub fn summarize<R: Read>(
    inner: R,
    owned: &Owned,
    mut progress: impl FnMut(u64) -> Result<(), RdbError>,
) -> Result<(Summary, Source<R>), RdbError> {
    let mut reader = Reader::new(Source::new(inner, MOST, true), false)?;
    let mut tally = Tally::new(owned);
    loop {
        match reader.next_part()? {
            Part::Record(record) => tally.record(&record)?,
            Part::Library(source) => tally.library(source)?,
            Part::Fact(name, value) => tally.fact(name, value),
            Part::End(is_checked) => return Ok(tally.end(reader, is_checked)),
        }
        if tally.keys().is_multiple_of(OFTEN) {
            progress(tally.keys())?;
        }
    }
}

/// Asks whether to go on each so many bytes.
struct Asking<R, F> {
    inner: R,
    left: u64,
    asks: F,
}

impl<R: Read, F: Fn() -> io::Result<()>> Read for Asking<R, F> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            (self.asks)()?;
            self.left = EVERY;
        }
        let count = self.inner.read(to)?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// The same of a file, behind whose end nothing may follow.
pub fn summarize_file(
    path: &Path,
    owned: &Owned,
    progress: impl FnMut(u64) -> Result<(), RdbError>,
) -> Result<Summary, RdbError> {
    let file = File::open(path).map_err(RdbError::Read)?;
    let (progress, keys) = (RefCell::new(progress), Cell::new(0));
    let asks = || (progress.borrow_mut())(keys.get()).map_err(io::Error::other);
    let asking = Asking { inner: file, left: EVERY, asks };
    let (summary, mut source) = summarize(asking, owned, |count| {
        keys.set(count);
        (progress.borrow_mut())(count)
    })?;
    if source.is_at_end()? {
        Ok(summary)
    } else {
        Err(source.broken("something follows its end"))
    }
}
