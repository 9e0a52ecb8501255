//! ACL categories: groups of commands that rules name.

use std::ops::BitOr;

/// Those of Redis, in the order in which ACL CAT tells them.
const BUILTIN: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Some categories, as bits of a table's `CategoryNames`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Categories(u64);

impl Categories {
    pub const fn intersect(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Categories {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The categories that a table's commands are in: Redis', and behind them those of modules.
#[derive(Clone, Debug)]
pub struct CategoryNames(Vec<Box<str>>);

impl CategoryNames {
    pub(super) fn builtin() -> Self {
        Self(BUILTIN.into_iter().map(Box::from).collect())
    }

    /// The category of this name, which may be new. Only so many are told apart: a command is in none of any further.
    pub(super) fn of(&mut self, name: &str) -> Categories {
        let found = self.find(name.as_bytes());
        found.unwrap_or_else(|| {
            if self.0.len() == u64::BITS as usize {
                return Categories::default();
            }
            self.0.push(name.to_ascii_lowercase().into());
            Categories(1 << (self.0.len() - 1))
        })
    }

    /// In any case, without its `@`.
    pub fn find(&self, name: &[u8]) -> Option<Categories> {
        let at = self.0.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name))?;
        Some(Categories(1 << at))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Categories)> {
        self.0.iter().enumerate().map(|(at, name)| (&**name, Categories(1 << at)))
    }

    /// Those that every Redis has.
    pub fn iter_builtin(&self) -> impl Iterator<Item = (&str, Categories)> {
        self.iter().take(BUILTIN.len())
    }
}
