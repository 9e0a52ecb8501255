//! What whole keys look like: the patterns of key families and of caching rules, one meaning for both.
//!
//! ```text
//!   bull:{queue}:*     literal "bull:", any (1 byte or more), literal ":", any
//! ```

/// `*` is any bytes or none, `{name}` one byte or more, `[0-9a-f]` one byte of a set, the rest itself.
#[derive(Clone, Debug)]
pub struct Pattern {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Literal(Box<[u8]>),
    OneOf(Box<[bool; 256]>),
    /// Any bytes; `is_kept` if they are what is asked for.
    Any {
        least: usize,
        is_kept: bool,
    },
}

impl Pattern {
    /// Read a pattern, and how often the part of that name stands in it: that is what `matched` gives.
    pub fn compile(text: &str, kept: Option<&str>) -> Result<(Self, usize), &'static str> {
        let mut steps = Vec::new();
        let mut times = 0;
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let (step, length) = match next {
                '*' => (Step::Any { least: 0, is_kept: false }, 1),
                '{' => {
                    let end = rest.find('}').ok_or("a { has no }")?;
                    let is_kept = kept == Some(&rest[1..end]);
                    times += usize::from(is_kept);
                    (Step::Any { least: 1, is_kept }, end + 1)
                }
                '[' => {
                    let end = rest.find(']').ok_or("a [ has no ]")?;
                    let set = one_of(&rest.as_bytes()[1..end]).ok_or("an empty set, or one that runs backwards")?;
                    (set, end + 1)
                }
                other => {
                    literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &rest[other.len_utf8()..];
                    continue;
                }
            };
            push_literal(&mut steps, &mut literal);
            if matches!((&step, steps.last()), (Step::Any { .. }, Some(Step::Any { .. }))) {
                return Err("nothing tells where one part ends and the next begins");
            }
            steps.push(step);
            rest = &rest[length..];
        }
        push_literal(&mut steps, &mut literal);
        if steps.is_empty() {
            return Err("it is empty");
        }
        Ok((Self { steps }, times))
    }

    /// Note with which bytes keys begin that may match.
    pub fn note_beginnings(&self, begins: &mut [bool; 256]) {
        for (byte, can_begin) in begins.iter_mut().enumerate() {
            *can_begin |= match self.steps.first() {
                Some(Step::Literal(text)) => usize::from(text[0]) == byte,
                Some(Step::OneOf(set)) => set[byte],
                Some(Step::Any { .. }) | None => true,
            };
        }
    }

    /// What the part that is kept is in this key, empty without one; none unless the whole key matches.
    ///
    /// Each `Any` takes as little as it can. Only the last one seen is ever lengthened: what an earlier one might
    /// still win, a later one has room for as well.
    #[inline]
    pub fn matched<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let (mut step, mut at) = (0, 0);
        let mut open: Option<Open> = None;
        let (mut start, mut end) = (0, 0);
        loop {
            let advanced = match self.steps.get(step) {
                None if at == key.len() => return Some(&key[start..end]),
                None => None,
                Some(Step::Literal(text)) => key[at..].starts_with(text).then_some(at + text.len()),
                Some(Step::OneOf(set)) => key.get(at).is_some_and(|&byte| set[usize::from(byte)]).then_some(at + 1),
                Some(&Step::Any { least, is_kept }) => {
                    if key.len() - at < least {
                        None // and lengthening an earlier one leaves less
                    } else {
                        open = Some(Open { step, end: at + least, is_kept });
                        if is_kept {
                            (start, end) = (at, at + least);
                        }
                        Some(at + least)
                    }
                }
            };
            if let Some(next) = advanced {
                (step, at) = (step + 1, next);
                continue;
            }
            let last = open.as_mut()?;
            // the last step: it takes all there is
            last.end = if last.step + 1 == self.steps.len() { key.len() } else { last.end + 1 };
            if last.end > key.len() {
                return None;
            }
            if last.is_kept {
                end = last.end;
            }
            (step, at) = (last.step + 1, last.end);
        }
    }
}

/// The `Any` that may still take more.
struct Open {
    step: usize,
    end: usize,
    is_kept: bool,
}

fn push_literal(steps: &mut Vec<Step>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        steps.push(Step::Literal(std::mem::take(literal).into()));
    }
}

/// The set that `0-9a-f` describes.
fn one_of(text: &[u8]) -> Option<Step> {
    let mut set = Box::new([false; 256]);
    let mut rest = text;
    while let Some(&first) = rest.first() {
        let (last, length) = if rest.len() > 2 && rest[1] == b'-' { (rest[2], 3) } else { (first, 1) };
        if last < first {
            return None;
        }
        set[usize::from(first)..=usize::from(last)].fill(true);
        rest = &rest[length..];
    }
    (!text.is_empty()).then_some(Step::OneOf(set))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plain definition of a match: try every length of every part.
    fn matches_plainly(steps: &[Step], key: &[u8]) -> bool {
        match steps.first() {
            None => key.is_empty(),
            Some(Step::Literal(text)) => {
                key.strip_prefix(&**text).is_some_and(|rest| matches_plainly(&steps[1..], rest))
            }
            Some(Step::OneOf(set)) => {
                key.first().is_some_and(|&b| set[usize::from(b)]) && matches_plainly(&steps[1..], &key[1..])
            }
            Some(&Step::Any { least, .. }) => (least..=key.len()).any(|n| matches_plainly(&steps[1..], &key[n..])),
        }
    }

    proptest! {
        #[test]
        fn every_match_is_found_and_no_other(pattern in "([ab]|\\*[ab]|\\{x\\}[ab]|\\[ab\\]){1,6}\\*?", key in "[abc]{0,12}") {
            if let Ok((read, _)) = Pattern::compile(&pattern, None) {
                prop_assert_eq!(read.matched(key.as_bytes()).is_some(), matches_plainly(&read.steps, key.as_bytes()));
            }
        }
    }
}
