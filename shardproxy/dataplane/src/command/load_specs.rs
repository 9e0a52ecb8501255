//! Key specs in the table's JSON.

use serde::Deserialize;

use super::key_specs::{Begin, Find, KeyAccess, KeySpec, KeySpecs};
use super::otherwise::Otherwise;
use super::{Flags, Keys};

#[derive(Deserialize)]
pub(super) struct Spec {
    flags: Vec<String>,
    begin_search: Search,
    find_keys: Search,
}

#[derive(Deserialize)]
struct Search {
    #[serde(rename = "type")]
    kind: String,
    spec: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    index: usize,
    keyword: String,
    startfrom: i32,
    lastkey: i32,
    keystep: usize,
    limit: usize,
    keynumidx: usize,
    firstkey: usize,
}

/// What routing knows of a command's keys.
pub(super) struct Known<'a> {
    pub name: &'a str,
    pub flags: Flags,
    pub keys: Keys,
    pub first: i32,
    pub last: i32,
    pub step: i32,
}

pub(super) fn specs_of(specs: Vec<Spec>, known: &Known) -> KeySpecs {
    let has = |spec: &Spec, flag: &str| spec.flags.iter().any(|known| known == flag);
    let is_variable = specs.iter().any(|spec| has(spec, "variable_flags"));
    let is_untold = specs.is_empty();
    let mut specs: Box<[KeySpec]> = specs.into_iter().filter(|spec| !has(spec, "not_key")).map(spec_of).collect();
    if is_untold {
        specs = range_of(known).into_iter().collect();
    }
    KeySpecs { specs, is_variable, otherwise: otherwise_of(known) }
}

fn spec_of(spec: Spec) -> KeySpec {
    let is_any = |flags: &[&str]| spec.flags.iter().any(|flag| flags.contains(&flag.as_str()));
    let mut access = KeyAccess::NONE;
    if is_any(&["access"]) {
        access = access | KeyAccess::READ;
    }
    if is_any(&["insert", "delete", "update"]) {
        access = access | KeyAccess::WRITE;
    }
    let is_incomplete = is_any(&["incomplete"]);
    let (begin, find) = (spec.begin_search.spec, spec.find_keys.spec);
    KeySpec {
        access,
        is_incomplete,
        begin: match spec.begin_search.kind.as_str() {
            "index" => Begin::Index(begin.index),
            "keyword" => Begin::Keyword(begin.keyword.into_bytes().into(), begin.startfrom),
            _ => Begin::Unknown,
        },
        find: match spec.find_keys.kind.as_str() {
            "range" => Find::Range { last: find.lastkey, step: find.keystep, limit: find.limit },
            "keynum" => Find::Number { at: find.keynumidx, first: find.firstkey, step: find.keystep },
            _ => Find::Unknown,
        },
    }
}

/// The keys of a command whose engine tells of no key specs, as those before 7.0: nobody knows what is done to them.
fn range_of(known: &Known) -> Option<KeySpec> {
    let first = usize::try_from(known.first).ok().filter(|&first| first > 0 && known.keys != Keys::None)?;
    let last = if known.last < 0 { known.last } else { known.last - known.first };
    let access = if known.flags.contains(Flags::READONLY) { KeyAccess::READ } else { KeyAccess::BOTH };
    let find = Find::Range { last, step: known.step.max(1) as usize, limit: 0 };
    Some(KeySpec { access, is_incomplete: false, begin: Begin::Index(first), find })
}

fn otherwise_of(known: &Known) -> Otherwise {
    match (known.keys, known.name) {
        (_, "set") => Otherwise::Set,
        (_, "bitfield") => Otherwise::Bitfield,
        (Keys::Sort, name) => Otherwise::Sort { may_store: name == "sort" },
        (Keys::Migrate, _) => Otherwise::Migrate,
        (Keys::GeoRadius, _) => Otherwise::GeoRadius,
        (Keys::Streams, _) => Otherwise::Streams,
        (Keys::NumKeys(at), _) => {
            Otherwise::Number { at: usize::from(at), has_destination: known.first > 0 && usize::from(at) > 1 }
        }
        (Keys::None | Keys::Range, _) => Otherwise::Nothing,
    }
}
