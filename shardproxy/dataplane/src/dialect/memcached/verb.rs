//! What a request asks for. A table.

/// A command of the text or the meta protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Verb {
    Get,
    Gets,
    Gat,
    Gats,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
    Delete,
    Incr,
    Decr,
    Touch,
    FlushAll,
    Verbosity,
    Stats,
    Version,
    Quit,
    Config,
    MetaGet,
    MetaSet,
    MetaDelete,
    MetaArithmetic,
    MetaDebug,
    MetaNoop,
    /// What changes a node rather than its keys.
    Refused,
    Unknown,
}

/// Every verb with its word and the name it is counted by, in the order of their numbers.
pub const VERBS: [(Verb, &[u8], &str); 28] = [
    (Verb::Get, b"get", "get"),
    (Verb::Gets, b"gets", "gets"),
    (Verb::Gat, b"gat", "gat"),
    (Verb::Gats, b"gats", "gats"),
    (Verb::Set, b"set", "set"),
    (Verb::Add, b"add", "add"),
    (Verb::Replace, b"replace", "replace"),
    (Verb::Append, b"append", "append"),
    (Verb::Prepend, b"prepend", "prepend"),
    (Verb::Cas, b"cas", "cas"),
    (Verb::Delete, b"delete", "delete"),
    (Verb::Incr, b"incr", "incr"),
    (Verb::Decr, b"decr", "decr"),
    (Verb::Touch, b"touch", "touch"),
    (Verb::FlushAll, b"flush_all", "flush_all"),
    (Verb::Verbosity, b"verbosity", "verbosity"),
    (Verb::Stats, b"stats", "stats"),
    (Verb::Version, b"version", "version"),
    (Verb::Quit, b"quit", "quit"),
    (Verb::Config, b"config", "config"),
    (Verb::MetaGet, b"mg", "mg"),
    (Verb::MetaSet, b"ms", "ms"),
    (Verb::MetaDelete, b"md", "md"),
    (Verb::MetaArithmetic, b"ma", "ma"),
    (Verb::MetaDebug, b"me", "me"),
    (Verb::MetaNoop, b"mn", "mn"),
    (Verb::Refused, b"", "refused"),
    (Verb::Unknown, b"", "unknown"),
];

const REFUSED: [&[u8]; 10] = [
    b"shutdown",
    b"slabs",
    b"watch",
    b"lru",
    b"lru_crawler",
    b"cache_memlimit",
    b"refresh_certs",
    b"misbehave",
    b"extstore",
    b"debugtime",
];

impl Verb {
    #[inline]
    pub fn of(word: &[u8]) -> Self {
        match word {
            b"get" => Self::Get,
            b"set" => Self::Set,
            b"mg" => Self::MetaGet,
            b"ms" => Self::MetaSet,
            b"gets" => Self::Gets,
            _ => Self::rarely(word),
        }
    }

    fn rarely(word: &[u8]) -> Self {
        if REFUSED.contains(&word) {
            return Self::Refused;
        }
        if word == b"bget" {
            return Self::Get; // its old name for UDP
        }
        let found = VERBS.iter().find(|(_, name, _)| !word.is_empty() && *name == word);
        found.map_or(Self::Unknown, |(verb, _, _)| *verb)
    }

    /// The verb of that number.
    #[inline]
    pub fn from_number(number: u8) -> Self {
        VERBS.get(usize::from(number)).map_or(Self::Unknown, |(verb, _, _)| *verb)
    }

    /// It brings values of many keys and ends in END.
    pub const fn is_get(self) -> bool {
        matches!(self, Self::Get | Self::Gets | Self::Gat | Self::Gats)
    }

    pub const fn is_meta(self) -> bool {
        matches!(
            self,
            Self::MetaGet | Self::MetaSet | Self::MetaDelete | Self::MetaArithmetic | Self::MetaDebug | Self::MetaNoop
        )
    }

    /// It changes nothing that matters when it is asked twice.
    pub const fn is_read(self) -> bool {
        self.is_get() || matches!(self, Self::MetaGet | Self::MetaDebug | Self::Stats | Self::Touch)
    }
}

/// Commands are counted by the numbers of their verbs, behind those of the other engine.
const FIRST_ID: u16 = 960;

impl Verb {
    /// Its number as a command.
    #[inline]
    pub const fn command(self) -> u16 {
        FIRST_ID + self as u16
    }
}

/// Numbers and names of the commands, for the metrics.
pub fn command_names() -> impl Iterator<Item = (u16, &'static str)> {
    VERBS.iter().map(|(verb, _, name)| (verb.command(), *name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_stands_in_its_place() {
        for (number, (verb, word, _)) in VERBS.iter().enumerate() {
            assert_eq!(*verb as usize, number);
            assert_eq!(Verb::from_number(number as u8), *verb);
            if !word.is_empty() {
                assert_eq!(Verb::of(word), *verb);
            }
        }
        assert_eq!(
            [Verb::of(b"GET"), Verb::of(b""), Verb::of(b"shutdown"), Verb::of(b"bget")],
            [Verb::Unknown, Verb::Unknown, Verb::Refused, Verb::Get]
        );
    }
}
