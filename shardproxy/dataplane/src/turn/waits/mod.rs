//! The clients that wait for keys this worker keeps the order of, and what is asked of nodes for them.

mod lines;
#[cfg(test)]
mod random;
mod waiter;

pub use lines::{Line, Spot, Watch, Wish};
pub use waiter::{Attempt, Ending, Outcome, Waiter, Watcher};

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use crate::exchange::Owed;
use crate::shared::{Answer, Entrant};

#[derive(Default)]
pub struct Waits {
    pub waiters: Slab<Waiter>,
    clients: HashMap<u64, u32>,
    pub spots: Slab<Spot>,
    names: Vec<HashMap<Arc<[u8]>, u32>>,
    pub lines: Slab<Line>,
    attempts: Slab<Attempt>,
    pub watchers: BTreeMap<(usize, u16), Watcher>,
    due: BTreeSet<(Instant, u32)>,
    /// Lines whose turn may have come.
    pub ready: VecDeque<u32>,
    /// Clients that are asked for anew, with all their keys.
    pub again: VecDeque<u32>,
    /// Spots whose nodes are to be asked.
    pub asks: VecDeque<u32>,
    /// Lines that are tried again with the next tick.
    pub stalled: Vec<u32>,
    /// And clients.
    pub stalled_again: Vec<u32>,
    /// Clients that have just come, and are asked for when their shard holds that no more.
    pub held_first: Vec<u32>,
    /// Spots that are to be asked for when a connection has sent what it has to say.
    pub postponed: Vec<u32>,
    /// What came of attempts, to be seen to in this turn.
    pub results: Vec<(Owed, Outcome)>,
    /// What clients get whose wait is over, each with its worker.
    pub answers: Vec<(u16, Answer)>,
    tickets: u64,
    tags: u32,
    /// Bytes of requests and keys.
    bytes: usize,
    pub accounted: usize,
    /// Where the routine looks go on.
    pub routine: usize,
}

impl Waits {
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Whether something is to be done in this very turn.
    pub fn is_busy(&self) -> bool {
        !self.results.is_empty()
            || !self.answers.is_empty()
            || !self.ready.is_empty()
            || !self.again.is_empty()
            || !self.asks.is_empty()
    }

    /// When the first wait is over.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// A client begins to wait, behind all who wait already. `wishes`: its keys, each with what it waits for there.
    pub fn enter(
        &mut self,
        entrant: Entrant,
        wishes: &[(&[u8], Wish)],
        shard: u16,
        slots: &[u16],
        now: Instant,
    ) -> u32 {
        self.tickets += 1;
        let (client, cluster, ends) = (entrant.claim.client, entrant.cluster, entrant.ends);
        self.bytes += entrant.request.len() + entrant.cancel.len();
        let id = self.waiters.insert(Waiter::new(entrant, self.tickets)) as u32;
        self.clients.insert(client, id);
        if let Some(ends) = ends {
            self.due.insert((ends, id));
        }
        let mut lines: Vec<u32> = Vec::with_capacity(wishes.len());
        for ((key, wish), &slot) in wishes.iter().zip(slots) {
            let line = self.open_line(cluster, key, wish, (shard, slot), now);
            self.lines[line as usize].queue.insert(self.tickets, id);
            lines.push(line); // a key that is named twice has its line twice
        }
        self.waiters[id as usize].lines = lines.into();
        id
    }

    fn open_line(&mut self, cluster: usize, key: &[u8], wish: &Wish, (shard, slot): (u16, u16), now: Instant) -> u32 {
        if self.names.len() <= cluster {
            self.names.resize_with(cluster + 1, HashMap::new);
        }
        let place = if let Some(&known) = self.names[cluster].get(key) {
            known
        } else {
            let key: Arc<[u8]> = key.into();
            self.bytes += key.len();
            let lines = Vec::new();
            let (watch, asked, is_routine) = (Watch::No, now, false);
            let new = Spot { cluster, shard, slot, key: key.clone(), watch, asked, is_routine, lines };
            let place = self.spots.insert(new) as u32;
            self.names[cluster].insert(key, place);
            place
        };
        let known = self.spots[place as usize].lines.iter().find(|&&line| self.lines[line as usize].wish == *wish);
        if let Some(&line) = known {
            return line;
        }
        let line = Line::new(place, wish.clone());
        self.bytes += line.held();
        let line = self.lines.insert(line) as u32;
        self.spots[place as usize].lines.push(line);
        line
    }

    /// Where a client waits, by its id.
    pub fn find(&self, client: u64) -> Option<u32> {
        self.clients.get(&client).copied()
    }

    pub fn find_spot(&self, cluster: usize, key: &[u8]) -> Option<u32> {
        self.names.get(cluster)?.get(key).copied()
    }

    /// It waits no more. Whoever is first now in one of its lines may have something.
    pub fn leave(&mut self, id: u32) -> Option<Waiter> {
        let waiter = self.waiters.try_remove(id as usize)?;
        self.bytes -= waiter.entrant.request.len() + waiter.entrant.cancel.len();
        self.clients.remove(&waiter.entrant.claim.client);
        if let Some(ends) = waiter.entrant.ends {
            self.due.remove(&(ends, id));
        }
        for &line in &waiter.lines {
            let Some(known) = self.lines.get_mut(line as usize) else { continue };
            let was_head = known.head() == Some(id);
            known.queue.remove(&waiter.ticket);
            if known.queue.is_empty() {
                self.close_line(line);
            } else if was_head && known.wish.kind.is_taken() {
                self.wake(line);
            }
        }
        Some(waiter)
    }

    fn close_line(&mut self, line: u32) {
        let Some(known) = self.lines.get(line as usize) else { return };
        if !known.queue.is_empty() || known.attempt.is_some() {
            return;
        }
        let known = self.lines.remove(line as usize);
        self.bytes -= known.held();
        let spot = &mut self.spots[known.spot as usize];
        spot.lines.retain(|&other| other != line);
        if spot.lines.is_empty() {
            let spot = self.spots.remove(known.spot as usize);
            self.bytes -= spot.key.len();
            self.names[spot.cluster].remove(&*spot.key);
        }
    }

    /// There may be something for a line.
    pub fn wake(&mut self, line: u32) {
        if let Some(known) = self.lines.get_mut(line as usize) {
            known.wake();
            self.queue(line);
        }
    }

    /// Its turn may have come.
    fn queue(&mut self, line: u32) {
        let Some(known) = self.lines.get_mut(line as usize) else { return };
        if known.is_ready && !known.is_queued {
            known.is_queued = true;
            self.ready.push_back(line);
        }
    }

    /// Those of the next ready line who are asked for now.
    pub fn next_attempt(&mut self) -> Option<(u32, Vec<u32>)> {
        loop {
            let line = self.ready.pop_front()?;
            let waiters = &mut self.waiters;
            let Some(known) = self.lines.get_mut(line as usize) else { continue };
            known.is_queued = false;
            if !known.is_ready || known.attempt.is_some() {
                continue; // its end looks again
            }
            let chosen = known.choose(|id| {
                let waiter = &mut waiters[id as usize];
                waiter.is_missed |= waiter.attempt.is_some();
                waiter.attempt.is_none().then_some(waiter.entrant.speech)
            });
            if !chosen.is_empty() {
                return Some((line, chosen));
            }
        }
    }

    /// These were chosen, and are not asked for with the others.
    pub fn put_off(&mut self, line: u32, these: &[u32]) {
        let first = these.iter().filter_map(|&id| self.waiters.get(id as usize)).map(|waiter| waiter.ticket).min();
        if let (Some(first), Some(known)) = (first, self.lines.get_mut(line as usize)) {
            known.next = first;
            known.is_ready = true;
        }
    }

    /// A line's turn is put off until the next tick.
    pub fn stall(&mut self, line: u32) {
        if let Some(known) = self.lines.get_mut(line as usize) {
            known.wake();
            self.stalled.push(line);
        }
    }

    /// What was put off until this tick is due.
    pub fn resume(&mut self) {
        for line in std::mem::take(&mut self.stalled) {
            self.wake(line);
        }
        self.again.extend(self.stalled_again.drain(..));
    }

    /// A connection that keys are asked for on has room.
    pub fn resume_asking(&mut self) {
        self.asks.extend(self.postponed.drain(..));
    }

    /// The keys, by their places, with which a client is asked for that has just come: those nobody waits for before it.
    pub fn open_keys(&self, id: u32) -> Vec<usize> {
        let Some(waiter) = self.waiters.get(id as usize) else { return Vec::new() };
        let is_open = |line: &Line| {
            !line.wish.kind.is_taken() || line.is_amiss || line.head() == Some(id) && line.attempt.is_none()
        };
        let lines = waiter.lines.iter().enumerate();
        lines.filter(|&(_, &line)| is_open(&self.lines[line as usize])).map(|(place, _)| place).collect()
    }

    /// Something is asked for these from now on: who is owed what comes of it.
    pub fn begin(&mut self, asked: Vec<(u32, u16)>, line: Option<u32>, lasts: usize) -> Owed {
        self.tags = self.tags.wrapping_add(1);
        let tag = self.tags;
        let attempt = self.attempts.vacant_key() as u32;
        for &(id, _) in &asked {
            let waiter = &mut self.waiters[id as usize];
            waiter.attempt = Some(attempt);
            waiter.is_missed = false;
            waiter.entrant.claim.is_doubtful = !waiter.entrant.is_read;
        }
        if let Some(line) = line {
            self.lines[line as usize].attempt = Some(attempt);
        }
        self.attempts.insert(Attempt { asked, line, lasts, tag });
        Owed { tag, sequence: attempt, ..Owed::ATTEMPT }
    }

    /// What was asked is answered: those still there, whom it tells, are free to be asked for anew.
    pub fn end(&mut self, owed: &Owed) -> Option<Attempt> {
        let number = owed.sequence;
        self.attempts.get(number as usize).filter(|attempt| attempt.tag == owed.tag)?;
        let mut attempt = self.attempts.remove(number as usize);
        attempt.asked.retain(|&(id, _)| {
            let waiter = self.waiters.get_mut(id as usize).filter(|waiter| waiter.attempt == Some(number));
            waiter.is_some_and(|waiter| {
                waiter.attempt = None;
                waiter.entrant.claim.is_doubtful = false;
                true
            })
        });
        if let Some(line) = attempt.line {
            self.lines[line as usize].attempt = None;
        }
        Some(attempt)
    }

    /// All is seen to that came of an attempt: who stands in more lines than one may be asked for in another now.
    pub fn settle(&mut self, attempt: &Attempt) {
        for &(id, _) in &attempt.asked {
            let Some(waiter) = self.waiters.get_mut(id as usize) else { continue };
            if std::mem::take(&mut waiter.is_missed) && waiter.is_in_no_order() {
                self.again.push_back(id);
            }
            for line in waiter.lines.clone() {
                self.queue(line);
            }
        }
        if let Some(line) = attempt.line {
            self.queue(line);
            self.close_line(line);
        }
    }

    /// The attempt a client is part of, as it is owed.
    pub fn owed_for(&self, id: u32) -> Option<Owed> {
        let number = self.waiters.get(id as usize)?.attempt?;
        let attempt = self.attempts.get(number as usize)?;
        Some(Owed { tag: attempt.tag, sequence: number, ..Owed::ATTEMPT })
    }

    /// Who has waited as long as it may, one after another; each once.
    pub fn next_over(&mut self, now: Instant) -> Option<u32> {
        let &(at, id) = self.due.first().filter(|&&(at, _)| at <= now)?;
        self.due.remove(&(at, id));
        Some(id)
    }

    /// A client's request as it is from now on.
    pub fn rewrite(&mut self, id: u32, request: Box<[u8]>) {
        if let Some(waiter) = self.waiters.get_mut(id as usize) {
            self.bytes = self.bytes + request.len() - waiter.entrant.request.len();
            waiter.entrant.request = request;
        }
    }

    /// A key is to be asked for, unless that is done already.
    pub fn want_watched(&mut self, spot: u32) {
        if let Some(known) = self.spots.get_mut(spot as usize).filter(|spot| spot.watch == Watch::No) {
            known.watch = Watch::Wanted;
            self.asks.push_back(spot);
        }
    }

    /// Bytes of all that, about.
    pub fn held(&self) -> usize {
        const SLOT: usize = 2 * size_of::<usize>();
        /// An entry of a map or a tree, about.
        const LEAF: usize = 48;
        let waiters = self.waiters.capacity() * (size_of::<Waiter>() + SLOT) + self.waiters.len() * 3 * LEAF;
        let spots = self.spots.capacity() * (size_of::<Spot>() + SLOT) + self.spots.len() * 2 * LEAF;
        waiters + spots + self.lines.capacity() * SLOT + self.bytes
    }

    /// Give back the room that many took.
    pub fn trim(&mut self) {
        if self.waiters.is_empty() && self.attempts.is_empty() && self.lines.is_empty() {
            let watchers = std::mem::take(&mut self.watchers);
            let (tags, tickets, accounted) = (self.tags, self.tickets, self.accounted);
            if self.results.is_empty() && self.waiters.capacity() > 64 {
                *self = Self { watchers, tickets, tags, accounted, ..Self::default() };
            } else {
                self.watchers = watchers;
            }
        }
    }
}
