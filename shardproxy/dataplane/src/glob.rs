//! Redis glob patterns, as PSUBSCRIBE matches them: `*`, `?`, `[a-z]`, `[^a]`, `\\x`.

#[cfg(test)]
mod oracle;

/// Steps that finding the matches among many texts may take: some seconds. A pattern with stars takes up to its length
/// times a text's, and both are a client's to choose.
const STEPS: usize = 1 << 32;

/// The pattern is too long for so many texts, or so long ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooCostly;

/// Fail when matching all of the texts might take too long.
pub fn check_cost<'t>(pattern: &[u8], texts: impl Iterator<Item = &'t [u8]>) -> Result<(), TooCostly> {
    let has_star = pattern.contains(&b'*');
    let cost = |text: &[u8]| if has_star { (pattern.len() + 1).saturating_mul(text.len() + 1) } else { pattern.len() };
    let total = texts.fold(0usize, |total, text| total.saturating_add(cost(text)));
    if total > STEPS {
        Err(TooCostly)
    } else {
        Ok(())
    }
}

/// Whether `text` matches; linear in both but for stars, of which only the last is tried again.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    matches_as::<false>(pattern, text)
}

/// The same, ASCII letters of either case being one.
#[cfg_attr(not(feature = "python"), allow(dead_code))] // Python asks for it
pub fn matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches_as::<true>(pattern, text)
}

const fn fold<const ANY_CASE: bool>(byte: u8) -> u8 {
    if ANY_CASE {
        byte.to_ascii_lowercase()
    } else {
        byte
    }
}

fn matches_as<const ANY_CASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if t == text.len() {
            return p == pattern.len();
        }
        if let Some(next) = one::<ANY_CASE>(pattern, p, text[t]) {
            (p, t) = (next, t + 1);
            continue;
        }
        match star {
            Some((after, from)) if from < text.len() => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on if its next element accepts the byte.
fn one<const ANY_CASE: bool>(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    let is_same = |other: u8| fold::<ANY_CASE>(other) == fold::<ANY_CASE>(byte);
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => class::<ANY_CASE>(pattern, at + 1, byte),
        b'\\' if at + 1 < pattern.len() => is_same(pattern[at + 1]).then_some(at + 2),
        other => is_same(other).then_some(at + 1),
    }
}

fn class<const ANY_CASE: bool>(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let is_negated = pattern.get(at) == Some(&b'^');
    at += usize::from(is_negated);
    let mut is_in = false;
    while let Some(&first) = pattern.get(at) {
        if first == b']' {
            at += 1;
            break;
        }
        if first == b'\\' && at + 1 < pattern.len() {
            is_in |= pattern[at + 1] == byte; // in its own case only: so does util.c
            at += 2;
        } else if pattern.get(at + 1) == Some(&b'-') && at + 2 < pattern.len() {
            let (low, high) = (first.min(pattern[at + 2]), first.max(pattern[at + 2]));
            let range = fold::<ANY_CASE>(low)..=fold::<ANY_CASE>(high);
            is_in |= range.contains(&fold::<ANY_CASE>(byte));
            at += 3;
        } else {
            is_in |= fold::<ANY_CASE>(first) == fold::<ANY_CASE>(byte);
            at += 1;
        }
    }
    (is_in != is_negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::{check_cost, matches, matches_any_case, TooCostly};

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("__key*__:*", "__keyevent@0__:set", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn case_may_be_ignored() {
        for (pattern, text, expected) in [
            ("GE[T]", "get", true),
            ("ge\\T", "GEt", true),
            ("[A-C]x", "bX", true),
            ("[^A]", "a", false),
            ("[Z-a]", "q", false),
        ] {
            assert_eq!(matches_any_case(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_would_take_too_long_is_refused() {
        let text = vec![b'a'; 100_000];
        let texts = [text.as_slice(); 100];
        assert_eq!(check_cost(b"a*b", texts.iter().copied()), Ok(()));
        assert_eq!(check_cost(&[b'*'; 1000], texts.iter().copied()), Err(TooCostly));
        assert_eq!(check_cost(&[b'a'; 1000], texts.iter().copied()), Ok(()));
    }
}
