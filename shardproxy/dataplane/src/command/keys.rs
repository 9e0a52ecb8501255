//! Which arguments are keys.
//!
//! A request whose keys cannot be told, such as `EVAL s -1`, has none here: it goes to any shard, and the engine says
//! what is wrong with it in its own words. It executes nothing, for the engine reads its arguments as this does.

use super::{Command, Keys, Span};

#[derive(Debug, PartialEq, Eq)]
pub enum KeysError {
    /// SORT would look up keys that may be on any shard.
    Pattern(&'static str),
}

impl KeysError {
    pub fn reply(&self, _command: &Command) -> Vec<u8> {
        let Self::Pattern(option) = self;
        let why = "denied in cluster mode when keys formed by the pattern may be in different slots";
        format!("-ERR {option} option of SORT {why}.\r\n").into_bytes()
    }
}

pub fn key_positions(command: &Command, args: &[Span], buf: &[u8], out: &mut Vec<u32>) -> Result<(), KeysError> {
    out.clear();
    if !matches!(command.keys, Keys::None | Keys::Streams | Keys::Migrate) {
        range(command, args.len(), out);
    }
    let argument = |at: usize| args.get(at).map_or(&b""[..], |span| span.of(buf));
    match command.keys {
        Keys::None | Keys::Range => {}
        Keys::NumKeys(position) => {
            let first = u32::from(position) + 1;
            let count = std::str::from_utf8(argument(usize::from(position))).ok().and_then(|t| t.parse::<u32>().ok());
            let room = args.len().saturating_sub(first as usize);
            if let Some(count) = count.filter(|&count| count as usize <= room) {
                out.extend(first..first + count);
            }
        }
        Keys::Streams => {
            if let Streams { at: Some(at), .. } = streams(args.iter().map(|span| span.of(buf))) {
                let rest = args.len() - at - 1;
                if rest.is_multiple_of(2) {
                    out.extend(at as u32 + 1..(at + 1 + rest / 2) as u32);
                }
            }
        }
        Keys::Sort => return sort(command, args.len(), argument, true, out),
        Keys::GeoRadius => {
            let store =
                (5..args.len().saturating_sub(1)).rev().find(|&at| is_any(argument(at), &[b"STORE", b"STOREDIST"]));
            out.extend(store.map(|at| at as u32 + 1));
        }
        Keys::Migrate if !argument(3).is_empty() => out.push(3),
        Keys::Migrate => {
            let keys = (6..args.len()).find(|&at| is_any(argument(at), &[b"KEYS"])).unwrap_or(args.len());
            out.extend(keys as u32 + 1..args.len() as u32);
        }
    }
    Ok(())
}

/// The keys of SORT alone, without what its patterns look up.
pub fn sort_positions(command: &Command, args: &[Span], buf: &[u8], out: &mut Vec<u32>) {
    out.clear();
    range(command, args.len(), out);
    let argument = |at: usize| args.get(at).map_or(&b""[..], |span| span.of(buf));
    let _ = sort(command, args.len(), argument, false, out); // only patterns are refused
}

fn range(command: &Command, count: usize, out: &mut Vec<u32>) {
    let (Ok(first @ 1..), Ok(step @ 1..)) = (usize::try_from(command.first), usize::try_from(command.step)) else {
        return;
    };
    let last = match usize::try_from(command.last) {
        Ok(last) => last.min(count.saturating_sub(1)),
        Err(_) => count.saturating_sub(command.last.unsigned_abs() as usize),
    };
    out.extend((first..=last).step_by(step).map(|at| at as u32));
}

fn is_any(argument: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| argument.eq_ignore_ascii_case(word))
}

/// What XREAD and XREADGROUP say before the names of streams.
pub struct Streams {
    /// Where STREAMS stands.
    pub at: Option<usize>,
    /// Where the milliseconds of BLOCK stand.
    pub block: Option<usize>,
}

/// Read the options one by one, for a group or a consumer may be called STREAMS or BLOCK.
pub fn streams<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> Streams {
    let mut block = None;
    let mut skipped = 1;
    for (at, argument) in arguments.enumerate() {
        if skipped > 0 {
            skipped -= 1;
        } else if is_any(argument, &[b"STREAMS"]) {
            return Streams { at: Some(at), block };
        } else if is_any(argument, &[b"BLOCK"]) {
            (block, skipped) = (Some(at + 1), 1);
        } else if is_any(argument, &[b"COUNT"]) {
            skipped = 1;
        } else if is_any(argument, &[b"GROUP"]) {
            skipped = 2;
        } // NOACK; options of newer engines are passed over word by word
    }
    Streams { at: None, block }
}

/// The destination of STORE, and the patterns of BY and GET: what they look up hashes by the tag before the `*`.
fn sort<'a>(
    command: &Command,
    count: usize,
    argument: impl Fn(usize) -> &'a [u8],
    has_patterns: bool,
    out: &mut Vec<u32>,
) -> Result<(), KeysError> {
    let mut store = None;
    let mut at = 2;
    while at < count {
        let word = argument(at);
        if is_any(word, &[b"LIMIT"]) {
            at += 2;
        } else if is_any(word, &[b"BY", b"GET"]) && at + 1 < count {
            at += 1;
            if let Some(star) = memchr::memchr(b'*', argument(at)).filter(|_| has_patterns) {
                if !has_tag(&argument(at)[..star]) {
                    return Err(KeysError::Pattern(if word.len() == 2 { "BY" } else { "GET" }));
                }
                out.push(at as u32);
            }
        } else if is_any(word, &[b"STORE"]) && at + 1 < count && &*command.name == "sort" {
            at += 1;
            store = Some(at as u32);
        }
        at += 1;
    }
    out.extend(store);
    Ok(())
}

fn has_tag(text: &[u8]) -> bool {
    let Some(open) = memchr::memchr(b'{', text) else {
        return false;
    };
    memchr::memchr(b'}', &text[open + 1..]).is_some_and(|close| close > 0)
}
