//! What a cluster's config changes about commands: which are denied, which restricted ones are allowed, other names.
//!
//! A changed table costs nothing per request: a denied command has another route, an allowed one too, and a renamed one
//! is found under its new name only, as a route that leads to the real one.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Command, CommandTable, Flags, Keys, Route};

const DENIED: &str = "denied by commands.deny";
const EVERY: &str = "*";

/// Names are lower case, of a subcommand `container|subcommand`. Names nobody knows are passed over: a module may be
/// loaded later, and its commands learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// With a container all its subcommands.
    pub deny: Vec<String>,
    /// Restricted commands; `*` is all of them.
    pub allow: Vec<String>,
    /// From the real name to the one clients use.
    pub rename: BTreeMap<String, String>,
}

impl Overrides {
    pub fn is_empty(&self) -> bool {
        self.deny.is_empty() && self.allow.is_empty() && self.rename.is_empty()
    }
}

impl CommandTable {
    /// This table with a cluster's overrides.
    #[must_use]
    pub fn with(&self, overrides: &Overrides) -> Self {
        let mut commands = self.commands().to_vec();
        for command in &mut commands {
            overlay(command, overrides, false);
        }
        for (from, to) in &overrides.rename {
            let Some(real) = commands.iter().position(|command| *command.name == **from) else { continue };
            let alias = Command {
                name: to.as_str().into(),
                route: Route::Renamed(real as u16),
                arity: -1, // the real one is checked
                subcommands: Vec::new(),
                ..commands[real].clone()
            };
            commands.push(alias);
        }
        let is_hidden = |index: usize| overrides.rename.contains_key(&*commands[index].name);
        let hidden = (0..self.commands().len()).filter(|&index| is_hidden(index)).collect::<Vec<_>>();
        Self::of(commands, self.categories().clone(), &hidden)
    }

    /// The command a renamed one really is.
    pub fn real(&self, index: u16) -> Option<&Command> {
        self.commands().get(usize::from(index))
    }
}

fn overlay(command: &mut Command, overrides: &Overrides, is_container_denied: bool) {
    let names = |list: &[String]| {
        let (container, _) = command.name.split_once('|').unwrap_or((&command.name, ""));
        list.iter().any(|name| *name == *command.name || name == container)
    };
    let is_denied = is_container_denied || names(&overrides.deny);
    if is_denied {
        command.route = Route::Refused;
        command.note = DENIED.into();
    } else if command.is_restricted && (names(&overrides.allow) || overrides.allow.iter().any(|name| name == EVERY)) {
        command.route = allowed(command);
    }
    for sub in &mut command.subcommands {
        overlay(sub, overrides, is_denied);
    }
}

/// Who serves a restricted command once it is allowed: its keys' shard, or else all nodes, through the control plane.
fn allowed(command: &Command) -> Route {
    match command.keys {
        Keys::None => Route::Offload,
        _ if command.flags.contains(Flags::BLOCKING) => Route::Block,
        _ => Route::Shard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(json: &str) -> CommandTable {
        CommandTable::builtin().unwrap().with(&serde_json::from_str(json).unwrap())
    }

    fn route(table: &CommandTable, name: &str) -> Option<Route> {
        let (container, sub) = name.split_once('|').unwrap_or((name, ""));
        let command = table.find(container.as_bytes())?;
        let command = if sub.is_empty() { command } else { command.subcommand(sub.as_bytes())? };
        Some(command.route)
    }

    #[test]
    fn denied_commands_are_refused_for_that_reason() {
        let table = with(r#"{"deny": ["get", "config|get", "acl", "monitor"], "allow": ["*"]}"#);
        for name in ["get", "monitor", "config|get", "acl", "acl|whoami", "acl|setuser"] {
            assert_eq!(route(&table, name), Some(Route::Refused), "{name}");
        }
        assert_eq!(&*table.find(b"GET").unwrap().note, DENIED);
        assert_eq!(route(&table, "set"), Some(Route::Shard));
        assert_eq!(route(&table, "config|set"), Some(Route::Offload));
    }

    #[test]
    fn allowed_commands_go_to_their_shard_or_everywhere() {
        let table = with(r#"{"allow": ["config|set", "debug", "migrate", "module"]}"#);
        assert_eq!(route(&table, "config|set"), Some(Route::Offload));
        assert_eq!(route(&table, "config|rewrite"), Some(Route::Refused));
        assert_eq!(route(&table, "debug"), Some(Route::Offload));
        assert_eq!(route(&table, "migrate"), Some(Route::Shard));
        assert_eq!(route(&table, "module|load"), Some(Route::Offload));
        assert_eq!(route(&table, "module|list"), Some(Route::Offload));
    }

    #[test]
    fn everything_restricted_is_allowed_and_nothing_else() {
        let (plain, table) = (CommandTable::builtin().unwrap(), with(r#"{"allow": ["*"]}"#));
        for name in ["shutdown", "psync", "replicaof", "failover", "cluster|meet", "script|debug"] {
            assert_eq!(route(&table, name), Some(Route::Refused), "{name}");
        }
        let all = |table: &CommandTable| {
            let commands = table.commands().iter().flat_map(|c| std::iter::once(c).chain(&c.subcommands));
            commands.map(|c| (c.route, c.is_restricted)).collect::<Vec<_>>()
        };
        for ((before, is_restricted), (after, _)) in all(&plain).into_iter().zip(all(&table)) {
            assert_eq!(before != after, is_restricted);
            assert!(!is_restricted || before == Route::Refused);
        }
    }

    #[test]
    fn a_renamed_command_has_one_name() {
        let table = with(
            r#"{"rename": {"flushall": "wipe-everything", "config": "cfg", "nope": "x"}, "deny": ["config|set"]}"#,
        );
        for name in ["flushall", "config", "nope", "x"] {
            assert!(table.find(name.as_bytes()).is_none(), "{name}");
        }
        let Route::Renamed(real) = table.find(b"WIPE-everything").unwrap().route else { panic!("not renamed") };
        assert_eq!(&*table.real(real).unwrap().name, "flushall");
        let Route::Renamed(real) = table.find(b"cfg").unwrap().route else { panic!("not renamed") };
        assert_eq!(table.real(real).unwrap().subcommand(b"SET").unwrap().route, Route::Refused);
        assert!(table.find(b"wipe-everything").unwrap().accepts(1));
        assert_eq!(table.find(b"get").map(|c| c.id), CommandTable::builtin().unwrap().find(b"get").map(|c| c.id));
    }
}
