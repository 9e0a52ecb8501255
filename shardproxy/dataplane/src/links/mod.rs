//! The connections of one worker to nodes: what is under way on each, and what state it is in.

pub mod durable;
mod greeting;
mod link;
mod login;
mod patience;
mod trouble;

pub use durable::Votes;
pub use link::{Leased, Link, Question, Role, State, Subscriber, Watcher, Way, NO_NODE};
pub use login::Login;
pub use patience::Patience;
pub use trouble::{Identity, Redo, Trouble};

use std::ops::{Index, IndexMut};

use slab::Slab;

/// The connections of a worker, by their places.
#[derive(Default)]
pub struct Links {
    slab: Slab<Link>,
    /// Those with something to send; each once.
    dirty: Vec<usize>,
    /// Those that had more to read than one turn gives them; each once.
    unread: Vec<usize>,
    /// Those that had more to send; they stay dirty.
    unsent: Vec<usize>,
    /// Those that were lost: a turn waits no longer than until the first may be opened again.
    pub retrying: Vec<usize>,
}

impl Links {
    pub fn insert(&mut self, link: Link) -> usize {
        self.slab.insert(link)
    }

    pub fn remove(&mut self, index: usize) -> Link {
        self.slab.remove(index)
    }

    pub fn contains(&self, index: usize) -> bool {
        self.slab.contains(index)
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&Link> {
        self.slab.get(index)
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Link> {
        self.slab.get_mut(index)
    }

    pub fn iter(&self) -> slab::Iter<'_, Link> {
        self.slab.iter()
    }

    pub fn iter_mut(&mut self) -> slab::IterMut<'_, Link> {
        self.slab.iter_mut()
    }

    /// The link has something to send.
    #[inline]
    pub fn mark(&mut self, index: usize) {
        let link = &mut self.slab[index];
        if !link.is_dirty {
            link.is_dirty = true;
            self.dirty.push(index);
        }
    }

    #[inline]
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next one with something to send. It stays marked until it is flushed.
    #[inline]
    pub fn next_dirty(&mut self) -> Option<usize> {
        self.dirty.pop()
    }

    /// Read on in a later turn, without waiting for a new event.
    pub fn mark_unread(&mut self, index: usize) {
        let link = &mut self.slab[index];
        if !link.is_unread {
            link.is_unread = true;
            self.unread.push(index);
        }
    }

    /// Write on in the next turn. A socket that takes more raises no event.
    #[cold]
    pub fn mark_unsent(&mut self, index: usize) {
        let link = &mut self.slab[index];
        if !link.is_dirty {
            link.is_dirty = true;
            self.unsent.push(index);
        }
    }

    /// Whether there is more to read or to send, without a new event.
    pub fn has_unread(&self) -> bool {
        !self.unread.is_empty() || !self.unsent.is_empty()
    }

    /// Those to read on from; `into` is empty. Those to write on to are dirty.
    pub fn take_unread(&mut self, into: &mut Vec<usize>) {
        self.dirty.append(&mut self.unsent);
        std::mem::swap(&mut self.unread, into);
        for &index in &*into {
            if let Some(link) = self.slab.get_mut(index) {
                link.is_unread = false;
            }
        }
    }
}

impl Index<usize> for Links {
    type Output = Link;

    #[inline]
    fn index(&self, index: usize) -> &Link {
        &self.slab[index]
    }
}

impl IndexMut<usize> for Links {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut Link {
        &mut self.slab[index]
    }
}
