//! A set of clients: one is added or taken out in constant time, all are gone through in pieces.

use std::collections::HashMap;

/// A client's place and its tag.
pub type Tagged = (usize, u32);

/// So many are found by looking at each.
const FEW: usize = 16;

/// Most topics have one subscriber, and it takes no memory of its own.
#[derive(Default)]
pub enum Members {
    #[default]
    None,
    One {
        member: Member,
        is_told: bool,
    },
    Many(Box<Crowd>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    client: u32,
    tag: u32,
}

/// ```text
///   | to be told yet | told already, or came later |
///   0             untold                       list.len()
/// ```
#[derive(Default)]
pub struct Crowd {
    list: Vec<Member>,
    /// Where each client is in the list, unless they are few.
    places: HashMap<u32, u32>,
    /// While a message is handed out: how many have not got it yet.
    untold: usize,
}

impl Member {
    pub const fn of((client, tag): Tagged) -> Self {
        Self { client: client as u32, tag }
    }

    pub const fn ticket(self) -> Tagged {
        (self.client as usize, self.tag)
    }
}

impl Members {
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn as_slice(&self) -> &[Member] {
        match self {
            Self::None => &[],
            Self::One { member, .. } => std::slice::from_ref(member),
            Self::Many(crowd) => &crowd.list,
        }
    }

    /// Add a client; a former one in its place is replaced.
    pub fn insert(&mut self, ticket: Tagged) {
        let member = Member::of(ticket);
        match self {
            Self::None => *self = Self::One { member, is_told: true },
            Self::One { member: known, .. } if known.client == member.client => *known = member,
            &mut Self::One { member: known, is_told } => {
                let (list, untold) = (vec![known, member], usize::from(!is_told));
                *self = Self::Many(Box::new(Crowd { list, untold, ..Crowd::default() }));
            }
            Self::Many(crowd) => crowd.insert(member),
        }
    }

    /// Take a client out, if it is this one that is there; whether it was.
    pub fn remove(&mut self, ticket: Tagged) -> bool {
        let member = Member::of(ticket);
        let (is_there, is_last) = match self {
            Self::None => (false, false),
            Self::One { member: known, .. } => (*known == member, *known == member),
            Self::Many(crowd) => {
                let place = crowd.place(member.client).filter(|&place| crowd.list[place] == member);
                if let Some(place) = place {
                    crowd.remove(place);
                }
                (place.is_some(), crowd.list.is_empty())
            }
        };
        if is_last {
            *self = Self::None;
        }
        is_there
    }

    /// Hand a message to all who are there now. False while another is handed out.
    pub fn begin(&mut self) -> bool {
        match self {
            Self::None => true,
            Self::One { is_told, .. } => std::mem::replace(is_told, false),
            Self::Many(crowd) if crowd.untold > 0 => false,
            Self::Many(crowd) => {
                crowd.untold = crowd.list.len();
                true
            }
        }
    }

    /// The next who is to be told.
    pub fn next_untold(&mut self) -> Option<Tagged> {
        match self {
            Self::None => None,
            Self::One { member, is_told } => (!std::mem::replace(is_told, true)).then(|| member.ticket()),
            Self::Many(crowd) => {
                crowd.untold = crowd.untold.checked_sub(1)?;
                Some(crowd.list[crowd.untold].ticket())
            }
        }
    }

    /// Bytes it takes beside itself.
    pub fn held(&self) -> usize {
        let Self::Many(crowd) = self else { return 0 };
        let places = crowd.places.capacity() * (size_of::<(u32, u32)>() + 1) * 8 / 7;
        size_of::<Crowd>() + crowd.list.capacity() * size_of::<Member>() + places
    }
}

impl Crowd {
    fn place(&self, client: u32) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|known| known.client == client);
        }
        self.places.get(&client).map(|&place| place as usize)
    }

    fn insert(&mut self, member: Member) {
        if let Some(place) = self.place(member.client) {
            self.list[place] = member;
            return;
        }
        self.list.push(member);
        if !self.places.is_empty() {
            self.places.insert(member.client, self.list.len() as u32 - 1);
        } else if self.list.len() > FEW {
            self.places.extend(self.list.iter().zip(0..).map(|(member, place)| (member.client, place)));
        }
    }

    /// Those that are to be told stay in front of those that were.
    fn remove(&mut self, mut place: usize) {
        let gone = self.list[place].client;
        if place < self.untold {
            self.untold -= 1;
            self.move_to(place, self.untold);
            place = self.untold;
        }
        let last = self.list.len() - 1;
        self.move_to(place, last);
        self.list.pop();
        if self.list.is_empty() || self.list.len() <= FEW / 2 {
            self.places = HashMap::new();
        } else {
            self.places.remove(&gone);
        }
        if self.list.capacity() > FEW && self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
            self.places.shrink_to(self.list.len() * 2);
        }
    }

    fn move_to(&mut self, place: usize, from: usize) {
        if place != from {
            self.list[place] = self.list[from];
            if let Some(known) = self.places.get_mut(&self.list[place].client) {
                *known = place as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tickets(members: &Members) -> BTreeMap<usize, u32> {
        members.as_slice().iter().map(|member| member.ticket()).collect()
    }

    /// xorshift32
    fn random(state: &mut u32) -> u32 {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        *state
    }

    #[test]
    fn it_is_a_set_of_clients_of_which_the_last_in_a_place_counts() {
        for clients in [1, 2, 5, 20, 100] {
            let (mut members, mut model, mut state) = (Members::default(), BTreeMap::new(), 7);
            for _ in 0..5000 {
                let (client, tag) = (random(&mut state) as usize % clients, random(&mut state) % 3);
                if random(&mut state) % 2 == 0 {
                    members.insert((client, tag));
                    model.insert(client, tag);
                } else {
                    let is_there = model.get(&client) == Some(&tag);
                    assert_eq!(members.remove((client, tag)), is_there);
                    model.retain(|&known, _| !(is_there && known == client));
                }
                assert_eq!((members.len(), tickets(&members)), (model.len(), model.clone()));
            }
        }
    }

    #[test]
    fn everyone_is_told_once_whoever_comes_and_goes_meanwhile() {
        for (many, places) in [(40, 80), (2, 3), (1, 2)] {
            let (mut members, mut state) = (Members::default(), 7);
            (0..many).for_each(|client| members.insert((client, 0)));
            for _ in 0..200 {
                let mut present = tickets(&members);
                assert!(members.begin() && (members.is_empty() || !members.begin()));
                while let Some((client, _)) = members.next_untold() {
                    assert!(present.remove(&client).is_some(), "{client} is told twice, or came later");
                    let client = random(&mut state) as usize % places;
                    if client % 2 == 0 {
                        present.remove(&client);
                        members.remove((client, 0));
                        members.insert((client, 0)); // it has come anew: what was said before is not for it
                    } else if members.remove((client, 0)) {
                        present.remove(&client);
                    } else {
                        members.insert((client, 0));
                    }
                }
                assert_eq!(present, BTreeMap::new(), "not told");
            }
        }
    }

    #[test]
    fn it_gives_its_room_back() {
        let mut members = Members::default();
        (0..10_000).for_each(|client| members.insert((client, 0)));
        assert!(members.held() > 10_000 * 16);
        (1..10_000).for_each(|client| assert!(members.remove((client, 0))));
        assert!(members.held() < 1000, "{}", members.held());
        assert!(members.remove((0, 0)));
        assert_eq!(members.held(), 0);
    }
}
