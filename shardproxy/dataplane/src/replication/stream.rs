//! What a source tells its replicas, read: which keys each command touches, and where in the history it ends. No sockets.
//!
//! ```text
//!   *2 SELECT 0 │ *1 MULTI │ *3 SET k v │ *2 INCR n │ *1 EXEC │ \n │ *1 PING
//!                            mark k       mark n                └ counts for nothing
//! ```
//!
//! Commands stand as they were executed, so that what they did is in the keys they name. A command that nobody knows ends
//! it: what it did would be missed.

use std::sync::Arc;

use crate::command::{key_positions, sort_positions, Command, CommandTable, Flags, Keys, Span};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};

/// The longest command: engines take no argument of more than half of it, and few have another that is long.
const LONGEST: usize = 1 << 30;
const LIMITS: RequestLimits = RequestLimits { max_request: LONGEST, max_arguments: 1 << 24, ..RequestLimits::NONE };

/// What a piece of the stream means to a copy of one database.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// This key is another now: it has to be read again.
    Key(&'a [u8]),
    /// The same, by a command that does to a copy of the key what it did to the key.
    Command { key: &'a [u8], request: &'a [u8] },
    /// The database was emptied.
    Emptied,
}

pub struct Decoder {
    table: Arc<CommandTable>,
    parser: RequestParser,
    ours: u32,
    /// The database that commands are about; none until the stream has said it.
    database: Option<u32>,
    /// Bytes of the source's history that were read.
    offset: i64,
    positions: Vec<u32>,
}

impl Decoder {
    pub fn new(table: Arc<CommandTable>, ours: u32, database: Option<u32>, offset: i64) -> Self {
        Self { table, parser: RequestParser::new(), ours, database, offset, positions: Vec::new() }
    }

    /// Where the last command ends that was read.
    pub const fn offset(&self) -> i64 {
        self.offset
    }

    /// A connection that goes on where the last one ended. Of a command that came in part, all comes again.
    pub fn resume(&mut self) {
        self.parser.reset();
    }

    /// Read one command, if it is there whole: how many bytes it takes. What it means goes to `told`, with the offset at its
    /// end. An error says why the copy cannot go on.
    pub fn step(&mut self, buf: &[u8], told: &mut dyn FnMut(Change<'_>, i64)) -> Result<Option<usize>, String> {
        if self.parser.is_idle() && buf.first() == Some(&b'\n') {
            return Ok(Some(1)); // it only shows that the source lives
        }
        let parsed = self.parser.parse(buf, &LIMITS);
        match parsed.map_err(|error| format!("the source's stream cannot be read: {error:?}"))? {
            Parsed::Incomplete { .. } => Ok(None),
            Parsed::Skip { consumed } => {
                self.offset += consumed as i64;
                Ok(Some(consumed))
            }
            Parsed::Request { consumed } => {
                self.offset += consumed as i64;
                let spans = self.parser.spans().to_vec();
                self.read(&spans, &buf[..consumed], told)?;
                Ok(Some(consumed))
            }
            Parsed::Inline { consumed } => {
                self.offset += consumed as i64;
                let (spans, request) = (self.parser.spans().to_vec(), self.parser.inline().to_vec());
                self.read(&spans, &request, told)?;
                Ok(Some(consumed))
            }
        }
    }

    fn read(&mut self, spans: &[Span], request: &[u8], told: &mut dyn FnMut(Change<'_>, i64)) -> Result<(), String> {
        let word = |at: usize| spans.get(at).map_or(&b""[..], |span: &Span| span.of(request));
        let name = word(0);
        let table = self.table.clone();
        let command = table.find(name).ok_or_else(|| unknown(name))?;
        let command = command.subcommand(word(1)).unwrap_or(command);
        let is_ours = self.database.is_none_or(|database| database == self.ours);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("SELECT") {
            self.database = Some(number(word(1)).ok_or("the source's stream selects no database")?);
            return Ok(());
        }
        if is("FLUSHALL") || is("FLUSHDB") && is_ours {
            told(Change::Emptied, self.offset);
            return Ok(());
        }
        if is("SWAPDB") && [word(1), word(2)].into_iter().any(|word| number(word).is_none_or(|n| n == self.ours)) {
            return Err("SWAPDB exchanged the database that is copied: begin anew".into());
        }
        if command.flags.contains(Flags::PUBSUB) {
            return Ok(()); // a channel is no key
        }
        // where a command reaches into another database its keys are marked whichever it is: that costs a read
        let reaches = is("MOVE") || is("COPY");
        if !is_ours && !reaches {
            return Ok(());
        }
        self.find_keys(command, spans, request);
        let has_keys = command.is_learned || command.keys != Keys::None;
        if self.positions.is_empty() && has_keys && command.may_write() {
            return Err(unknown(name)); // no one told where its keys are, or they are not there
        }
        let keys = self.positions.iter().filter_map(|&at| spans.get(at as usize)).map(|span| span.of(request));
        if self.positions.len() == 1 && self.database == Some(self.ours) && repeats(name) {
            keys.for_each(|key| told(Change::Command { key, request }, self.offset));
        } else {
            keys.for_each(|key| told(Change::Key(key), self.offset));
        }
        Ok(())
    }

    fn find_keys(&mut self, command: &Command, spans: &[Span], request: &[u8]) {
        if command.keys == Keys::Sort {
            sort_positions(command, spans, request, &mut self.positions);
        } else if key_positions(command, spans, request, &mut self.positions).is_err() {
            self.positions.clear();
        }
    }
}

fn unknown(name: &[u8]) -> String {
    format!("the source executed {}, of which nothing is known: where its keys are", name.escape_ascii())
}

fn number(word: &[u8]) -> Option<u32> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Commands of one key, none of which looks at a clock, at chance, at another key, or gives the key a time to live: as a
/// source tells them, they do to an equal key the same.
const REPEATING: &[&str] = &[
    "APPEND",
    "DECR",
    "DECRBY",
    "INCR",
    "INCRBY",
    "SETBIT",
    "SETRANGE",
    "LINSERT",
    "LPOP",
    "LPUSH",
    "LPUSHX",
    "LREM",
    "LSET",
    "LTRIM",
    "RPOP",
    "RPUSH",
    "RPUSHX",
    "HDEL",
    "HINCRBY",
    "HMSET",
    "HSET",
    "HSETNX",
    "SADD",
    "SREM",
    "GEOADD",
    "ZADD",
    "ZINCRBY",
    "ZPOPMAX",
    "ZPOPMIN",
    "ZREM",
    "ZREMRANGEBYLEX",
    "ZREMRANGEBYRANK",
    "ZREMRANGEBYSCORE",
    "PFADD",
    "XACK",
    "XADD",
    "XCLAIM",
    "XDEL",
    "XGROUP",
    "XSETID",
    "XTRIM",
];

fn repeats(name: &[u8]) -> bool {
    REPEATING.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::resp::write;

    fn stream(commands: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for command in commands {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            write::command(&mut bytes, &words);
        }
        bytes
    }

    fn decoder(database: Option<u32>) -> Decoder {
        Decoder::new(Arc::new(CommandTable::builtin().unwrap()), 0, database, 100)
    }

    /// What is told of a stream that comes in pieces of so many bytes, and where it ends.
    fn told_in(bytes: &[u8], piece: usize, database: Option<u32>) -> Result<(Vec<String>, i64), String> {
        let mut decoder = decoder(database);
        let (mut start, mut told) = (0, Vec::new());
        for end in (0..bytes.len()).step_by(piece).chain([bytes.len()]) {
            while let Some(taken) = decoder.step(&bytes[start..end], &mut |change, at| {
                told.push(match change {
                    Change::Key(key) => format!("{}@{at}", key.escape_ascii()),
                    Change::Command { key, .. } => format!("={}@{at}", key.escape_ascii()),
                    Change::Emptied => "emptied".into(),
                });
            })? {
                assert!(taken > 0);
                start += taken;
            }
        }
        Ok((told, decoder.offset()))
    }

    fn told(commands: &[&str], database: Option<u32>) -> String {
        let (told, _) = told_in(&stream(commands), 1 << 20, database).unwrap();
        told.iter().map(|one| one.split('@').next().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_key_that_a_command_changes_is_marked() {
        for (command, expected) in [
            ("SET k v PXAT 99", "k"),
            ("DEL a b c", "a b c"),
            ("UNLINK a", "a"),
            ("MSET a 1 b 2", "a b"),
            ("RENAME a b", "a b"),
            ("SMOVE a b m", "a b"),
            ("ZUNIONSTORE d 2 a b", "d a b"),
            ("SORT a STORE d", "a d"),
            ("SORT a BY w_* GET x_* STORE d", "a d"),
            ("GEORADIUS a 0 0 1 m STORE d", "a d"),
            ("LMOVE a b LEFT RIGHT", "a b"),
            ("BITOP AND d a b", "d a b"),
            ("PEXPIREAT k 99", "k"),
            ("RESTORE k 0 x REPLACE", "k"),
            ("EVAL x 2 a b c", "a b"),
            ("XGROUP CREATE s g 0", "=s"),
            ("XADD s 1-1 a b", "=s"),
            ("INCR k", "=k"),
            ("ZADD z 1 a", "=z"),
            ("PFMERGE d a", "d a"),
            ("PFCOUNT a", "a"),
            ("COPY a b", "a b"),
            ("MOVE a 4", "a"),
            ("PING", ""),
            ("REPLCONF GETACK *", ""),
            ("PUBLISH c m", ""),
            ("SPUBLISH c m", ""),
            ("MULTI", ""),
            ("EXEC", ""),
            ("SCRIPT FLUSH", ""),
            ("FUNCTION LOAD x", ""),
            ("SELECT 0", ""),
            ("FLUSHALL ASYNC", "emptied"),
            ("FLUSHDB", "emptied"),
            ("SWAPDB 3 4", ""),
        ] {
            assert_eq!(told(&[command], Some(0)), expected, "{command}");
        }
    }

    #[test]
    fn only_one_database_counts_and_the_unknown_may_be_it() {
        let commands =
            ["SET a 1", "INCR b", "SELECT 3", "SET c 1", "FLUSHDB", "MOVE d 0", "COPY e f DB 0", "SELECT 0", "INCR g"];
        assert_eq!(told(&commands, None), "a b d e f =g");
        assert_eq!(told(&commands, Some(0)), "a =b d e f =g");
        assert_eq!(told(&commands, Some(5)), "d e f =g");
        assert_eq!(told(&["SELECT 3", "FLUSHALL"], Some(0)), "emptied");
    }

    #[test]
    fn what_is_not_understood_ends_it_by_name() {
        for (command, expected) in [
            ("MY.WRITE k", "MY.WRITE"),
            ("EVAL x 0", "EVAL"),
            ("EVAL x 3 a b", "EVAL"),
            ("SWAPDB 0 3", "SWAPDB"),
            ("SELECT x", "selects no database"),
        ] {
            let error = told_in(&stream(&[command]), 1 << 20, Some(0)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(told_in(b"*1\r\n+OK\r\n", 100, None).is_err());
    }

    #[test]
    fn a_command_that_would_fill_the_memory_ends_it_when_it_is_announced() {
        for announced in
            ["*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9999999999\r\n".to_owned(), format!("*{}\r\n$4\r\nMSET\r\n", i32::MAX)]
        {
            let error = told_in(announced.as_bytes(), 1 << 20, Some(0)).unwrap_err();
            assert!(error.contains("cannot be read"), "{error}");
        }
    }

    #[test]
    fn offsets_are_bytes_but_for_signs_of_life() {
        let (a, b) = (stream(&["SET a 1"]), stream(&["INCR b"]));
        let bytes = [b"\n\n", &a[..], b"\n", &b[..]].concat();
        let first = 100 + a.len() as i64;
        let second = first + b.len() as i64;
        let expected = (vec![format!("a@{first}"), format!("=b@{second}")], second);
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(told_in(&bytes, piece, Some(0)), Ok(expected.clone()), "{piece}");
        }
    }

    #[test]
    fn what_was_cut_comes_again_whole() {
        let bytes = stream(&["SET a 1", "SET b 1"]);
        let mut decoder = decoder(Some(0));
        let mut keys = Vec::new();
        let half = bytes.len() / 2 + 5;
        let first = decoder.step(&bytes[..half], &mut |_, _| keys.push(1)).unwrap().unwrap();
        assert_eq!(decoder.step(&bytes[first..half], &mut |_, _| keys.push(2)), Ok(None));
        decoder.resume();
        let from = (decoder.offset() - 100) as usize;
        assert_eq!(decoder.step(&bytes[from..], &mut |_, _| keys.push(3)), Ok(Some(bytes.len() - first)));
        assert_eq!((keys, decoder.offset()), (vec![1, 3], 100 + bytes.len() as i64));
    }

    #[test]
    fn what_repeats_is_one_key_that_is_written() {
        let table = CommandTable::builtin().unwrap();
        for name in REPEATING {
            let command = table.find(name.as_bytes()).unwrap();
            let command = command.subcommands.first().unwrap_or(command);
            assert!(command.may_write() && command.first == command.last, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_stream_is_the_same_in_pieces(
            commands in proptest::collection::vec("(SET [ab] 1|DEL a b|INCR a|SELECT [0-3]|PING|MULTI|EXEC|FLUSHDB|x)", 0..8),
            piece in 1usize..40,
        ) {
            let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
            let bytes = stream(&commands);
            prop_assert_eq!(told_in(&bytes, piece, Some(0)), told_in(&bytes, bytes.len().max(1), Some(0)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1usize..40) {
            let _ = told_in(&bytes, piece, None);
        }
    }
}
