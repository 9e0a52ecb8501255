//! Of one client's requests about a key none may overtake another, though some of them go by way of the control plane.
//!
//! ```text
//!                       behind a read    a write that was sent    one that was handed over
//!   a read goes         yes              yes                      when that is answered
//!   a write is sent     when answered    yes                      when answered
//!   is handed over      when answered    when answered            when answered
//! ```
//!
//! Keys are told apart by their slots, and these by a bit: that some wait without need costs them little.

/// What of a client's is under way, as bits of slots. All of it is over when nothing is owed.
#[derive(Default)]
pub struct Order {
    reads: u128,
    sent: u128,
    handed: u128,
    /// What the control plane has of it.
    pub tokens: Vec<u64>,
    /// Of its reads that were passed on.
    absent: Vec<Absent>,
}

/// A request of a client, and which part of it.
pub type Part = (u32, u16);

/// Keys of a read that have no value: that is an answer, and nothing to be loaded once more.
struct Absent {
    sequence: u32,
    part: u16,
    /// As of `digest_of_key`.
    keys: Box<[u64]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Read,
    Sent,
    Handed,
}

impl Order {
    pub const fn bit(slot: u16) -> u128 {
        1 << (slot % 128)
    }

    /// Nothing is owed to the client.
    pub fn begin(&mut self) {
        (self.reads, self.sent, self.handed) = (0, 0, 0);
        self.absent.clear();
    }

    /// These keys of a read have no value. What is known of reads that are `answered` is of no use any more.
    pub fn lacks(&mut self, (sequence, part): Part, keys: Box<[u64]>, answered: impl Fn(u32) -> bool) {
        self.absent.retain(|one| !answered(one.sequence) && (one.sequence, one.part) != (sequence, part));
        if !keys.is_empty() {
            self.absent.push(Absent { sequence, part, keys });
        }
    }

    /// The keys of a read that have no value.
    pub fn absent(&self, (sequence, part): Part) -> &[u64] {
        let found = self.absent.iter().find(|one| (one.sequence, one.part) == (sequence, part));
        found.map_or(&[], |one| &one.keys)
    }

    /// Whether a request about these may go that way now.
    #[inline]
    pub const fn may_go(&self, way: Way, bits: u128) -> bool {
        let before = match way {
            Way::Read => self.handed,
            Way::Sent => self.reads | self.handed,
            Way::Handed => self.reads | self.sent | self.handed,
        };
        before & bits == 0
    }

    /// It goes.
    #[inline]
    pub const fn goes(&mut self, way: Way, bits: u128) {
        match way {
            Way::Read => self.reads |= bits,
            Way::Sent => self.sent |= bits,
            Way::Handed => self.handed |= bits,
        }
    }

    /// The control plane has it no more.
    pub fn ended(&mut self, token: u64) {
        if let Some(at) = self.tokens.iter().position(|&known| known == token) {
            self.tokens.swap_remove(at);
        }
    }

    pub fn held(&self) -> usize {
        let absent = self.absent.iter().map(|one| size_of_val(&*one.keys)).sum::<usize>();
        let places = self.tokens.capacity() * size_of::<u64>() + self.absent.capacity() * size_of::<Absent>();
        size_of::<Self>() + places + absent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_read_lacks_is_known_until_it_is_answered() {
        let mut order = Order::default();
        order.lacks((1, 0), Box::new([7]), |_| false);
        order.lacks((1, 1), Box::new([8, 9]), |_| false);
        assert_eq!((order.absent((1, 0)), order.absent((1, 1))), (&[7][..], &[8, 9][..]));
        assert!(order.absent((2, 0)).is_empty());
        order.lacks((1, 1), Box::new([]), |_| false);
        assert!(order.absent((1, 1)).is_empty() && !order.absent((1, 0)).is_empty());
        order.lacks((2, 0), Box::new([7]), |sequence| sequence == 1);
        assert!(order.absent((1, 0)).is_empty());
        order.begin();
        assert!(order.absent((2, 0)).is_empty());
    }

    #[test]
    fn no_request_overtakes_another_about_its_key() {
        let ways = [Way::Read, Way::Sent, Way::Handed];
        let may = [[true, true, false], [false, true, false], [false, false, false]];
        for (way, row) in ways.into_iter().zip(may) {
            for (before, expected) in ways.into_iter().zip(row) {
                let mut order = Order::default();
                order.goes(before, Order::bit(7));
                assert_eq!(order.may_go(way, Order::bit(7) | Order::bit(8)), expected, "{way:?} behind {before:?}");
                assert!(order.may_go(way, Order::bit(8)));
                order.begin();
                assert!(order.may_go(way, Order::bit(7)));
            }
        }
    }
}
