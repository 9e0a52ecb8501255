//! All commands, found by name without regard to case and without an allocation.
//!
//! ```text
//!   name <= 16 bytes ─> packed into 128 bits, lower case ─> open addressing, 4 places per command
//!   longer (few)     ─> binary search
//! ```

use std::cmp::Ordering;

use super::{load, CategoryNames, Command};

const BUILTIN: &[u8] = include_bytes!("../../../commands/table.json");
/// Of names that are packed.
const PACKED: usize = 16;
const NOBODY: u16 = u16::MAX;

pub struct CommandTable {
    commands: Vec<Command>,
    categories: CategoryNames,
    places: Box<[Place]>,
    /// Index of each command with a longer name, in the names' order.
    long: Vec<u16>,
    /// `64 - log2(places)`: the hash's high bits say the place.
    shift: u32,
}

#[derive(Clone, Copy)]
struct Place {
    name: u128,
    length: u8,
    command: u16,
}

impl CommandTable {
    /// The table of the Redis this was generated from.
    pub fn builtin() -> Result<Self, String> {
        Self::from_json(BUILTIN)
    }

    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let (commands, categories) = load::read(json)?;
        Ok(Self::of(commands, categories, &[]))
    }

    /// A table of these commands, of which those at the `hidden` indexes are not found by name.
    pub(super) fn of(mut commands: Vec<Command>, categories: CategoryNames, hidden: &[usize]) -> Self {
        commands.iter_mut().for_each(Command::see_itself);
        let size = (commands.len() * 4).next_power_of_two().max(2);
        let empty = Place { name: 0, length: 0, command: NOBODY };
        let mut table = Self {
            places: vec![empty; size].into_boxed_slice(),
            long: Vec::new(),
            shift: u64::BITS - size.trailing_zeros(),
            commands,
            categories,
        };
        for (index, command) in (0..).zip(&table.commands) {
            let name = command.name.as_bytes();
            if hidden.contains(&usize::from(index)) {
                continue;
            }
            if name.len() > PACKED {
                table.long.push(index);
                continue;
            }
            let packed = pack(name);
            let mut at = home(packed, table.shift);
            while table.places[at].command != NOBODY {
                at = (at + 1) & (size - 1);
            }
            table.places[at] = Place { name: packed, length: name.len() as u8, command: index };
        }
        let name_of = |index: u16| &table.commands[usize::from(index)].name;
        table.long.sort_by(|&a, &b| name_of(a).cmp(name_of(b)));
        table
    }

    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Command> {
        if name.len() > PACKED {
            return self.find_long(name);
        }
        let packed = pack(name);
        let mut at = home(packed, self.shift);
        loop {
            let place = self.places.get(at)?;
            if place.name == packed && usize::from(place.length) == name.len() {
                return self.commands.get(usize::from(place.command));
            }
            if place.command == NOBODY {
                return None;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    #[cold]
    fn find_long(&self, name: &[u8]) -> Option<&Command> {
        let command_of = |index: u16| &self.commands[usize::from(index)];
        let found = self.long.binary_search_by(|&index| compare(command_of(index).name.as_bytes(), name)).ok()?;
        Some(command_of(self.long[found]))
    }

    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    pub const fn categories(&self) -> &CategoryNames {
        &self.categories
    }
}

/// Of a lower-case name and one of any case.
fn compare(known: &[u8], name: &[u8]) -> Ordering {
    known.iter().copied().cmp(name.iter().map(u8::to_ascii_lowercase))
}

/// Up to 16 bytes, in lower case, as one number. Short names are loaded in two overlapping halves; the same bytes
/// are in both, so that distinct names of one length stay distinct.
#[inline]
fn pack(name: &[u8]) -> u128 {
    let (low, high) = match name.len() {
        8.. => (load8(name.first_chunk()), load8(name.last_chunk())),
        4.. => (load4(name.first_chunk()), load4(name.last_chunk())),
        _ => name.iter().fold((0, 0), |(low, high), &byte| (low << 8 | u64::from(byte), high)),
    };
    u128::from(to_lower(low)) | u128::from(to_lower(high)) << 64
}

#[inline]
fn load8(bytes: Option<&[u8; 8]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline]
fn load4(bytes: Option<&[u8; 4]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}

/// Eight bytes in lower case at once: bit 7 of a byte of `letters` is set where it is `A` to `Z`.
#[inline]
const fn to_lower(bytes: u64) -> u64 {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let low = bytes & all(0x7f);
    let from_a = low + all(0x80 - b'A');
    let behind_z = low + all(0x7f - b'Z');
    let letters = from_a & !behind_z & !bytes & all(0x80);
    bytes | letters >> 2
}

#[inline]
fn home(packed: u128, shift: u32) -> usize {
    let folded = (packed as u64) ^ ((packed >> 64) as u64).rotate_left(29);
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Flags, Join, Keys, Route};

    fn table_of(names: impl Iterator<Item = String>) -> CommandTable {
        let entry = |name| {
            format!(
                r#"{{"name":"{name}","arity":1,"flags":[],"first":0,"last":0,"step":0,"route":"any","keys":"none",
                     "join":null,"note":null}}"#
            )
        };
        let entries: Vec<String> = names.map(entry).collect();
        CommandTable::from_json(format!(r#"{{"commands":[{}]}}"#, entries.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn every_command_is_found_in_any_case() {
        let table = CommandTable::builtin().unwrap();
        for command in table.commands() {
            let name = command.name.as_bytes();
            for name in [name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
                assert_eq!(table.find(&name).map(|c| c.id), Some(command.id), "{}", command.name);
            }
            let almost: Vec<u8> = [name, b"\0"].concat();
            assert!(table.find(&almost).is_none());
            assert!(table.find(&name[1..]).is_none_or(|c| c.name.as_bytes() == &name[1..]));
        }
    }

    #[test]
    fn ids_are_dense() {
        let table = CommandTable::builtin().unwrap();
        let ids: Vec<u16> = table
            .commands()
            .iter()
            .flat_map(|command| std::iter::once(command).chain(&command.subcommands))
            .map(|command| command.id)
            .collect();
        assert!(ids.iter().copied().eq(0..ids.len() as u16));
    }

    #[test]
    fn what_is_no_command_is_not_found() {
        let table = CommandTable::builtin().unwrap();
        for name in ["", " ", "ge", "gett", "\0\0\0", "get\0", "'et", "GET ", "georadiusbymembe", "georadiusbymemberr"]
        {
            assert!(table.find(name.as_bytes()).is_none(), "{name:?}");
        }
        assert!(table.find(&vec![b'x'; 100_000]).is_none());
    }

    #[test]
    fn only_letters_have_a_case() {
        let table = table_of(["a_b", "a[b", "a.b", "ab\\u00e9", "@@", "{{"].map(String::from).into_iter());
        for (name, is_known) in
            [("A_B", true), ("a\u{7f}b", false), ("a{b", false), ("a[b", true), ("A\u{e}b", false), ("``", false)]
        {
            assert_eq!(table.find(name.as_bytes()).is_some(), is_known, "{name:?}");
        }
        assert!(table.find("AB\u{e9}".as_bytes()).is_some());
        assert!(table.find("AB\u{c9}".as_bytes()).is_none());
        assert!(table.find(b"[[").is_none());
    }

    #[test]
    fn it_holds_as_many_as_are_learned() {
        let names = |n: u32| format!("module{}.command{n}", n % 7);
        let table = table_of((0..5000).map(names));
        for n in 0..5000 {
            assert_eq!(table.find(names(n).to_uppercase().as_bytes()).map(|c| &*c.name), Some(&*names(n)));
        }
        assert!(table.find(names(5001).as_bytes()).is_none());
        assert!(table_of(std::iter::empty()).find(b"get").is_none());
    }

    #[test]
    fn commands_are_what_the_table_says() {
        let table = CommandTable::builtin().unwrap();
        let get = table.find(b"Get").unwrap();
        assert_eq!((get.keys, get.route, get.arity), (Keys::Range, Route::Shard, 2));
        assert!(get.flags.contains(Flags::READONLY | Flags::FAST) && !get.flags.contains(Flags::WRITE));
        assert!(get.accepts(2) && !get.accepts(1) && !get.accepts(3));
        let mget = table.find(b"mget").unwrap();
        assert_eq!(mget.route, Route::Split(Join::Mget));
        assert!(!mget.accepts(1) && mget.accepts(2) && mget.accepts(1000));
        let id = table.find(b"client").and_then(|c| c.subcommand(b"ID")).unwrap();
        assert_eq!((&*id.name, id.route), ("client|id", Route::Local));
        assert!(table.find(b"client").unwrap().subcommand(b"i").is_none());
    }

    #[test]
    fn a_table_with_unknown_words_is_refused() {
        for (route, keys, join) in
            [("nowhere", "none", "null"), ("shard", "numkeys:x", "null"), ("split", "range", "null")]
        {
            let json = format!(
                r#"{{"commands":[{{"name":"x","arity":1,"flags":[],"first":0,"last":0,"step":0,"route":"{route}",
                     "keys":"{keys}","join":{join},"note":null}}]}}"#
            );
            let error = CommandTable::from_json(json.as_bytes()).err().unwrap();
            assert!(error.contains("command \"x\": unknown"), "{error}");
        }
    }
}
