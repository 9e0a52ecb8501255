//! Bytes of an RDB in their order, a window of them in memory, and the checksums of what is behind.
//!
//! ```text
//!   behind ─ checksums have it ─┐   kept (a record)    read and not taken    room
//!   ............................|──────────────────────|────────────────────|·········
//!                             hashed / mark          start                 end
//! ```

use std::io::{ErrorKind, Read};

use ring::digest::{Context, SHA256};

use super::crc64::crc64;
use super::RdbError;

/// Read at once: it fits in a core's cache between being read, hashed and looked at.
const WINDOW: usize = 256 * 1024;

pub struct Source<R> {
    inner: R,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// From here on it is kept.
    mark: Option<usize>,
    hashed: usize,
    /// Of the first byte in the window.
    position: u64,
    /// The most that is kept.
    most: usize,
    crc: Option<u64>,
    sha: Option<Context>,
}

impl<R: Read> Source<R> {
    /// At most `most` bytes are kept at once. `digests` takes the SHA-256 of all of it, beside its own checksum.
    pub fn new(inner: R, most: usize, digests: bool) -> Self {
        Self {
            inner,
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            mark: None,
            hashed: 0,
            position: 0,
            most,
            crc: Some(0),
            sha: digests.then(|| Context::new(&SHA256)),
        }
    }

    /// Bytes taken so far.
    pub const fn position(&self) -> u64 {
        self.position + self.start as u64
    }

    pub const fn most(&self) -> usize {
        self.most
    }

    pub const fn get(&self) -> &R {
        &self.inner
    }

    /// Keep what is taken from here on.
    pub fn keep(&mut self) {
        self.mark = Some(self.start);
    }

    /// End keeping, and give what was kept.
    pub fn kept(&mut self) -> Result<&[u8], RdbError> {
        let mark = self.mark.take().unwrap_or(self.start);
        self.check_kept(self.start - mark)?;
        Ok(&self.window[mark..self.start])
    }

    const fn check_kept(&self, length: usize) -> Result<(), RdbError> {
        if length > self.most {
            return Err(RdbError::TooLarge { what: "a value", length: length as u64, most: self.most as u64 });
        }
        Ok(())
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, RdbError> {
        if self.start == self.end {
            self.fill(1)?;
        }
        let byte = self.window[self.start];
        self.start += 1;
        Ok(byte)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        if self.end - self.start < N {
            self.fill(N)?;
        }
        let mut array = [0; N];
        array.copy_from_slice(&self.window[self.start..self.start + N]);
        self.start += N;
        Ok(array)
    }

    #[inline]
    pub fn skip(&mut self, length: u64) -> Result<(), RdbError> {
        if length <= (self.end - self.start) as u64 {
            self.start += length as usize;
            return Ok(());
        }
        self.skip_far(length)
    }

    fn skip_far(&mut self, mut length: u64) -> Result<(), RdbError> {
        if let Some(mark) = self.mark {
            let kept = length.saturating_add((self.start - mark) as u64);
            if kept > self.most as u64 {
                return Err(RdbError::TooLarge { what: "a value", length: kept, most: self.most as u64 });
            }
        }
        while length > 0 {
            if self.start == self.end {
                self.fill(1)?;
            }
            let step = length.min((self.end - self.start) as u64);
            self.start += step as usize;
            length -= step;
        }
        Ok(())
    }

    /// Append so many bytes; memory is taken as they come.
    pub fn take(&mut self, length: usize, to: &mut Vec<u8>) -> Result<(), RdbError> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                self.fill(1)?;
            }
            let step = left.min(self.end - self.start);
            to.extend_from_slice(&self.window[self.start..self.start + step]);
            self.start += step;
            left -= step;
        }
        Ok(())
    }

    /// The checksum of what was taken; nothing that follows is added to it.
    pub fn end_crc(&mut self) -> u64 {
        self.hash();
        self.crc.take().unwrap_or_default()
    }

    /// The SHA-256 of all that was taken, in hexadecimal digits; none when none was asked for.
    pub fn end_sha(&mut self) -> Option<String> {
        self.hash();
        self.sha.take().map(|context| hex(context.finish().as_ref()))
    }

    /// Whether nothing follows.
    pub fn is_at_end(&mut self) -> Result<bool, RdbError> {
        match self.fill(1) {
            Ok(()) => Ok(false),
            Err(RdbError::Short(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn hash(&mut self) {
        let new = &self.window[self.hashed..self.start];
        if let Some(crc) = &mut self.crc {
            *crc = crc64(*crc, new);
        }
        if let Some(sha) = &mut self.sha {
            sha.update(new);
        }
        self.hashed = self.start;
    }

    /// Have at least `need` bytes that are not taken; `need` is small.
    #[cold]
    fn fill(&mut self, need: usize) -> Result<(), RdbError> {
        while self.end - self.start < need {
            if self.end == self.window.len() {
                self.make_room(need)?;
            }
            match self.inner.read(&mut self.window[self.end..]) {
                Ok(0) => return Err(RdbError::Short(self.position + self.end as u64)),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(RdbError::Read(error)),
            }
        }
        Ok(())
    }

    fn make_room(&mut self, need: usize) -> Result<(), RdbError> {
        self.hash();
        let from = self.mark.unwrap_or(self.start);
        self.window.copy_within(from..self.end, 0);
        self.mark = self.mark.map(|_| 0);
        self.start -= from;
        self.end -= from;
        self.hashed = self.start;
        self.position += from as u64;
        self.check_kept(self.start)?;
        let full = self.end + need > self.window.len() || self.end > self.window.len() / 2;
        if full {
            self.window.resize(self.window.len().saturating_mul(2), 0);
        } else if self.window.len() > WINDOW && self.end <= WINDOW / 2 {
            self.window.truncate(WINDOW);
            self.window.shrink_to_fit();
        }
        Ok(())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
