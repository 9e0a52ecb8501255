//! Where a command's keys stand and what it does to them, as its engine's key specs say: it is what access rules go by.
//!
//! Routing has extractors of its own (keys.rs), which know one key per slot from another; these read a request as Redis
//! does when it asks what a user may (`getKeysFromCommandWithSpecs` in db.c), so that the same requests are refused.

use std::ops::BitOr;

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

/// How to find keys when key specs do not, or say not all of what is done to them: Redis' `getkeys_proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    Nothing,
    Set,
    Bitfield,
    /// SORT, which may store, and `SORT_RO`.
    Sort {
        may_store: bool,
    },
    Migrate,
    GeoRadius,
    Streams,
    /// This argument counts the keys that follow it; the first may be one too.
    Number {
        at: usize,
        has_destination: bool,
    },
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
    /// The request is wrong, or the spec does not say.
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
        let is_variable = self.is_variable && self.otherwise != Otherwise::Nothing;
        if !is_variable && self.specs.iter().all(|spec| !matches!(spec.find(count, &argument), Found::Unclear)) {
            return self.specs.iter().find_map(|spec| match spec.find(count, &argument) {
                Found::Keys(range) => range.into_iter().find_map(|at| denied(at, spec.access)),
                Found::Nothing | Found::Unclear => None,
            });
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
        if !is_within || self.is_incomplete {
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

/// As C's atoi reads it.
fn loose_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (digits, sign) = match text {
        [b'-', digits @ ..] => (digits, -1),
        [b'+', digits @ ..] => (digits, 1),
        digits => (digits, 1),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    sign * digits.fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
}

impl Otherwise {
    fn find_denied<'a>(
        self,
        count: usize,
        argument: &impl Fn(usize) -> &'a [u8],
        mut denied: impl FnMut(usize, KeyAccess) -> Option<u32>,
    ) -> Option<u32> {
        let is = |at: usize, word: &[u8]| argument(at).eq_ignore_ascii_case(word);
        match self {
            Self::Nothing => None,
            Self::Set => {
                let gets = (3..count).any(|at| is(at, b"GET"));
                denied(1, if gets { KeyAccess::BOTH } else { KeyAccess::WRITE })
            }
            Self::Bitfield => denied(1, bitfield(count, &is)),
            Self::Sort { may_store } => {
                let store = if may_store { stored(count, &is) } else { None };
                denied(1, KeyAccess::READ).or_else(|| store.and_then(|at| denied(at, KeyAccess::WRITE)))
            }
            Self::Migrate => {
                let keys = migrated(count, argument);
                keys.into_iter().find_map(|at| denied(at, KeyAccess::BOTH))
            }
            // Redis does not know what is done to the keys of a request that is wrong: it need only be allowed something
            Self::GeoRadius => {
                let mut store = None;
                let mut at = 5;
                while at + 1 < count {
                    if is(at, b"STORE") || is(at, b"STOREDIST") {
                        store = Some(at + 1);
                        at += 1;
                    }
                    at += 1;
                }
                std::iter::once(1).chain(store).find_map(|at| denied(at, KeyAccess::NONE))
            }
            Self::Streams => {
                let first = streams(count, &is)? + 1;
                let keys = (count - first).is_multiple_of(2).then(|| first..first + (count - first) / 2)?;
                keys.into_iter().find_map(|at| denied(at, KeyAccess::NONE))
            }
            Self::Number { at, has_destination } => {
                let keys = loose_number(argument(at));
                let first = at + 1;
                if keys < 1 || keys > count as i64 - first as i64 {
                    return None;
                }
                let keys = first..first + keys as usize;
                keys.chain(has_destination.then_some(1)).find_map(|at| denied(at, KeyAccess::NONE))
            }
        }
    }
}

fn bitfield(count: usize, is: &impl Fn(usize, &[u8]) -> bool) -> KeyAccess {
    let mut at = 2;
    while at < count {
        let left = count - at - 1;
        at += match left {
            2.. if is(at, b"GET") => 3,
            1.. if is(at, b"OVERFLOW") => 2,
            _ => return KeyAccess::BOTH,
        };
    }
    KeyAccess::READ
}

/// The last destination of a SORT.
fn stored(count: usize, is: &impl Fn(usize, &[u8]) -> bool) -> Option<usize> {
    let (mut at, mut store) = (2, None);
    while at < count {
        if is(at, b"LIMIT") {
            at += 2;
        } else if is(at, b"GET") || is(at, b"BY") {
            at += 1;
        } else if is(at, b"STORE") && at + 1 < count {
            store = Some(at + 1); // what follows is looked at too, as Redis does
        }
        at += 1;
    }
    store
}

fn migrated<'a>(count: usize, argument: &impl Fn(usize) -> &'a [u8]) -> std::ops::Range<usize> {
    let is = |at: usize, word: &[u8]| argument(at).eq_ignore_ascii_case(word);
    let mut at = 6;
    while at < count {
        if is(at, b"KEYS") {
            let is_wrong = !argument(3).is_empty();
            return if is_wrong { 0..0 } else { at + 1..count };
        }
        at += match () {
            () if is(at, b"AUTH") => 2,
            () if is(at, b"AUTH2") => 3,
            () => 1,
        };
    }
    3..4
}

fn streams(count: usize, is: &impl Fn(usize, &[u8]) -> bool) -> Option<usize> {
    let mut at = 1;
    while at < count {
        at += match () {
            () if is(at, b"STREAMS") => return (at + 1 < count).then_some(at),
            () if is(at, b"BLOCK") || is(at, b"COUNT") => 2,
            () if is(at, b"GROUP") => 3,
            () if is(at, b"NOACK") => 1,
            () => return None,
        };
    }
    None
}
