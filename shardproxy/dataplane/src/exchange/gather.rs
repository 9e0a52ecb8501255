//! Replies of several nodes to one command, joined into the one its client expects.

use super::statistics::{setting_adds_up, statistic_adds_up, Statistics};
use super::values::Values;
use crate::dialect::memcached::reply::is_error;
use crate::dialect::memcached::texts;

const SERVER_ERROR: &[u8] = b"SERVER_ERROR ";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gathered {
    /// Values of many keys.
    Values,
    /// Lines of each node alone, and one END.
    Lines,
    /// All nodes must say the same; what one refused is told, and how many did it all the same.
    Line,
    /// STAT lines: what adds up is added, of the rest the first node's is told.
    Statistics,
    /// The same of settings, of which most are only told.
    Settings,
    /// PREFIX lines, whose numbers are added.
    Prefixes,
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
    values: Option<Box<Values>>,
}

impl Gather {
    pub const fn new(kind: Gathered) -> Self {
        Self { kind, bytes: Vec::new(), error: Vec::new(), done: 0, failed: 0, statistics: None, values: None }
    }

    pub fn of_values(values: Values) -> Self {
        Self { values: Some(Box::new(values)), ..Self::new(Gathered::Values) }
    }

    /// Take the reply of the node that was asked for this part.
    pub fn deliver(&mut self, part: u16, reply: &[u8]) {
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
        if let Some(values) = &mut self.values {
            return values.add(part, reply);
        }
        match self.kind {
            Gathered::Values | Gathered::Lines => {
                self.bytes.extend_from_slice(reply.strip_suffix(texts::END).unwrap_or_default());
            }
            Gathered::Line if self.bytes.is_empty() => self.bytes.extend_from_slice(reply),
            Gathered::Line => {}
            Gathered::Statistics => self.statistics.get_or_insert_default().add(reply, statistic_adds_up),
            Gathered::Settings => self.statistics.get_or_insert_default().add(reply, setting_adds_up),
            Gathered::Prefixes => self.statistics.get_or_insert_default().add(reply, |_| true),
        }
    }

    /// Bytes of the nodes' replies that are kept.
    pub fn held(&self) -> usize {
        let values = self.values.as_ref().map_or(0, |values| values.held());
        self.bytes.len() + self.error.len() + self.statistics.as_ref().map_or(0, |s| s.held()) + values
    }

    /// Bytes of memory they take.
    pub fn room(&self) -> usize {
        let values = self.values.as_ref().map_or(0, |values| values.room());
        self.bytes.capacity() + self.error.capacity() + self.statistics.as_ref().map_or(0, |s| s.room()) + values
    }

    /// Bytes of what it notes about its parts.
    pub fn noted(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.noted())
    }

    /// Append the whole reply.
    pub fn write(&mut self, output: &mut Vec<u8>) {
        if let Some(statistics) = &self.statistics {
            return statistics.write(output);
        }
        if let (Gathered::Line, Some(why), 1..) = (self.kind, self.error.strip_prefix(SERVER_ERROR), self.done) {
            let count = format!("executed by {} of {} nodes: ", self.done, self.done + self.failed);
            return output.extend_from_slice(&[SERVER_ERROR, count.as_bytes(), why].concat());
        }
        match (self.kind, &mut self.values) {
            _ if !self.error.is_empty() => output.extend_from_slice(&self.error),
            (_, Some(values)) => values.write(output),
            (Gathered::Values | Gathered::Lines, None) => {
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
        for (part, reply) in (0..).zip(replies) {
            gather.deliver(part, reply.as_bytes());
        }
        let mut output = Vec::new();
        gather.write(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn lines_have_one_end() {
        let parts = ["STAT 5:addr a\r\nEND\r\n", "END\r\n", "STAT 5:addr b\r\nEND\r\n"];
        assert_eq!(gathered(Gathered::Lines, &parts), "STAT 5:addr a\r\nSTAT 5:addr b\r\nEND\r\n");
    }

    #[test]
    fn a_node_in_trouble_is_a_miss_and_a_clients_mistake_is_told() {
        let value = "VALUE a 0 1\r\nx\r\nEND\r\n";
        let told = |other: &str| {
            let mut gather = Gather::of_values(Values::new(b"a b", &[0, 1], 2));
            gather.deliver(0, value.as_bytes());
            gather.deliver(1, other.as_bytes());
            let mut output = Vec::new();
            gather.write(&mut output);
            String::from_utf8(output).unwrap()
        };
        assert_eq!(told("SERVER_ERROR out of memory\r\n"), value);
        assert_eq!(told("CLIENT_ERROR no\r\n"), "CLIENT_ERROR no\r\n");
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
            (Gathered::Lines, value, value.len() - 5),
            (Gathered::Values, "CLIENT_ERROR no\r\n", 17),
            (Gathered::Line, "OK\r\n", 4),
            (Gathered::Statistics, "STAT pid 5\r\nSTAT curr_items 10\r\nEND\r\n", 29),
        ];
        for (kind, reply, held) in table {
            let mut gather = Gather::new(kind);
            gather.deliver(0, reply.as_bytes());
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
        let a = "PREFIX a get 2 hit 1 set 0 del 1\r\nPREFIX b get 1 hit 0 set 0 del 0\r\nEND\r\n";
        let sum = "PREFIX a get 4 hit 2 set 0 del 2\r\nPREFIX b get 2 hit 0 set 0 del 0\r\nEND\r\n";
        assert_eq!(gathered(Gathered::Prefixes, &[a, a, "END\r\n"]), sum);
        assert_eq!(gathered(Gathered::Prefixes, &["END\r\n", "END\r\n"]), "END\r\n");
        assert_eq!(gathered(Gathered::Statistics, &["RESET\r\n", "RESET\r\n"]), "RESET\r\n");
        assert_eq!(gathered(Gathered::Statistics, &["ERROR\r\n", "ERROR\r\n"]), "ERROR\r\n");
    }
}
