//! Key families: keys that hash together by a declared rule, so that they are in one slot without tags in their names.
//!
//! ```text
//!   match "bull:{queue}:*"   hash "{queue}"   bull:mail:wait ─> mail ─> the slot of {mail}
//!   match "rq:*"             hash "rq"        rq:job:17      ─> rq   ─> the slot of {rq}
//! ```
//!
//! The first rule that matches a whole key wins, also over a `{tag}` in the key: a library that puts braces of its own
//! into some names of a family must not tear it apart. A key that no rule matches goes by its tag, or as a whole.

use serde::Deserialize;

use crate::hash;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilySpec {
    /// `*` is any bytes or none, `{name}` one byte or more, `[0-9a-f]` one byte of a set, the rest itself.
    #[serde(rename = "match")]
    pub pattern: String,
    /// `{name}`: what that part of the key is; anything else is itself.
    pub hash: String,
}

/// All rules of a cluster, in their order.
#[derive(Clone, Debug)]
pub struct Families {
    rules: Vec<Rule>,
    /// Whether a key that begins with this byte can match any rule.
    begins: Box<[bool; 256]>,
}

#[derive(Clone, Debug)]
struct Rule {
    steps: Vec<Step>,
    hash: Hash,
}

#[derive(Clone, Debug)]
enum Hash {
    Constant(Box<[u8]>),
    Captured,
}

#[derive(Clone, Debug)]
enum Step {
    Literal(Box<[u8]>),
    OneOf(Box<[bool; 256]>),
    /// Any bytes; `is_hashed` if they are what the rule hashes.
    Any {
        least: usize,
        is_hashed: bool,
    },
}

impl Families {
    /// None when nothing is declared.
    pub fn compile(specs: &[FamilySpec]) -> Result<Option<Self>, String> {
        if specs.is_empty() {
            return Ok(None);
        }
        let rules: Vec<Rule> = specs.iter().map(Rule::compile).collect::<Result<_, _>>()?;
        let mut begins = Box::new([false; 256]);
        for rule in &rules {
            for (byte, can_begin) in begins.iter_mut().enumerate() {
                *can_begin |= match rule.steps.first() {
                    Some(Step::Literal(text)) => usize::from(text[0]) == byte,
                    Some(Step::OneOf(set)) => set[byte],
                    Some(Step::Any { .. }) | None => true,
                };
            }
        }
        Ok(Some(Self { rules, begins }))
    }

    /// The part of the key, or of its rule, that is hashed; none when no rule is about this key.
    #[inline]
    pub fn hashed_part<'a>(&'a self, key: &'a [u8]) -> Option<&'a [u8]> {
        self.find(key).map(|(rule, part)| match &rule.hash {
            Hash::Constant(text) => &**text,
            Hash::Captured => part,
        })
    }

    #[inline]
    pub fn slot(&self, key: &[u8]) -> u16 {
        match self.hashed_part(key) {
            None => hash::slot(key),
            Some(part) => hash::slot_of_part(part),
        }
    }

    #[inline]
    fn find<'k>(&self, key: &'k [u8]) -> Option<(&Rule, &'k [u8])> {
        if !self.begins[usize::from(*key.first()?)] {
            return None;
        }
        self.rules.iter().find_map(|rule| Some((rule, rule.matched(key)?)))
    }
}

impl Rule {
    fn compile(spec: &FamilySpec) -> Result<Self, String> {
        let wrong = |why: &str| format!("key family {:?}: {why}", spec.pattern);
        let captured = spec.hash.strip_prefix('{').and_then(|h| h.strip_suffix('}'));
        if captured.is_none_or(str::is_empty) && (spec.hash.is_empty() || spec.hash.contains(['{', '}'])) {
            return Err(wrong("hash is one {name} of the pattern, or a text without braces"));
        }
        let mut steps = Vec::new();
        let mut times = 0;
        let mut literal = Vec::new();
        let mut rest = spec.pattern.as_str();
        while let Some(next) = rest.chars().next() {
            let (step, length) = match next {
                '*' => (Step::Any { least: 0, is_hashed: false }, 1),
                '{' => {
                    let end = rest.find('}').ok_or_else(|| wrong("a { has no }"))?;
                    let is_hashed = captured == Some(&rest[1..end]);
                    times += usize::from(is_hashed);
                    (Step::Any { least: 1, is_hashed }, end + 1)
                }
                '[' => {
                    let end = rest.find(']').ok_or_else(|| wrong("a [ has no ]"))?;
                    (
                        one_of(&rest.as_bytes()[1..end])
                            .ok_or_else(|| wrong("an empty set, or one that runs backwards"))?,
                        end + 1,
                    )
                }
                other => {
                    literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &rest[other.len_utf8()..];
                    continue;
                }
            };
            push_literal(&mut steps, &mut literal);
            if matches!((&step, steps.last()), (Step::Any { .. }, Some(Step::Any { .. }))) {
                return Err(wrong("nothing tells where one part ends and the next begins"));
            }
            steps.push(step);
            rest = &rest[length..];
        }
        push_literal(&mut steps, &mut literal);
        if steps.is_empty() {
            return Err(wrong("it is empty"));
        }
        let hash = match captured {
            Some(name) if times != 1 => {
                return Err(wrong(&format!("{{{name}}} stands in it {times} times, and has to once")));
            }
            Some(_) => Hash::Captured,
            None => Hash::Constant(spec.hash.as_bytes().into()),
        };
        Ok(Self { steps, hash })
    }

    /// What the hashed capture is in this key, empty without one; none unless the whole key matches.
    ///
    /// Each `Any` takes as little as it can. Only the last one seen is ever lengthened: what an earlier one might
    /// still win, a later one has room for as well.
    fn matched<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let (mut step, mut at) = (0, 0);
        let mut open: Option<Open> = None;
        let (mut start, mut end) = (0, 0);
        loop {
            let advanced = match self.steps.get(step) {
                None if at == key.len() => return Some(&key[start..end]),
                None => None,
                Some(Step::Literal(text)) => key[at..].starts_with(text).then_some(at + text.len()),
                Some(Step::OneOf(set)) => key.get(at).is_some_and(|&byte| set[usize::from(byte)]).then_some(at + 1),
                Some(&Step::Any { least, is_hashed }) => {
                    if key.len() - at < least {
                        None // and lengthening an earlier one leaves less
                    } else {
                        open = Some(Open { step, end: at + least, is_hashed });
                        if is_hashed {
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
            if last.is_hashed {
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
    is_hashed: bool,
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

    fn family(pattern: &str, hash: &str) -> FamilySpec {
        FamilySpec { pattern: pattern.into(), hash: hash.into() }
    }

    fn families(rules: &[(&str, &str)]) -> Families {
        let specs: Vec<FamilySpec> = rules.iter().map(|(pattern, hash)| family(pattern, hash)).collect();
        Families::compile(&specs).unwrap().unwrap()
    }

    fn part(pattern: &str, hash: &str, key: &str) -> Option<String> {
        let families = families(&[(pattern, hash)]);
        families.hashed_part(key.as_bytes()).map(|part| String::from_utf8(part.to_vec()).unwrap())
    }

    #[test]
    fn keys_of_a_family_hash_by_what_they_share() {
        for (pattern, hash, key, expected) in [
            ("bull:{queue}:*", "{queue}", "bull:mail:wait", Some("mail")),
            ("bull:{queue}:*", "{queue}", "bull:mail:", Some("mail")),
            ("bull:{queue}:*", "{queue}", "bull:mail:de:a:b", Some("mail")),
            ("bull:{queue}:*", "{queue}", "bull::wait:x", Some(":wait")),
            ("bull:{queue}:*", "{queue}", "bull:mail", None),
            ("bull:{queue}:*", "{queue}", "bull:", None),
            ("bull:{queue}:*", "{queue}", "xbull:mail:wait", None),
            ("bull:{queue}:*", "bull", "bull:mail:wait", Some("bull")),
            ("rq:*", "rq", "rq:", Some("rq")),
            ("rq:*", "rq", "rq", None),
            ("queues", "q", "queues", Some("q")),
            ("queues", "q", "queues2", None),
            ("{id}.[jts]", "{id}", "a.b.j", Some("a.b")),
            ("{id}.[jts]", "{id}", "a.b.x", None),
            ("{id}.[jts]", "{id}", ".j", None),
            ("{queue}\u{6}\u{16}[0-9]", "{queue}", "celery\u{6}\u{16}3", Some("celery")),
            ("*:[0-9]*:[0-9a-f][0-9a-f]", "id", "web:1:17:a0", Some("id")),
            ("*:[0-9]*:[0-9a-f][0-9a-f]", "id", "web:x:a0", None),
            ("a*b{c}d", "{c}", "axbxbyddd", Some("xbydd")),
            ("{all}", "{all}", "anything", Some("anything")),
            ("*", "one", "x", Some("one")),
            ("[-a]x", "s", "-x", Some("s")),
        ] {
            assert_eq!(part(pattern, hash, key).as_deref(), expected, "{pattern} {hash} {key}");
        }
    }

    #[test]
    fn a_part_has_the_slot_of_a_tag_and_a_rule_wins_over_one() {
        let rules = families(&[("bull:{queue}:*", "{queue}"), ("rq:*", "rq"), ("rq:x", "never")]);
        assert_eq!(rules.slot(b"bull:mail:wait"), hash::slot(b"{mail}"));
        assert_eq!(rules.slot(b"rq:x"), hash::slot(b"{rq}"));
        assert_eq!(rules.slot(b"rq:job:{17}"), hash::slot(b"rq"));
        assert_eq!(rules.slot(b"{17}rq:job:"), hash::slot(b"17"));
        assert_eq!(rules.slot(b"foo"), 12182);
        assert_eq!(rules.slot(b""), hash::slot(b""));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (pattern, hash) in [
            ("", "x"),
            ("a", ""),
            ("a:{b", "{b}"),
            ("a:[", "x"),
            ("a:[]", "x"),
            ("a:[9-0]", "x"),
            ("a:{b}*", "{b}"),
            ("a:**", "x"),
            ("a:{b}:*", "{c}"),
            ("a:{b}:{b}", "{b}"),
            ("a:{b}:*", "x{b}"),
            ("a:{b}:*", "{}"),
        ] {
            assert!(Families::compile(&[family(pattern, hash)]).is_err(), "{pattern} {hash}");
        }
        assert!(Families::compile(&[]).unwrap().is_none());
    }

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
            if let Ok(rule) = Rule::compile(&family(&pattern, "k")) {
                prop_assert_eq!(rule.matched(key.as_bytes()).is_some(), matches_plainly(&rule.steps, key.as_bytes()));
            }
        }
    }
}
