//! Clients that are held: the queue their next request would join is full. They are called in the order they came, as many
//! as there is room for, and until then nobody passes them.
//!
//! ```text
//!   request ─> queue has room, nobody waits ─> taken
//!                 └─ else: not taken, its client is not read ─> room ─> called ─> taken
//! ```

use std::collections::VecDeque;

use super::members::Tagged;

#[derive(Default)]
pub struct Held {
    queues: Vec<Queue>,
    next: u64,
    /// The client that is served now was called.
    pub is_called: bool,
}

/// Who waits for room in what one connection, or lot, has to send.
pub struct Queue {
    pub link: usize,
    pub waiting: VecDeque<Waiter>,
}

#[derive(Clone, Copy)]
pub struct Waiter {
    pub ticket: Tagged,
    /// Of its request.
    pub bytes: usize,
    /// The lower was there first.
    pub number: u64,
}

impl Held {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether whoever is served now is behind somebody who waits for the connection.
    pub fn is_behind(&self, link: usize) -> bool {
        !self.is_called && self.waits_for(link)
    }

    pub fn waits_for(&self, link: usize) -> bool {
        self.queues.iter().any(|queue| queue.link == link)
    }

    /// For the next who comes to wait, for room or for a connection of its own.
    pub const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Let a client wait; whether it is the first. One that was called in vain has its place again.
    pub fn push(&mut self, link: usize, waiter: Waiter) -> bool {
        match self.queues.iter_mut().find(|queue| queue.link == link) {
            Some(Queue { waiting, .. }) => {
                let place = waiting.partition_point(|other| other.number < waiter.number);
                waiting.insert(place, waiter);
                false
            }
            None => {
                self.queues.push(Queue { link, waiting: [waiter].into() });
                true
            }
        }
    }

    pub fn take(&mut self) -> Vec<Queue> {
        std::mem::take(&mut self.queues)
    }

    /// Those that wait on.
    pub fn put_back(&mut self, mut queues: Vec<Queue>) {
        queues.retain(|queue| !queue.waiting.is_empty());
        self.queues = queues;
    }

    pub fn held(&self) -> usize {
        let queues = self.queues.iter().map(|queue| queue.waiting.capacity() * size_of::<Waiter>()).sum::<usize>();
        queues + self.queues.capacity() * size_of::<Queue>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(client: usize) -> Waiter {
        Waiter { ticket: (client, 0), bytes: 1, number: client as u64 }
    }

    #[test]
    fn nobody_passes_who_waits_but_who_was_called() {
        let mut held = Held::default();
        assert!(held.push(7, waiter(3)) && !held.push(7, waiter(4)) && held.push(8, waiter(5)));
        assert!(held.is_behind(7) && !held.is_behind(9));
        held.is_called = true;
        assert!(!held.is_behind(7) && !held.push(7, waiter(1)) && !held.push(7, waiter(2)));
        let queues = held.take();
        let clients: Vec<usize> = queues[0].waiting.iter().map(|waiter| waiter.ticket.0).collect();
        assert_eq!(clients, [1, 2, 3, 4], "in their order, and first who was called in vain");
        held.put_back(queues);
        assert!(!held.is_empty() && held.held() > 0);
    }
}
