//! An RDB, part by part, as it comes: records of keys, libraries of functions, and facts about the engine that wrote it.

use std::io::Read;

use super::value::{module_name, name_of, Maker, MODULE};
use super::{RdbError, Source};

/// The most that a key, or a value that is kept, may have. Engines take half of it unless told otherwise
/// (`proto-max-bulk-len`), and no string of theirs is longer.
pub const MOST: usize = 1 << 30;

const SLOT_IMPORT: u8 = 243; // Valkey 9.0; in Redis 8 a module's facts about a key
const SLOT_INFO: u8 = 244;
const FUNCTION: u8 = 245;
const FUNCTION_OF_CANDIDATES: u8 = 246;
const MODULE_FACTS: u8 = 247;
const IDLE: u8 = 248;
const FREQUENCY: u8 = 249;
const FACT: u8 = 250;
const SIZES: u8 = 251;
const EXPIRES_MS: u8 = 252;
const EXPIRES: u8 = 253;
const DATABASE: u8 = 254;
const END: u8 = 255;
const FIRST_OPCODE: u8 = 242;

const FIRST_WITH_CHECKSUM: u16 = 5;

/// How long ago, or how often, a key was used: an engine that evicts by it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// Seconds ago.
    Idle(u64),
    /// The engine's logarithmic counter.
    Often(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub database: u32,
    pub key: &'a [u8],
    /// Milliseconds since 1970.
    pub expires: Option<u64>,
    pub used: Option<Used>,
    pub kind: u8,
    /// What stands behind the key: with the type before it and a footer behind it what DUMP says. Empty unless kept.
    pub value: &'a [u8],
    /// Bytes of the value.
    pub length: u64,
    /// Of a value of a module its type's name.
    pub module: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Record(Record<'a>),
    /// The source of a library of functions.
    Library(&'a [u8]),
    Fact(&'a [u8], &'a [u8]),
    /// The end; whether a checksum vouches for all before it.
    End(bool),
}

pub struct Reader<R> {
    source: Source<R>,
    keeps: bool,
    version: u16,
    maker: Maker,
    database: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Read how it begins. Values are given with their records if it `keeps` them.
    pub fn new(mut source: Source<R>, keeps: bool) -> Result<Self, RdbError> {
        let begins: [u8; 9] = source.array().map_err(|error| match error {
            RdbError::Short(_) => RdbError::NotRdb,
            other => other,
        })?;
        let (maker, digits) = if let Some(digits) = begins.strip_prefix(b"REDIS") {
            (Maker::Redis, digits)
        } else if let Some(digits) = begins.strip_prefix(b"VALKEY") {
            (Maker::Valkey, digits)
        } else {
            return Err(RdbError::NotRdb);
        };
        let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits);
        let version = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let version = version.filter(|&version| version > 0).ok_or(RdbError::NotRdb)?;
        Ok(Self { source, keeps, version, maker, database: 0, key: Vec::new(), value: Vec::new() })
    }

    /// The number that DUMP payloads of its values have.
    pub const fn version(&self) -> u16 {
        self.version
    }

    pub const fn maker(&self) -> Maker {
        self.maker
    }

    /// Where the next part begins.
    pub const fn position(&self) -> u64 {
        self.source.position()
    }

    pub fn into_source(self) -> Source<R> {
        self.source
    }

    pub const fn source(&mut self) -> &mut Source<R> {
        &mut self.source
    }

    /// The next part; nothing may be asked for behind the end.
    pub fn next_part(&mut self) -> Result<Part<'_>, RdbError> {
        let (mut expires, mut used) = (None, None);
        loop {
            let opcode = self.source.byte()?;
            let is_about_key = matches!(opcode, EXPIRES_MS | EXPIRES | IDLE | FREQUENCY);
            if opcode >= FIRST_OPCODE && !is_about_key && (expires.is_some() || used.is_some()) {
                return Err(self.source.broken("no key where one was announced"));
            }
            match opcode {
                EXPIRES_MS => expires = Some(u64::from_le_bytes(self.source.array()?)),
                EXPIRES => expires = Some(u64::from(u32::from_le_bytes(self.source.array()?)) * 1000),
                IDLE => used = Some(Used::Idle(self.source.length()?)),
                FREQUENCY => used = Some(Used::Often(self.source.byte()?)),
                DATABASE => {
                    let database = u32::try_from(self.source.length()?).ok();
                    self.database = database.ok_or_else(|| self.source.broken("a database that cannot be"))?;
                }
                SIZES => {
                    self.source.length()?;
                    self.source.length()?;
                }
                SLOT_INFO => {
                    for _ in 0..3 {
                        self.source.length()?;
                    }
                }
                SLOT_IMPORT if self.maker == Maker::Valkey => {
                    self.source.skip_string()?;
                    for _ in 0..self.source.length()? {
                        self.source.length()?;
                        self.source.length()?;
                    }
                }
                FACT => {
                    self.source.string("the name of a fact", &mut self.key)?;
                    self.source.string("a fact", &mut self.value)?;
                    return Ok(Part::Fact(&self.key, &self.value));
                }
                MODULE_FACTS => {
                    self.source.length()?;
                    self.source.skip_module_value()?;
                }
                FUNCTION => {
                    self.source.string("a library of functions", &mut self.value)?;
                    return Ok(Part::Library(&self.value));
                }
                END => return self.end(),
                FIRST_OPCODE..=END => return Err(self.unknown(opcode)),
                kind => return self.record(kind, expires, used),
            }
        }
    }

    fn record(&mut self, kind: u8, expires: Option<u64>, used: Option<Used>) -> Result<Part<'_>, RdbError> {
        if name_of(kind, self.maker).is_none() {
            return Err(self.source.unknown_kind(kind, self.maker));
        }
        self.source.string("a key", &mut self.key)?;
        let start = self.source.position();
        if self.keeps {
            self.source.keep();
        }
        let mut module = None;
        if kind == MODULE {
            module = Some(self.source.length()?);
            self.source.skip_module_value()?;
        } else {
            self.source.skip_value(kind, self.maker)?;
        }
        let length = self.source.position() - start;
        let value = if self.keeps { self.source.kept()? } else { &[] };
        let (database, key) = (self.database, &self.key);
        Ok(Part::Record(Record { database, key, expires, used, kind, value, length, module }))
    }

    fn end(&mut self) -> Result<Part<'_>, RdbError> {
        if self.version < FIRST_WITH_CHECKSUM {
            return Ok(Part::End(false));
        }
        let is = self.source.end_crc();
        let said = u64::from_le_bytes(self.source.array()?);
        if said != 0 && said != is {
            return Err(RdbError::Checksum { said, is });
        }
        Ok(Part::End(said != 0)) // an engine writes 0 where rdbchecksum is off
    }

    fn unknown(&self, opcode: u8) -> RdbError {
        let about = match opcode {
            SLOT_IMPORT => " (a module's facts about keys, of Redis 8)",
            FUNCTION_OF_CANDIDATES => " (functions of a release candidate of Redis 7.0)",
            _ => "",
        };
        RdbError::Unknown { what: format!("the opcode {opcode}{about}"), position: self.source.position() }
    }
}

/// What RESTORE takes: the type, the value, and a footer of the version and a checksum.
pub fn payload_write(kind: u8, value: &[u8], version: u16, to: &mut Vec<u8>) {
    let start = to.len();
    to.push(kind);
    to.extend_from_slice(value);
    to.extend_from_slice(&version.to_le_bytes());
    let crc = super::crc64::crc64(0, &to[start..]);
    to.extend_from_slice(&crc.to_le_bytes());
}

/// For texts: which type of which module.
pub fn module_text(id: u64) -> String {
    format!("{} (version {})", module_name(id), id & 1023)
}
