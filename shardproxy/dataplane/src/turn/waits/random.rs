//! Clients come and go, elements come, and engines are slow to answer, at random: none is overtaken, and nobody waits for
//! what is there.

use std::collections::VecDeque;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::command::{CommandTable, Form, Kind};
use crate::exchange::Owed;
use crate::model::{Lane, Speech};
use crate::net::Resolver;
use crate::shared::{Claim, Shared, Told};

const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];

#[derive(Debug, Clone)]
enum Step {
    /// A client waits for these keys, in RESP 2 or 3.
    Enter(Vec<usize>, u8),
    Leave(usize),
    Push(usize, usize),
    /// The engine answers the oldest of what it is asked.
    Answer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop::collection::vec(0..KEYS.len(), 1..4);
    let step = prop_oneof![
        3 => (keys, 2..4u8).prop_map(|(keys, resp)| Step::Enter(keys, resp)),
        1 => (0..20usize).prop_map(Step::Leave),
        3 => (0..KEYS.len(), 1..4usize).prop_map(|(key, count)| Step::Push(key, count)),
        4 => Just(Step::Answer),
    ];
    prop::collection::vec(step, 1..200)
}

/// What the engine is asked: for these clients, each with these keys.
struct Asked {
    owed: Owed,
    line: Option<u32>,
    clients: Vec<(u32, u64, Vec<usize>)>,
}

struct World {
    shared: Arc<Shared>,
    waits: Waits,
    /// The keys of each client, by its ticket.
    keys: HashMap<u64, Vec<usize>>,
    elements: [usize; KEYS.len()],
    asked: VecDeque<Asked>,
    clients: u64,
}

impl World {
    fn new() -> Self {
        let table = Arc::new(CommandTable::builtin().unwrap());
        let shared = Arc::new(Shared::new(1, table, 0, Resolver::idle()).unwrap());
        let (waits, keys) = (Waits::default(), HashMap::new());
        Self { shared, waits, keys, elements: [0; KEYS.len()], asked: VecDeque::new(), clients: 0 }
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Enter(keys, resp) => self.enter(keys, *resp),
            Step::Leave(at) => {
                let id = self.waits.waiters.iter().nth(*at).map(|(id, _)| id as u32);
                if let Some(waiter) = id.and_then(|id| self.waits.leave(id)) {
                    self.keys.remove(&waiter.ticket);
                    waiter.entrant.claim.forget();
                }
            }
            Step::Push(key, count) => {
                self.elements[*key] += count;
                self.tell(*key);
            }
            Step::Answer => self.answer(),
        }
        while let Some((line, chosen)) = self.waits.next_attempt() {
            let key = self.key_of(line);
            let tickets: Vec<_> =
                chosen.iter().map(|&id| (id, self.waits.waiters[id as usize].ticket, vec![key])).collect();
            let owed = self.waits.begin(chosen.iter().map(|&id| (id, 0)).collect(), Some(line), 0);
            self.asked.push_back(Asked { owed, line: Some(line), clients: tickets });
        }
    }

    fn enter(&mut self, keys: &[usize], resp: u8) {
        self.clients += 1;
        let claim = Claim::new(self.shared.clone(), 0, self.clients, Owed::NOBODY, (0, 0));
        let count = keys.len() as u32;
        let (kind, length) = (Kind::List, None);
        let form =
            Form { kind, first: 1, count, numkeys: None, has_ids: false, group: None, timeout: 1 + count, length };
        let entrant = Entrant {
            claim,
            cluster: 0,
            slot: 0,
            is_spread: false,
            speech: Speech { resp, db: 0, lane: Lane::Usual },
            is_read: false,
            is_write: true,
            request: Box::default(),
            cancel: Box::default(),
            number: 0,
            form: Some(form),
            ends: None,
        };
        let wish = Wish { db: 0, kind, group: None };
        let wishes: Vec<(&[u8], Wish)> = keys.iter().map(|&key| (KEYS[key], wish.clone())).collect();
        let id = self.waits.enter(entrant, &wishes, 0, &vec![0; keys.len()], Instant::now());
        let ticket = self.waits.waiters[id as usize].ticket;
        self.keys.insert(ticket, keys.to_vec());
        let places = self.waits.open_keys(id);
        if !places.is_empty() {
            let open = places.iter().map(|&place| keys[place]).collect();
            let owed = self.waits.begin(vec![(id, 0)], None, 0);
            self.asked.push_back(Asked { owed, line: None, clients: vec![(id, ticket, open)] });
        }
    }

    fn key_of(&self, line: u32) -> usize {
        let spot = &self.waits.spots[self.waits.lines[line as usize].spot as usize];
        KEYS.iter().position(|key| **key == *spot.key).unwrap()
    }

    /// A key has changed, and is seen to hold something.
    fn tell(&mut self, key: usize) {
        if let Some(spot) = self.waits.find_spot(0, KEYS[key]) {
            for line in self.waits.spots[spot as usize].lines.clone() {
                self.waits.wake(line);
            }
        }
    }

    fn answer(&mut self) {
        let Some(asked) = self.asked.pop_front() else { return };
        let mut served = Vec::new();
        for (id, ticket, keys) in &asked.clients {
            let Some(&key) = keys.iter().find(|&&key| self.elements[key] > 0) else { continue };
            self.elements[key] -= 1;
            served.push(*id);
            if self.keys.remove(ticket).is_some() {
                let before = self.keys.iter().find(|(other, keys)| *other < ticket && keys.contains(&key));
                assert_eq!(before, None, "{ticket} overtakes on {key}");
            }
        }
        let attempt = self.waits.end(&asked.owed).unwrap();
        let was_ready = asked.line.map(|line| self.waits.lines[line as usize].is_ready);
        let there: Vec<u32> = attempt.asked.iter().map(|&(id, _)| id).filter(|id| served.contains(id)).collect();
        for &id in &there {
            if let Some(waiter) = self.waits.leave(id) {
                waiter.entrant.claim.settle(Told::Cut);
            }
        }
        if let Some(line) = asked.line {
            let holds = self.waits.lines.contains(line as usize) && self.elements[self.key_of(line)] > 0;
            if let Some(known) = self.waits.lines.get_mut(line as usize) {
                known.is_ready = was_ready == Some(true) || holds && attempt.asked.len() < asked.clients.len();
                known.learn((asked.clients.len(), there.len()), 0, holds);
            }
        }
        self.waits.settle(&attempt);
    }
}

proptest! {
    #[test]
    fn nobody_is_overtaken_and_nobody_waits_for_what_is_there(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.play(step);
        }
        while !world.asked.is_empty() {
            world.play(&Step::Answer);
        }
        for keys in world.keys.values() {
            prop_assert!(keys.iter().all(|&key| world.elements[key] == 0), "{:?} of {keys:?}", world.elements);
        }
        while let Some(id) = world.waits.waiters.iter().next().map(|(id, _)| id as u32) {
            world.waits.leave(id).unwrap().entrant.claim.forget();
        }
        prop_assert!(world.waits.lines.is_empty() && world.waits.spots.is_empty());
        prop_assert_eq!(world.waits.bytes, 0);
    }
}
