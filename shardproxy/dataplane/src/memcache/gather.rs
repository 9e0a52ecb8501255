//! Replies of several nodes to one command, joined into the one its client expects.

use super::wire::reply::is_error;
use super::wire::texts;
use super::wire::tokens::words;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gathered {
    /// Values of many keys, and one END.
    Values,
    /// All nodes must say the same; what one refused is told.
    Line,
    /// STAT lines: what adds up is added, of the rest the first node's is told.
    Statistics,
}

#[derive(Debug)]
pub struct Gather {
    kind: Gathered,
    bytes: Vec<u8>,
    error: Vec<u8>,
    statistics: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Gather {
    pub const fn new(kind: Gathered) -> Self {
        Self { kind, bytes: Vec::new(), error: Vec::new(), statistics: Vec::new() }
    }

    /// Take one node's reply.
    pub fn deliver(&mut self, reply: &[u8]) {
        if is_error(reply) {
            // a node's own trouble is a miss; what the client did wrong it must hear
            let is_told = self.kind != Gathered::Values || !reply.starts_with(b"SERVER_ERROR");
            if is_told && self.error.is_empty() {
                self.error.extend_from_slice(reply);
            }
            return;
        }
        match self.kind {
            Gathered::Values => self.bytes.extend_from_slice(reply.strip_suffix(texts::END).unwrap_or_default()),
            Gathered::Line if self.bytes.is_empty() => self.bytes.extend_from_slice(reply),
            Gathered::Line => {}
            Gathered::Statistics => self.add(reply),
        }
    }

    /// Append the whole reply.
    pub fn write(&mut self, output: &mut Vec<u8>) {
        match self.kind {
            _ if self.kind == Gathered::Statistics && !(self.bytes.is_empty() && self.statistics.is_empty()) => {
                for (name, value) in &self.statistics {
                    output.extend_from_slice(b"STAT ");
                    output.extend_from_slice(name);
                    output.push(b' ');
                    output.extend_from_slice(value);
                    output.extend_from_slice(b"\r\n");
                }
                output.extend_from_slice(&self.bytes);
            }
            _ if !self.error.is_empty() => output.extend_from_slice(&self.error),
            Gathered::Values => {
                output.extend_from_slice(&self.bytes);
                output.extend_from_slice(texts::END);
            }
            _ => output.extend_from_slice(&self.bytes),
        }
    }

    fn add(&mut self, reply: &[u8]) {
        for line in reply.split(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(rest) = line.strip_prefix(b"STAT ") else {
                if self.bytes.is_empty() && !line.is_empty() {
                    self.bytes.extend_from_slice(line); // END, RESET, OK
                    self.bytes.extend_from_slice(b"\r\n");
                }
                continue;
            };
            let name = words(rest).next().unwrap_or_default();
            let value = &rest[(name.len() + 1).min(rest.len())..];
            match self.statistics.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) if adds_up(name) => {
                    if let Some(added) = add_numbers(sum, value) {
                        *sum = added.into_bytes();
                    }
                }
                Some(_) => {}
                None => self.statistics.push((name.to_vec(), value.to_vec())),
            }
        }
    }
}

/// Numbers that say something of one node only: its settings, its clock, its process.
const OWN: [&str; 22] = [
    "pid",
    "uptime",
    "time",
    "pointer_size",
    "threads",
    "maxconns",
    "tcpport",
    "udpport",
    "umask",
    "growth_factor",
    "chunk_size",
    "num_threads",
    "num_threads_per_udp",
    "tcp_backlog",
    "item_size_max",
    "verbosity",
    "oldest",
    "hash_power_level",
    "reqs_per_event",
    "slab_chunk_max",
    "chunks_per_page",
    "age",
];

fn adds_up(name: &[u8]) -> bool {
    // slab and item statistics are called like `items:1:age` and `1:chunk_size`
    let last = name.rsplit(|&byte| byte == b':').next().unwrap_or_default();
    !OWN.iter().any(|own| own.as_bytes() == last)
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

    fn gathered(kind: Gathered, replies: &[&str]) -> String {
        let mut gather = Gather::new(kind);
        for reply in replies {
            gather.deliver(reply.as_bytes());
        }
        let mut output = Vec::new();
        gather.write(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn values_have_one_end() {
        let parts = ["VALUE a 0 3\r\nEND\r\nEND\r\n", "END\r\n", "VALUE b 0 1\r\nx\r\nEND\r\n"];
        assert_eq!(gathered(Gathered::Values, &parts), "VALUE a 0 3\r\nEND\r\nVALUE b 0 1\r\nx\r\nEND\r\n");
    }

    #[test]
    fn a_node_in_trouble_is_a_miss_and_a_clients_mistake_is_told() {
        let value = "VALUE a 0 1\r\nx\r\nEND\r\n";
        assert_eq!(gathered(Gathered::Values, &[value, "SERVER_ERROR out of memory\r\n"]), value);
        assert_eq!(gathered(Gathered::Values, &[value, "CLIENT_ERROR no\r\n"]), "CLIENT_ERROR no\r\n");
    }

    #[test]
    fn one_node_that_fails_is_told() {
        assert_eq!(gathered(Gathered::Line, &["OK\r\n", "OK\r\n"]), "OK\r\n");
        assert_eq!(gathered(Gathered::Line, &["OK\r\n", "SERVER_ERROR x\r\n"]), "SERVER_ERROR x\r\n");
    }

    #[test]
    fn statistics_add_up_where_they_do() {
        let a = "STAT pid 5\r\nSTAT curr_items 2\r\nSTAT rusage_user 0.500000\r\nSTAT version 1.6.18\r\nEND\r\n";
        let b = "STAT pid 6\r\nSTAT curr_items 3\r\nSTAT rusage_user 1.250000\r\nSTAT version 1.6.9\r\nEND\r\n";
        let sum = "STAT pid 5\r\nSTAT curr_items 5\r\nSTAT rusage_user 1.750000\r\nSTAT version 1.6.18\r\nEND\r\n";
        assert_eq!(gathered(Gathered::Statistics, &[a, b]), sum);
        assert_eq!(gathered(Gathered::Statistics, &[a, "SERVER_ERROR x\r\n"]), a);
        assert_eq!(gathered(Gathered::Statistics, &["RESET\r\n", "RESET\r\n"]), "RESET\r\n");
        assert_eq!(gathered(Gathered::Statistics, &["ERROR\r\n", "ERROR\r\n"]), "ERROR\r\n");
    }
}
