//! Replies of several nodes to one command, joined into the one its client expects.

use super::statistics::{setting_adds_up, statistic_adds_up, Statistics};
use crate::dialect::memcached::reply::is_error;
use crate::dialect::memcached::texts;

const SERVER_ERROR: &[u8] = b"SERVER_ERROR ";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gathered {
    /// Values of many keys, or lines of each node alone, and one END.
    Values,
    /// All nodes must say the same; what one refused is told, and how many did it all the same.
    Line,
    /// STAT lines: what adds up is added, of the rest the first node's is told.
    Statistics,
    /// The same of settings, of which most are only told.
    Settings,
}

#[derive(Debug)]
pub struct Gather {
    kind: Gathered,
    bytes: Vec<u8>,
    error: Vec<u8>,
    /// Nodes that did as they were told, and those that did not.
    done: usize,
    failed: usize,
    statistics: Option<Box<Statistics>>,
}

impl Gather {
    pub const fn new(kind: Gathered) -> Self {
        Self { kind, bytes: Vec::new(), error: Vec::new(), done: 0, failed: 0, statistics: None }
    }

    /// Take one node's reply.
    pub fn deliver(&mut self, reply: &[u8]) {
        if is_error(reply) {
            self.failed += 1;
            // a node's own trouble is a miss; what the client did wrong it must hear
            let is_told = self.kind != Gathered::Values || !reply.starts_with(b"SERVER_ERROR");
            if is_told && self.error.is_empty() {
                self.error.extend_from_slice(reply);
            }
            return;
        }
        self.done += 1;
        match self.kind {
            Gathered::Values => self.bytes.extend_from_slice(reply.strip_suffix(texts::END).unwrap_or_default()),
            Gathered::Line if self.bytes.is_empty() => self.bytes.extend_from_slice(reply),
            Gathered::Line => {}
            Gathered::Statistics => self.statistics.get_or_insert_default().add(reply, statistic_adds_up),
            Gathered::Settings => self.statistics.get_or_insert_default().add(reply, setting_adds_up),
        }
    }

    /// Bytes of the nodes' replies that are kept.
    pub fn held(&self) -> usize {
        self.bytes.len() + self.error.len() + self.statistics.as_ref().map_or(0, |s| s.held())
    }

    /// Bytes of memory they take.
    pub fn room(&self) -> usize {
        self.bytes.capacity() + self.error.capacity() + self.statistics.as_ref().map_or(0, |s| s.room())
    }

    /// Append the whole reply.
    pub fn write(&mut self, output: &mut Vec<u8>) {
        if let Some(statistics) = &self.statistics {
            return statistics.write(output);
        }
        match (self.kind, self.error.strip_prefix(SERVER_ERROR)) {
            (Gathered::Line, Some(why)) if self.done > 0 => {
                let count = format!("executed by {} of {} nodes: ", self.done, self.done + self.failed);
                output.extend_from_slice(&[SERVER_ERROR, count.as_bytes(), why].concat());
            }
            _ if !self.error.is_empty() => output.extend_from_slice(&self.error),
            (Gathered::Values, _) => {
                output.extend_from_slice(&self.bytes);
                output.extend_from_slice(texts::END);
            }
            _ => output.extend_from_slice(&self.bytes),
        }
    }
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
        let half = "SERVER_ERROR executed by 1 of 2 nodes: x\r\n";
        assert_eq!(gathered(Gathered::Line, &["OK\r\n", "SERVER_ERROR x\r\n"]), half);
        assert_eq!(gathered(Gathered::Line, &["SERVER_ERROR x\r\n", "OK\r\n"]), half);
        let none = "SERVER_ERROR x\r\n";
        assert_eq!(gathered(Gathered::Line, &[none, "SERVER_ERROR y\r\n"]), none);
        assert_eq!(gathered(Gathered::Line, &["ERROR\r\n", "ERROR\r\n"]), "ERROR\r\n");
    }

    #[test]
    fn all_that_is_kept_is_counted() {
        let value = "VALUE a 0 1\r\nx\r\nEND\r\n";
        let table = [
            (Gathered::Values, value, value.len() - 5),
            (Gathered::Values, "CLIENT_ERROR no\r\n", 17),
            (Gathered::Line, "OK\r\n", 4),
            (Gathered::Statistics, "STAT pid 5\r\nSTAT curr_items 10\r\nEND\r\n", 29),
        ];
        for (kind, reply, held) in table {
            let mut gather = Gather::new(kind);
            gather.deliver(reply.as_bytes());
            assert_eq!(gather.held(), held, "{reply}");
        }
    }

    #[test]
    fn statistics_add_up_where_they_do() {
        let a = "STAT pid 5\r\nSTAT curr_items 2\r\nSTAT rusage_user 0.500000\r\nSTAT version 1.6.18\r\nEND\r\n";
        let b = "STAT pid 6\r\nSTAT curr_items 3\r\nSTAT rusage_user 1.250000\r\nSTAT version 1.6.9\r\nEND\r\n";
        let sum = "STAT pid 5\r\nSTAT curr_items 5\r\nSTAT rusage_user 1.750000\r\nSTAT version 1.6.18\r\nEND\r\n";
        assert_eq!(gathered(Gathered::Statistics, &[a, b]), sum);
        assert_eq!(gathered(Gathered::Statistics, &[a, "SERVER_ERROR x\r\n"]), a);
        let a =
            "STAT accepting_conns 1\r\nSTAT items:1:number 2\r\nSTAT items:1:age_hot 5\r\nSTAT threads 4\r\nEND\r\n";
        let sum = a.replace("number 2", "number 4");
        assert_eq!(gathered(Gathered::Statistics, &[a, a]), sum);
        let a = "STAT maxbytes 64\r\nSTAT maxconns 9\r\nSTAT hot_lru_pct 20\r\nSTAT growth_factor 1.25\r\nEND\r\n";
        let sum = a.replace("64", "128").replace("conns 9", "conns 18");
        assert_eq!(gathered(Gathered::Settings, &[a, a]), sum);
        assert_eq!(gathered(Gathered::Statistics, &["RESET\r\n", "RESET\r\n"]), "RESET\r\n");
        assert_eq!(gathered(Gathered::Statistics, &["ERROR\r\n", "ERROR\r\n"]), "ERROR\r\n");
    }
}
