//! Caching rules: of which keys what is missing is loaded, and of which a write concerns more than the engine. What is done
//! about them the control plane decides: here is known which keys they are about.

use serde::Deserialize;

use super::pattern::Pattern;
use super::RESERVED;

/// Each that may match is tried for each key.
const MOST: usize = 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachingSpec {
    pub rules: Vec<RuleSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// As of a key family.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What is missing is loaded.
    pub loads: bool,
    /// Its writes are the control plane's.
    pub writes: bool,
    /// Its keys have an age that somebody has to look at.
    pub checks: bool,
}

/// All rules of a cluster, in their order.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// The rules that a key may match that begins with this byte.
    by_first: Box<[Box<[u16]>; 256]>,
}

#[derive(Clone, Debug)]
pub struct Rule {
    pub number: u16,
    pub name: Box<str>,
    pattern: Pattern,
    pub loads: bool,
    pub writes: bool,
    pub checks: bool,
}

impl Rule {
    /// Whether somebody may hold a lease on its keys.
    pub const fn is_leased(&self) -> bool {
        self.loads || self.writes
    }
}

impl Rules {
    /// None when there are none.
    pub fn compile(spec: &CachingSpec) -> Result<Option<Self>, String> {
        if spec.rules.len() > MOST {
            return Err(format!("a cluster has at most {MOST} caching rules, not {}", spec.rules.len()));
        }
        let mut by_first: [Vec<u16>; 256] = std::array::from_fn(|_| Vec::new());
        let mut rules = Vec::new();
        for (number, rule) in (0..).zip(&spec.rules) {
            let wrong = |why| format!("caching rule {:?}: {why}", rule.pattern);
            let (pattern, _) = Pattern::compile(&rule.pattern, None).map_err(wrong)?;
            let mut begins = [false; 256];
            pattern.note_beginnings(&mut begins);
            let may_match = by_first.iter_mut().zip(begins).filter(|(_, begins)| *begins);
            may_match.for_each(|(rules, _)| rules.push(number));
            let &RuleSpec { loads, writes, checks, .. } = rule;
            rules.push(Rule { number, name: rule.pattern.as_str().into(), pattern, loads, writes, checks });
        }
        let by_first = Box::new(by_first.map(Vec::into_boxed_slice));
        Ok((!rules.is_empty()).then_some(Self { rules, by_first }))
    }

    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule that matches the whole key. No rule is about the proxy's own names.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<&Rule> {
        let may_match =
            self.by_first[usize::from(*key.first()?)].iter().map(|&number| &self.rules[usize::from(number)]);
        let mut matching = may_match.filter(|rule| rule.pattern.matched(key).is_some());
        matching.next().filter(|_| !key.starts_with(RESERVED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> Rules {
        let rule = |pattern: &&str| RuleSpec { pattern: (*pattern).into(), loads: true, writes: false, checks: false };
        Rules::compile(&CachingSpec { rules: patterns.iter().map(rule).collect() }).unwrap().unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_the_whole_key_counts() {
        let rules = rules(&["user:{id}:profile", "user:*", "[ab]{x}"]);
        let number = |key: &str| rules.find(key.as_bytes()).map(|rule| rule.number);
        for (key, expected) in [
            ("user:1:profile", Some(0)),
            ("user::profile", Some(1)),
            ("user:1:profile2", Some(1)),
            ("user", None),
            ("bx", Some(2)),
            ("b", None),
            ("cx", None),
            ("", None),
        ] {
            assert_eq!(number(key), expected, "{key}");
        }
    }

    #[test]
    fn no_rule_is_about_reserved_names() {
        let rules = rules(&["*"]);
        assert!(rules.find(b"shardproxy:lease:{a}:x").is_none() && rules.find(b"shardproxy").is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let spec = |pattern: &str, times| {
            let rule = RuleSpec { pattern: pattern.into(), loads: true, writes: true, checks: true };
            CachingSpec { rules: vec![rule; times] }
        };
        assert!(Rules::compile(&spec("a{", 1)).unwrap_err().contains("has no }"));
        assert!(Rules::compile(&spec("a", MOST + 1)).is_err() && Rules::compile(&spec("a", MOST)).is_ok());
        assert!(Rules::compile(&CachingSpec::default()).unwrap().is_none());
    }
}
