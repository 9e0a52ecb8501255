//! The walk through one file: which records are restored, to whom, and how far all of it is answered.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::lane::Lane;
use super::order::FileOrder;
use super::refusal::shown;
use super::run::{Shared, SILENCE};
use crate::glob;
use crate::net::wait_ready;
use crate::replication::rdb::{module_text, Owned, Part, RdbError, Reader, Record, Source, MOST};

/// What is unanswered on all lanes of a file, in bytes, and on one of them.
const UNANSWERED: usize = 64 << 20;
const LANE: usize = 1 << 20;
const LEAST: usize = 64 * 1024;
/// Records between two looks at all lanes, at the clock, and at whether to go on.
const OFTEN: u64 = 4096;
/// The same in bytes of the file.
const FAR: u64 = 16 << 20;

/// What became of records, since it was told last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub keys: u64,
    pub leftovers: u64,
    pub expired: u64,
    pub unmatched: u64,
    pub functions: u64,
}

pub struct Walk<'r> {
    shared: &'r Shared<'r>,
    number: usize,
    file: &'r FileOrder,
    lanes: Vec<Option<Lane>>,
    /// What may be unanswered on one lane.
    window: usize,
    /// What is there may be what an interrupted run restored, or older: the file's value takes its place.
    replaces: bool,
    counts: Counts,
    /// Milliseconds since 1970, not older than `OFTEN` records.
    now: u64,
    /// Where the record begins that is looked at.
    read: u64,
    /// Where that was when it was told last.
    told: u64,
}

impl<'r> Walk<'r> {
    pub fn new(shared: &'r Shared<'r>, number: usize) -> Self {
        let order = shared.order;
        let targets = order.targets.len().max(1);
        Self {
            shared,
            number,
            file: &order.files[number],
            lanes: order.targets.iter().map(|_| None).collect(),
            window: (UNANSWERED / targets).clamp(LEAST, LANE),
            replaces: order.replaces || order.is_resumed,
            counts: Counts::default(),
            now: milliseconds(),
            read: 0,
            told: 0,
        }
    }

    /// Restore all of it; how far it came is told whatever becomes of it.
    pub fn all(mut self) -> Result<(), String> {
        let done = self.walk();
        self.tell();
        done
    }

    fn walk(&mut self) -> Result<(), String> {
        let path = &self.file.path;
        let unread = |error: RdbError| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(|error| unread(RdbError::Read(error)))?;
        let mut reader = Reader::new(Source::new(file, MOST, false), true).map_err(unread)?;
        let owned = self.shared.order.owned(self.file);
        let version = reader.version();
        let mut records = 0u64;
        loop {
            let start = reader.position();
            self.read = start;
            let is_done = start < self.file.start;
            match reader.next_part().map_err(unread)? {
                Part::Record(record) => {
                    if !is_done {
                        self.record(&record, start, version, &owned)?;
                    }
                    records += 1;
                }
                Part::Library(library) => {
                    if !is_done && self.shared.order.functions && self.shared.is_new(library) {
                        self.library(library, version)?;
                    }
                }
                Part::Fact(..) => {}
                Part::End(_) => break,
            }
            if records.is_multiple_of(OFTEN) || start - self.told > FAR {
                self.shared.stop.check().map_err(|error| error.to_string())?;
                self.now = milliseconds();
                self.turn_all()?;
                self.tell();
            }
        }
        if !reader.source().is_at_end().map_err(unread)? {
            return Err(format!("{}: something follows its end", path.display()));
        }
        while self.lanes.iter().flatten().any(|lane| lane.oldest().is_some()) {
            self.turn_all()?;
            self.wait_if(|walk| walk.lanes.iter().flatten().any(|lane| lane.oldest().is_some()))?;
        }
        self.read = reader.position();
        Ok(())
    }

    fn record(&mut self, record: &Record, start: u64, version: u16, owned: &Owned) -> Result<(), String> {
        let order = self.shared.order;
        if order.database.is_some_and(|database| database != record.database) {
            let (path, database) = (self.file.path.display(), record.database);
            return Err(format!(
                "{path} has keys in database {database}, as {}: several databases go into one shard only",
                shown(record.key)
            ));
        }
        let slot = owned.slot_of(record.key);
        if !owned.has(slot) {
            self.counts.leftovers += 1;
        } else if order.pattern.as_ref().is_some_and(|pattern| !glob::matches(pattern, record.key)) {
            self.counts.unmatched += 1;
        } else if record.expires.is_some_and(|expires| expires <= self.now) {
            self.counts.expired += 1;
        } else {
            if let Some(id) = record.module {
                let (path, key) = (self.file.path.display(), shown(record.key));
                return Err(format!("{path}: the key {key} is of the module type {}: not restored", module_text(id)));
            }
            let seat = self.shared.seats.of_slot(slot);
            let seat = seat.ok_or_else(|| format!("no target has the slot {slot} of the key {}", shown(record.key)))?;
            let replaces = self.replaces;
            self.lane(seat, version)?.restore(record, start, replaces)?;
            self.pump(seat)?;
        }
        Ok(())
    }

    /// The lane of a target, opened when something is for it.
    fn lane(&mut self, seat: usize, version: u16) -> Result<&mut Lane, String> {
        let lane = &mut self.lanes[seat];
        if lane.is_none() {
            *lane = Some(Lane::open(&self.shared.order.targets[seat].end, version, self.shared.stop)?);
        }
        lane.as_mut().ok_or_else(|| "no lane".into())
    }

    /// Send when it is worth it, and wait while too much is unanswered.
    fn pump(&mut self, seat: usize) -> Result<(), String> {
        let window = self.window;
        let is_full = move |walk: &Self| walk.lanes[seat].as_ref().is_some_and(|lane| lane.unanswered() > window);
        if self.lanes[seat].as_ref().is_some_and(Lane::is_ripe) || is_full(self) {
            self.turn(seat)?;
            while is_full(self) {
                self.wait_if(is_full)?;
                self.turn_all()?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, seat: usize) -> Result<bool, String> {
        let Some(lane) = &mut self.lanes[seat] else { return Ok(false) };
        let before = lane.answered;
        let is_answered = lane.turn()?;
        self.counts.keys += lane.answered - before;
        Ok(is_answered)
    }

    fn turn_all(&mut self) -> Result<(), String> {
        for seat in 0..self.lanes.len() {
            self.turn(seat)?;
        }
        Ok(())
    }

    /// Wait until a target takes or answers something, while this is so.
    fn wait_if(&self, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        if !is_so(self) {
            return Ok(());
        }
        let stop = self.shared.stop;
        stop.check().map_err(|error| error.to_string())?;
        let mut wanted: Vec<_> = self.lanes.iter().flatten().map(Lane::wanted).collect();
        wanted.push(stop.wanted());
        let begun = Instant::now();
        wait_ready(&mut wanted, SILENCE).map_err(|error: io::Error| error.to_string())?;
        stop.check().map_err(|error| error.to_string())?;
        if begun.elapsed() >= SILENCE {
            let late = self.lanes.iter().flatten().find(|lane| lane.oldest().is_some());
            let name = late.map_or("", Lane::name);
            return Err(format!("{name} did not answer for {} s", SILENCE.as_secs()));
        }
        Ok(())
    }

    /// To every target, once.
    fn library(&mut self, library: &[u8], version: u16) -> Result<(), String> {
        let replaces = self.shared.order.replaces;
        for seat in 0..self.lanes.len() {
            while self.lane(seat, version)?.oldest().is_some() {
                self.wait_if(|walk| walk.lanes[seat].as_ref().is_some_and(|lane| lane.oldest().is_some()))?;
                self.turn_all()?;
            }
            self.lane(seat, version)?.load(library, replaces)?;
        }
        self.counts.functions += 1;
        Ok(())
    }

    /// Tell how far it is: what was read, and up to where all is answered.
    fn tell(&mut self) {
        let answered = self.lanes.iter().flatten().filter_map(Lane::oldest).min().unwrap_or(self.read);
        let counts = std::mem::take(&mut self.counts);
        self.told = self.read;
        self.shared.tell(self.number, self.read, answered.max(self.file.start), counts);
    }
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of a file.
pub fn length_of(path: &Path) -> Result<u64, String> {
    std::fs::metadata(path).map(|found| found.len()).map_err(|error| format!("{}: {error}", path.display()))
}
