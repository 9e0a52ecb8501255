//! A short hash tag for each slot: names that the proxy makes up lie with the key they are about.

use std::sync::LazyLock;

use super::{slot_of_part, SLOTS};

/// What tags are made of: nothing that a pattern, a brace or a shell would take for something else.
const LETTERS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// Bytes of a tag: with fewer not every slot has one.
const LENGTH: usize = 4;

static TAGS: LazyLock<Box<[[u8; LENGTH]]>> = LazyLock::new(|| {
    let mut tags = vec![[0; LENGTH]; usize::from(SLOTS)].into_boxed_slice();
    let mut left = tags.len();
    let all = 0..1_usize << (5 * LENGTH);
    for number in all {
        let tag: [u8; LENGTH] = std::array::from_fn(|at| LETTERS[number >> (5 * (LENGTH - 1 - at)) & 31]);
        let found = &mut tags[usize::from(slot_of_part(&tag))];
        if found[0] == 0 {
            *found = tag;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    tags
});

/// The tag of a slot; a slot beyond the last counts on from the first.
pub fn tag_of_slot(slot: u16) -> &'static [u8] {
    &TAGS[usize::from(slot % SLOTS)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;

    #[test]
    fn each_slot_has_a_tag_that_lies_in_it() {
        for slot in 0..SLOTS {
            let tag = tag_of_slot(slot);
            assert!(tag.iter().all(u8::is_ascii_alphanumeric));
            assert_eq!(hash::slot(&[b"a:{", tag, b"}:b{c}"].concat()), slot);
        }
        assert_eq!(tag_of_slot(SLOTS), tag_of_slot(0));
    }
}
