//! Commands that wait, as far as the proxy can wait in an engine's place: for which keys, and how long.

use std::time::Duration;

use super::keys::streams;
use super::{Act, Command, Keys};

/// What a command waits for in a key. Where there is nothing for one of a kind, there is nothing for any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    List,
    SortedSet,
    /// Entries that everyone sees.
    Stream,
    /// Entries of a stream that only one consumer of a group is given.
    Group,
}

impl Kind {
    /// Whether what one takes the others do not get: they are served in the order they came.
    pub const fn is_taken(self) -> bool {
        !matches!(self, Self::Stream)
    }

    /// What TYPE says of a key that may have something.
    pub const fn holder(self) -> &'static [u8] {
        match self {
            Self::List => b"+list\r\n",
            Self::SortedSet => b"+zset\r\n",
            Self::Stream | Self::Group => b"+stream\r\n",
        }
    }
}

/// Where a command that waits says what, by the positions of its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    pub kind: Kind,
    /// The first of the keys it waits for, and how many there are.
    pub first: u32,
    pub count: u32,
    /// Where that number stands.
    pub numkeys: Option<u32>,
    /// Behind the keys of streams stand as many ids.
    pub has_ids: bool,
    pub group: Option<u32>,
    pub timeout: u32,
    /// How long it waits; none for ever.
    pub length: Option<Duration>,
}

/// What becomes of a command that may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// It answers at once, whatever there is.
    Never,
    For(Form),
    /// Only its engine knows what it means.
    Unknown,
}

/// Longer timeouts are left to the engine: it has a limit of its own.
const LONGEST: f64 = 1e9;

/// How a command waits. What the engine might refuse, or read otherwise, is unknown.
pub fn wait_of(command: &Command, arguments: &[&[u8]]) -> Wait {
    if command.keys == Keys::Streams {
        return wait_of_streams(arguments, command.is_read());
    }
    form_of(command.act, arguments).map_or(Wait::Unknown, Wait::For)
}

fn form_of(act: Act, arguments: &[&[u8]]) -> Option<Form> {
    let last = arguments.len().checked_sub(1)?;
    let is_end = |at: usize| is_any(arguments.get(at).copied().unwrap_or_default(), &[b"LEFT", b"RIGHT"]);
    let (kind, first, count, numkeys, timeout) = match act {
        Act::WaitList => (Kind::List, 1, last - 1, None, last),
        Act::WaitSortedSet => (Kind::SortedSet, 1, last - 1, None, last),
        Act::WaitMove if last == 3 || last == 5 && is_end(3) && is_end(4) => (Kind::List, 1, 1, None, last),
        Act::WaitListOf | Act::WaitSortedSetOf => {
            let is_list = act == Act::WaitListOf;
            let count = number(arguments.get(2)?).filter(|&count| count > 0)? as usize;
            let at = count.checked_add(3)?;
            let ends: [&[u8]; 2] = if is_list { [b"LEFT", b"RIGHT"] } else { [b"MIN", b"MAX"] };
            let rest = arguments.get(at..)?;
            let is_clean = match rest {
                [end] => is_any(end, &ends),
                [end, word, n] => is_any(end, &ends) && is_any(word, &[b"COUNT"]) && number(n).is_some_and(|n| n > 0),
                _ => false,
            };
            let kind = if is_list { Kind::List } else { Kind::SortedSet };
            is_clean.then_some((kind, 3, count, Some(2), 1))?
        }
        _ => return None,
    };
    let Length(length) = seconds(arguments[timeout])?;
    let (first, count, timeout) = (first, count as u32, timeout as u32);
    Some(Form { kind, first, count, numkeys, has_ids: false, group: None, timeout, length })
}

fn wait_of_streams(arguments: &[&[u8]], is_read: bool) -> Wait {
    let found = streams(arguments.iter().copied());
    let Some(block) = found.block else { return Wait::Never };
    let Some(first) = found.at.map(|at| at + 1) else { return Wait::Unknown };
    let rest = arguments.len() - first;
    let options = &arguments[1..first - 1];
    if rest == 0 || rest % 2 == 1 {
        return Wait::Unknown;
    }
    let ids = &arguments[first + rest / 2..];
    let group = (0..options.len()).find(|&at| is_any(options[at], &[b"GROUP"])).map(|at| at as u32 + 2);
    let is_clean = if is_read {
        group.is_none() && ids.iter().all(|id| is_id(id))
    } else {
        // whoever asks for what it was given before is answered at once
        group == Some(2) && ids.iter().all(|id| *id == b">")
    };
    let Some(Length(length)) = milliseconds(arguments.get(block).copied().unwrap_or_default()) else {
        return Wait::Unknown;
    };
    if !is_clean || !are_plain(options) {
        return Wait::Unknown;
    }
    Wait::For(Form {
        kind: if is_read { Kind::Stream } else { Kind::Group },
        first: first as u32,
        count: (rest / 2) as u32,
        numkeys: None,
        has_ids: true,
        group,
        timeout: block as u32,
        length,
    })
}

/// Options of XREAD and XREADGROUP that all engines read alike.
fn are_plain(options: &[&[u8]]) -> bool {
    let mut rest = options;
    loop {
        rest = match rest {
            [] => return true,
            [word, _, _, behind @ ..] if is_any(word, &[b"GROUP"]) => behind,
            [word, n, behind @ ..] if is_any(word, &[b"BLOCK", b"COUNT"]) && number(n).is_some() => behind,
            [word, behind @ ..] if is_any(word, &[b"NOACK"]) => behind,
            _ => return false,
        };
    }
}

fn is_id(id: &[u8]) -> bool {
    let is_number = |part: &[u8]| number(part).is_some();
    match memchr::memchr(b'-', id) {
        _ if id == b"$" => true,
        Some(dash) => is_number(&id[..dash]) && is_number(&id[dash + 1..]),
        None => is_number(id),
    }
}

/// Digits alone, as all engines read them.
fn number(text: &[u8]) -> Option<u64> {
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}

/// A timeout of seconds. An engine counts whole milliseconds, and never makes for ever of a little.
fn seconds(text: &[u8]) -> Option<Length> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (0.0..=LONGEST).contains(&seconds).then(|| Length::of((seconds * 1000.0).ceil() as u64))
}

fn milliseconds(text: &[u8]) -> Option<Length> {
    number(text).filter(|&milliseconds| milliseconds <= LONGEST as u64 * 1000).map(Length::of)
}

/// How long a command waits; none for ever.
struct Length(Option<Duration>);

impl Length {
    fn of(milliseconds: u64) -> Self {
        Self((milliseconds > 0).then(|| Duration::from_millis(milliseconds)))
    }
}

fn is_any(argument: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| argument.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandTable;

    fn read(line: &str) -> Wait {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let table = CommandTable::builtin().unwrap();
        wait_of(table.find(words[0]).unwrap(), &words)
    }

    #[test]
    fn what_is_waited_for_stands_where_engines_look_for_it() {
        let second = Some(Duration::from_secs(1));
        let tenth = Some(Duration::from_millis(100));
        for (line, kind, first, count, numkeys, timeout, length) in [
            ("BLPOP a b 1", Kind::List, 1, 2, None, 3, second),
            ("brpop a 0", Kind::List, 1, 1, None, 2, None),
            ("BLMOVE a b LEFT right 0.1", Kind::List, 1, 1, None, 5, tenth),
            ("BRPOPLPUSH a b 0", Kind::List, 1, 1, None, 3, None),
            ("BZPOPMIN a b c 0", Kind::SortedSet, 1, 3, None, 4, None),
            ("BLMPOP 0 2 a b LEFT COUNT 3", Kind::List, 3, 2, Some(2), 1, None),
            ("BZMPOP 1 1 a MAX", Kind::SortedSet, 3, 1, Some(2), 1, second),
            ("XREAD BLOCK 1000 STREAMS a b $ 5-0", Kind::Stream, 4, 2, None, 2, second),
            ("XREADGROUP GROUP BLOCK c COUNT 2 BLOCK 0 NOACK STREAMS a >", Kind::Group, 10, 1, None, 7, None),
        ] {
            let Wait::For(form) = read(line) else { panic!("{line}") };
            let found = (form.kind, form.first, form.count, form.numkeys, form.timeout, form.length);
            assert_eq!(found, (kind, first, count, numkeys, timeout, length), "{line}");
            assert_eq!(form.group.is_some(), kind == Kind::Group);
        }
    }

    #[test]
    fn what_an_engine_may_refuse_is_left_to_it() {
        for line in [
            "BLPOP a x",
            "BLPOP a -1",
            "BLPOP a inf",
            "BLPOP a nan",
            "BLPOP a 0x10",
            "BLPOP a 1e30",
            "BLMOVE a b UP DOWN 0",
            "BLMPOP 0 0 LEFT",
            "BLMPOP 0 3 a LEFT",
            "BLMPOP 0 1 a LEFT COUNT 0",
            "BZMPOP 0 1 a LEFT",
            "XREAD BLOCK 0 STREAMS a b $",
            "XREAD BLOCK -1 STREAMS a $",
            "XREAD BLOCK 0 STREAMS a +",
            "XREAD BLOCK 0 STREAMS a >",
            "XREADGROUP GROUP g c BLOCK 0 STREAMS a 5",
            "XREADGROUP GROUP g c CLAIM 5 BLOCK 0 STREAMS a >",
        ] {
            assert_eq!(read(line), Wait::Unknown, "{line}");
        }
        assert_eq!(read("XREAD COUNT 1 STREAMS a 0"), Wait::Never);
    }
}
