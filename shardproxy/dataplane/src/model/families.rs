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

use super::pattern::Pattern;
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

/// What the proxy's own keys begin with.
pub const RESERVED: &[u8] = b"shardproxy:";

/// All rules of a cluster, in their order.
#[derive(Clone, Debug)]
pub struct Families {
    rules: Vec<Rule>,
    /// Whether a key that begins with this byte can match any rule.
    begins: Box<[bool; 256]>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// The pattern as it was declared.
    name: Box<str>,
    pattern: Pattern,
    hash: Hash,
}

#[derive(Clone, Debug)]
enum Hash {
    Constant(Box<[u8]>),
    Captured,
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
            rule.pattern.note_beginnings(&mut begins);
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

    /// The rule that is about this key.
    pub fn name_of(&self, key: &[u8]) -> Option<&str> {
        self.find(key).map(|(rule, _)| &*rule.name)
    }

    /// Names of the proxy's own say by their tag where they lie, whatever a rule says.
    #[inline]
    pub fn slot(&self, key: &[u8]) -> u16 {
        match self.hashed_part(key).filter(|_| !key.starts_with(RESERVED)) {
            None => hash::slot(key),
            Some(part) => hash::slot_of_part(part),
        }
    }

    #[inline]
    fn find<'k>(&self, key: &'k [u8]) -> Option<(&Rule, &'k [u8])> {
        if !self.begins[usize::from(*key.first()?)] {
            return None;
        }
        self.rules.iter().find_map(|rule| Some((rule, rule.pattern.matched(key)?)))
    }
}

impl Rule {
    fn compile(spec: &FamilySpec) -> Result<Self, String> {
        let wrong = |why: &str| format!("key family {:?}: {why}", spec.pattern);
        let captured = spec.hash.strip_prefix('{').and_then(|h| h.strip_suffix('}'));
        if captured.is_none_or(str::is_empty) && (spec.hash.is_empty() || spec.hash.contains(['{', '}'])) {
            return Err(wrong("hash is one {name} of the pattern, or a text without braces"));
        }
        let (pattern, times) = Pattern::compile(&spec.pattern, captured).map_err(wrong)?;
        let hash = match captured {
            Some(name) if times != 1 => {
                return Err(wrong(&format!("{{{name}}} stands in it {times} times, and has to once")));
            }
            Some(_) => Hash::Captured,
            None => Hash::Constant(spec.hash.as_bytes().into()),
        };
        Ok(Self { name: spec.pattern.as_str().into(), pattern, hash })
    }
}

#[cfg(test)]
mod tests {
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
        let all = families(&[("*", "one")]);
        assert_eq!(all.slot(b"shardproxy:lease:{a}:x"), hash::slot(b"a"));
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
}
