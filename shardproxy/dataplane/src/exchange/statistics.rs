//! The kinds of `stats`: those whose answers end as replies do, and say nothing a client may write into. The others
//! stay with the node: `sizes_enable` has no end, and what lists keys lists line ends in them as well. And how
//! the numbers of several nodes add up.

use std::collections::HashMap;

use super::gather::Gathered;
use crate::dialect::memcached::tokens::{words, Tokens};

/// How the answers of all nodes are joined; none for a kind that is not passed on.
pub fn gathered(line: &[u8]) -> Option<Gathered> {
    let tokens = Tokens::of(line);
    match (tokens.get(1), tokens.get(2)) {
        (b"" | b"items" | b"slabs" | b"sizes" | b"reset", _) => Some(Gathered::Statistics),
        (b"settings", _) => Some(Gathered::Settings),
        (b"conns", _) => Some(Gathered::Values), // each node's own, under numbers that others have too
        (b"detail", b"on" | b"off") => Some(Gathered::Line),
        _ => None,
    }
}

/// What nodes said of themselves: by name, in the order of the first that said it.
#[derive(Debug, Default)]
pub struct Statistics {
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
            let Some(rest) = line.strip_prefix(b"STAT ") else {
                if self.end.is_empty() && !line.is_empty() {
                    self.end.extend_from_slice(line);
                }
                continue;
            };
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
            output.extend_from_slice(b"STAT ");
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

/// The sum of two numbers written the same way, or nothing.
fn add_numbers(a: &[u8], b: &[u8]) -> Option<String> {
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
            assert!(gathered(line.as_bytes()).is_some(), "{line}");
        }
        for line in [
            "stats sizes_enable",
            "stats sizes_disable",
            "stats cachedump 1 0",
            "stats detail dump",
            "stats detail",
            "stats x",
        ] {
            assert!(gathered(line.as_bytes()).is_none(), "{line}");
        }
    }
}
