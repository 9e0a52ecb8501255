//! A set of slots.

use crate::hash::SLOTS;

const WORDS: usize = SLOTS as usize / 64;

#[derive(Clone, PartialEq, Eq)]
pub struct Slots(Box<[u64; WORDS]>);

impl Slots {
    /// Those that are like that; none if there are none.
    pub fn of(is_like: impl Fn(u16) -> bool) -> Option<Self> {
        let mut slots = Self(Box::new([0; WORDS]));
        let mut is_any = false;
        for slot in (0..SLOTS).filter(|&slot| is_like(slot)) {
            slots.0[usize::from(slot / 64)] |= 1 << (slot % 64);
            is_any = true;
        }
        is_any.then_some(slots)
    }

    /// What is no slot is in no set.
    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot / 64)).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NO_SLOT;

    #[test]
    fn a_set_has_what_is_like_it() {
        let odd = Slots::of(|slot| slot % 2 == 1).unwrap();
        assert!((0..SLOTS).all(|slot| odd.contains(slot) == (slot % 2 == 1)) && !odd.contains(NO_SLOT));
        assert!(Slots::of(|_| false).is_none());
    }
}
