//! What is shown of a request: its name and its keys, and no more of each than is bounded.

use std::io::Write;

use super::secret::{is_all_secret, is_secret};
use crate::command::{key_positions, sort_positions, Command, CommandTable};
use crate::dialect::memcached::tokens::words;
use crate::dialect::memcached::verb::command_names;
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::model::EngineKind;

/// As slowlog.h has them: arguments of an entry, and bytes of each.
const ARGUMENTS: usize = 32;
const BYTES: usize = 128;
/// Whatever stands in place of a secret.
const REDACTED: &[u8] = b"(redacted)";

/// What is shown of one request.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Shown {
    /// As in `Record`.
    pub command: String,
    pub arguments: Vec<Vec<u8>>,
    /// The keys among them, as far as they are shown.
    pub keys: Vec<Vec<u8>>,
}

/// What is known of a request beside its bytes.
#[derive(Clone, Copy)]
pub struct About {
    pub engine: EngineKind,
    pub command: u16,
    /// So many requests come before it, or are its own: of a transaction.
    pub inner: u32,
    pub is_exec: bool,
    /// All its arguments are shown, but for secrets.
    pub has_values: bool,
}

/// What is shown of the request in these bytes; of none only its name is known.
pub fn shown(table: &CommandTable, bytes: &[u8], about: About) -> Shown {
    let shown = match about.engine {
        EngineKind::Memcached => of_line(bytes, about),
        EngineKind::Redis => of_array(table, bytes, about),
    };
    shown.unwrap_or_else(|| {
        let command = name_of(table, about);
        Shown { arguments: vec![command.replace('|', " ").into_bytes()], command, keys: Vec::new() }
    })
}

fn name_of(table: &CommandTable, about: About) -> String {
    if about.engine == EngineKind::Memcached {
        return command_names()
            .find(|(id, _)| *id == about.command)
            .map_or_else(String::new, |(_, name)| name.to_owned());
    }
    by_id(table, about.command).map_or_else(String::new, |command| command.name.to_string())
}

pub fn by_id(table: &CommandTable, id: u16) -> Option<&Command> {
    let all = table.commands().iter().flat_map(|command| std::iter::once(command).chain(&command.subcommands));
    all.into_iter().find(|command| command.id == id)
}

/// Of a memcached request: what follows the line is its value.
fn of_line(bytes: &[u8], about: About) -> Option<Shown> {
    let end = memchr::memchr(b'\n', bytes)?;
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let all: Vec<&[u8]> = words(line).take(ARGUMENTS * 4).collect();
    let (name, rest) = all.split_first()?;
    let keys = match *name {
        b"get" | b"gets" => rest,
        b"gat" | b"gats" => rest.get(1..).unwrap_or_default(),
        _ => rest.get(..1).unwrap_or_default(),
    };
    let listed = if about.has_values { rest } else { keys };
    let hidden = words(line).count() - 1 - listed.len();
    let command = String::from_utf8_lossy(name).into_owned();
    Some(Shown {
        command,
        arguments: bounded(std::iter::once(*name).chain(listed.iter().copied()), hidden),
        keys: keys.iter().take(ARGUMENTS).map(|key| short(key)).collect(),
    })
}

/// Of a request that is not all there, what is.
fn of_array(table: &CommandTable, mut bytes: &[u8], about: About) -> Option<Shown> {
    let mut parser = RequestParser::new();
    let mut inside = Vec::new();
    for number in 0..=about.inner {
        let (consumed, missing) = match parser.parse(bytes, &RequestLimits::NONE) {
            Ok(Parsed::Request { consumed }) => (consumed, 0),
            Ok(Parsed::Incomplete { .. }) if !parser.spans().is_empty() => (bytes.len(), parser.left()),
            _ if inside.is_empty() => return None,
            _ => return Some(of_inside(table, about, &inside)),
        };
        let request = Request { bytes: &bytes[..consumed], spans: parser.spans() };
        let known = table.find(request.argument(0)).map(|command| specific(command, &request));
        // its node may call it otherwise
        let command = known.or_else(|| by_id(table, about.command).filter(|_| number == about.inner));
        let mut keys = Vec::new();
        if let Some(command) = command {
            fill_keys(command, &request, &mut keys);
        }
        if number == about.inner {
            return Some(of_request(command, (&request, missing), &keys, &inside, about.has_values));
        }
        if about.is_exec && inside.len() < ARGUMENTS {
            inside.extend(keys.iter().map(|&at| short(request.argument(at as usize))));
        }
        bytes = &bytes[consumed..];
        if missing > 0 {
            parser.reset();
        }
    }
    None
}

/// Of a transaction whose end is not there.
fn of_inside(table: &CommandTable, about: About, inside: &[Vec<u8>]) -> Shown {
    let command = name_of(table, about);
    let name = command.to_uppercase().into_bytes();
    let arguments = std::iter::once(&name[..]).chain(inside.iter().map(Vec::as_slice));
    let arguments = if about.has_values { vec![name.clone()] } else { bounded(arguments, 0) };
    Shown { arguments, command, keys: inside.iter().take(ARGUMENTS).cloned().collect() }
}

pub fn specific<'c>(command: &'c Command, request: &Request) -> &'c Command {
    command.subcommand(request.argument(1)).unwrap_or(command)
}

/// Where its keys are, in the place of what `positions` has.
pub fn fill_keys(command: &Command, request: &Request, positions: &mut Vec<u32>) {
    if key_positions(command, request.spans, request.bytes, positions).is_err() {
        sort_positions(command, request.spans, request.bytes, positions);
    }
    positions.retain(|&at| (at as usize) < request.len());
}

/// `missing`: how many arguments it has besides; `inside`: the keys of what it executes.
fn of_request(
    command: Option<&Command>,
    (request, missing): (&Request, usize),
    keys: &[u32],
    inside: &[Vec<u8>],
    has_values: bool,
) -> Shown {
    let name = command.map_or_else(|| lower(request.argument(0)), |command| command.name.to_string());
    let words = if name.contains('|') { 2 } else { 1 };
    let keys = keys.iter().map(|&at| request.argument(at as usize));
    let arguments = if has_values {
        let redacts = |at: usize| command.is_none_or(|c| is_secret(c, request, at) || at >= words && is_all_secret(c));
        let at = |at: usize| if at > 0 && redacts(at) { REDACTED } else { request.argument(at) };
        bounded((0..request.len()).map(at), missing)
    } else {
        let words = words.min(request.len());
        let named = (0..words).map(|at| request.argument(at));
        let hidden = (request.len() - words).saturating_sub(keys.len()) + missing;
        bounded(named.chain(keys.clone()).chain(inside.iter().map(Vec::as_slice)), hidden)
    };
    let keys = keys.map(short).chain(inside.iter().cloned()).take(ARGUMENTS).collect();
    Shown { command: name, arguments, keys }
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(BYTES)]).to_lowercase()
}

/// As an engine's slow log has them: the last one says how many more there are, `hidden` of which nobody sees.
fn bounded<'a>(arguments: impl Iterator<Item = &'a [u8]> + Clone, hidden: usize) -> Vec<Vec<u8>> {
    let count = arguments.clone().count() + hidden;
    let most = if count > ARGUMENTS || hidden > 0 { ARGUMENTS - 1 } else { ARGUMENTS };
    let mut found: Vec<Vec<u8>> = arguments.take(most).map(short).collect();
    if count > found.len() {
        found.push(format!("... ({} more arguments)", count - found.len()).into_bytes());
    }
    found
}

/// An argument as an engine's slow log has it.
pub fn short(argument: &[u8]) -> Vec<u8> {
    let mut found = argument[..argument.len().min(BYTES)].to_vec();
    if argument.len() > BYTES {
        let _ = write!(found, "... ({} more bytes)", argument.len() - BYTES); // a vector takes all that is written
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::resp::write;
    use crate::exchange::Head;

    fn about(engine: EngineKind, has_values: bool) -> About {
        About { engine, command: u16::MAX, inner: 0, is_exec: false, has_values }
    }

    fn arguments(words: &[&[u8]], has_values: bool) -> Vec<String> {
        let table = CommandTable::builtin().unwrap();
        let mut bytes = Vec::new();
        write::command(&mut bytes, words);
        texts(&shown(&table, &bytes, about(EngineKind::Redis, has_values)))
    }

    fn texts(shown: &Shown) -> Vec<String> {
        shown.arguments.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
    }

    #[test]
    fn keys_are_shown_and_values_are_not() {
        assert_eq!(arguments(&[b"GET", b"user:1"], false), ["GET", "user:1"]);
        assert_eq!(arguments(&[b"set", b"k", b"secret"], false), ["set", "k", "... (1 more arguments)"]);
        assert_eq!(arguments(&[b"MSET", b"a", b"1", b"b", b"2"], false), ["MSET", "a", "b", "... (2 more arguments)"]);
        assert_eq!(
            arguments(&[b"EVAL", b"return 1", b"1", b"k", b"v"], false),
            ["EVAL", "k", "... (3 more arguments)"]
        );
        assert_eq!(arguments(&[b"CONFIG", b"GET", b"*"], false), ["CONFIG", "GET", "... (1 more arguments)"]);
        assert_eq!(arguments(&[b"SET", b"k", b"v"], true), ["SET", "k", "v"]);
        assert_eq!(arguments(&[b"NOSUCH", b"a"], false), ["NOSUCH", "... (1 more arguments)"]);
    }

    #[test]
    fn secrets_are_never_shown() {
        let hello = [&b"HELLO"[..], b"3", b"AUTH", b"user", b"pass"];
        assert_eq!(arguments(&hello, true), ["HELLO", "3", "AUTH", "(redacted)", "(redacted)"]);
        for words in [
            &[&b"AUTH"[..], b"user", b"pass"][..],
            &[b"ACL", b"SETUSER", b"user", b">pass"],
            &[b"CONFIG", b"SET", b"requirepass", b"pass"],
            &[b"MIGRATE", b"h", b"1", b"k", b"0", b"5", b"AUTH2", b"user", b"pass"],
            &[b"NOSUCH", b"pass"],
        ] {
            for has_values in [false, true] {
                let found = arguments(words, has_values);
                assert!(!found.iter().any(|argument| argument.contains("pass")), "{found:?}");
            }
        }
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let long = vec![b'k'; 130];
        assert_eq!(arguments(&[b"GET", &long], false)[1], format!("{}... (2 more bytes)", "k".repeat(128)));
        let many: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain((0..50).map(|_| &b"k"[..])).collect();
        let found = arguments(&many, false);
        assert_eq!((found.len(), found[31].as_str()), (32, "... (20 more arguments)"));
        let fits: Vec<&[u8]> = many[..32].to_vec();
        assert_eq!(arguments(&fits, false).len(), 32);
    }

    #[test]
    fn a_transaction_shows_the_keys_of_what_it_executes() {
        let table = CommandTable::builtin().unwrap();
        let mut bytes = Vec::new();
        for words in [&[&b"MULTI"[..]][..], &[b"SET", b"a", b"secret"], &[b"GET", b"b"], &[b"EXEC"]] {
            write::command(&mut bytes, words);
        }
        let exec = About { inner: 3, is_exec: true, ..about(EngineKind::Redis, true) };
        let found = shown(&table, &bytes, About { has_values: false, ..exec });
        assert_eq!(texts(&found), ["EXEC", "a", "b"]);
        assert_eq!(found.keys, [b"a", b"b"]);
        assert_eq!(texts(&shown(&table, &bytes, exec)), ["EXEC"]);
    }

    #[test]
    fn a_request_to_memcached_is_a_line() {
        let table = CommandTable::builtin().unwrap();
        let of = |bytes: &[u8], has_values| texts(&shown(&table, bytes, about(EngineKind::Memcached, has_values)));
        assert_eq!(of(b"get a b\r\n", false), ["get", "a", "b"]);
        assert_eq!(of(b"gat 10 a b\r\n", false), ["gat", "a", "b", "... (1 more arguments)"]);
        assert_eq!(of(b"set k 0 0 6\r\nsecret\r\n", false), ["set", "k", "... (3 more arguments)"]);
        assert_eq!(of(b"set k 0 0 6\r\nsecret\r\n", true), ["set", "k", "0", "0", "6"]);
        assert_eq!(of(b"", false), [""]);
    }

    #[test]
    fn of_a_request_that_is_cut_off_is_shown_what_is_there() {
        let table = CommandTable::builtin().unwrap();
        let (mut write_all, long) = (Vec::new(), vec![b'v'; 600]);
        write::command(&mut write_all, &[b"MSET", b"a", b"1", b"b", &long, b"c", b"3"]);
        let cut = Head::of(&write_all);
        let found = shown(&table, cut.bytes(), about(EngineKind::Redis, false));
        assert_eq!(texts(&found), ["MSET", "a", "b", "... (4 more arguments)"]);
        assert_eq!(found.keys, [b"a", b"b"]);
        let mut transaction = Vec::new();
        for words in [&[&b"MULTI"[..]][..], &[b"SET", b"a", b"1"], &[b"SET", b"b", &long], &[b"EXEC"]] {
            write::command(&mut transaction, words);
        }
        let command = table.find(b"exec").unwrap().id;
        let exec = About { command, inner: 3, is_exec: true, ..about(EngineKind::Redis, false) };
        let found = shown(&table, Head::of(&transaction).bytes(), exec);
        assert_eq!((found.command.as_str(), texts(&found)), ("exec", texts_of(&["EXEC", "a", "b"])));
        assert_eq!(texts(&shown(&table, &write_all[..3], exec)), ["exec"], "not even a name");
    }

    fn texts_of(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn without_its_bytes_a_request_has_its_name() {
        let table = CommandTable::builtin().unwrap();
        let command = table.find(b"config").unwrap().subcommand(b"get").unwrap().id;
        let found = shown(&table, b"", About { command, ..about(EngineKind::Redis, true) });
        assert_eq!((found.command.as_str(), texts(&found)), ("config|get", vec!["config get".to_owned()]));
    }
}
