//! A command over several shards: its parts are collected and joined into the one reply its client expects.

use crate::command::Join as Kind;
use crate::dialect::resp::reply::ReplyFramer;
use crate::dialect::{resp::write, texts};
use crate::exchange::{Gather, Gathered, Values};

#[cfg(test)]
mod random;

const NOT_EXECUTED: &[u8] = b"-TRYAGAIN ";
const IN_DOUBT: &[u8] = b"-ERR INDOUBT ";

/// What became of the parts so far.
#[derive(Clone, Copy, Default)]
struct Tally {
    executed: usize,
    /// Nobody knows whether these were.
    doubtful: usize,
    failed: usize,
}

pub struct Join {
    kind: Kind,
    pub is_silent: bool,
    /// It changes data: a part that was not executed is something else than a command that was not.
    pub is_write: bool,
    waiting: usize,
    sum: i64,
    /// The first error of a part: it is the whole's reply, as a client expects of one failed command. One that says "not
    /// executed" gives way to any other, and any to one that is in doubt.
    error: Vec<u8>,
    tally: Tally,
    /// The parts' replies behind one another; `parts[i]` says where, for kinds that keep them.
    bytes: Vec<u8>,
    parts: Vec<(usize, usize)>,
    /// The part each key went to, in the client's order.
    order: Vec<u16>,
    /// It is of a memcached cluster, and joined there.
    gather: Option<Gather>,
}

impl Join {
    pub fn new(kind: Kind, parts: usize, order: &[u16], is_silent: bool) -> Self {
        let mut join = Self {
            kind,
            is_silent,
            is_write: false,
            waiting: 0,
            sum: 0,
            error: Vec::new(),
            tally: Tally::default(),
            bytes: Vec::new(),
            parts: Vec::new(),
            order: Vec::new(),
            gather: None,
        };
        join.begin(kind, parts, order, is_silent);
        join
    }

    /// Begin anew with the memory of one that is done.
    pub fn begin(&mut self, kind: Kind, parts: usize, order: &[u16], is_silent: bool) {
        (self.kind, self.is_silent, self.is_write, self.waiting) = (kind, is_silent, false, parts);
        (self.sum, self.tally, self.gather) = (0, Tally::default(), None);
        self.error.clear();
        self.bytes.clear();
        self.parts.clear();
        self.order.clear();
        if kind == Kind::Mget {
            self.parts.resize(parts, (0, 0));
            self.order.extend_from_slice(order);
        }
    }

    /// Bytes of memory it takes.
    pub fn capacity(&self) -> usize {
        let notes = self.parts.capacity() * size_of::<(usize, usize)>() + self.order.capacity() * size_of::<u16>();
        self.room() + self.error.capacity() + notes + self.gather.as_ref().map_or(0, Gather::noted)
    }

    /// Of a memcached cluster.
    pub fn memcache(kind: Gathered, parts: usize, is_silent: bool) -> Self {
        let mut join = Self::new(Kind::Mset, parts, &[], is_silent);
        join.gather = Some(Gather::new(kind));
        join
    }

    /// The same of values of many keys.
    pub fn values(values: Values, parts: usize) -> Self {
        let mut join = Self::new(Kind::Mset, parts, &[], false);
        join.gather = Some(Gather::of_values(values));
        join
    }

    /// Take what is known of the whole before any part's reply.
    pub fn foretell(&mut self, reply: &[u8]) {
        if let Some(gather) = &mut self.gather {
            gather.deliver(0, reply);
        }
    }

    /// Take one part's reply; whether that was the last.
    pub fn deliver(&mut self, part: u16, reply: &[u8]) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(gather) = &mut self.gather {
            gather.deliver(part, reply);
            return self.waiting == 0;
        }
        if matches!(reply.first(), Some(b'-' | b'!')) {
            self.failed(reply);
        } else {
            self.tally.executed += 1;
            match self.kind {
                Kind::Sum => match crate::dialect::resp::reply::integer(reply) {
                    Some(n) => self.sum = self.sum.wrapping_add(n),
                    None if self.error.is_empty() => self.error.extend_from_slice(texts::UNEXPECTED_REPLY),
                    None => {} // one reply, however many parts are wrong
                },
                Kind::Mget => {
                    let start = self.bytes.len();
                    self.bytes.extend_from_slice(reply);
                    if let Some(place) = self.parts.get_mut(usize::from(part)) {
                        *place = (start, self.bytes.len());
                    }
                }
                Kind::Mset => {}
            }
        }
        self.waiting == 0
    }

    fn failed(&mut self, reply: &[u8]) {
        let is_doubtful = reply.starts_with(IN_DOUBT);
        let gives_way = self.error.starts_with(NOT_EXECUTED) || is_doubtful && self.tally.doubtful == 0;
        if self.error.is_empty() || gives_way {
            self.error.clear();
            self.error.extend_from_slice(reply);
        }
        if is_doubtful {
            self.tally.doubtful += 1;
        } else {
            self.tally.failed += 1;
        }
    }

    /// Bytes of the parts that are kept until the last is in.
    pub fn held(&self) -> usize {
        self.bytes.len() + self.gather.as_ref().map_or(0, Gather::held)
    }

    /// Bytes of memory those take.
    pub fn room(&self) -> usize {
        self.bytes.capacity() + self.gather.as_ref().map_or(0, Gather::room)
    }

    /// Bytes of what it notes about its parts, from its beginning to its end.
    pub fn noted(&self) -> usize {
        let gather = self.gather.as_ref().map_or(0, Gather::noted);
        size_of_val(self.order.as_slice()) + size_of_val(self.parts.as_slice()) + gather
    }

    /// Append the whole reply.
    pub fn write(&mut self, output: &mut Vec<u8>) {
        if let Some(gather) = &mut self.gather {
            return gather.write(output);
        }
        if !self.error.is_empty() {
            return self.write_error(output);
        }
        match self.kind {
            Kind::Sum => write::integer(output, self.sum),
            Kind::Mset => output.extend_from_slice(texts::OK),
            Kind::Mget => self.write_elements(output),
        }
    }

    /// A write that was executed in part is neither done nor refused, whatever the reason: who is told that one shard has no
    /// memory, or to try again, would take it for untouched.
    fn write_error(&self, output: &mut Vec<u8>) {
        let Tally { executed, doubtful, failed } = self.tally;
        if !self.is_write || failed + doubtful == 0 || executed + doubtful == 0 {
            return output.extend_from_slice(&self.error);
        }
        let count = format!("executed by {executed} of {} shards", executed + doubtful + failed);
        let perhaps = if doubtful > 0 { format!(", perhaps by {doubtful} more") } else { String::new() };
        let pieces = [&IN_DOUBT[1..], count.as_bytes(), perhaps.as_bytes(), b": ", reason(&self.error)];
        write::error_of(output, &pieces);
    }

    fn write_elements(&mut self, output: &mut Vec<u8>) {
        let restart = output.len();
        for (start, end) in &mut self.parts {
            let header = memchr::memchr(b'\n', &self.bytes[*start..*end]).unwrap_or(0);
            *start += header + 1; // behind the array's header: the first element
        }
        write::array_header(output, self.order.len());
        for &part in &self.order {
            let (start, end) = &mut self.parts[usize::from(part)];
            match ReplyFramer::new().scan(self.bytes.get(*start..*end).unwrap_or_default()) {
                Ok(scan) if scan.complete => {
                    output.extend_from_slice(&self.bytes[*start..*start + scan.consumed]);
                    *start += scan.consumed;
                }
                _ => {
                    output.truncate(restart); // an engine that answers fewer values than it was asked for
                    output.extend_from_slice(texts::UNEXPECTED_REPLY);
                    return;
                }
            }
        }
        if self.parts.iter().any(|(start, end)| start != end) {
            output.truncate(restart); // or more
            output.extend_from_slice(texts::UNEXPECTED_REPLY);
        }
    }
}

/// What an error reply says, without its marks.
fn reason(reply: &[u8]) -> &[u8] {
    let line = match reply.strip_prefix(IN_DOUBT) {
        Some(line) => line,
        None if reply.starts_with(b"!") => &reply[memchr::memchr(b'\n', reply).map_or(0, |end| end + 1)..],
        None => reply.get(1..).unwrap_or_default(),
    };
    line.strip_suffix(b"\r\n").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(kind: Kind, order: &[u16], parts: &[&[u8]]) -> String {
        let mut join = Join::new(kind, parts.len(), order, false);
        for (part, reply) in parts.iter().enumerate() {
            assert_eq!(join.deliver(part as u16, reply), part + 1 == parts.len());
        }
        let mut output = Vec::new();
        join.write(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn values_stand_in_the_order_of_their_keys() {
        let parts: [&[u8]; 2] = [b"*2\r\n$1\r\na\r\n$-1\r\n", b"*1\r\n$1\r\nb\r\n"];
        assert_eq!(joined(Kind::Mget, &[0, 1, 0], &parts), "*3\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n");
    }

    #[test]
    fn one_failed_part_fails_the_whole() {
        assert_eq!(joined(Kind::Sum, &[0, 1], &[b":2\r\n", b":3\r\n"]), ":5\r\n");
        assert_eq!(joined(Kind::Sum, &[0, 1], &[b":2\r\n", b"-ERR no\r\n"]), "-ERR no\r\n");
        assert_eq!(joined(Kind::Mset, &[0, 1], &[b"+OK\r\n", b"-OOM x\r\n"]), "-OOM x\r\n");
    }

    #[test]
    fn a_write_that_was_executed_in_part_is_not_called_unexecuted() {
        let refused = "-TRYAGAIN shard 1 failing over, command not executed\r\n";
        let full = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
        let lost = "-ERR INDOUBT shard 0 primary lost, command may have been executed: x\r\n";
        let half = |what: &str| format!("-ERR INDOUBT executed by 1 of 2 shards: {}", &what[1..]);
        let perhaps = |executed: usize| {
            format!(
                "-ERR INDOUBT executed by {executed} of 2 shards, perhaps by 1 more: {}",
                &lost["-ERR INDOUBT ".len()..]
            )
        };
        let cases = [
            (Kind::Mset, ["+OK\r\n", refused], half(refused)),
            (Kind::Mset, [refused, "+OK\r\n"], half(refused)),
            (Kind::Sum, [refused, ":1\r\n"], half(refused)),
            (Kind::Mset, ["+OK\r\n", full], half(full)),
            (Kind::Sum, ["!5\r\nERR 3\r\n", ":1\r\n"], half("-ERR 3\r\n")),
            (Kind::Mset, [refused, lost], perhaps(0)),
            (Kind::Mset, [lost, full], perhaps(0)),
            (Kind::Mset, [full, lost], perhaps(0)),
            (Kind::Mset, ["+OK\r\n", lost], perhaps(1)),
            (Kind::Mset, [refused, refused], refused.into()),
            (Kind::Mset, [refused, full], full.into()),
            (Kind::Sum, [full, refused], full.into()),
        ];
        for (kind, parts, whole) in cases {
            let mut join = Join::new(kind, 2, &[0, 1], false);
            join.is_write = true;
            let mut output = Vec::new();
            (0..).zip(parts).for_each(|(part, reply)| _ = join.deliver(part, reply.as_bytes()));
            join.write(&mut output);
            assert_eq!(String::from_utf8(output).unwrap(), whole);
        }
        assert_eq!(joined(Kind::Sum, &[0, 1], &[b":1\r\n", refused.as_bytes()]), refused, "a read changes nothing");
    }

    #[test]
    fn a_short_answer_is_an_error_not_a_shift() {
        assert!(joined(Kind::Mget, &[0, 0], &[b"*1\r\n$1\r\na\r\n"]).starts_with("-ERR"));
    }
}
