//! Of which family a key is: ids and numbers in it stand as `*`, and so do words in a place that has many (user:alice,
//! user:bob …). shardproxy/advice/patterns.py does the same over keys it has seen all of; this learns as they come.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::top::LONGEST;

/// More words in one place than so many are names, not parts of a layout. What a key begins with is seldom a name.
const MANY: usize = 12;
const BEGINNINGS: usize = 48;
/// Places that are remembered; then all are forgotten, and learned anew.
const PLACES: usize = 1024;
/// Letters and digits together, if they are so many.
const SHORTEST_ID: usize = 8;
const UUID: usize = 36;

/// What is learned of the keys of a cluster.
#[derive(Default)]
pub struct Layout {
    beginnings: Vec<u64>,
    places: HashMap<u64, Words, BuildHasherDefault<AsItIs>>,
}

#[derive(Default)]
struct Words {
    known: [u64; MANY],
    count: u8,
}

/// The keys are hashes.
#[derive(Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Layout {
    /// Bytes that it takes.
    pub fn held(&self) -> usize {
        self.places.capacity() * size_of::<(u64, Words)>() + self.beginnings.capacity() * size_of::<u64>()
    }

    /// Append the family of a key, of which no more than the beginning counts; a hash of it.
    pub fn family(&mut self, key: &[u8], family: &mut Vec<u8>) -> u64 {
        let key = &key[..key.len().min(LONGEST)];
        let (mut at, mut place) = (0, SEED);
        while let Some(&first) = key.get(at) {
            if is_end(first) {
                family.push(first);
                place = mix(place, u64::from(first));
                at += 1;
                continue;
            }
            let word = Word::at(&key[at..]);
            let mut hash = STAR;
            if word.is_id(&key[at..at + word.length]) {
                family.push(b'*');
            } else {
                let start = family.len();
                hash = word.without_numbers(&key[at..at + word.length], family);
                if hash != STAR && !self.knows(at == 0, place, hash) {
                    family.truncate(start);
                    family.push(b'*');
                    hash = STAR;
                }
            }
            at += word.length;
            if hash == STAR && join_stars(family) {
                continue; // it is one id with what is before it
            }
            place = mix(place, hash);
        }
        place
    }

    /// Whether the word is one of the few in its place.
    fn knows(&mut self, is_first: bool, place: u64, word: u64) -> bool {
        if is_first {
            return self.beginnings.contains(&word) || {
                let has_room = self.beginnings.len() < BEGINNINGS;
                if has_room {
                    self.beginnings.push(word);
                }
                has_room
            };
        }
        if self.places.len() >= PLACES && !self.places.contains_key(&place) {
            self.places.clear();
        }
        let words = self.places.entry(place).or_default();
        let count = usize::from(words.count);
        if count > MANY {
            return false;
        }
        if words.known[..count].contains(&word) {
            return true;
        }
        words.count += 1;
        let is_one_more = count < MANY;
        if is_one_more {
            words.known[count] = word;
        }
        is_one_more
    }

    /// What keys begin with is learned anew, if there was too much of it.
    pub fn refresh(&mut self) {
        if self.beginnings.len() >= BEGINNINGS {
            self.beginnings.clear();
        }
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline]
const fn mix(hash: u64, more: u64) -> u64 {
    let mixed = (hash ^ more).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

/// The hash of a word that is `*`.
const STAR: u64 = mix(SEED, b'*' as u64);

/// What a byte is in a word.
const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const OTHER: u8 = 4;
/// No text, or perhaps none.
const ODD: u8 = 8;
/// It stands between words.
const END: u8 = 16;

static KINDS: [u8; 256] = kinds();

const fn kinds() -> [u8; 256] {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b':' | b'/' | b'|' | b'.' | b',' | b';' | b'#' | b'@' | b'{' | b'}' | b'[' | b']' | b'-' | b' ' | b'\t' => {
                END
            }
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'_' => 0,
            b'0'..=b'9' => DIGIT,
            0..0x20 | 0x7f.. => ODD,
            _ => OTHER,
        };
        byte += 1;
    }
    kinds
}

#[inline]
fn is_end(byte: u8) -> bool {
    KINDS[usize::from(byte)] == END
}

/// A word at the beginning of the rest of a key.
struct Word {
    length: usize,
    /// Of all its bytes.
    kinds: u8,
    is_uuid: bool,
}

impl Word {
    /// Up to the next end; a UUID is one word.
    #[inline]
    fn at(rest: &[u8]) -> Self {
        let (mut length, mut kinds) = (0, 0);
        for &byte in rest {
            let kind = KINDS[usize::from(byte)];
            if kind == END {
                break;
            }
            kinds |= kind;
            length += 1;
        }
        if length == 8 && rest.get(..UUID).is_some_and(is_uuid) && rest.get(UUID).is_none_or(|&byte| is_end(byte)) {
            return Self { length: UUID, kinds, is_uuid: true };
        }
        Self { length, kinds, is_uuid: false }
    }

    /// Letters and digits together in a long word, a UUID, a number, or no text.
    #[inline]
    fn is_id(&self, word: &[u8]) -> bool {
        let is_mixed = self.kinds == LETTER | DIGIT && self.length >= SHORTEST_ID;
        let is_odd =
            self.kinds & ODD > 0 && (word.iter().any(u8::is_ascii_control) || std::str::from_utf8(word).is_err());
        self.is_uuid || self.kinds == DIGIT || is_mixed || is_odd
    }

    /// Append it: `shard3` is `shard*`. A hash of that.
    #[inline]
    fn without_numbers(&self, word: &[u8], family: &mut Vec<u8>) -> u64 {
        let mut hash = SEED;
        if self.kinds & DIGIT == 0 {
            family.extend_from_slice(word);
            for &byte in word {
                hash = step(hash, byte);
            }
            return hash;
        }
        let mut was_digit = false;
        for &byte in word {
            let is_digit = byte.is_ascii_digit();
            if !(is_digit && was_digit) {
                let byte = if is_digit { b'*' } else { byte };
                family.push(byte);
                hash = step(hash, byte);
            }
            was_digit = is_digit;
        }
        hash
    }
}

/// FNV: words are short.
#[inline]
const fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// A date, or what a library makes of several ids, is one id. Whether there were several.
#[inline]
fn join_stars(family: &mut Vec<u8>) -> bool {
    let is_date = family.ends_with(b"*-*");
    if is_date {
        family.truncate(family.len() - 2);
    }
    is_date
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(layout: &mut Layout, key: impl AsRef<[u8]>) -> String {
        let mut family = Vec::new();
        layout.family(key.as_ref(), &mut family);
        String::from_utf8(family).unwrap()
    }

    #[test]
    fn ids_and_numbers_stand_as_stars() {
        let mut layout = Layout::default();
        for (key, expected) in [
            ("user:1234", "user:*"),
            ("user:1234:cart", "user:*:cart"),
            ("{user:17}.items", "{user:*}.items"),
            ("shard3/v2", "shard*/v*"),
            ("session:9f8e7d6c5b4a", "session:*"),
            ("job:6ba7b810-9dad-11d1-80b4-00c04fd430c8:log", "job:*:log"),
            ("day:2026-11-30", "day:*"),
            ("counter", "counter"),
            ("a:*:b", "a:*:b"),
            ("", ""),
        ] {
            assert_eq!(family(&mut layout, key), expected);
        }
        assert_eq!(family(&mut layout, b"bin:\xff\xfe\x00"), "bin:*");
        assert_eq!(family(&mut layout, "caf\u{e9}:1"), "caf\u{e9}:*");
        assert!(family(&mut layout, vec![b'x'; 5000]).len() <= LONGEST);
    }

    #[test]
    fn words_in_a_place_that_has_many_are_names() {
        let mut layout = Layout::default();
        let names = (b'a'..=b'z').map(|letter| format!("name{}", char::from(letter)));
        let last = names.map(|name| family(&mut layout, format!("user:{name}:cart"))).last();
        assert_eq!(last.unwrap(), "user:*:cart");
        assert_eq!(family(&mut layout, "user:namea:cart"), "user:*:cart");
        assert_eq!(family(&mut layout, "order:namea:cart"), "order:namea:cart");
    }

    #[test]
    fn what_is_learned_is_bounded() {
        let mut layout = Layout::default();
        for n in 0..5000u32 {
            let word = |n: u32| n.to_string().replace(|c: char| c.is_ascii_digit(), "x") + &"y".repeat(n as usize % 90);
            family(&mut layout, format!("a:{}:{}:b", word(n), word(n / 90)));
            family(&mut layout, format!("{}z:b", "q".repeat(n as usize % 100)));
        }
        assert!(layout.places.len() <= PLACES && layout.beginnings.len() <= BEGINNINGS);
        layout.refresh();
        assert!(layout.beginnings.is_empty());
    }
}
