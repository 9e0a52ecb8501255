//! What a cluster of one shard does that several would refuse: how often by command, and what the first of each was about.
//! An owner who wants to grow reads it. Of keys only the shape is kept, for they may name people.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, OnceLock};

use serde_json::{json, Map, Value};

use super::{Counter, COMMANDS};
use crate::sync::lock;

/// Characters of a key that are shown.
const SHOWN: usize = 48;
/// A word as long as this is nobody's choice.
const LONGEST_WORD: usize = 20;

/// Of one worker. What never happens takes no room.
#[derive(Default)]
pub struct Liberties {
    counts: OnceLock<Box<[Counter]>>,
    examples: Mutex<BTreeMap<u16, String>>,
}

impl Liberties {
    /// Count a command; `example` is asked for the first time only.
    pub fn count(&self, command: u16, example: impl FnOnce() -> String) {
        let counts = self.counts.get_or_init(|| (0..COMMANDS).map(|_| Counter::default()).collect());
        let id = usize::from(command).min(COMMANDS - 1);
        if counts[id].get() == 0 {
            lock(&self.examples).insert(id as u16, example());
        }
        counts[id].increment();
    }

    fn get(&self, id: usize) -> u64 {
        self.counts.get().map_or(0, |counts| counts[id].get())
    }
}

/// The sums over workers by command.
pub fn collect(parts: &[&Liberties], names: &HashMap<u16, String>) -> Value {
    let mut found = Map::new();
    let examples: BTreeMap<u16, String> = parts.iter().flat_map(|part| lock(&part.examples).clone()).collect();
    for (id, example) in examples {
        let count: u64 = parts.iter().map(|part| part.get(usize::from(id))).sum();
        let name = names.get(&id).map_or("other", String::as_str);
        found.insert(name.to_owned(), json!({"count": count, "example": example}));
    }
    Value::Object(found)
}

/// What kind of key it is: `user:#:cart` of `user:1234:cart`. Words that have a digit, an @ or many letters stand for
/// themselves only.
pub fn shape(key: &[u8]) -> String {
    let mut shape = String::new();
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '@' | '%' | '+' | '=' | char::REPLACEMENT_CHARACTER);
    let text = String::from_utf8_lossy(&key[..key.len().min(4 * SHOWN)]);
    for word in text.split_inclusive(|c| !is_word(c)) {
        let (word, end) = match word.char_indices().last() {
            Some((at, end)) if !is_word(end) => (&word[..at], Some(end)),
            _ => (word, None),
        };
        let is_plain = word.chars().all(char::is_alphabetic) && word.chars().count() < LONGEST_WORD;
        shape.push_str(if is_plain { word } else { "#" });
        shape.extend(end.map(|end| if end.is_control() { '?' } else { end }));
        if shape.chars().count() > SHOWN {
            shape = shape.chars().take(SHOWN).chain(['…']).collect();
            break;
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_tells_the_kind_of_a_key_and_nobody_s_name() {
        for (key, expected) in [
            (&b"user:1234:cart"[..], "user:#:cart"),
            (b"bull:mail:wait", "bull:mail:wait"),
            (b"{a}.b-c_d/e", "{a}.b-c_d/e"),
            (b"session:9f8e7d6c5b4a", "session:#"),
            (b"mail:joe@example.org:inbox", "mail:#.org:inbox"),
            (b"token:abcdefghijklmnopqrstuvwxyz", "token:#"),
            (b"a b\r\nc", "a b??c"),
            (b"\xff\xfe:x", "#:x"),
            (b"", ""),
        ] {
            assert_eq!(shape(key), expected, "{}", key.escape_ascii());
        }
        assert!(shape(&b"ab:".repeat(1000)).chars().count() <= SHOWN + 1);
    }

    #[test]
    fn the_first_of_each_command_is_shown_and_all_are_counted() {
        let (one, other) = (Liberties::default(), Liberties::default());
        one.count(3, || "first".into());
        one.count(3, || unreachable!());
        other.count(3, || "another".into());
        other.count(9, || "nine".into());
        let names = HashMap::from([(3, "rename".to_owned())]);
        let found = collect(&[&one, &other], &names);
        assert_eq!(found["rename"]["count"], 3);
        assert_eq!(found["other"], json!({"count": 1, "example": "nine"}));
    }
}
