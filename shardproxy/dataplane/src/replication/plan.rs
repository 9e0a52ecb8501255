//! What is copied, and to whom.

use serde::Deserialize;

use super::claim::{Claim, ClaimSpec};
use super::end::{End, EndSpec};
use crate::glob;
use crate::hash;
use crate::model::{Families, FamilySpec};

const SLOTS: usize = 16384;
const NOBODY: u8 = u8::MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSpec {
    pub sources: Vec<EndSpec>,
    pub targets: Vec<TargetSpec>,
    #[serde(default)]
    pub families: Vec<FamilySpec>,
    #[serde(default)]
    pub database: u32,
    #[serde(default)]
    pub replaces: bool,
    /// Bytes a second of the first copy; 0 = no limit.
    #[serde(default)]
    pub rate: u64,
    #[serde(default, rename = "match")]
    pub pattern: Option<String>,
    #[serde(default)]
    pub follows: bool,
    /// For whom, and after whom; without one it ends no others.
    #[serde(default)]
    pub claim: Option<ClaimSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// First and last of each range.
    pub slots: Vec<(u16, u16)>,
    pub end: EndSpec,
}

#[derive(Debug)]
pub struct Plan {
    pub sources: Vec<End>,
    pub targets: Vec<End>,
    pub database: u32,
    pub replaces: bool,
    pub rate: u64,
    pub follows: bool,
    pub claim: Claim,
    families: Option<Families>,
    pattern: Option<Vec<u8>>,
    /// The target of each slot.
    owners: Box<[u8; SLOTS]>,
}

impl Plan {
    pub fn new(spec: PlanSpec) -> Result<Self, String> {
        if spec.sources.is_empty() {
            return Err("a copy needs a source".into());
        }
        if spec.targets.is_empty() || spec.targets.len() > usize::from(NOBODY) {
            return Err(format!("a copy has 1 to {NOBODY} targets"));
        }
        let mut owners = Box::new([NOBODY; SLOTS]);
        for (target, owner) in spec.targets.iter().zip(0..) {
            for &(first, last) in &target.slots {
                let range = owners.get_mut(usize::from(first)..=usize::from(last));
                let range = range.filter(|range| !range.is_empty());
                let range = range.ok_or_else(|| format!("{first}-{last} are no slots"))?;
                if range.iter().any(|&taken| taken != NOBODY) {
                    return Err(format!("two targets get slots of {first}-{last}"));
                }
                range.fill(owner);
            }
        }
        Ok(Self {
            sources: spec.sources.into_iter().map(End::new).collect::<Result<_, _>>()?,
            targets: spec.targets.into_iter().map(|target| End::new(target.end)).collect::<Result<_, _>>()?,
            database: spec.database,
            replaces: spec.replaces,
            rate: spec.rate,
            follows: spec.follows,
            claim: Claim::new(spec.claim)?,
            families: Families::compile(&spec.families)?,
            pattern: spec.pattern.map(String::into_bytes),
            owners,
        })
    }

    pub fn slot(&self, key: &[u8]) -> u16 {
        match &self.families {
            Some(families) => families.slot(key),
            None => hash::slot(key),
        }
    }

    /// Who gets a key; none if it stays.
    pub fn target_of(&self, key: &[u8]) -> Option<usize> {
        let owner = self.owners[usize::from(self.slot(key))];
        if owner == NOBODY || self.pattern.as_ref().is_some_and(|pattern| !glob::matches(pattern, key)) {
            return None;
        }
        Some(usize::from(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, String> {
        Plan::new(serde_json::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn a_key_goes_to_who_gets_its_slot() {
        let end = r#"{"address":"127.0.0.1:1"}"#;
        let text = format!(
            r#"{{"sources":[{end}],"targets":[{{"slots":[[0,99],[12182,12182]],"end":{end}}},{{"slots":[[5061,5061]],"end":{end}}}],
                "families":[{{"match":"rq:*","hash":"foo"}}],"match":"*[o:]*"}}"#
        );
        let plan = plan(&text).unwrap();
        for (key, expected) in [
            ("foo", Some(0)),
            ("{bar}o", Some(1)),
            ("bar", None),
            ("{foo}b", Some(0)),
            ("rq:1", Some(0)),
            ("hello", None),
        ] {
            assert_eq!(plan.target_of(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let end = r#"{"address":"127.0.0.1:1"}"#;
        for (sources, targets) in [
            (String::new(), format!(r#"{{"slots":[],"end":{end}}}"#)),
            (end.to_owned(), String::new()),
            (end.to_owned(), format!(r#"{{"slots":[[5,4]],"end":{end}}}"#)),
            (end.to_owned(), format!(r#"{{"slots":[[0,16384]],"end":{end}}}"#)),
            (end.to_owned(), format!(r#"{{"slots":[[0,5],[5,6]],"end":{end}}}"#)),
            (end.to_owned(), r#"{"slots":[],"end":{"address":"nowhere"}}"#.to_owned()),
        ] {
            let text = format!(r#"{{"sources":[{sources}],"targets":[{targets}]}}"#);
            assert!(plan(&text).is_err(), "{text}");
        }
    }
}
