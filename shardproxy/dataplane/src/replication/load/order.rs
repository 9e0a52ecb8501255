//! What is restored to whom.

use std::path::PathBuf;

use crate::hash::SLOTS;
use crate::model::Families;
use crate::replication::end::End;
use crate::replication::rdb::{Owned, SlotSet};

pub struct TargetOrder {
    /// First and last slot of ranges.
    pub slots: Vec<(u16, u16)>,
    pub end: End,
}

pub struct FileOrder {
    pub path: PathBuf,
    /// Slots whose keys are the file's; others are leftovers. None: all.
    pub owned: Option<SlotSet>,
    /// What begins before is restored already.
    pub start: u64,
}

pub struct LoadOrder {
    pub files: Vec<FileOrder>,
    pub targets: Vec<TargetOrder>,
    pub families: Option<Families>,
    /// The only database whose keys there may be; none: all, each into its own, and there is one target.
    pub database: Option<u32>,
    /// Only keys that match this glob.
    pub pattern: Option<Vec<u8>>,
    /// Keys that are there are replaced; else they end it.
    pub replaces: bool,
    pub functions: bool,
    /// It goes on where another one was interrupted: what that one restored last may be there, and is replaced.
    pub is_resumed: bool,
}

const NOBODY: u16 = u16::MAX;

/// Which target has a slot.
pub struct Seats(Box<[u16]>);

impl Seats {
    pub fn of(targets: &[TargetOrder]) -> Result<Self, String> {
        let mut seats = vec![NOBODY; usize::from(SLOTS)].into_boxed_slice();
        for (number, target) in targets.iter().enumerate() {
            for &(first, last) in &target.slots {
                let range = seats.get_mut(usize::from(first)..=usize::from(last));
                let range = range.ok_or_else(|| format!("no range of slots: {first}-{last}"))?;
                if range.iter().any(|&seat| seat != NOBODY) {
                    return Err(format!("two targets have slots of {first}-{last}"));
                }
                range.fill(number as u16);
            }
        }
        Ok(Self(seats))
    }

    #[inline]
    pub fn of_slot(&self, slot: u16) -> Option<usize> {
        let seat = self.0[usize::from(slot)];
        (seat != NOBODY).then_some(usize::from(seat))
    }
}

impl LoadOrder {
    /// Fail where it cannot be meant.
    pub fn check(&self) -> Result<Seats, String> {
        if self.database.is_none() && self.targets.len() != 1 {
            return Err("keys of several databases need one shard: others have database 0 only".into());
        }
        Seats::of(&self.targets)
    }

    pub fn owned(&self, file: &FileOrder) -> Owned {
        Owned { families: self.families.clone(), slots: file.owned.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(slots: &[(u16, u16)]) -> TargetOrder {
        TargetOrder { slots: slots.to_vec(), end: End::plain("127.0.0.1:1").unwrap() }
    }

    #[test]
    fn each_slot_has_one_target_or_none() {
        let seats = Seats::of(&[target(&[(0, 9), (20, 20)]), target(&[]), target(&[(10, 19), (21, 16383)])]).unwrap();
        assert_eq!([0, 9, 10, 20, 21, 16383].map(|slot| seats.of_slot(slot)), [0, 0, 2, 0, 2, 2].map(Some));
        assert_eq!(Seats::of(&[target(&[(5, 6)])]).unwrap().of_slot(4), None);
        for wrong in [&[target(&[(0, 9)]), target(&[(9, 10)])][..], &[target(&[(0, 16384)])], &[target(&[(2, 0)])]] {
            assert!(Seats::of(wrong).is_err());
        }
    }
}
