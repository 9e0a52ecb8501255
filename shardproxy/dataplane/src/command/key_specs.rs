//! Where a command's keys stand and what it does to them, as its engine's key specs say: it is what access rules go by.
//!
//! Routing has extractors of its own (keys.rs), which know one key per slot from another; these read a request as Redis
//! does when it asks what a user may (`getKeysFromCommandWithSpecs` in db.c), so that the same requests are refused. Where
//! Redis looks past a key that it then uses, we look at that one too.

use std::ops::BitOr;

use super::otherwise::Otherwise;

/// What is done to a key's value: nothing at all, as by EXISTS, is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KeyAccess(u8);

impl KeyAccess {
    pub const NONE: Self = Self(0);
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    pub const BOTH: Self = Self(3);

    #[inline]
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for KeyAccess {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Some keys of a command, all accessed alike.
#[derive(Clone, Debug)]
pub struct KeySpec {
    pub access: KeyAccess,
    /// There may be keys it does not find.
    pub is_incomplete: bool,
    pub begin: Begin,
    pub find: Find,
}

/// Where to begin.
#[derive(Clone, Debug)]
pub enum Begin {
    Index(usize),
    /// Behind this word, which is looked for from here on; from the end, backwards, if that is negative.
    Keyword(Box<[u8]>, i32),
    Unknown,
}

/// Which arguments there are keys, counted from the beginning.
#[derive(Clone, Debug)]
pub enum Find {
    /// Up to the last, which counts from the request's end if it is negative: then, of a limit n, up to an n-th of them.
    Range {
        last: i32,
        step: usize,
        limit: usize,
    },
    /// An argument says how many there are.
    Number {
        at: usize,
        first: usize,
        step: usize,
    },
    Unknown,
}

/// All keys of a command. What is no key, as a shard channel, is not here.
#[derive(Clone, Debug)]
pub struct KeySpecs {
    pub specs: Box<[KeySpec]>,
    /// What is done to them depends on other arguments.
    pub is_variable: bool,
    pub otherwise: Otherwise,
}

/// What a spec finds in a request.
enum Found {
    Nothing,
    Keys(Range),
    /// The request is wrong, or the spec does not say all.
    Unclear,
}

struct Range {
    first: usize,
    last: usize,
    step: usize,
}

impl KeySpecs {
    /// The first key of a request that is not allowed what is done to it.
    #[inline]
    pub fn find_denied<'a>(
        &self,
        count: usize,
        argument: impl Fn(usize) -> &'a [u8],
        mut is_allowed: impl FnMut(&'a [u8], KeyAccess) -> bool,
    ) -> Option<u32> {
        if self.specs.is_empty() {
            return None;
        }
        let mut denied = |at: usize, access| (!is_allowed(argument(at), access)).then_some(at as u32);
        let is_clear = || {
            self.specs.iter().all(|spec| match spec.find(count, &argument) {
                Found::Nothing => true,
                Found::Keys(_) => !spec.is_incomplete,
                Found::Unclear => false,
            })
        };
        if self.otherwise == Otherwise::Nothing || !self.is_variable && is_clear() {
            let found = self.specs.iter().find_map(|spec| match spec.find(count, &argument) {
                Found::Keys(range) => range.into_iter().find_map(|at| denied(at, spec.access)),
                Found::Nothing | Found::Unclear => None,
            });
            if found.is_some() || !self.otherwise.sees_more() {
                return found;
            }
        }
        self.otherwise.find_denied(count, &argument, denied)
    }
}

impl KeySpec {
    #[inline]
    fn find<'a>(&self, count: usize, argument: &impl Fn(usize) -> &'a [u8]) -> Found {
        let first = match &self.begin {
            Begin::Index(first) => *first,
            Begin::Keyword(word, from) => match keyword(word, *from, count, argument) {
                Some(at) => at + 1,
                None => return Found::Nothing,
            },
            Begin::Unknown => return Found::Unclear,
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } => match (usize::try_from(last), limit) {
                (Ok(last), _) => (first, (first + last) as i64, step),
                (Err(_), 0) => (first, count as i64 + i64::from(last), step),
                (Err(_), limit) => {
                    (first, first as i64 + (count.saturating_sub(first) / limit) as i64 + i64::from(last), step)
                }
            },
            Find::Number { at, first: behind, step } => match number(argument(first + at)) {
                Some(keys) => (first + behind, (first + behind) as i64 + keys - 1, step),
                None => return Found::Unclear,
            },
            Find::Unknown => return Found::Unclear,
        };
        let is_within = first < count && last >= first as i64 && last < count as i64;
        if !is_within {
            return Found::Unclear;
        }
        Found::Keys(Range { first, last: last as usize, step: step.max(1) })
    }
}

impl IntoIterator for Range {
    type Item = usize;
    type IntoIter = std::iter::StepBy<std::ops::RangeInclusive<usize>>;

    fn into_iter(self) -> Self::IntoIter {
        (self.first..=self.last).step_by(self.step)
    }
}

/// Where the word stands: not as the last argument, behind which there is no key.
fn keyword<'a>(word: &[u8], from: i32, count: usize, argument: &impl Fn(usize) -> &'a [u8]) -> Option<usize> {
    let is_it = |at: &usize| argument(*at).eq_ignore_ascii_case(word);
    match usize::try_from(from) {
        Ok(from) => (from.max(1)..count.saturating_sub(1)).find(is_it),
        Err(_) => (2..=count.saturating_sub(from.unsigned_abs() as usize)).rev().find(is_it),
    }
}

/// As string2ll reads it, and not negative. More than any request has arguments is as good as any such.
fn number(text: &[u8]) -> Option<i64> {
    let is_plain = matches!(text, b"0" | [b'1'..=b'9', ..]) && text.len() <= 18 && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::KeyAccess;
    use crate::command::CommandTable;

    /// The keys of a request with what is done to them, as `r:a`, `w:b`, `rw:c`, `-:d`.
    fn keys(table: &CommandTable, line: &str) -> Vec<String> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let command = table.find(words[0]).unwrap();
        let mut found = Vec::new();
        let argument = |at: usize| words.get(at).copied().unwrap_or_default();
        let denied = command.key_specs.find_denied(words.len(), argument, |key, access| {
            let access = match access {
                KeyAccess::READ => "r",
                KeyAccess::WRITE => "w",
                KeyAccess::BOTH => "rw",
                _ => "-",
            };
            found.push(format!("{access}:{}", String::from_utf8_lossy(key)));
            true
        });
        assert_eq!(denied, None);
        found.dedup(); // some are looked at twice
        found
    }

    #[test]
    fn keys_are_found_with_what_is_done_to_them() {
        let table = CommandTable::builtin().unwrap();
        for (line, expected) in [
            ("GET a", "r:a"),
            ("EXISTS a b", "-:a -:b"),
            ("DEL a b", "w:a w:b"),
            ("SET a 1", "w:a"),
            ("SET a 1 EX 5 get", "rw:a"),
            ("MSET a 1 b 2", "w:a w:b"),
            ("BITFIELD a GET u8 0 OVERFLOW SAT", "r:a"),
            ("BITFIELD a GET u8 0 SET u8 0 1", "rw:a"),
            ("COPY a b", "r:a w:b"),
            ("BITOP AND d a b", "w:d r:a r:b"),
            ("PFMERGE d", "rw:d"),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", "w:d r:a r:b"),
            ("ZUNIONSTORE d 2x a b", "-:a -:b -:d"),
            ("ZUNIONSTORE d 3 a b", ""),
            ("EVAL s 2 a b c", "rw:a rw:b"),
            ("EVAL_RO s 1 a b", "r:a"),
            ("EVAL s 0 a", ""),
            ("EVAL s -1 a", ""),
            ("LMPOP 2 a b LEFT", "rw:a rw:b"),
            ("SORT a BY n* GET m* LIMIT 0 1 STORE d", "r:a w:d"),
            ("SORT a STORE limit STORE d", "r:a w:d"),
            ("SORT_RO a STORE d", "r:a"),
            ("GEORADIUS g 1 2 3 m", "r:g"),
            ("GEORADIUS g 1 2 3 m STORE d", "r:g w:d r:g w:d"),
            ("GEORADIUS g 1 2 3 m STORE d store e", "r:g w:d r:g w:e"),
            ("XREAD COUNT 1 STREAMS a b 0 0", "r:a r:b r:a r:b"),
            ("XREAD STREAMS a", ""),
            ("XREADGROUP GROUP g STREAMS STREAMS a >", "r:a"),
            ("XREADGROUP NOACK GROUP g streams streams a >", "r:streams r:a"),
            ("MIGRATE h 1 a 0 9 AUTH KEYS", "rw:a"),
            ("MIGRATE h 1  0 9 COPY AUTH KEYS KEYS a b", "rw:a rw:b"),
            ("PUBLISH a b", ""),
            ("SPUBLISH a b", ""),
            ("SSUBSCRIBE a b", ""),
            ("PING a", ""),
        ] {
            assert_eq!(keys(&table, line).join(" "), expected, "{line}");
        }
    }

    #[test]
    fn of_a_learned_command_what_its_engine_tells_is_known() {
        let table = |flags: &str, specs: &str| {
            let json = format!(
                r#"{{"commands":[{{"name":"x","arity":-2,"flags":[{flags}],"first":1,"last":-1,"step":2,"route":"shard",
                     "keys":"range","join":null,"note":null,"learned":true,"key_specs":[{specs}]}}]}}"#
            );
            CommandTable::from_json(json.as_bytes()).unwrap()
        };
        let spec = |flags: &str| {
            format!(
                r#"{{"flags":[{flags}],"begin_search":{{"type":"index","spec":{{"index":1}}}},
                     "find_keys":{{"type":"range","spec":{{"lastkey":0,"keystep":1,"limit":0}}}}}}"#
            )
        };
        for (flags, specs, expected) in [
            (r#""write""#, String::new(), "rw:a rw:c"),
            (r#""readonly""#, String::new(), "r:a r:c"),
            ("", spec(r#""RO","access""#), "r:a"),
            ("", spec(r#""RW","access","update","variable_flags""#), "rw:a"),
            ("", spec(r#""OW","insert","incomplete""#), "w:a"),
            ("", spec(r#""not_key""#), ""),
        ] {
            assert_eq!(keys(&table(flags, &specs), "x a b c").join(" "), expected, "{specs}");
        }
    }
}
