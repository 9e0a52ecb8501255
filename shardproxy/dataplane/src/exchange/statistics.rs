//! The kinds of `stats`: those whose answers end as replies do, and say nothing a client may write into. The others
//! stay with the node: `sizes_enable` has no end, and what lists keys lists line ends in them as well. And how
//! the numbers of several nodes add up.

use std::collections::HashMap;

use super::gather::Gathered;
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::{words, Tokens};

/// What a `stats` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Statistic {
    /// All nodes are asked, and their answers joined.
    Asked(Gathered),
    /// The same, but the answer has parts of keys in it, which may look like its end and whatever comes behind that: it is
    /// asked for on a connection where only such answers come.
    Apart(Gathered),
    /// No node needs to be asked.
    Refused(&'static [u8]),
}

pub fn asked_for(line: &[u8]) -> Statistic {
    let tokens = Tokens::of(line);
    match (tokens.get(1), tokens.get(2)) {
        (b"" | b"items" | b"slabs" | b"sizes" | b"reset", _) => Statistic::Asked(Gathered::Statistics),
        (b"settings", _) => Statistic::Asked(Gathered::Settings),
        (b"conns", _) => Statistic::Asked(Gathered::Lines), // each node's own, under numbers that others have too
        (b"detail", b"on" | b"off") => Statistic::Asked(Gathered::Line),
        (b"detail", b"dump") => Statistic::Apart(Gathered::Prefixes),
        (b"detail", _) => Statistic::Refused(texts::DETAIL_USAGE),
        (
            b"cachedump" | b"sizes_enable" | b"sizes_disable" | b"extstore" | b"proxy" | b"proxyfuncs" | b"proxybe",
            _,
        ) => Statistic::Refused(texts::REFUSED),
        _ => Statistic::Refused(texts::ERROR),
    }
}

/// What nodes said of themselves: by name, in the order of the first that said it.
#[derive(Debug, Default)]
pub struct Statistics {
    /// What their lines begin with: STAT, PREFIX.
    word: Vec<u8>,
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    places: HashMap<Vec<u8>, usize>,
    /// The line behind them: END, RESET.
    end: Vec<u8>,
    held: usize,
}

impl Statistics {
    /// Bytes of all lines.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// The same, and those of the tables they stand in; an allocation is 8 to 24 bytes longer than its text.
    pub fn room(&self) -> usize {
        let places = self.places.capacity() * (size_of::<(Vec<u8>, usize)>() + 1) * 8 / 7;
        self.held + places + self.lines.capacity() * size_of::<(Vec<u8>, Vec<u8>)>()
    }

    /// Take one node's answer.
    pub fn add(&mut self, reply: &[u8], adds_up: fn(&[u8]) -> bool) {
        for line in reply.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(word) = [&b"STAT "[..], b"PREFIX "].into_iter().find(|word| line.starts_with(word)) else {
                if self.end.is_empty() && !line.is_empty() {
                    self.end.extend_from_slice(line);
                }
                continue;
            };
            let rest = &line[word.len()..];
            self.word = word.to_vec();
            let name = words(rest).next().unwrap_or_default();
            let value = &rest[(name.len() + 1).min(rest.len())..];
            let Some(&place) = self.places.get(name) else {
                self.held += 2 * name.len() + value.len();
                self.places.insert(name.to_vec(), self.lines.len());
                self.lines.push((name.to_vec(), value.to_vec()));
                continue;
            };
            if !adds_up(name) {
                continue;
            }
            let (_, sum) = &mut self.lines[place];
            if let Some(added) = add_numbers(sum, value) {
                self.held = self.held + added.len() - sum.len();
                *sum = added.into_bytes();
            }
        }
    }

    pub fn write(&self, output: &mut Vec<u8>) {
        for (name, value) in &self.lines {
            output.extend_from_slice(&self.word);
            output.extend_from_slice(name);
            output.push(b' ');
            output.extend_from_slice(value);
            output.extend_from_slice(b"\r\n");
        }
        output.extend_from_slice(&self.end);
        output.extend_from_slice(b"\r\n");
    }
}

/// Numbers that say something of one node only: its clock, its process, its state.
const OWN: [&str; 19] = [
    "pid",
    "uptime",
    "time",
    "pointer_size",
    "threads",
    "accepting_conns",
    "hash_power_level",
    "hash_is_expanding",
    "slab_reassign_running",
    "lru_crawler_running",
    "active_slabs",
    "chunk_size",
    "chunks_per_page",
    "age",
    "age_hot",
    "age_warm",
    "age_cold",
    "age_temp",
    "evicted_time",
];

pub fn statistic_adds_up(name: &[u8]) -> bool {
    // slab and item statistics are called like `items:1:age` and `1:chunk_size`
    let last = name.rsplit(|&byte| byte == b':').next().unwrap_or_default();
    !OWN.iter().any(|own| own.as_bytes() == last)
}

/// All nodes together may hold so much, and so many.
pub fn setting_adds_up(name: &[u8]) -> bool {
    matches!(name, b"maxbytes" | b"maxconns")
}

/// The sum of two numbers written the same way, or nothing. Of a line of them, `get 2 hit 1`, each is added.
fn add_numbers(a: &[u8], b: &[u8]) -> Option<String> {
    if a.contains(&b' ') && words(a).count() == words(b).count() {
        let sum = |(a, b)| add_numbers(a, b).unwrap_or_else(|| String::from_utf8_lossy(a).into_owned());
        return Some(words(a).zip(words(b)).map(sum).collect::<Vec<_>>().join(" "));
    }
    let (a, b) = (std::str::from_utf8(a).ok()?, std::str::from_utf8(b).ok()?);
    if let (Ok(a), Ok(b)) = (a.parse::<u64>(), b.parse::<u64>()) {
        return Some(a.wrapping_add(b).to_string());
    }
    if !a.contains('.') || !b.contains('.') {
        return None;
    }
    let (a, b) = (a.parse::<f64>().ok()?, b.parse::<f64>().ok()?);
    Some(format!("{:.6}", a + b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_without_an_end_stay_with_the_node() {
        for line in ["stats", "stats settings", " stats  reset x", "stats detail on"] {
            assert!(matches!(asked_for(line.as_bytes()), Statistic::Asked(_)), "{line}");
        }
        let table = [
            ("stats sizes_enable", texts::REFUSED),
            ("stats sizes_disable", texts::REFUSED),
            ("stats cachedump 1 0", texts::REFUSED),
            ("stats detail", texts::DETAIL_USAGE),
            ("stats detail x", texts::DETAIL_USAGE),
            ("stats x", texts::ERROR),
        ];
        for (line, text) in table {
            assert_eq!(asked_for(line.as_bytes()), Statistic::Refused(text), "{line}");
        }
        assert_eq!(asked_for(b"stats detail dump x"), Statistic::Apart(Gathered::Prefixes));
    }
}
