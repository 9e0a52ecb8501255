//! Which of its keys a request is traced for: all of them are looked at, whole, and nothing is described for that.

use super::shown::{by_id, fill_keys, short, specific, About};
use crate::command::CommandTable;
use crate::dialect::memcached::base64;
use crate::dialect::memcached::request::{parse, Parsed as Memcached};
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::Request;
use crate::model::EngineKind;

/// Room for keys that is kept.
const KEPT: usize = 1024;

#[derive(Default)]
pub struct Keys {
    parser: RequestParser,
    positions: Vec<u32>,
}

impl Keys {
    /// The first key in these bytes that is wanted, as it is shown.
    pub fn find(
        &mut self,
        table: &CommandTable,
        bytes: &[u8],
        about: About,
        is_wanted: impl FnMut(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let found = match about.engine {
            EngineKind::Memcached => of_line(bytes, is_wanted),
            EngineKind::Redis => self.of_array(table, bytes, about, is_wanted),
        };
        self.parser.release();
        if self.positions.capacity() > KEPT {
            self.positions = Vec::new();
        }
        found
    }

    fn of_array(
        &mut self,
        table: &CommandTable,
        mut bytes: &[u8],
        about: About,
        mut is_wanted: impl FnMut(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let Self { parser, positions } = self;
        for number in 0..=about.inner {
            let Ok(Parsed::Request { consumed }) = parser.parse(bytes, &RequestLimits::NONE) else { return None };
            let request = Request { bytes: &bytes[..consumed], spans: parser.spans() };
            let is_last = number == about.inner;
            let known = table.find(request.argument(0)).map(|command| specific(command, &request));
            let command = known.or_else(|| by_id(table, about.command).filter(|_| is_last));
            if let Some(command) = command.filter(|_| is_last || about.is_exec) {
                fill_keys(command, &request, positions);
                let mut keys = positions.iter().map(|&at| request.argument(at as usize));
                if let Some(key) = keys.find(|key| is_wanted(key)) {
                    return Some(short(key));
                }
            }
            bytes = &bytes[consumed..];
        }
        None
    }
}

fn of_line(bytes: &[u8], mut is_wanted: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
    let Memcached::Request(request) = parse(bytes, 0, usize::MAX) else { return None };
    if request.verb.is_get() {
        return request.keys().find(|key| is_wanted(key)).map(short);
    }
    let decoded = if request.is_encoded() { base64::Key::decode(request.key) } else { None };
    let key = decoded.as_ref().map_or(request.key, base64::Key::bytes);
    (!key.is_empty() && is_wanted(key)).then(|| short(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::resp::write;

    fn found(words: &[&[u8]], pattern: &[u8]) -> Option<Vec<u8>> {
        let table = CommandTable::builtin().unwrap();
        let mut bytes = Vec::new();
        write::command(&mut bytes, words);
        let command = table.find(b"GET").unwrap().id;
        let about = About { engine: EngineKind::Redis, command, inner: 0, is_exec: false, has_values: false };
        Keys::default().find(&table, &bytes, about, |key| crate::glob::matches(pattern, key))
    }

    #[test]
    fn keys_are_whole_and_none_is_too_far_behind() {
        let long = [&b"user:"[..], &[b'7'; 200], b":cart"].concat();
        assert!(found(&[b"GET", &long], b"user:*:cart").is_some_and(|key| key.ends_with(b"... (82 more bytes)")));
        let many: Vec<&[u8]> =
            std::iter::once(&b"MGET"[..]).chain((0..40).map(|_| &b"k"[..])).chain([&b"last"[..]]).collect();
        assert_eq!(found(&many, b"last"), Some(b"last".to_vec()));
        assert_eq!(found(&[b"SET", b"a", b"last"], b"last"), None, "a value is no key");
        assert_eq!(found(&[b"RENAMED", b"last"], b"last"), Some(b"last".to_vec()), "by its number");
    }

    #[test]
    fn a_transaction_has_the_keys_of_what_it_executes() {
        let table = CommandTable::builtin().unwrap();
        let mut bytes = Vec::new();
        for words in [&[&b"MULTI"[..]][..], &[b"SET", b"a", b"1"], &[b"GET", b"b"], &[b"EXEC"]] {
            write::command(&mut bytes, words);
        }
        let exec = About { engine: EngineKind::Redis, command: u16::MAX, inner: 3, is_exec: true, has_values: false };
        let find = |about| Keys::default().find(&table, &bytes, about, |key| key == b"b");
        assert_eq!(find(exec), Some(b"b".to_vec()));
        assert_eq!(find(About { is_exec: false, ..exec }), None, "what goes before is another's");
    }

    #[test]
    fn keys_of_memcached_are_read_as_it_reads_them() {
        let table = CommandTable::builtin().unwrap();
        let about = About { engine: EngineKind::Memcached, command: 0, inner: 0, is_exec: false, has_values: false };
        let mut keys = Keys::default();
        let mut find = |bytes: &[u8], key: &[u8]| keys.find(&table, bytes, about, |one| one == key).is_some();
        assert!(find(b"get a b\r\n", b"b") && find(b"gat 10 a b\r\n", b"b") && find(b"set k 0 0 1\r\nv\r\n", b"k"));
        assert!(find(b"mg dXNlcjox b v\r\n", b"user:1") && !find(b"mg dXNlcjox v\r\n", b"user:1"));
        assert!(!find(b"gat 10 a\r\n", b"10") && !find(b"version\r\n", b""));
    }
}
