//! Patterns against an oracle: the definition written down as a recursion, right by its looks and slow.

use proptest::collection::vec;
use proptest::prelude::*;

use super::matches;

fn naive(pattern: &[u8], text: &[u8]) -> bool {
    let Some((&head, rest)) = pattern.split_first() else { return text.is_empty() };
    if head == b'*' {
        return (0..=text.len()).any(|skipped| naive(rest, &text[skipped..]));
    }
    let Some((&byte, after)) = text.split_first() else { return false };
    match (head, rest) {
        (b'?', _) => naive(rest, after),
        (b'\\', [escaped, rest @ ..]) => *escaped == byte && naive(rest, after),
        (b'[', _) => {
            let (accepts, rest) = class(rest, byte);
            accepts && naive(rest, after)
        }
        _ => head == byte && naive(rest, after),
    }
}

/// A class up to its `]`, or to the pattern's end; whether it accepts the byte, and what follows it.
fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    if let [b'^', rest @ ..] = pattern {
        let (is_in, rest) = members(rest, byte);
        return (!is_in, rest);
    }
    members(pattern, byte)
}

fn members(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let (is_member, rest) = match pattern {
        [] => return (false, &[]),
        [b']', rest @ ..] => return (false, rest),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        [one, b'-', other, rest @ ..] => ((*one.min(other)..=*one.max(other)).contains(&byte), rest),
        [one, rest @ ..] => (*one == byte, rest),
    };
    let (is_in_rest, rest) = members(rest, byte);
    (is_member || is_in_rest, rest)
}

fn symbol() -> impl Strategy<Value = u8> {
    prop::sample::select(&b"*?[]^-\\abc"[..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_pattern_matches_as_defined(pattern in vec(symbol(), 0..9), text in vec(symbol(), 0..7)) {
        prop_assert_eq!(
            matches(&pattern, &text), naive(&pattern, &text),
            "{} {}", String::from_utf8_lossy(&pattern), String::from_utf8_lossy(&text)
        );
    }
}

/// Twenty stars before a byte that is not there: seconds for a matcher that tries every division.
#[test]
fn stars_cost_no_more_than_their_number() {
    let pattern = [b"a*".repeat(20), b"b".to_vec()].concat();
    assert!(!matches(&pattern, &b"a".repeat(100_000)));
}
