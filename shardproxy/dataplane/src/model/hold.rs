//! Requests of a shard that wait before they are taken: while some of its slots leave, or all shards are copied at one moment.

use serde::Deserialize;

use super::{Slots, NO_SLOT};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldSpec {
    pub slots: Vec<(u16, u16)>,
    #[serde(default)]
    pub only_writes: bool,
}

/// What waits of one shard.
#[derive(Clone, PartialEq, Eq)]
pub struct Hold {
    slots: Slots,
    pub only_writes: bool,
    /// Other slots of the shard go on: what may have keys of several is told apart.
    pub is_partial: bool,
}

impl Hold {
    /// None where no slot is held. `owned`: what slots the shard has.
    pub fn of(spec: &HoldSpec, owned: &[(u16, u16)]) -> Option<Self> {
        let is_in =
            |ranges: &[(u16, u16)], slot: u16| ranges.iter().any(|&(first, last)| (first..=last).contains(&slot));
        let slots = Slots::of(|slot| is_in(&spec.slots, slot))?;
        let is_partial = owned.iter().any(|&(first, last)| (first..=last).any(|slot| !slots.contains(slot)));
        Some(Self { slots, only_writes: spec.only_writes, is_partial })
    }

    /// Whether it holds what has its keys in that slot; without a slot what may have keys of any.
    pub fn concerns(&self, slot: u16, is_read: bool) -> bool {
        !(self.only_writes && is_read) && (slot == NO_SLOT || self.slots.contains(slot))
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { only_writes, is_partial, .. } = self;
        write!(f, "Hold(only_writes: {only_writes}, is_partial: {is_partial})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(slots: &[(u16, u16)], only_writes: bool, owned: &[(u16, u16)]) -> Option<Hold> {
        Hold::of(&HoldSpec { slots: slots.to_vec(), only_writes }, owned)
    }

    #[test]
    fn what_is_held_is_a_question_of_slots_and_of_writing() {
        let some = hold(&[(0, 9), (20, 20)], false, &[(0, 99)]).unwrap();
        assert!(some.is_partial);
        for (slot, expected) in [(0, true), (9, true), (10, false), (20, true), (99, false), (NO_SLOT, true)] {
            assert_eq!([some.concerns(slot, false), some.concerns(slot, true)], [expected; 2], "{slot}");
        }
        let writes = hold(&[(0, 99)], true, &[(0, 49), (60, 99)]).unwrap();
        assert!(!writes.is_partial && writes.concerns(5, false) && writes.concerns(NO_SLOT, false));
        assert!(!writes.concerns(5, true) && !writes.concerns(NO_SLOT, true));
        assert!(hold(&[], false, &[(0, 99)]).is_none());
    }
}
