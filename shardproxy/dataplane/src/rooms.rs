//! The rooms of the crate, from the top floor down: each may import from those below it, and from no other.

use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: [&str; 33] = [
    "python",
    "replication",
    "plane",
    "simulation",
    "worker",
    "serve",
    "admit",
    "recovery",
    "pubsub",
    "tracking",
    "waiting",
    "complete",
    "place",
    "turn",
    "shared",
    "timing",
    "links",
    "clients",
    "insight",
    "exchange",
    "access",
    "caching",
    "dialect",
    "model",
    "command",
    "hash",
    "glob",
    "net",
    "near",
    "metrics",
    "maps",
    "sync",
    "lib",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The rooms named behind `crate::` in a source, its tests left out.
fn imports(text: &str) -> Vec<&str> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for behind in text.split("crate::").skip(1) {
        let names: Vec<&str> = match behind.strip_prefix('{') {
            Some(rest) => rest.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![behind],
        };
        found.extend(names.iter().map(|name| {
            let name = name.trim_start();
            &name[..name.find(|c| !is_word(c)).unwrap_or(name.len())]
        }));
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn imports_point_downward() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    assert!(files.len() > 100);
    let floor = |room: &str| FLOORS.iter().position(|floor| *floor == room);
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&source).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let room = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if matches!(room, "lib" | "rooms") || matches!(name, "tests.rs" | "random.rs" | "oracle.rs") {
            continue;
        }
        let own = floor(room).unwrap_or_else(|| panic!("{room} is on no floor"));
        let text = fs::read_to_string(&file).unwrap();
        let upward = imports(&text).into_iter().filter(|to| *to != room && floor(to).is_none_or(|to| to <= own));
        wrong.extend(upward.map(|to| format!("{} imports {to}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn imports_are_seen() {
    let text = "use crate::turn::Turn;\nuse crate::{pubsub, recovery};\ncrate::sync::lock(&x)\n#[cfg(test)]\nmod tests {use crate::plane;";
    assert_eq!(imports(text), ["turn", "pubsub", "recovery", "sync"]);
}
