//! Why an RDB cannot be read.

use std::{fmt, io};

/// The texts say what to do; positions are bytes from the RDB's beginning.
#[derive(Debug)]
pub enum RdbError {
    /// Whoever it comes from does not give it.
    Read(io::Error),
    /// It ends before its end is said.
    Short(u64),
    /// It does not begin as one.
    NotRdb,
    /// A type or an opcode that is not known here, or not in such a file.
    Unknown { what: String, position: u64 },
    /// What stands there cannot be.
    Broken { what: &'static str, position: u64 },
    /// It is not what was written: by its own checksum.
    Checksum { said: u64, is: u64 },
    /// A part of it that has to be held in memory as a whole is larger than it may be.
    TooLarge { what: &'static str, length: u64, most: u64 },
    /// There are more of them than are counted.
    TooMany { what: &'static str, most: usize },
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "it cannot be read: {error}"),
            Self::Short(position) => write!(f, "it ends at byte {position}, before its end: it was cut"),
            Self::NotRdb => f.write_str("it is no RDB file: it begins with neither REDIS nor VALKEY and a version"),
            Self::Unknown { what, position } => {
                write!(f, "{what} at byte {position} is not known: a newer engine, or a module, wrote it")
            }
            Self::Broken { what, position } => write!(f, "it is broken: {what} at byte {position}"),
            Self::Checksum { said, is } => {
                write!(f, "it is not what was written: its checksum says {said:016x}, and it is {is:016x}")
            }
            Self::TooMany { what, most } => {
                write!(f, "it has more than {most} {what}: no engine writes so, and it is not read further")
            }
            Self::TooLarge { what, length, most } => write!(f, "{what} has {length} bytes, and may have {most}"),
        }
    }
}

impl std::error::Error for RdbError {}
