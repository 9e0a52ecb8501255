//! When requests came that were not taken at once, until they have their answers.

use std::collections::HashMap;

use crate::clients::{Came, Clients};
use crate::exchange::Owed;

/// Requests of which that is remembered; of more it is not known how long they waited.
pub const MOST: usize = 16_384;

/// Whose request it is, and which of them.
pub type Place = (u32, u32, u32);

pub const fn place(owed: &Owed) -> Place {
    (owed.client, owed.tag, owed.sequence)
}

/// When it came: microseconds on `Timing`'s clock, which does not wrap.
#[derive(Clone, Copy)]
pub struct Earlier {
    pub at: u64,
    pub is_parked: bool,
}

#[derive(Default)]
pub struct Arrivals(HashMap<Place, Earlier>);

impl Arrivals {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It is under way now. Who was sent again came when it did first.
    pub fn add(&mut self, ticket: (usize, u32), came: &Came) {
        if self.0.len() < MOST {
            let earlier = Earlier { at: came.at, is_parked: came.is_parked };
            self.0.entry((ticket.0 as u32, ticket.1, came.sequence)).or_insert(earlier);
        }
    }

    /// It has its answer, or a part of it.
    pub fn take(&mut self, owed: &Owed) -> Option<Earlier> {
        if self.0.is_empty() {
            None
        } else if owed.is_whole() {
            self.0.remove(&place(owed))
        } else {
            self.0.get(&place(owed)).copied()
        }
    }

    /// Nobody is owed the others any more.
    pub fn forget_ended(&mut self, clients: &mut Clients) {
        self.0.retain(|&(client, tag, sequence), _| {
            clients.tagged((client as usize, tag)).is_some_and(|client| client.replies.owes(sequence))
        });
        if self.0.is_empty() {
            self.0 = HashMap::new();
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
