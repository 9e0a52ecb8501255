//! The names that rules may mention.

use crate::command::{Categories, Command, CommandTable, Route};

/// Commands and categories of a table, under their real names whatever a config calls them.
#[derive(Clone, Copy)]
pub struct Vocabulary<'t> {
    table: &'t CommandTable,
    /// A name that the table lacks may be a module's, whose commands are learned when they are used: a rule about it is
    /// kept for then.
    keeps_unknown: bool,
}

impl<'t> Vocabulary<'t> {
    pub const fn new(table: &'t CommandTable) -> Self {
        Self { table, keeps_unknown: false }
    }

    pub const fn keeping_unknown(table: &'t CommandTable) -> Self {
        Self { table, keeps_unknown: true }
    }

    /// All but subcommands.
    pub fn commands(self) -> impl Iterator<Item = &'t Command> {
        self.table.commands().iter().filter(|command| !matches!(command.route, Route::Renamed(_)))
    }

    /// The command of a full name (`get`, `client|list`), in any case.
    pub fn command(self, name: &[u8]) -> Option<&'t Command> {
        let bar = name.iter().position(|byte| *byte == b'|');
        let container = &name[..bar.unwrap_or(name.len())];
        let command = self.commands().find(|command| command.name.as_bytes().eq_ignore_ascii_case(container))?;
        match bar {
            Some(bar) => command.subcommand(&name[bar + 1..]),
            None => Some(command),
        }
    }

    /// The category of this name, without its `@`.
    pub fn category(self, name: &[u8]) -> Option<Categories> {
        self.table.categories().find(name)
    }

    /// The categories that every Redis has, in its order.
    pub fn categories(self) -> impl Iterator<Item = (&'t str, Categories)> {
        self.table.categories().iter_builtin()
    }

    /// Whether a rule is kept though nobody knows its name, that of a command or, with an `@`, of a category.
    pub fn keeps(self, name: &[u8]) -> bool {
        let word = name.strip_prefix(b"@").unwrap_or(name);
        self.keeps_unknown
            && word.first().is_some_and(u8::is_ascii_alphanumeric)
            && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"|._-".contains(byte))
            && word.splitn(3, |byte| *byte == b'|').count() <= 2
            && word.last() != Some(&b'|')
    }

    /// How many ids commands have.
    pub fn ids(self) -> usize {
        let last = self.table.commands().iter().flat_map(|command| command.subcommands.iter().chain([command]));
        last.map(|command| usize::from(command.id) + 1).max().unwrap_or(0)
    }
}
