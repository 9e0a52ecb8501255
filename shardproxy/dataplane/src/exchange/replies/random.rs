//! Replies that come in any order and in any pieces leave whole and in the order of their requests.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::command::Join as Kind;

#[derive(Clone, Debug)]
enum Step {
    Expect {
        silent: bool,
        size: usize,
    },
    ExpectJoin {
        silent: bool,
        parts: u16,
    },
    Answer {
        size: usize,
    },
    /// The rest of one of the owed replies, or one part of a joined one.
    Deliver {
        which: usize,
    },
    /// So much of the rest of one of the owed replies.
    Piece {
        which: usize,
        size: usize,
    },
    Push,
    /// The socket takes so many bytes.
    Flush {
        size: usize,
    },
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0..30usize, 2 => 0..3000usize, 1 => 20_000..50_000usize]
}

fn step() -> impl Strategy<Value = Step> {
    let silent = || prop_oneof![4 => Just(false), 1 => Just(true)];
    prop_oneof![
        6 => (silent(), size()).prop_map(|(silent, size)| Step::Expect { silent, size }),
        2 => (silent(), 2..5u16).prop_map(|(silent, parts)| Step::ExpectJoin { silent, parts }),
        2 => size().prop_map(|size| Step::Answer { size }),
        5 => any::<usize>().prop_map(|which| Step::Deliver { which }),
        3 => (any::<usize>(), size()).prop_map(|(which, size)| Step::Piece { which, size }),
        2 => Just(Step::Push),
        2 => size().prop_map(|size| Step::Flush { size }),
    ]
}

/// A reply that is owed: what is left of it to deliver.
struct Owed {
    sequence: u32,
    rest: Vec<u8>,
    /// Parts to come, the last first; none for a whole reply.
    parts: Vec<u16>,
}

struct Harness {
    queue: ReplyQueue,
    output: Output,
    pool: BufferPool,
    owed: Vec<Owed>,
    /// What must leave, in order; messages apart.
    replies: Vec<Vec<u8>>,
    pushes: Vec<Vec<u8>>,
    left: Vec<u8>,
}

impl Harness {
    fn new(first: u32) -> Self {
        let mut queue = ReplyQueue::new();
        queue.first = first;
        let (output, pool) = (Output::default(), BufferPool::default());
        Self { queue, output, pool, owed: Vec::new(), replies: Vec::new(), pushes: Vec::new(), left: Vec::new() }
    }

    /// `<7 xxxx>`: which reply it is shows, and where it begins and ends.
    fn reply(&self, size: usize) -> Vec<u8> {
        format!("<{} {}>", self.replies.len(), "x".repeat(size)).into_bytes()
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Expect { silent, size } => {
                let (sequence, rest) = (self.queue.expect(silent), self.reply(size));
                self.replies.push(if silent { Vec::new() } else { rest.clone() });
                self.owed.push(Owed { sequence, rest, parts: Vec::new() });
            }
            Step::ExpectJoin { silent, parts } => {
                let sequence = self.queue.expect_join(Box::new(Join::new(Kind::Sum, usize::from(parts), &[], silent)));
                let sum = format!(":{}\r\n", u32::from(parts) * 5).into_bytes();
                self.replies.push(if silent { Vec::new() } else { sum });
                self.owed.push(Owed { sequence, rest: Vec::new(), parts: (0..parts).collect() });
            }
            Step::Answer { size } => {
                let reply = self.reply(size);
                self.queue.answer(&mut self.output, &mut self.pool, &reply);
                self.replies.push(reply);
            }
            Step::Deliver { which } => self.deliver(which),
            Step::Piece { which, size } => {
                let count = self.owed.len().max(1);
                let Some(owed) = self.owed.get_mut(which % count).filter(|o| o.parts.is_empty()) else { return };
                let piece: Vec<u8> = owed.rest.drain(..size.min(owed.rest.len() - 1)).collect();
                self.queue.deliver_piece(owed.sequence, &piece, &mut self.output, &mut self.pool);
            }
            Step::Push => {
                let push = format!("{{{}}}", self.pushes.len()).into_bytes();
                self.queue.push(&mut self.output, &mut self.pool, 2, &Parcel::Copied(&push));
                self.pushes.push(push);
            }
            Step::Flush { size } => self.flush(size),
        }
    }

    fn deliver(&mut self, which: usize) {
        if self.owed.is_empty() {
            return;
        }
        let index = which % self.owed.len();
        let (sequence, part) = (self.owed[index].sequence, self.owed[index].parts.pop());
        let Self { queue, output, pool, .. } = self;
        match part {
            Some(part) => queue.deliver_part(sequence, part, b":5\r\n", output, pool),
            None => queue.deliver(sequence, &self.owed[index].rest, output, pool),
        }
        if self.owed[index].parts.is_empty() {
            self.owed.remove(index);
        }
    }

    fn flush(&mut self, size: usize) {
        let n = size.min(self.output.len());
        self.left.extend_from_slice(&self.output.unwritten()[..n]);
        if n > 0 {
            self.output.advance(n, &mut self.pool);
        }
    }

    fn check(&mut self) {
        self.flush(usize::MAX);
        assert!(self.queue.is_empty());
        self.queue.trim();
        self.queue.slots.shrink_to_fit();
        assert_eq!((self.queue.early(), self.queue.held()), (0, 0), "an idle client holds no buffer");
        let (mut replies, mut pushes) = (Vec::new(), Vec::new());
        let mut rest = self.left.as_slice();
        while let Some(first) = rest.first() {
            let end = match first {
                b'<' => b'>',
                b'{' => b'}',
                _ => b'\n',
            };
            let length = rest.iter().position(|&byte| byte == end).map_or(rest.len(), |at| at + 1);
            let (unit, behind) = rest.split_at(length);
            assert!(!unit[1..].contains(&b'{'), "a message stands within a reply");
            let units = if end == b'}' { &mut pushes } else { &mut replies };
            units.push(unit.to_vec());
            rest = behind;
        }
        assert_eq!(pushes, self.pushes);
        assert!(replies.iter().eq(self.replies.iter().filter(|reply| !reply.is_empty())), "lost, shifted or torn");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn replies_leave_whole_and_in_order(
        first in prop_oneof![Just(0u32), (0..40u32).prop_map(|n| u32::MAX - n)],
        steps in vec(step(), 0..120),
        order in vec(any::<usize>(), 1..50),
    ) {
        let mut harness = Harness::new(first);
        for step in &steps {
            harness.run(step);
        }
        for which in order.iter().cycle() {
            if harness.owed.is_empty() {
                break;
            }
            harness.deliver(*which);
        }
        harness.check();
    }
}

/// A pipeline behind one slow reply, for ever: the stash keeps what waits, not what has left.
#[test]
fn a_stash_that_never_runs_dry_stays_small() {
    let (mut queue, mut output, mut pool) = (ReplyQueue::new(), Output::default(), BufferPool::default());
    let reply = vec![b'x'; 1000];
    let mut head = queue.expect(false);
    for _ in 0..1000 {
        let next = queue.expect(false);
        let early = queue.expect(false);
        queue.deliver(early, &reply, &mut output, &mut pool);
        queue.deliver(head, &reply, &mut output, &mut pool);
        output.clear(&mut pool);
        head = next;
    }
    assert!(queue.held() <= 4 * COMPACT_AT, "{}", queue.held());
}

/// A silent joined reply leaves an empty place behind, which outlives the stash it was cut from.
#[test]
fn an_empty_place_in_a_stash_given_back_is_no_place() {
    let (mut queue, mut output, mut pool) = (ReplyQueue::new(), Output::default(), BufferPool::default());
    let large = vec![b'x'; 100_000];
    let [first, second, slow, middle, slower] = [(); 5].map(|()| queue.expect(false));
    let silent = queue.expect_join(Box::new(Join::new(Kind::Sum, 1, &[], true)));
    let last = queue.expect(false);
    queue.deliver(second, &large, &mut output, &mut pool);
    queue.deliver_part(silent, 0, b":1\r\n", &mut output, &mut pool); // behind 100 kB
    queue.deliver(first, b"+1\r\n", &mut output, &mut pool); // nothing is left in the stash: it is given back
    queue.deliver(middle, &large[..COMPACT_AT], &mut output, &mut pool);
    queue.deliver(last, b"+7\r\n", &mut output, &mut pool);
    queue.deliver(slow, b"+3\r\n", &mut output, &mut pool); // little is left: it is compacted
    queue.deliver(slower, b"+5\r\n", &mut output, &mut pool);
    assert!(queue.is_empty());
    assert!(output.bytes.ends_with(b"x+5\r\n+7\r\n"));
}

/// A subscriber in RESP3 that reads a large reply: what it is sent meanwhile counts towards its limit.
#[test]
fn messages_that_wait_for_the_end_of_a_reply_are_counted() {
    let (mut queue, mut output, mut pool) = (ReplyQueue::new(), Output::default(), BufferPool::default());
    let sequence = queue.expect(false);
    queue.deliver_piece(sequence, b"$9\r\nabc", &mut output, &mut pool);
    queue.push(&mut output, &mut pool, 2, &Parcel::Copied(&[b'x'; 1000]));
    assert_eq!(queue.early(), 1000);
    queue.deliver(sequence, b"defghi\r\n", &mut output, &mut pool);
    assert_eq!(queue.early(), 0);
}
