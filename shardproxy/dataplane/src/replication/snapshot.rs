//! One engine's RDB into a new file, its own bytes, read at full speed and verified meanwhile: replicas of the same engine may
//! share its fork, and go at the pace of the slowest.
//!
//! ```text
//!   PSYNC ? -1 ─> \n \n .. ─> +FULLRESYNC ─> \n .. ─> $EOF:mark | $length ─> RDB ─┬─> file ─ fsync
//!   (WAITING)                  (FORKED)                              (READING)    └─> summary
//! ```
//!
//! Never acknowledges an offset: nobody may take it for a replica.

use std::fs::{remove_file, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::memchr;
use serde::Serialize;

use super::end::End;
use super::node::{Node, NodeError, Stop};
use super::rdb::{summarize, Owned, RdbError, Summary};
use super::told::{Teller, Told};

/// For the connection and the login.
const REACHED: Duration = Duration::from_secs(10);
/// For an answer to what an engine answers at once.
const ANSWERED: Duration = Duration::from_secs(10);
/// Nothing came for so long, not even the engine's sign each second that it is still at it: it is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// Read at once.
const READ: usize = 1 << 20;
/// Valkey writes what a replica of this version can read, and to one that says nothing what Redis 7.2 could: then it gives
/// up where it has what that had not, as fields with a time to live. Other engines do not know the word.
const UNDERSTOOD: &[u8] = b"9.1.0";
/// Behind an RDB whose length its engine did not know.
const MARK: usize = 40;
/// The longest line before the RDB: an error's text.
const LINE: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    #[default]
    Connecting,
    Waiting,
    Forked,
    Reading,
    Done,
    Failed,
}

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub phase: Phase,
    pub why: String,
    pub bytes: u64,
    pub keys: u64,
    pub replid: String,
    pub offset: i64,
    pub summary: Option<Summary>,
}

/// What is read from whom into which file, which is not there yet.
pub struct SnapshotOrder {
    pub end: End,
    pub path: PathBuf,
    pub owned: Owned,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    keys: AtomicU64,
}

pub struct Snapshot {
    told: Told<Status>,
    counts: Arc<Counts>,
}

impl Snapshot {
    pub fn start(order: SnapshotOrder) -> io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let first = Status {
            phase: Phase::Connecting,
            why: String::new(),
            bytes: 0,
            keys: 0,
            replid: String::new(),
            offset: -1,
            summary: None,
        };
        let failed = |status: &mut Status, why| (status.phase, status.why) = (Phase::Failed, why);
        let counted = counts.clone();
        let told =
            Told::start("shardproxy-save", first, failed, move |teller, stop| run(&order, &counted, teller, stop))?;
        Ok(Self { told, counts })
    }

    pub fn status(&self) -> Status {
        let mut status = self.told.status();
        status.bytes = self.counts.bytes.load(Ordering::Relaxed);
        status.keys = self.counts.keys.load(Ordering::Relaxed);
        if let Some(summary) = &status.summary {
            (status.bytes, status.keys) = (summary.bytes, summary.keys);
        }
        status
    }

    /// Wait until it is in a later phase than this, or its thread has ended.
    pub fn wait_beyond(&self, phase: Phase, within: Duration) {
        self.told.wait(within, |status| status.phase > phase);
    }

    /// End the thread and wait for that; the file is removed unless it is whole.
    pub fn stop(&self) {
        self.told.stop();
    }
}

fn run(order: &SnapshotOrder, counts: &Counts, teller: &Teller<Status>, stop: &Stop) -> Result<(), String> {
    let mut file = NewFile::create(&order.path)?;
    let said = |error: NodeError| error.to_string();
    let mut node = Node::connect(&order.end, stop, REACHED).map_err(said)?;
    let end = begin(&mut node, teller, stop)?;
    teller.tell(|status| status.phase = Phase::Reading);
    let left = if let Ends::Length(length) = end { length } else { u64::MAX };
    let feed = Feed { node: &mut node, file: &mut file, left, stop, bytes: &counts.bytes };
    let progress = |keys| {
        counts.keys.store(keys, Ordering::Relaxed);
        Ok(())
    };
    let unread = |error: RdbError| match error {
        RdbError::Read(error) => error.to_string(),
        other => format!("the RDB of {}: {other}", order.end),
    };
    let (summary, mut source) = summarize(feed, &order.owned, progress).map_err(unread)?;
    match end {
        Ends::Length(length) if summary.bytes == length => {}
        Ends::Length(length) => {
            let (end, bytes) = (&order.end, summary.bytes);
            return Err(format!("the RDB of {end}: it ends at byte {bytes}, and {length} were announced"));
        }
        Ends::Mark(mark) => {
            let mut found = Vec::new();
            source.take(MARK, &mut found).map_err(unread)?;
            if found != mark {
                return Err(format!("the RDB of {}: the mark behind its end is not the one before it", order.end));
            }
        }
    }
    drop(source);
    drop(node);
    file.keep(summary.bytes)?;
    teller.tell(|status| (status.phase, status.summary) = (Phase::Done, Some(summary)));
    Ok(())
}

/// How the end of the RDB is known, beside its own.
enum Ends {
    Length(u64),
    Mark(Vec<u8>),
}

/// Ask for the RDB and read up to its first byte.
fn begin(node: &mut Node, teller: &Teller<Status>, stop: &Stop) -> Result<Ends, String> {
    let until = Instant::now() + ANSWERED;
    // without these, or as somebody who may not say them, there is an RDB all the same: with its length before it
    node.send(&[b"REPLCONF", b"ip-address", b"shardproxy", b"capa", b"eof", b"capa", b"psync2"]);
    node.send(&[b"REPLCONF", b"rdb-only", b"1"]);
    node.send(&[b"REPLCONF", b"version", UNDERSTOOD]);
    for _ in 0..3 {
        node.reply(until).map_err(|error| error.to_string())?;
    }
    node.send(&[b"PSYNC", b"?", b"-1"]);
    teller.tell(|status| status.phase = Phase::Waiting);
    let first = line(node, stop)?;
    let mut words = first.split(' ');
    let (Some("+FULLRESYNC"), Some(replid), Some(offset)) = (words.next(), words.next(), words.next()) else {
        return Err(match first.strip_prefix('-') {
            Some(refusal) => format!("{}: {refusal}", node.address()),
            None => format!("{} does not give an RDB, but says {first:?}", node.address()),
        });
    };
    let offset = offset.parse().map_err(|_| format!("{} gives no offset: {first:?}", node.address()))?;
    teller.tell(|status| (status.phase, status.replid, status.offset) = (Phase::Forked, replid.to_owned(), offset));
    let second = line(node, stop)?;
    if let Some(mark) = second.strip_prefix("$EOF:").filter(|mark| mark.len() == MARK) {
        return Ok(Ends::Mark(mark.as_bytes().to_vec()));
    }
    let length = second.strip_prefix('$').and_then(|digits| digits.parse().ok());
    length.map(Ends::Length).ok_or_else(|| format!("{} announces no RDB, but says {second:?}", node.address()))
}

/// The next line that is not empty: an engine says each second by an empty one that it is still at it.
fn line(node: &mut Node, stop: &Stop) -> Result<String, String> {
    let said = |error: NodeError| error.to_string();
    loop {
        stop.check().map_err(said)?;
        while let Some(end) = memchr(b'\n', node.untaken()) {
            let line = String::from_utf8_lossy(&node.untaken()[..end]).trim_end_matches('\r').to_owned();
            node.take_bytes(end + 1);
            if !line.is_empty() {
                return Ok(line);
            }
        }
        if node.untaken().len() > LINE {
            return Err(format!("{} does not speak of replication", node.address()));
        }
        if node.is_ended() {
            return Err(format!("{} closed the connection before it sent an RDB: its log says why", node.address()));
        }
        node.flush().map_err(said)?;
        node.wait(Instant::now() + SILENCE).map_err(said)?;
        node.fill(LINE).map_err(said)?;
    }
}

/// What the engine sends, each byte written to the file before it is looked at.
struct Feed<'r> {
    node: &'r mut Node,
    file: &'r mut NewFile,
    left: u64,
    stop: &'r Stop,
    bytes: &'r AtomicU64,
}

impl Read for Feed<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        self.stop.check().map_err(io::Error::other)?;
        while self.node.untaken().is_empty() {
            if self.node.is_ended() {
                return Err(io::Error::other(format!(
                    "{} closed the connection in the middle of its RDB: its log says why",
                    self.node.address()
                )));
            }
            self.node.wait(Instant::now() + SILENCE).map_err(io::Error::other)?;
            self.node.fill(READ).map_err(io::Error::other)?;
        }
        let came = self.node.untaken();
        let count = to.len().min(came.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        to[..count].copy_from_slice(&came[..count]);
        self.node.take_bytes(count);
        self.file.write(&to[..count])?;
        self.left -= count as u64;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// A file that is removed again unless it is kept.
struct NewFile {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl NewFile {
    fn create(path: &Path) -> Result<Self, String> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = opened.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, is_kept: false })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).map_err(|error| io::Error::other(format!("{}: {error}", self.path.display())))
    }

    /// Have its first bytes on the disk, and no others.
    fn keep(mut self, length: u64) -> Result<(), String> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let kept = self.file.set_len(length).and_then(|()| self.file.sync_all());
        let kept = kept.and_then(|()| File::open(folder)?.sync_all());
        kept.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = remove_file(&self.path); // what is left of it says itself that it is not whole
        }
    }
}
