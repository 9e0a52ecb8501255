//! Which commands a selector allows: a bit for each, and the rules that made them.

use super::fault::Wrong;
use super::pattern::is_blank;
use super::Vocabulary;
use crate::command::{Categories, Command};
use crate::dialect::resp::Request;

const BITS: usize = u64::BITS as usize;

#[derive(Clone, Debug, Default)]
pub struct Commands {
    /// By the commands' ids.
    bits: Vec<u64>,
    /// Nothing was taken away since everything was given: what is learned meanwhile is given too.
    has_all: bool,
    /// The first rule is `+@all`: what is learned is given, unless another rule is about it.
    begins_with_all: bool,
    /// Arguments with which a command is allowed that is not: a deprecated use of Redis' rules.
    first_arguments: Vec<(u16, Box<[u8]>)>,
    rules: Vec<Rule>,
}

/// One rule behind the first, which is about all commands: `+get`, `-@write`, `+client|id`. In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub is_allowed: bool,
    pub name: Box<[u8]>,
}

/// What is learned of commands may change the bits, not what was meant.
impl PartialEq for Commands {
    fn eq(&self, other: &Self) -> bool {
        self.begins_with_all == other.begins_with_all && self.rules == other.rules
    }
}

impl Commands {
    #[inline]
    pub fn allow(&self, command: &Command, request: &Request) -> bool {
        self.has_all || self.has(command.id) || self.allow_with(command.id, request)
    }

    #[inline]
    pub fn has(&self, id: u16) -> bool {
        self.bits.get(usize::from(id) / BITS).is_some_and(|word| word >> (usize::from(id) % BITS) & 1 == 1)
    }

    fn allow_with(&self, id: u16, request: &Request) -> bool {
        let mut words = self.first_arguments.iter().filter(|(of, _)| *of == id);
        request.len() > 1 && words.any(|(_, word)| word.eq_ignore_ascii_case(request.argument(1)))
    }

    pub const fn has_all(&self) -> bool {
        self.has_all
    }

    pub const fn begins_with_all(&self) -> bool {
        self.begins_with_all
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub fn first_arguments(&self, id: u16) -> impl Iterator<Item = &[u8]> {
        self.first_arguments.iter().filter(move |(of, _)| *of == id).map(|(_, word)| &**word)
    }

    /// Allow everything, or nothing.
    pub fn set_all(&mut self, is_allowed: bool, known: Vocabulary) {
        let ids = known.ids();
        let mut bits = vec![if is_allowed { u64::MAX } else { 0 }; ids / BITS];
        bits.push(if is_allowed { (1 << (ids % BITS)) - 1 } else { 0 }); // of commands to come nothing is said
        *self = Self { bits, has_all: is_allowed, begins_with_all: is_allowed, ..Self::default() };
    }

    /// Carry out a modifier that begins with `+` or `-`.
    pub fn apply(&mut self, modifier: &[u8], known: Vocabulary) -> Result<(), Wrong> {
        let (is_allowed, name) = (modifier[0] == b'+', &modifier[1..]);
        if let [b'@', category @ ..] = name {
            match known.category(category) {
                Some(categories) => self.set_category(categories, is_allowed, known),
                None if known.keeps(name) => self.has_all &= is_allowed,
                None => return Err(Wrong::Unknown),
            }
            self.keep(is_allowed, name);
            return Ok(());
        }
        let bar = if is_allowed { name.iter().rposition(|byte| *byte == b'|') } else { None };
        match bar {
            Some(bar) => self.allow_part(name, bar, known)?,
            None => match known.command(name) {
                Some(command) => self.set(command, is_allowed),
                None if known.keeps(name) => self.has_all &= is_allowed,
                None => return Err(Wrong::Unknown),
            },
        }
        self.keep(is_allowed, name);
        Ok(())
    }

    /// A subcommand, or a first argument.
    fn allow_part(&mut self, name: &[u8], bar: usize, known: Vocabulary) -> Result<(), Wrong> {
        let (container, word) = (&name[..bar], &name[bar + 1..]);
        let Some(command) = known.command(container) else {
            return if known.keeps(name) { Ok(()) } else { Err(Wrong::Unknown) };
        };
        if container.contains(&b'|') {
            return Err(Wrong::FirstArgumentOfSubcommand);
        }
        if word.is_empty() || word.iter().any(|&byte| is_blank(byte)) {
            return Err(Wrong::Syntax);
        }
        if command.subcommands.is_empty() {
            let is_known = self.first_arguments(command.id).any(|known| known.eq_ignore_ascii_case(word));
            if !is_known {
                self.first_arguments.push((command.id, word.into()));
            }
            return Ok(());
        }
        match command.subcommand(word) {
            Some(command) => self.set(command, true),
            None if known.keeps(name) => {}
            None => return Err(Wrong::Unknown),
        }
        Ok(())
    }

    /// A command, and all its subcommands.
    pub fn set(&mut self, command: &Command, is_allowed: bool) {
        self.first_arguments.retain(|(id, _)| *id != command.id);
        self.set_bit(command.id, is_allowed);
        for sub in &command.subcommands {
            self.set_bit(sub.id, is_allowed);
        }
    }

    pub fn set_category(&mut self, categories: Categories, is_allowed: bool, known: Vocabulary) {
        for command in known.commands() {
            if command.categories.intersect(categories) {
                self.set(command, is_allowed);
            }
            for sub in command.subcommands.iter().filter(|sub| sub.categories.intersect(categories)) {
                self.set(sub, is_allowed);
            }
        }
    }

    fn set_bit(&mut self, id: u16, is_allowed: bool) {
        let (word, bit) = (usize::from(id) / BITS, 1 << (usize::from(id) % BITS));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if is_allowed {
            self.bits[word] |= bit;
        } else {
            self.bits[word] &= !bit;
            self.has_all = false;
        }
    }

    /// Note a rule instead of those it makes void: of the same name, or of that command's subcommands.
    fn keep(&mut self, is_allowed: bool, name: &[u8]) {
        let name = name.to_ascii_lowercase().into_boxed_slice();
        self.rules.retain(|rule| match rule.name.strip_prefix(&*name) {
            Some([] | [b'|', ..]) => false,
            Some(_) | None => true,
        });
        self.rules.push(Rule { is_allowed, name });
    }
}
