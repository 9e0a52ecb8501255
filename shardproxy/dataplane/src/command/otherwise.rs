//! Keys that no key spec tells of, found as the command reads its arguments.

use super::KeyAccess;

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

/// As C's atoi reads it.
fn loose_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (digits, sign) = match text {
        [b'-', digits @ ..] => (digits, -1),
        [b'+', digits @ ..] | digits => (digits, 1),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    sign * digits.fold(0_i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')))
}

impl Otherwise {
    /// Whether an engine uses keys that its key specs miss: of several destinations the last, of several words STREAMS
    /// the one that is no name.
    pub const fn sees_more(self) -> bool {
        matches!(self, Self::GeoRadius | Self::Streams)
    }

    pub fn find_denied<'a>(
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
                denied(1, KeyAccess::READ).or_else(|| store.and_then(|at| denied(at, KeyAccess::WRITE)))
            }
            Self::Streams => {
                let first = streams(count, &is)? + 1;
                let keys = (count - first).is_multiple_of(2).then(|| first..first + (count - first) / 2)?;
                keys.into_iter().find_map(|at| denied(at, KeyAccess::READ))
            }
            // such a request is wrong: what it would do to its keys is not looked at
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
            store = Some(at + 1);
            at += 1;
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
