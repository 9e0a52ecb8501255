//! Patterns of keys and channels. Most are a prefix and a star, and those are compared rather than matched.

use crate::glob;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    /// All but its last byte, which is a star.
    Prefix,
    Glob,
}

impl Pattern {
    /// None with blanks in it, which would not be told from the blanks between rules.
    pub fn new(text: &[u8]) -> Option<Self> {
        if text.iter().any(|&byte| is_blank(byte)) {
            return None;
        }
        let special = text.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
        let form = match special {
            None => Form::Plain,
            Some(at) if at + 1 == text.len() && text[at] == b'*' => Form::Prefix,
            Some(_) => Form::Glob,
        };
        Some(Self { text: text.into(), form })
    }

    /// As a glob; but where not everything is allowed, an engine lets stars match no empty name.
    #[inline]
    pub fn matches(&self, name: &[u8]) -> bool {
        match self.form {
            Form::Plain => *self.text == *name,
            _ if name.is_empty() => false,
            Form::Prefix => name.starts_with(&self.text[..self.text.len() - 1]),
            Form::Glob => glob::matches(&self.text, name),
        }
    }

    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// As C's isspace sees it, or the end of a C string.
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_a_glob_does() {
        let names = ["", "a", "ab", "abc", "*", "a*", "a*c", "\\", "[a]", "abcabc"];
        for text in ["", "*", "a*", "a", "**", "a**", "a?", "[a]*", "a\\*", "\\*", "a*c", "*a", "abc*", "?*", "a]"] {
            let pattern = Pattern::new(text.as_bytes()).unwrap();
            for name in names {
                let expected = glob::matches(text.as_bytes(), name.as_bytes()) && (text == name || !name.is_empty());
                assert_eq!(pattern.matches(name.as_bytes()), expected, "{text:?} {name:?}");
            }
        }
    }

    #[test]
    fn blanks_are_refused() {
        for text in [" ", "a b", "a\t", "\n", "a\0", "\u{b}", "\u{c}"] {
            assert_eq!(Pattern::new(text.as_bytes()), None, "{text:?}");
        }
        assert!(Pattern::new(b"a\xa0\xff").is_some());
    }
}
