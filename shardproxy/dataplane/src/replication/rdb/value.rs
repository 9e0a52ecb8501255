//! How long values are: all that has to be known of what is passed on unread.

use std::io::Read;

use super::{RdbError, Source};

/// Whose numbers of types are meant: they differ from 12 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Redis,
    Valkey,
}

const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const ZSET: u8 = 3; // scores as text
const HASH: u8 = 4;
const ZSET_2: u8 = 5;
pub const MODULE: u8 = 7;
const HASH_ZIPMAP: u8 = 9;
const LIST_ZIPLIST: u8 = 10;
const SET_INTSET: u8 = 11;
const ZSET_ZIPLIST: u8 = 12;
const HASH_ZIPLIST: u8 = 13;
const LIST_QUICKLIST: u8 = 14;
const STREAM: u8 = 15;
const HASH_LISTPACK: u8 = 16;
const ZSET_LISTPACK: u8 = 17;
const LIST_QUICKLIST_2: u8 = 18;
const STREAM_2: u8 = 19;
const SET_LISTPACK: u8 = 20;
const STREAM_3: u8 = 21;
const VALKEY_HASH_2: u8 = 22; // fields with a time to live, Valkey 9.0
const HASH_METADATA: u8 = 24; // the same, Redis 7.4
const HASH_LISTPACK_METADATA: u8 = 25;

/// What TYPE says of such a value; none for types that are not known.
pub const fn name_of(kind: u8, maker: Maker) -> Option<&'static str> {
    Some(match (kind, maker) {
        (STRING, _) => "string",
        (LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2, _) => "list",
        (SET | SET_INTSET | SET_LISTPACK, _) => "set",
        (ZSET | ZSET_2 | ZSET_ZIPLIST | ZSET_LISTPACK, _) => "zset",
        (HASH | HASH_ZIPMAP | HASH_ZIPLIST | HASH_LISTPACK, _)
        | (VALKEY_HASH_2, Maker::Valkey)
        | (HASH_METADATA | HASH_LISTPACK_METADATA, Maker::Redis) => "hash",
        (STREAM | STREAM_2 | STREAM_3, _) => "stream",
        (MODULE, _) => "module",
        _ => return None,
    })
}

/// Those that a newer engine is known to write, for the text that refuses them.
const fn why_unknown(kind: u8, maker: Maker) -> &'static str {
    match (kind, maker) {
        (6, _) => " (a module's, of a release candidate of Redis 4.0)",
        (22 | 23, Maker::Redis) => " (a hash of a release candidate of Redis 7.4)",
        (23, Maker::Valkey) => " (of Valkey 9.2)",
        (26..=33, Maker::Redis) => " (of Redis 8)",
        _ => "",
    }
}

impl<R: Read> Source<R> {
    /// Go to the end of a value of this type.
    pub fn skip_value(&mut self, kind: u8, maker: Maker) -> Result<(), RdbError> {
        if name_of(kind, maker).is_none() {
            return Err(self.unknown_kind(kind, maker));
        }
        match kind {
            LIST | SET | LIST_QUICKLIST => self.skip_each(Self::skip_string),
            HASH => self.skip_each(|source| {
                source.skip_string()?;
                source.skip_string()
            }),
            ZSET => self.skip_each(|source| {
                source.skip_string()?;
                source.skip_score()
            }),
            ZSET_2 => self.skip_each(|source| {
                source.skip_string()?;
                source.skip(8)
            }),
            LIST_QUICKLIST_2 => self.skip_each(|source| {
                source.length()?; // whether it is a listpack
                source.skip_string()
            }),
            STREAM | STREAM_2 | STREAM_3 => self.skip_stream(kind),
            MODULE => {
                self.length()?; // which module's
                self.skip_module_value()
            }
            VALKEY_HASH_2 => self.skip_each(|source| {
                source.skip_string()?;
                source.skip_string()?;
                source.skip(8)
            }),
            HASH_METADATA => {
                self.skip(8)?;
                self.skip_each(|source| {
                    source.length()?; // its time to live
                    source.skip_string()?;
                    source.skip_string()
                })
            }
            HASH_LISTPACK_METADATA => {
                self.skip(8)?;
                self.skip_string()
            }
            _ => self.skip_string(),
        }
    }

    pub fn unknown_kind(&self, kind: u8, maker: Maker) -> RdbError {
        let what = format!("the type {kind}{} of a value", why_unknown(kind, maker));
        RdbError::Unknown { what, position: self.position() }
    }

    #[inline]
    fn skip_each(&mut self, mut skip: impl FnMut(&mut Self) -> Result<(), RdbError>) -> Result<(), RdbError> {
        for _ in 0..self.length()? {
            skip(self)?; // takes a byte at least: no length is followed beyond the end
        }
        Ok(())
    }

    fn skip_score(&mut self) -> Result<(), RdbError> {
        match self.byte()? {
            253..=255 => Ok(()), // NaN and the infinities
            length => self.skip(u64::from(length)),
        }
    }

    fn skip_stream(&mut self, kind: u8) -> Result<(), RdbError> {
        self.skip_each(|source| {
            source.skip_string()?; // the first id in it
            source.skip_string()
        })?;
        let facts = if kind >= STREAM_2 { 8 } else { 3 };
        self.skip_lengths(facts)?;
        self.skip_each(|source| source.skip_group(kind))
    }

    fn skip_group(&mut self, kind: u8) -> Result<(), RdbError> {
        self.skip_string()?;
        self.skip_lengths(if kind >= STREAM_2 { 3 } else { 2 })?;
        self.skip_each(|source| {
            source.skip(16 + 8)?; // an id, and when it was delivered
            source.length().map(|_| ()) // how often
        })?;
        self.skip_each(|source| {
            source.skip_string()?;
            source.skip(if kind >= STREAM_3 { 16 } else { 8 })?; // when it was seen, and was active
            let ids = source.length()?;
            let bytes = ids.checked_mul(16).ok_or_else(|| source.broken("a count of ids that cannot be"))?;
            source.skip(bytes)
        })
    }

    fn skip_lengths(&mut self, count: u8) -> Result<(), RdbError> {
        for _ in 0..count {
            self.length()?;
        }
        Ok(())
    }

    /// What a module wrote says itself how long its parts are.
    pub fn skip_module_value(&mut self) -> Result<(), RdbError> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.length().map(|_| ())?,
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.skip_string()?,
                _ => return Err(self.broken("a part of a module's value of no kind")),
            }
        }
    }
}

/// The name of the module's type: nine characters of six bits each, and ten bits of its version.
pub fn module_name(id: u64) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|n| char::from(CHARACTERS[(id >> (58 - 6 * n) & 63) as usize])).collect()
}
