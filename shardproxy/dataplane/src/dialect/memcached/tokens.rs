//! A command line's words: memcached splits at spaces alone, and ignores how many there are.

const MOST: usize = 8;

/// The first words of a line. The longest command with a fixed form has seven.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    words: [&'a [u8]; MOST],
    /// How many words there are; `MOST` may mean more.
    pub len: usize,
}

impl<'a> Tokens<'a> {
    /// How many words it holds at most.
    pub const MOST: usize = MOST;

    pub fn of(line: &'a [u8]) -> Self {
        let mut tokens = Self { words: [&[]; MOST], len: 0 };
        for word in words(line).take(MOST) {
            tokens.words[tokens.len] = word;
            tokens.len += 1;
        }
        tokens
    }

    /// The word at that place, or nothing.
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        self.words.get(index).copied().unwrap_or_default()
    }

    pub fn last(&self) -> &'a [u8] {
        self.get(self.len.wrapping_sub(1))
    }
}

pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

/// Where a word, which is a part of the line, starts in it.
pub fn offset(line: &[u8], word: &[u8]) -> usize {
    word.as_ptr() as usize - line.as_ptr() as usize
}

/// A number as memcached reads it with strtol: white space before it, a sign, and white space behind it with whatever
/// follows that.
pub fn signed(word: &[u8]) -> Option<i64> {
    let start = word.iter().position(|byte| !is_space(*byte))?;
    let (is_negative, rest) = match &word[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let digits = rest.split(|byte| is_space(*byte)).next().unwrap_or_default();
    let number = i64::try_from(unsigned(digits)?).ok()?;
    Some(if is_negative { -number } else { number })
}

/// C's `isspace`.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// A time to live: memcached keeps 32 bits of what it reads, so that 4294967295 is -1.
pub fn seconds(word: &[u8]) -> Option<i32> {
    signed(word).map(|number| number as i32)
}

/// Digits alone.
pub fn unsigned(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_only_separate() {
        let tokens = Tokens::of(b"  get  a\tb   c ");
        assert_eq!((tokens.len, tokens.get(1), tokens.last(), tokens.get(7)), (3, &b"a\tb"[..], &b"c"[..], &b""[..]));
        assert_eq!(Tokens::of(b"   ").len, 0);
        assert_eq!(Tokens::of(b"").last(), b"");
    }

    #[test]
    fn numbers_are_read_whole_or_not_at_all() {
        assert_eq!([signed(b"-5"), signed(b"+5"), signed(b"05")], [Some(-5), Some(5), Some(5)]);
        assert_eq!([signed(b"\t5\rx"), signed(b"\t"), signed(b"-\t5")], [Some(5), None, None]);
        assert_eq!([seconds(b"4294967295"), seconds(b"-2147483649")], [Some(-1), Some(i32::MAX)]);
        for bad in [&b""[..], b"-", b"1x", b"x", b"--1", b"99999999999999999999"] {
            assert_eq!(signed(bad), None, "{bad:?}");
        }
    }
}
