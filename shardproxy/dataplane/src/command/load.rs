//! The table's JSON (shardproxy/commands/generate.py writes it, learn.py adds to it).

use std::ops::BitOr;

use serde::Deserialize;

use super::act::{is_of_all_shards, may_change};
use super::load_specs::{specs_of, Known, Spec};
use super::misses::{is_rules_write, keeps_values, misses_of};
use super::{Act, Categories, CategoryNames, Code, Command, Flags, Join, Keys, Route};

/// What a command runs that is the application's own code.
fn code_of(name: &str) -> Option<Code> {
    match name {
        "eval" | "eval_ro" => Some(Code::Body),
        "evalsha" | "evalsha_ro" => Some(Code::Digest),
        "fcall" | "fcall_ro" => Some(Code::Function),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    arity: i32,
    flags: Vec<String>,
    /// Each with an `@` before it.
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    key_specs: Vec<Spec>,
    first: i32,
    last: i32,
    step: i32,
    route: String,
    keys: String,
    join: Option<String>,
    note: Option<String>,
    #[serde(default)]
    restricted: bool,
    /// Asked of the engines: most likely it is a module's.
    #[serde(default)]
    learned: bool,
    #[serde(default)]
    slow: bool,
    #[serde(default)]
    subcommands: Vec<Entry>,
}

#[derive(Deserialize)]
struct Table {
    commands: Vec<Entry>,
}

pub fn read(json: &[u8]) -> Result<(Vec<Command>, CategoryNames), String> {
    let table: Table = serde_json::from_slice(json).map_err(|e| format!("not a command table: {e}"))?;
    let (mut next_id, mut names) = (0, CategoryNames::builtin());
    let commands = table.commands.into_iter().map(|entry| command_of(entry, &mut next_id, &mut names));
    Ok((commands.collect::<Result<_, _>>()?, names))
}

fn command_of(entry: Entry, next_id: &mut u16, names: &mut CategoryNames) -> Result<Command, String> {
    let id = *next_id;
    *next_id = id.checked_add(1).ok_or("a command table has at most 65535 commands")?;
    let name = entry.name.to_ascii_lowercase();
    let flags = Flags::named(entry.flags.iter().map(String::as_str));
    let route = route_of(&entry)?;
    let keys = keys_of(&entry)?;
    let known = Known { name: &name, flags, keys, first: entry.first, last: entry.last, step: entry.step };
    let categories = entry.categories.iter().map(|name| names.of(name.trim_start_matches('@')));
    Ok(Command {
        id,
        flags,
        categories: categories.fold(Categories::default(), BitOr::bitor),
        keys,
        key_specs: specs_of(entry.key_specs, &known),
        route,
        act: Act::of(&name),
        is_learned: entry.learned,
        may_be_slow: entry.slow || entry.learned,
        is_program: entry.learned || code_of(&name).is_some(),
        // scripts too, though not by themselves: an engine shows them before what they do
        is_monitored: code_of(&name).is_some() || !flags.contains(Flags::ADMIN) && !flags.contains(Flags::SKIP_MONITOR),
        is_paused_as_write: flags.contains(Flags::WRITE) || may_change(&name),
        is_of_all_shards: is_of_all_shards(&name),
        is_plain: false,
        is_single: false,
        is_straight: false,
        arity: entry.arity,
        first: entry.first,
        last: entry.last,
        step: entry.step,
        runs: code_of(&name),
        misses: misses_of(&name),
        is_rules_write: is_rules_write(&name),
        keeps_values: keeps_values(&name),
        name: name.into(),
        note: entry.note.unwrap_or_default().into(),
        is_restricted: entry.restricted,
        subcommands: entry
            .subcommands
            .into_iter()
            .map(|sub| command_of(sub, next_id, names))
            .collect::<Result<_, _>>()?,
    })
}

fn route_of(entry: &Entry) -> Result<Route, String> {
    Ok(match (entry.route.as_str(), entry.join.as_deref()) {
        ("local", _) => Route::Local,
        ("shard", _) => Route::Shard,
        ("database", _) => Route::Database,
        ("split", Some("mget")) => Route::Split(Join::Mget),
        ("split", Some("mset")) => Route::Split(Join::Mset),
        ("split", Some("sum")) => Route::Split(Join::Sum),
        ("offload", _) => Route::Offload,
        ("any", _) => Route::Any,
        ("only", _) => Route::Only,
        ("transaction", _) => Route::Transaction,
        ("pubsub", _) => Route::PubSub,
        ("block", _) => Route::Block,
        ("refused", _) => Route::Refused,
        ("later", _) => Route::Later,
        (route, join) => {
            let join = join.map(|join| format!(" with join {join:?}")).unwrap_or_default();
            return Err(format!("command {:?}: unknown route {route:?}{join}", entry.name));
        }
    })
}

fn keys_of(entry: &Entry) -> Result<Keys, String> {
    Ok(match entry.keys.as_str() {
        "none" => Keys::None,
        "range" => Keys::Range,
        "streams" => Keys::Streams,
        "sort" => Keys::Sort,
        "georadius" => Keys::GeoRadius,
        "migrate" => Keys::Migrate,
        other => {
            let position = other.strip_prefix("numkeys:").and_then(|position| position.parse().ok());
            Keys::NumKeys(position.ok_or_else(|| format!("command {:?}: unknown keys {other:?}", entry.name))?)
        }
    })
}
