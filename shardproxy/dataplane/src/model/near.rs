//! Whose replies are kept near: by the pattern of the key.

use serde::Deserialize;

use super::pattern::Pattern;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearSpec {
    /// Bytes, of all workers together.
    pub memory: usize,
    /// As in key families; none = every key.
    #[serde(rename = "match", default)]
    pub patterns: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct NearKeys {
    pub memory: usize,
    patterns: Vec<Pattern>,
}

impl NearKeys {
    pub fn compile(spec: &NearSpec) -> Result<Self, String> {
        let compile = |text: &String| match Pattern::compile(text, None) {
            Ok((pattern, _)) => Ok(pattern),
            Err(why) => Err(format!("near cache, match {text:?}: {why}")),
        };
        Ok(Self { memory: spec.memory, patterns: spec.patterns.iter().map(compile).collect::<Result<_, _>>()? })
    }

    #[inline]
    pub fn has(&self, key: &[u8]) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.matched(key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_by_their_names() {
        let of = |patterns: &[&str]| {
            let patterns = patterns.iter().map(ToString::to_string).collect();
            NearKeys::compile(&NearSpec { memory: 1, patterns }).unwrap()
        };
        assert!(of(&[]).has(b"any"));
        let some = of(&["user:{id}:*", "page:*"]);
        assert!(some.has(b"user:1:x") && some.has(b"page:") && !some.has(b"user:1") && !some.has(b"other"));
    }
}
