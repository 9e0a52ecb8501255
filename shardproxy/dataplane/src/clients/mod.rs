//! The connected applications of one worker: what each has sent and is owed. Knows nothing of nodes.

mod agenda;
mod backlog;
mod came;
mod client;
mod hold;
mod info;
mod login;
mod origin;
mod own;
mod passage;
mod seats;
mod subscriptions;
mod taps;
mod tracking;
mod transaction;
mod waiting;

pub use agenda::Agenda;
pub use backlog::Backlog;
pub use came::Came;
pub use client::{Client, Deferral, Details, Flow, ReplyMode};
pub use hold::Hold;
pub use info::ClientInfo;
pub use login::Login;
pub use origin::Origin;
pub use own::{answer_own, is_valid_name, BAD_NAME};
pub use passage::Passage;
pub use seats::{Seat, Seats};
pub use subscriptions::{Errand, Heard, Stage, Subscriptions, Words};
pub use taps::{Batch, Tap, Tapping, Taps};
pub use tracking::{Mode, Redirect, Tracking, OWN_VALUE};
pub use transaction::{Executing, Foretold, Own, Transaction};
pub use waiting::Waiting;

use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::exchange::{BufferPool, Owed, WHOLE};
use crate::metrics::CloseReason;

/// The clients of a worker, by their places.
#[derive(Default)]
pub struct Clients {
    slab: Slab<Client>,
    /// Where each is, by its id.
    places: HashMap<u64, u32>,
    /// Those with something to send; each once.
    dirty: VecDeque<usize>,
    /// Those with input left over, to be looked at in the next turn; each once.
    again: Agenda,
}

impl Clients {
    /// Make a client in a free place.
    pub fn insert(&mut self, make: impl FnOnce(usize) -> Client) -> &mut Client {
        let entry = self.slab.vacant_entry();
        let client = make(entry.key());
        self.places.insert(client.id, client.index);
        entry.insert(client)
    }

    pub fn vacant(&self) -> usize {
        self.slab.vacant_key()
    }

    pub fn remove(&mut self, index: usize) -> Client {
        let client = self.slab.remove(index);
        self.places.remove(&client.id);
        client
    }

    /// Where the client with this id is, if it is there.
    pub fn place_of(&self, id: u64) -> Option<usize> {
        self.places.get(&id).map(|&place| place as usize)
    }

    /// No client is in a place beyond this one.
    pub fn places(&self) -> usize {
        self.slab.capacity()
    }

    pub fn get(&self, index: usize) -> Option<&Client> {
        self.slab.get(index)
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Client> {
        self.slab.get_mut(index)
    }

    pub fn iter(&self) -> slab::Iter<'_, Client> {
        self.slab.iter()
    }

    pub fn iter_mut(&mut self) -> slab::IterMut<'_, Client> {
        self.slab.iter_mut()
    }

    /// The client in this place, unless it is a later one than that of the tag.
    #[inline]
    pub fn tagged(&mut self, (index, tag): (usize, u32)) -> Option<&mut Client> {
        self.slab.get_mut(index).filter(|client| client.tag() == tag)
    }

    /// Who is owed a reply; nobody when it has gone.
    #[inline]
    pub fn owed(&mut self, owed: &Owed) -> Option<&mut Client> {
        self.tagged((owed.client as usize, owed.tag))
    }

    /// Give a complete reply, or the last piece of one, to the client that is owed it.
    #[inline]
    pub fn deliver(&mut self, pool: &mut BufferPool, owed: &Owed, reply: &[u8]) {
        let Some(client) = self.slab.get_mut(owed.client as usize).filter(|c| c.tag() == owed.tag) else { return };
        if owed.part == WHOLE {
            client.replies.deliver(owed.sequence, reply, &mut client.output, pool);
        } else {
            client.replies.deliver_part(owed.sequence, owed.part, reply, &mut client.output, pool);
        }
        mark(&mut self.dirty, client);
    }

    /// Give a piece of a reply that is not complete yet.
    pub fn deliver_piece(&mut self, pool: &mut BufferPool, owed: &Owed, piece: &[u8]) {
        let Some(client) = self.slab.get_mut(owed.client as usize).filter(|c| c.tag() == owed.tag) else { return };
        client.replies.deliver_piece(owed.sequence, piece, &mut client.output, pool);
        mark(&mut self.dirty, client);
    }

    /// What it is sent is large.
    pub fn moves_large(&mut self, owed: &Owed) {
        if let Some(client) = self.owed(owed) {
            client.moves_large = true;
        }
    }

    /// A reply broke off after its first bytes went out, or is too much for its client: only closing keeps the next reply
    /// from being taken for its rest.
    pub fn cut(&mut self, pool: &mut BufferPool, owed: &Owed, reason: CloseReason) {
        let Some(client) = self.slab.get_mut(owed.client as usize).filter(|c| c.tag() == owed.tag) else { return };
        client.closing = Some(reason);
        client.replies.clear(pool);
        mark(&mut self.dirty, client);
    }

    /// The client has something to send, or is to be closed.
    pub fn mark(&mut self, index: usize) {
        if let Some(client) = self.slab.get_mut(index) {
            mark(&mut self.dirty, client);
        }
    }

    /// The next one with something to send. It stays marked until it is flushed.
    #[inline]
    pub fn next_dirty(&mut self) -> Option<usize> {
        self.dirty.pop_front()
    }

    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Look at the client again in the next turn.
    pub fn look_again(&mut self, index: usize) {
        if let Some(client) = self.slab.get_mut(index).filter(|client| !client.is_again) {
            client.is_again = true;
            self.again.push(index);
        }
    }

    /// Put a client that is marked as such among those that are looked at again.
    pub fn push_again(&mut self, index: usize) {
        self.again.push(index);
    }

    pub fn next_again(&mut self) -> Option<usize> {
        self.again.pop()
    }

    pub fn again(&self) -> usize {
        self.again.len()
    }
}

#[inline]
fn mark(dirty: &mut VecDeque<usize>, client: &mut Client) {
    if !client.is_dirty {
        client.is_dirty = true;
        dirty.push_back(client.index as usize);
    }
}

impl Index<usize> for Clients {
    type Output = Client;

    fn index(&self, index: usize) -> &Client {
        &self.slab[index]
    }
}

impl IndexMut<usize> for Clients {
    fn index_mut(&mut self, index: usize) -> &mut Client {
        &mut self.slab[index]
    }
}
