//! Lengths and strings, of which all else in an RDB is made.

use std::io::Read;

use super::{lzf, RdbError, Source};

/// A length, or that a string is written in another way.
enum Length {
    Is(u64),
    Special(u8),
}

const INT8: u8 = 0;
const INT16: u8 = 1;
const INT32: u8 = 2;
const PACKED: u8 = 3;

impl<R: Read> Source<R> {
    #[inline]
    fn length_or_special(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(match (first >> 6, first) {
            (0, _) => Length::Is(u64::from(first)),
            (1, _) => Length::Is(u64::from(first & 63) << 8 | u64::from(self.byte()?)),
            (2, 0x80) => Length::Is(u64::from(u32::from_be_bytes(self.array()?))),
            (2, 0x81) => Length::Is(u64::from_be_bytes(self.array()?)),
            (3, _) => Length::Special(first & 63),
            _ => return Err(self.broken("a length of no kind")),
        })
    }

    #[inline]
    pub fn length(&mut self) -> Result<u64, RdbError> {
        match self.length_or_special()? {
            Length::Is(length) => Ok(length),
            Length::Special(_) => Err(self.broken("no length where one has to be")),
        }
    }

    #[inline]
    pub fn skip_string(&mut self) -> Result<(), RdbError> {
        let length = match self.length_or_special()? {
            Length::Is(length) => length,
            Length::Special(INT8) => 1,
            Length::Special(INT16) => 2,
            Length::Special(INT32) => 4,
            Length::Special(PACKED) => {
                let packed = self.length()?;
                self.length()?;
                packed
            }
            Length::Special(_) => return Err(self.broken("a string of no kind")),
        };
        self.skip(length)
    }

    /// Read a string into `to`, in place of what is there.
    #[inline]
    pub fn string(&mut self, what: &'static str, to: &mut Vec<u8>) -> Result<(), RdbError> {
        to.clear();
        let number = match self.length_or_special()? {
            Length::Is(length) => {
                let length = self.check(what, length)?;
                return self.take(length, to);
            }
            Length::Special(INT8) => i32::from(i8::from_le_bytes(self.array()?)),
            Length::Special(INT16) => i32::from(i16::from_le_bytes(self.array()?)),
            Length::Special(INT32) => i32::from_le_bytes(self.array()?),
            Length::Special(PACKED) => {
                let packed = self.length()?;
                let length = self.length()?;
                let (packed, length) = (self.check(what, packed)?, self.check(what, length)?);
                let mut bytes = Vec::new();
                self.take(packed, &mut bytes)?;
                *to = lzf::unpack(&bytes, length).ok_or_else(|| self.broken("a packed string that does not unpack"))?;
                return Ok(());
            }
            Length::Special(_) => return Err(self.broken("a string of no kind")),
        };
        to.extend_from_slice(number.to_string().as_bytes());
        Ok(())
    }

    fn check(&self, what: &'static str, length: u64) -> Result<usize, RdbError> {
        let most = self.most();
        usize::try_from(length).ok().filter(|&length| length <= most).ok_or(RdbError::TooLarge {
            what,
            length,
            most: most as u64,
        })
    }

    pub fn broken(&self, what: &'static str) -> RdbError {
        RdbError::Broken { what, position: self.position() }
    }
}
